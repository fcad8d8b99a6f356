"""Small fields of stars, and folders of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import astro_sr_plugin as asr


def make_field(seed: int, size: int = 96, fwhm: float = 3.2) -> np.ndarray:
    """Return a small field of Moffat stars with noise, in adu."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    alpha = fwhm / 2 / np.sqrt(2 ** (1 / 3.0) - 1)
    image = rng.normal(500.0, 8.0, (size, size))
    for _ in range(24):
        xc, yc = rng.uniform(6, size - 6, 2)
        image += rng.uniform(800, 5000) * (1 + ((x - xc) ** 2 + (y - yc) ** 2) / alpha**2) ** -3.0
    return image.astype(np.float32)


@pytest.fixture(scope="session")
def field() -> np.ndarray:
    return make_field(3)


def write_lights(folder: Path) -> Path:
    """Write three images into a new folder."""
    folder.mkdir()
    for seed in (1, 2, 3):
        fits.PrimaryHDU(make_field(seed)).writeto(folder / f"light_{seed}.fits")
    return folder


@pytest.fixture
def lights(tmp_path: Path) -> Path:
    """Return a folder with three images."""
    return write_lights(tmp_path / "lights")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of results of a finished batch of these images; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    lights = write_lights(folder / "lights")
    summary = asr.run_batch(lights, folder / "done", ["denoise"])
    assert [frame.status for frame in summary.frames] == ["done"] * 3
    return folder / "done"
