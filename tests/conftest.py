"""What all tests share: one thread, and the sample image."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.warm import warm_command

# Many small tensors: threads would only wait for each other. With workers, each has a core.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")


@pytest.fixture(scope="session")
def sample_path() -> Path:
    """The real image that ships with the package."""
    return Path(str(files("astro_sr_plugin") / "data" / "samples" / "abell671_crop.fits"))


@pytest.fixture(scope="session")
def astro_sr_path() -> str:
    """The installed command."""
    path = Path(sysconfig.get_path("scripts")) / ("astro-sr.exe" if os.name == "nt" else "astro-sr")
    assert path.exists()
    return str(path)


@pytest.fixture(scope="session")
def warm_astro_sr(astro_sr_path: str) -> Iterator[str]:
    """A command that does what the installed one does, without its start."""
    if not hasattr(os, "fork"):
        yield astro_sr_path
        return
    with warm_command() as path:
        yield str(path)


@dataclass(frozen=True)
class Sky:
    """A simulated star field whose PSF may change, with what a perfect method would make of it."""

    image: NDArray[np.float32]
    target: NDArray[np.float32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    fwhm: NDArray[np.float64]
    ellipticity: NDArray[np.float64]
    theta: NDArray[np.float64]
    radius: NDArray[np.float64]
    """Distance from the middle of the frame, 1 in its corners."""


def render_sky(
    *,
    shape: tuple[int, int] = (560, 620),
    stars: tuple[int, int] = (12, 14),
    seed: int = 1,
    fwhm: tuple[float, float] = (2.8, 3.8),
    ellipticity: float = 0.25,
    target_fwhm: float = 2.0,
    empty: tuple[slice, slice] | None = None,
) -> Sky:
    """Moffat stars of beta 3.2 on a jittered grid; sky 300, white noise 5.

    FWHM and radial ellipticity grow with the square of the distance from the middle, from the first
    of `fwhm` and 0 to the second and `ellipticity` in the corners. The target is a Gaussian.
    """
    rng = np.random.default_rng(seed)
    (ny, nx), r = shape, 32
    y, x = (place.ravel() for place in np.mgrid[: stars[0], : stars[1]].astype(float))
    y = 14 + (ny - 29) * (y + 0.5 + rng.uniform(-0.3, 0.3, y.size)) / stars[0]
    x = 14 + (nx - 29) * (x + 0.5 + rng.uniform(-0.3, 0.3, x.size)) / stars[1]
    u, v = x - (nx - 1) / 2, y - (ny - 1) / 2
    radius = np.hypot(u, v) / np.hypot((nx - 1) / 2, (ny - 1) / 2)
    width = fwhm[0] + (fwhm[1] - fwhm[0]) * radius**2
    stretch, theta = ellipticity * radius**2, np.arctan2(v, u)
    flux = 5 * np.exp(rng.uniform(np.log(150), np.log(8000), x.size))
    observed, target = np.zeros((2, ny + 2 * r, nx + 2 * r))
    for k in range(x.size):
        column, row = round(x[k]), round(y[k])
        if empty is not None and row in range(ny)[empty[0]] and column in range(nx)[empty[1]]:
            continue
        place = np.s_[row : row + 2 * r + 1, column : column + 2 * r + 1]
        dx, dy = x[k] - column, y[k] - row
        observed[place] += flux[k] * _moffat(width[k], stretch[k], theta[k], dx, dy, r)
        target[place] += flux[k] * _gaussian(target_fwhm, dx, dy, r)
    inner = np.s_[r:-r, r:-r]
    image = 300 + observed[inner] + rng.normal(0, 5, shape)
    target = (300 + target[inner]).astype(np.float32)
    return Sky(image.astype(np.float32), target, x, y, flux, width, stretch, theta % np.pi, radius)


def _moffat(
    fwhm: float, ellipticity: float, theta: float, dx: float, dy: float, r: int
) -> NDArray[np.float64]:
    beta = 3.2
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    q, cos, sin = np.sqrt(1 - ellipticity), np.cos(theta), np.sin(theta)
    # Four by four points in a pixel.
    points, weights = np.polynomial.legendre.leggauss(4)
    fine = (np.arange(-r, r + 1)[:, None] + points / 2).ravel()
    u, v = fine[None, :] - dx, fine[:, None] - dy
    square = ((u * cos + v * sin) * q) ** 2 + ((v * cos - u * sin) / q) ** 2
    light = (1 + square / alpha**2) ** -beta * (beta - 1) / (np.pi * alpha**2)
    side = 2 * r + 1
    light = light.reshape(side, 4, side, 4)
    return np.einsum("aibj,i,j->ab", light, weights / 2, weights / 2)


def _gaussian(fwhm: float, dx: float, dy: float, r: int) -> NDArray[np.float64]:
    sigma = fwhm / np.sqrt(8 * np.log(2))
    offsets = np.arange(-r, r + 1)
    square = (offsets[None, :] - dx) ** 2 + (offsets[:, None] - dy) ** 2
    return np.exp(-0.5 * square / sigma**2) / (2 * np.pi * sigma**2)


@pytest.fixture(scope="session")
def make_sky() -> Callable[..., Sky]:
    """What renders star fields."""
    return render_sky
