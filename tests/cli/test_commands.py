"""The commands on good images, as a user or another program calls them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main

PROGRESS = re.compile(r"Progress: \d+\.\d\d% \(\d+/\d+ tiles processed\)")


def check_fits(path: Path, source: Path, scale: int = 1) -> fits.Header:
    """Check that a result is valid FITS, and that each point has the same place in the sky."""
    with fits.open(path, checksum=True) as hdus:
        hdus.verify("exception")
        assert hdus[0].data.shape == (96 * scale, 96 * scale)
        assert hdus[0].header["BITPIX"] == -32
        header = hdus[0].header.copy()
    assert header["OBJECT"] == "a simulated field"
    assert header["BUNIT"].strip().lower() == "adu"
    place = np.array([[0.0, 3.0], [47.5, 60.0], [95.0, 11.5]])
    sky = WCS(fits.getheader(source)).all_pix2world(place, 0)
    found = WCS(header).all_world2pix(sky, 0)
    np.testing.assert_allclose((found + 0.5) / scale - 0.5, place, atol=1e-6)
    return header


@pytest.mark.parametrize(
    ("words", "scale"),
    [
        (["denoise", "--strength", "0.8"], 1),
        (["deconvolve", "--stars", "0.5", "--psf", "3.2,3.0"], 1),
        (["deconvolve", "--model", "richardson-lucy"], 1),
        (["deconvolve", "--model", "wiener", "--target-fwhm", "2.4"], 1),
        (["super-resolve", "--scale", "2", "--conserve-flux"], 2),
        (["super-resolve", "--model", "bicubic"], 2),
        (["super-resolve", "--scale", "4"], 4),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_enhancing(
    words: list[str], scale: int, astro_sr: Any, field_path: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.fits"
    result = astro_sr(*words, field_path, "-o", output, "--json", "--progress", "line")
    assert result.code == 0, result.err
    header = check_fits(output, field_path, scale)
    record = json.loads(result.out)
    assert record["output"] == str(output)
    assert record["model"] == header["ASRMODEL"]
    assert record["shape"] == [96 * scale, 96 * scale]
    assert record["fwhm_in"] == pytest.approx(3.2, rel=0.15)
    lines = [line for line in result.err.splitlines() if not line.startswith("astro-sr: warning")]
    assert all(PROGRESS.fullmatch(line) for line in lines)
    assert "100.00%" in lines[-1]


@pytest.fixture(scope="module")
def plain_path(field_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the denoised image in a plain file."""
    path = tmp_path_factory.mktemp("plain") / "plain.fits"
    assert main(["denoise", str(field_path), "-o", str(path), "--quiet"]) == 0
    return path


@pytest.mark.parametrize("name", ["out.fits.fz", "out.fits.gz", "out.xisf", "out.tif", "out.fit"])
def test_formats(
    name: str, astro_sr: Any, field_path: Path, plain_path: Path, tmp_path: Path
) -> None:
    import astro_sr_plugin as asr

    result = astro_sr("denoise", field_path, "-o", tmp_path / name, "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")
    expected, found = (asr.read_image(path).data for path in (plain_path, tmp_path / name))
    # Tile-compressed FITS quantises float pixels to a fraction of their noise.
    tolerance = 1.0 if name.endswith(".fz") else 1e-3
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_overwriting_and_several_inputs(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.fits"
    second.write_bytes(field_path.read_bytes())
    folder = tmp_path / "clean"
    folder.mkdir()
    words = ("denoise", field_path, second, "-o", folder, "--json", "--progress", "none")
    result = astro_sr(*words)
    assert result.code == 0, result.err
    outputs = [record["output"] for record in json.loads(result.out)["results"]]
    assert outputs == [str(folder / "field_denoised.fits"), str(folder / "second_denoised.fits")]
    assert astro_sr(*words).code == 2
    assert astro_sr(*words, "--overwrite").code == 0


def test_measure(astro_sr: Any, field_path: Path) -> None:
    result = astro_sr("measure", field_path)
    assert result.code == 0
    assert "FWHM" in result.out
    record = json.loads(astro_sr("measure", field_path, "--json").out)
    assert record["input"] == str(field_path)


def test_measure_draws_the_psf(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    picture = tmp_path / "psf.png"
    words = ("measure", field_path, "--plot", picture)
    assert astro_sr(*words).code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert astro_sr(*words).code == 2
    assert astro_sr(*words, "--overwrite").code == 0
    result = astro_sr("measure", field_path, "--plot", tmp_path / "psf.jpg")
    assert result.code == 2
    assert "--plot" in result.err


def test_star_mask(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    output = tmp_path / "mask.fits"
    record = json.loads(astro_sr("star-mask", field_path, "-o", output, "--json").out)
    mask = fits.getdata(output)
    assert set(np.unique(mask)) == {0, 1}
    assert mask.mean() == pytest.approx(record["covered"])
    for name, dtype in (("mask.xisf", None), ("mask.tif", None), ("float.xisf", "float32")):
        other = tmp_path / name
        words = ("star-mask", field_path, "-o", other) + (("--dtype", dtype) if dtype else ())
        assert astro_sr(*words).code == 0
        again = asr.read_image(other)
        np.testing.assert_array_equal(again.data, mask)
        assert again.meta["ASRDTYPE"] == (dtype or "uint8")


@pytest.mark.parametrize("name", ["mtf", "asinh", "ghs", "log", "gamma"])
def test_stretch_and_back(name: str, astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    shown, back = tmp_path / "shown.fits", tmp_path / "back.fits"
    assert astro_sr("stretch", field_path, "-o", shown, "--name", name).code == 0
    assert astro_sr("unstretch", shown, "-o", back).code == 0
    before, after = fits.getdata(field_path), fits.getdata(back)
    np.testing.assert_allclose(after, before, rtol=1e-6)
    assert not np.allclose(fits.getdata(shown), before)


def test_stretch_parameters(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    words = ("stretch", field_path, "-o", tmp_path / "a.fits", "--name", "gamma", "--set")
    assert astro_sr(*words, "gamma=3").code == 0
    words = (*words[:3], tmp_path / "b.fits", *words[4:])
    refused = astro_sr(*words, "colour=3")
    assert refused.code == 2
    assert "colour" in refused.err
    assert astro_sr(*words, "gamma").code == 2
    assert astro_sr("unstretch", field_path, "-o", tmp_path / "b.fits").code == 2


@pytest.mark.parametrize("name", ["compare.png", "compare.html"])
def test_compare(name: str, astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    result = astro_sr("compare", field_path, field_path, "-o", tmp_path / name)
    assert result.code == 0, result.err
    assert (tmp_path / name).stat().st_size > 1000
    assert astro_sr("compare", field_path, field_path, "-o", tmp_path / "a.bmp").code == 2


def test_models(astro_sr: Any) -> None:
    listed = json.loads(astro_sr("models", "list", "--json").out)["models"]
    names = [model["name"] for model in listed]
    assert len({(model["name"], model["task"], model["scale"]) for model in listed}) == len(names)
    assert {"denoise", "deconvolve", "super-resolve"} <= {model["task"] for model in listed}
    text = astro_sr("models", "list").out
    assert " ".join(text.split()[:7]) == "NAME TASK SCALE SIZE LICENCE DOMAIN DESCRIPTION"
    for model in listed:
        assert (model["size"] > 1e5) == bool(model["sha256"]) == bool(model["trained_on"])
    for name in names:
        assert name in text
        shown = astro_sr("models", "show", name)
        assert shown.code == 0
        assert "license" in shown.out
        record = json.loads(astro_sr("models", "show", name, "--json").out)
        assert record["models"] == [model for model in listed if model["name"] == name]


def test_speed_of_a_model_is_measured(astro_sr: Any) -> None:
    shown = json.loads(astro_sr("models", "show", "bicubic", "--speed", "--json").out)["models"]
    assert all(0 < model["seconds_per_mpx"] < 100 for model in shown)
    assert "seconds per mpx: " in astro_sr("models", "show", "wiener", "--speed").out


def test_simulate(astro_sr: Any, tmp_path: Path) -> None:
    words = ("--count", 2, "--size", 64, "--task", "super-resolve", "--seed", 4)
    words += ("--telescopes", 2)
    for folder in ("a", "b"):
        result = astro_sr("simulate", "-o", tmp_path / folder, *words, "--progress", "none")
        assert result.code == 0, result.err
    for name, size in (
        ("observed_0002.fits", 64),
        ("truth_0002.fits", 128),
        ("psf_0002.fits", 65),
    ):
        first, again = fits.getdata(tmp_path / "a" / name), fits.getdata(tmp_path / "b" / name)
        assert first.shape == (size, size)
        np.testing.assert_array_equal(first, again)
    assert astro_sr("simulate", "-o", tmp_path / "a", *words).code == 2
    assert astro_sr("simulate", "-o", tmp_path / "c", "--count", 0).code == 2
    assert astro_sr("simulate", "-o", tmp_path / "c", "--telescopes", -1).code == 2


def test_the_demo(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    result = astro_sr("demo", field_path, "-o", folder, "--progress", "none")
    assert result.code == 0, result.err
    for name, scale in (("denoised.fits", 1), ("sharp.fits", 1), ("x2.fits", 2)):
        check_fits(folder / name, field_path, scale)
    assert (folder / "before_after.png").stat().st_size > 1000
    assert str(folder / "before_after.png") in result.out
    assert astro_sr("demo", field_path, "-o", folder).code == 2


def test_help_and_version(astro_sr: Any) -> None:
    import astro_sr_plugin as asr

    assert asr.__version__ in astro_sr("--version").out
    overview = astro_sr("--help")
    assert overview.code == 0
    for verb in re.findall(r"^    ([a-z][a-z-]+)", overview.out, re.MULTILINE):
        action = {"models": "list", "siril": "install", "collect": "esa-hubble"}.get(verb)
        words = (verb,) if action is None else (verb, action)
        shown = astro_sr(*words, "--help")
        assert shown.code == 0
        assert "--json" in shown.out
