"""Star fields whose places are known, and lists of stars that are seen twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from astropy.table import Table
from numpy.typing import NDArray

from astro_sr_plugin import Transform

SIGMA = 1.25
"""Width of the stars in pixels: FWHM 2.9."""


def draw_stars(
    x: NDArray, y: NDArray, flux: NDArray, shape: tuple[int, int], sigma: float = SIGMA
) -> NDArray[np.float64]:
    """Draw Gaussian stars, sampled in the middles of the pixels; no sky, no noise."""
    image, reach = np.zeros(shape), int(np.ceil(8 * sigma))
    for a, b, f in zip(x, y, flux, strict=True):
        rows = np.arange(max(round(b) - reach, 0), min(round(b) + reach + 1, shape[0]))
        columns = np.arange(max(round(a) - reach, 0), min(round(a) + reach + 1, shape[1]))
        if rows.size and columns.size:
            line = np.exp(-((rows - b) ** 2) / (2 * sigma**2))
            image[np.ix_(rows, columns)] += (
                f
                / (2 * np.pi * sigma**2)
                * np.outer(line, np.exp(-((columns - a) ** 2) / (2 * sigma**2)))
            )
    return image


@dataclass
class Pointing:
    """A frame of a sky: where its pixels lie in the first frame, and what it shows."""

    truth: Transform
    image: NDArray[np.float32]


@pytest.fixture
def expose() -> Callable[..., Pointing]:
    """Return a function that exposes one sky of 200 stars, moved by a matrix."""

    def make(
        matrix: NDArray | None = None,
        *,
        shape: tuple[int, int] = (300, 340),
        seed: int = 1,
        sky: int = 1,
        noise: float = 4.0,
        gain: float = 1.0,
        stars: int = 200,
    ) -> Pointing:
        rng = np.random.default_rng(sky)
        x, y = rng.uniform(-200, 540, stars), rng.uniform(-200, 500, stars)
        flux = 10 ** rng.uniform(3, 5, stars)
        truth = Transform.from_matrix(np.eye(3) if matrix is None else matrix, (300, 340), shape)
        image = gain * draw_stars(*truth.to_image(x, y), flux, shape)
        image += np.random.default_rng(seed).normal(100, noise, shape)
        return Pointing(truth, image.astype(np.float32))

    return make


def turned(angle: float, dx: float = 0.0, dy: float = 0.0, scale: float = 1.0) -> NDArray:
    """Return the matrix of a similarity, turned by degrees about the middle of a frame."""
    c, s = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    x, y = 169.5, 149.5
    return np.array([[c, -s, x - c * x + s * y + dx], [s, c, y - s * x - c * y + dy], [0, 0, 1]])


def as_table(places: NDArray, flux: NDArray, shape: tuple[int, int]) -> Table:
    """Return places and fluxes as a star finder does."""
    return Table({"x": places[:, 0], "y": places[:, 1], "flux": flux}, meta={"shape": shape})


def largest_error(found: Transform, truth: Transform) -> float:
    """Return the largest distance between two transforms over the reference, in pixels."""
    ny, nx = truth.reference_shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, 9), np.linspace(0, ny - 1, 9))
    ours, theirs = found.to_image(x, y), truth.to_image(x, y)
    return float(np.hypot(ours[0] - theirs[0], ours[1] - theirs[1]).max())
