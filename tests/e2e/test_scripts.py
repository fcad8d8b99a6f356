"""Every script in a real Siril, without windows: what it saves is what the package computes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

import astro_sr_plugin as asr
from tests.e2e.conftest import SIZE, STARS, Siril, make_pixels, write

# The windows are tested with colour in 16 bit, failures with mono in 32.
KINDS = {
    "colour, float, solved": {"colours": 3, "bits": 32, "solved": True},
    "mono, 16 bit": {"colours": 1, "bits": 16, "solved": False},
}


@dataclass
class Night:
    """An image that went through all scripts."""

    siril: Siril
    name: str
    pixels: np.ndarray
    solved: bool
    bits: int
    log: str

    def saved(self, what: str) -> tuple[np.ndarray, object]:
        hdu = self.siril.image(f"{self.name}_{what}")
        return hdu.data, hdu.header


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, id=kind.replace(", ", "-"), marks=pytest.mark.xdist_group(kind))
        for kind in KINDS
    ],
)
def night(request: pytest.FixtureRequest, siril: Siril) -> Night:
    """Run every script on one kind of image, in one Siril."""
    kind = KINDS[request.param]
    name = request.param.replace(", ", "_").replace(" ", "_")
    pixels = write(siril, name, **kind)
    lines = []
    for what, script in (
        ("denoised", siril.script("Denoise", "-strength", "0.75")),
        ("sharp", siril.script("Deconvolve", "-stars=0.5", "-extended=1", "-target-fwhm=2.5")),
        ("x2", siril.script("SuperResolve")),
        ("starless", siril.script("RemoveStars")),
        ("stretched", siril.script("Stretch")),
        ("panel", siril.script("Panel", "-denoise", "-strength", "0.5", "-model=wiener")),
    ):
        lines += [f"load {name}", script, f"save {name}_{what}"]
    lines += [f"load {name}_stretched", siril.script("Unstretch"), f"save {name}_linear"]
    lines += [f"load {name}", siril.script("StarMask"), siril.script("Measure"), "close"]
    done = siril.run(*lines)
    assert done.code == 0, done.log[-3000:]
    return Night(siril, name, pixels, kind["solved"], kind["bits"], done.log)


def expected(night: Night, what: str) -> np.ndarray:
    pixels = night.pixels
    if what == "denoised":
        return asr.denoise(pixels, strength=0.75)
    if what == "sharp":
        return asr.deconvolve(pixels, stars=0.5, extended=1.0, target_fwhm=2.5)
    if what == "x2":
        return asr.super_resolve(pixels, scale=2)
    if what == "panel":
        return asr.denoise(pixels, strength=0.5, model="wiener")
    return asr.apply_stretch(pixels, "mtf", white=1.0).data


@pytest.mark.parametrize("what", ["denoised", "sharp", "x2", "panel", "stretched"])
def test_the_pixels_are_those_of_the_package(night: Night, what: str) -> None:
    saved, header = night.saved(what)
    assert header["BITPIX"] == -32
    wanted = expected(night, what)
    assert saved.shape == wanted.shape
    # Float32 rounding, and that of sums in another order.
    np.testing.assert_allclose(saved, wanted, rtol=2e-5, atol=2e-6 * np.abs(wanted).max())


def test_the_panel_chooses_if_nothing_is_ticked(siril: Siril) -> None:
    pixels = write(siril, "unticked", colours=1, bits=16, solved=False)
    done = siril.run("load unticked", siril.script("Panel"), "save chosen")
    assert done.code == 0, done.log[-3000:]
    saved = siril.image("chosen")
    wanted = getattr(asr, saved.header["ASRTASK"].replace("-", "_"))(pixels)
    np.testing.assert_allclose(saved.data, wanted, rtol=2e-5, atol=2e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("what", ["denoised", "sharp", "x2"])
def test_the_header_is_kept_and_tells_what_was_done(night: Night, what: str) -> None:
    _, header = night.saved(what)
    verb = {"denoised": "denoise", "sharp": "deconvolve", "x2": "super-resolve"}[what]
    assert header["OBJECT"] == "field"
    assert header["MYKEY"] == 3.25
    assert header["EXPTIME"] == 300
    assert header["FILTER"] == "L"
    assert header["DATE-OBS"] == "2025-03-01T20:15:00"
    assert header["ASRTASK"] == verb
    assert "BUNIT" not in header
    history = list(header["HISTORY"])
    assert history[0] == "stacked with care"
    assert sum(line.startswith("astro_sr_plugin") for line in history) == 1
    assert len([card for card in header["COMMENT"] if "Astronomy" in card]) == 1


@pytest.mark.parametrize(("what", "scale"), [("denoised", 1), ("sharp", 1), ("x2", 2)])
def test_stars_keep_their_place_in_the_sky(night: Night, what: str, scale: int) -> None:
    saved, header = night.saved(what)
    original = WCS(night.siril.image(night.name).header, naxis=2)
    result = WCS(header, naxis=2)
    assert result.has_celestial == night.solved
    if not night.solved:
        return
    plane = saved if saved.ndim == 2 else saved[0]
    for x, y in STARS:
        j, i = (scale * (x + 0.5) - 0.5), (scale * (y + 0.5) - 0.5)
        found = centroid(plane, j, i, 3 * scale)
        apart = original.pixel_to_world(x, y).separation(result.pixel_to_world(*found))
        pixel = proj_plane_pixel_scales(original)[0]
        assert apart.deg < 0.15 * pixel, (x, y, found)


def centroid(plane: np.ndarray, x: float, y: float, radius: int) -> tuple[float, float]:
    left, low = round(x) - radius, round(y) - radius
    cut = plane[low : low + 2 * radius + 1, left : left + 2 * radius + 1].astype(float)
    cut = np.clip(cut - np.percentile(cut, 30), 0, None)
    rows, columns = np.mgrid[: cut.shape[0], : cut.shape[1]]
    return left + (cut * columns).sum() / cut.sum(), low + (cut * rows).sum() / cut.sum()


def test_unstretch_undoes_stretch(night: Night) -> None:
    linear, header = night.saved("linear")
    np.testing.assert_allclose(linear, night.pixels, atol=2e-7, rtol=2e-6)
    assert not [key for key in header if key.startswith("ASRSTR")]
    assert "ASRSTR" in night.saved("stretched")[1]


def test_the_star_mask_lies_beside_the_image(night: Night) -> None:
    mask, header = night.saved("starmask")
    wanted = asr.star_mask(night.pixels)
    assert mask.dtype == np.dtype(">f4")
    np.testing.assert_array_equal(mask, np.asarray(wanted, np.float32))
    assert WCS(header, naxis=2).has_celestial == night.solved
    assert header["OBJECT"] == "field"


def test_the_stars_lie_beside_the_starless_image(night: Night) -> None:
    starless, header = night.saved("starless")
    stars, stars_header = night.saved("stars")
    wanted = asr.remove_stars(night.pixels)
    for saved, by_package in zip((starless, stars), wanted, strict=True):
        np.testing.assert_allclose(saved, by_package, atol=2e-6 * night.pixels.max())
    np.testing.assert_allclose(starless + stars, night.pixels, atol=1e-7)
    assert header["ASRTASK"] == "remove-stars"
    assert WCS(stars_header, naxis=2).has_celestial == night.solved


def test_measure_writes_the_figures_into_the_log(night: Night) -> None:
    source = night.pixels if night.bits == 32 else night.siril.image(night.name).data
    quality = asr.measure(np.asarray(source, np.float32))
    assert f"Image                 {SIZE} x {SIZE}" in night.log
    width = next(line for line in night.log.splitlines() if "FWHM [pixel]" in line)
    assert f"{quality.fwhm[0]:.2f}" in width
    assert "log: AstroSR: " not in night.log, "a script failed"


def test_little_goes_to_standard_output(night: Night) -> None:
    assert len(night.log.encode()) < 65536


def test_autostretch_of_siril_is_our_stretch(siril: Siril) -> None:
    # Siril takes median and noise from a histogram, which is exact enough where it is well filled.
    colour = np.tile(make_pixels(3), (1, 4, 4)) + np.float32(0.01)
    colour += np.random.default_rng(8).normal(0, 2e-3, colour.shape).astype(np.float32)
    plane = colour[0]
    lines = []
    for name, pixels, theirs, ours in (
        ("auto_mono", plane, "autostretch", siril.script("Stretch")),
        ("auto_linked", colour, "autostretch -linked", siril.script("Stretch")),
        ("auto_free", colour, "autostretch", siril.script("Stretch", "-unlinked")),
    ):
        fits.writeto(siril.work / f"{name}.fit", pixels)
        lines += [f"load {name}", theirs, f"save {name}_theirs"]
        lines += [f"load {name}", ours, f"save {name}_ours"]
    done = siril.run(*lines)
    assert done.code == 0, done.log[-2000:]
    for name in ("auto_mono", "auto_linked", "auto_free"):
        theirs, ours = (siril.image(f"{name}_{who}").data for who in ("theirs", "ours"))
        # Siril clips.
        np.testing.assert_allclose(np.clip(ours, 0, 1), theirs, rtol=0, atol=1e-4)


def test_the_package_in_the_python_of_siril_is_used_first(siril: Siril) -> None:
    pixels = write(siril, "own", colours=1, bits=32, solved=True)
    lines = ["load own", siril.script("Measure"), siril.script("Stretch"), "save own_stretched"]
    broken = siril.work / "broken"
    broken.write_text("#!/bin/sh\necho the command of another environment >&2\nexit 9\n")
    broken.chmod(0o755)
    note = siril.scripts / "astro_sr_siril" / "command.txt"
    command = note.read_text()
    (packages,) = siril.work.glob(".local/share/siril/venv/lib/python3*/site-packages")
    installed = packages / "astro_sr_plugin.pth"
    try:
        note.write_text(str(broken))
        assert siril.run(*lines).code != 0
        installed.write_text(f"/host{Path(asr.__file__).parents[1]}\n")
        done = siril.run(*lines)
    finally:
        installed.unlink(missing_ok=True)
        note.write_text(command)
    assert done.code == 0, done.log[-2000:]
    assert "FWHM [pixel]" in done.log
    stretched = siril.image("own_stretched").data
    np.testing.assert_allclose(stretched, asr.apply_stretch(pixels, white=1.0).data, atol=1e-6)


def test_siril_and_the_package_read_each_others_files(siril: Siril) -> None:
    pixels = write(siril, "road", colours=1, bits=32, solved=True)
    image = asr.read_image(siril.work / "road.fit")
    asr.write_image(image, siril.work / "road_ours.fit")
    done = siril.run(
        *("load road", "findstar -out=road.lst"),
        *("load road_ours", "findstar -out=road_ours.lst", "save road_back"),
    )
    assert done.code == 0, done.log[-2000:]
    back = asr.read_image(siril.work / "road_back.fit")
    np.testing.assert_array_equal(back.data, pixels)
    corner = image.wcs.pixel_to_world(0, 0)
    assert corner.separation(back.wcs.pixel_to_world(0, 0)).arcsec < 1e-3
    lists = []
    for name in ("road", "road_ours"):
        text = (siril.work / f"{name}.lst").read_text()
        lists.append([line for line in text.splitlines() if not line.startswith("#")])
    assert len(lists[0]) >= len(STARS)
    assert lists[0] == lists[1]


def test_siril_finds_the_same_stars_in_a_denoised_image(siril: Siril) -> None:
    write(siril, "stars", colours=1, bits=32, solved=False)
    done = siril.run(
        *("load stars", "findstar -out=stars.lst"),
        *(siril.script("Denoise"), "findstar -out=stars_denoised.lst"),
    )
    assert done.code == 0, done.log[-2000:]
    before, after = (
        np.loadtxt(siril.work / f"{name}.lst", comments="#", usecols=(5, 6), ndmin=2)
        for name in ("stars", "stars_denoised")
    )
    for x, y in STARS:
        for found in (before, after):
            # Siril counts rows of its list from the top, and from the corner of the first pixel.
            places = np.hypot(found[:, 0] - x - 0.5, found[:, 1] - (SIZE - y - 0.5))
            assert places.min() < 0.3
