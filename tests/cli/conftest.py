"""Small images, good and bad, and the command line in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_sr_plugin.cli import main


@dataclass
class Result:
    """What a run of the command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def astro_sr(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command line in this process."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as leaving:
            code = leaving.code
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return run


def make_field(size: int = 96, fwhm: float = 3.2, seed: int = 3) -> np.ndarray:
    """Return a small field of Moffat stars with noise, in adu."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / 3.0) - 1)
    image = rng.normal(500.0, 8.0, (size, size))
    for _ in range(max(10, size * size // 700)):
        xc, yc = rng.uniform(8, size - 8, 2)
        image += rng.uniform(300, 5000) * (1 + ((x - xc) ** 2 + (y - yc) ** 2) / alpha**2) ** -3.0
    return image.astype(np.float32)


@pytest.fixture(scope="session")
def field_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small good FITS image."""
    path = tmp_path_factory.mktemp("field") / "field.fits"
    header = fits.Header({"BUNIT": "adu", "OBJECT": "a simulated field"})
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRPIX1"], header["CRPIX2"] = 48.5, 48.5
    header["CRVAL1"], header["CRVAL2"] = 127.1, 30.4
    header["CD1_1"], header["CD2_2"] = -0.0002, 0.0002
    header["CD1_2"], header["CD2_1"] = 0.0, 0.0
    fits.PrimaryHDU(make_field(), header).writeto(path)
    return path


def digest(path: Path) -> str:
    """Return the checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
