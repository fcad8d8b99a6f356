"""Everything a user can get wrong: one sentence, exit code 2, nothing left, input unchanged."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from astropy.io import fits

VERBS = ("denoise", "deconvolve", "super-resolve")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_refused(result: Any, *words: str) -> None:
    """One sentence on stderr that holds all the words, nothing on stdout, exit code 2."""
    assert result.code == 2, result.err
    assert result.out == ""
    lines = [line for line in result.err.splitlines() if not line.startswith("Progress:")]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("astro-sr: error: ")
    assert "Traceback" not in result.err
    for word in words:
        assert word in lines[0], lines[0]


def write_fits(path: Path, data: np.ndarray | None) -> None:
    fits.PrimaryHDU(data).writeto(path)


def make_text(path: Path) -> None:
    path.write_text("This is a letter, not an image.\n" * 100)


def make_truncated(path: Path) -> None:
    write_fits(path, np.random.default_rng(1).normal(100, 5, (96, 96)).astype(np.float32))
    path.write_bytes(path.read_bytes()[: 2880 + 10_000])


def make_damaged_header(path: Path) -> None:
    write_fits(path, np.ones((8, 8), np.float32))
    path.write_bytes(b"SIMPLE  =                    T" + path.read_bytes()[500:900])


def make_zero_size(path: Path) -> None:
    header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2)])
    header["NAXIS1"], header["NAXIS2"] = 0, 5
    path.write_bytes(header.tostring(padding=True).encode("ascii"))


def make_table(path: Path) -> None:
    fits.BinTableHDU.from_columns([fits.Column("a", "E", array=np.ones(4))]).writeto(path)


def make_complex(path: Path) -> None:
    tifffile.imwrite(path, np.ones((32, 32), np.complex64))


BAD_FILES: dict[str, Callable[[Path], None]] = {
    "text": make_text,
    "empty file": lambda path: path.write_bytes(b""),
    "empty HDU": lambda path: write_fits(path, None),
    "table only": make_table,
    "1-D": lambda path: write_fits(path, np.ones(50, np.float32)),
    "zero size": make_zero_size,
    "truncated": make_truncated,
    "damaged header": make_damaged_header,
    "complex": make_complex,
}
BAD_PIXELS: dict[str, Callable[[Path], None]] = {
    "all NaN": lambda path: write_fits(path, np.full((64, 64), np.nan, np.float32)),
    "constant": lambda path: write_fits(path, np.full((64, 64), 7.0, np.float32)),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", [*BAD_FILES, *BAD_PIXELS])
def test_unusable_images(kind: str, verb: str, astro_sr: Any, tmp_path: Path) -> None:
    path = tmp_path / ("bad.tif" if kind == "complex" else "bad.fits")
    (BAD_FILES | BAD_PIXELS)[kind](path)
    before, files = digest(path), listing(tmp_path)
    result = astro_sr(verb, path, "-o", tmp_path / "out.fits", "--progress", "none")
    assert_refused(result)
    assert digest(path) == before
    assert listing(tmp_path) == files


@pytest.mark.parametrize("verb", ["measure", "star-mask", "stretch"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_files_that_are_no_images(kind: str, verb: str, astro_sr: Any, tmp_path: Path) -> None:
    path = tmp_path / ("bad.tif" if kind == "complex" else "bad.fits")
    BAD_FILES[kind](path)
    files = listing(tmp_path)
    output = () if verb == "measure" else ("-o", tmp_path / "out.fits")
    assert_refused(astro_sr(verb, path, *output))
    assert listing(tmp_path) == files


@pytest.mark.parametrize("verb", [*VERBS, "measure", "star-mask", "stretch", "unstretch"])
def test_missing_input(verb: str, astro_sr: Any, tmp_path: Path) -> None:
    output = () if verb == "measure" else ("-o", tmp_path / "out.fits")
    assert_refused(astro_sr(verb, tmp_path / "nowhere.fits", *output), "nowhere.fits", "exist")
    assert listing(tmp_path) == set()


def test_a_folder_is_no_image(astro_sr: Any, tmp_path: Path) -> None:
    assert_refused(astro_sr("measure", tmp_path), "folder")


@pytest.mark.parametrize("hdu", ["7", "NOSUCH"])
def test_missing_extension(hdu: str, astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    result = astro_sr("denoise", field_path, "-o", tmp_path / "out.fits", "--hdu", hdu)
    assert_refused(result, hdu)
    assert listing(tmp_path) == set()


@pytest.mark.parametrize("verb", VERBS)
def test_an_existing_output_is_kept(
    verb: str, astro_sr: Any, field_path: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.fits"
    output.write_text("precious")
    assert_refused(astro_sr(verb, field_path, "-o", output), "exists already", "--overwrite")
    assert output.read_text() == "precious"


def test_the_input_is_never_the_output(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.fits"
    shutil.copy(field_path, path)
    before = digest(path)
    assert_refused(astro_sr("denoise", path, "-o", path, "--overwrite"), "input")
    link = tmp_path / "link.fits"
    link.symlink_to(path)
    assert_refused(astro_sr("denoise", path, "-o", link, "--overwrite"), "input")
    assert digest(path) == before


@pytest.mark.parametrize("verb", VERBS)
def test_missing_output_folder(verb: str, astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    result = astro_sr(verb, field_path, "-o", tmp_path / "no" / "out.fits")
    assert_refused(result, "does not exist")


@pytest.mark.parametrize("verb", VERBS)
def test_unwritable_output_folder(verb: str, astro_sr: Any, field_path: Path) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a folder in which even the superuser cannot make files")
    assert_refused(astro_sr(verb, field_path, "-o", "/proc/out.fits"), "/proc")


@pytest.mark.parametrize("name", ["out.jpeg", "out", "out.fits.zip"])
def test_unknown_output_format(name: str, astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    assert_refused(astro_sr("denoise", field_path, "-o", tmp_path / name), name)
    assert listing(tmp_path) == set()


def test_several_inputs_need_a_folder(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    result = astro_sr("denoise", field_path, field_path, "-o", tmp_path / "out.fits")
    assert_refused(result, "folder")
    result = astro_sr("denoise", field_path, field_path, "-o", tmp_path)
    assert_refused(result, "two inputs")


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_model(verb: str, astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    result = astro_sr(verb, field_path, "-o", tmp_path / "out.fits", "--model", "no-such-model")
    assert_refused(result, "no-such-model")
    assert_refused(astro_sr("models", "show", "no-such-model"), "no-such-model")
    assert listing(tmp_path) == set()


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("super-resolve", ["--scale", "3"]),
        ("super-resolve", ["--scale", "0"]),
        ("super-resolve", ["--target-fwhm", "-2"]),
        ("denoise", ["--strength", "-1"]),
        ("denoise", ["--strength", "nan"]),
        ("denoise", ["--tile-size", "-5"]),
        ("denoise", ["--device", "abacus"]),
        ("deconvolve", ["--stars", "9"]),
        ("deconvolve", ["--extended", "-1"]),
        ("deconvolve", ["--psf", "-3"]),
        ("deconvolve", ["--psf", "3,0.5"]),
        ("deconvolve", ["--psf", "3,3,1.5,0"]),
        ("deconvolve", ["--psf", "nowhere.fits"]),
    ],
)
def test_values_that_are_not_offered(
    verb: str, options: list[str], astro_sr: Any, field_path: Path, tmp_path: Path
) -> None:
    result = astro_sr(verb, field_path, "-o", tmp_path / "out.fits", *options)
    assert_refused(result, options[1].split(",")[0].removesuffix(".fits"))
    assert listing(tmp_path) == set()


def shipped_weights() -> list[Path]:
    import astro_sr_plugin

    return sorted((Path(astro_sr_plugin.__file__).parent / "weights").glob("*.safetensors"))


def test_damaged_weights(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    weights = shipped_weights()[0]
    bad = tmp_path / "bad.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0xFF
    bad.write_bytes(content[:-100])
    shutil.copy(weights.with_suffix(".toml"), bad.with_suffix(".toml"))
    result = astro_sr("denoise", field_path, "-o", tmp_path / "out.fits", "--model", bad)
    assert_refused(result, "bad")
    assert not (tmp_path / "out.fits").exists()


def test_swapped_weights(astro_sr: Any, field_path: Path, tmp_path: Path) -> None:
    first, second = shipped_weights()[:2]
    swapped = tmp_path / "swapped.safetensors"
    shutil.copy(first, swapped)
    shutil.copy(second.with_suffix(".toml"), swapped.with_suffix(".toml"))
    result = astro_sr("denoise", field_path, "-o", tmp_path / "out.fits", "--model", swapped)
    assert_refused(result, "swapped")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Any:
    """Return a folder on a file system with room for 64 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("making a full disk needs the superuser and mount")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("options", [[], ["--dtype", "float64"]], ids=["streamed", "in memory"])
def test_a_disk_that_fills_up(
    options: list[str], astro_sr: Any, field_path: Path, tiny_disk: Path
) -> None:
    result = astro_sr(
        "super-resolve", field_path, "-o", tiny_disk / "out.fits", "--model", "bicubic", *options
    )
    assert_refused(result, "room")
    assert listing(tiny_disk) == set()


def test_wrong_usage_is_one_sentence() -> None:
    for words in ([], ["denoise"], ["no-such-verb"], ["denoise", "--no-such-option"]):
        done = subprocess.run(
            [sys.executable, "-m", "astro_sr_plugin", *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("astro-sr: error: ")
