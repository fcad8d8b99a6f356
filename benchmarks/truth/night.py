"""Frames of one field: shifted, turned, some of them over; and lists of stars seen twice."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

__all__ = ["CASES", "Frame", "clustered_list", "make_frame", "two_lists", "uniform_list"]

SKY, READNOISE = 400.0, 5.0
"""Sky in electrons per pixel, and noise of the readout."""
_STAMP = 14
"""Half side in pixels of the stamp of a star; a Gaussian of FWHM 3.4 is 1e-20 there."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)

CASES: dict[str, dict[str, Any]] = {
    "300 stars, 7 degrees": {},
    "any rotation": {"angle": None},
    "mirrored": {"angle": None, "mirror": True},
    "scale 0.5": {"scale": 0.5},
    "scale 2": {"scale": 2.0},
    "overlap 30 %": {"stars": 600, "overlap": 0.3},
    "5 stars": {"stars": 5, "angle": None},
    "8 stars": {"stars": 8, "angle": None},
    "50 stars and 50 spurious, 80 % kept": {"stars": 50, "spurious": 50, "kept": 0.8},
    "magnitude scatter 0.5, 80 % kept": {"scatter": 0.5, "kept": 0.8},
    "5000 stars": {"stars": 5000},
}
"""Pairs of lists, by the options of `two_lists`."""


class Frame(NamedTuple):
    """A frame of the field.

    Attributes
    ----------
    image : ndarray of float32, shape (ny, nx)
        In electrons.
    matrix : ndarray, shape (3, 3)
        From pixels of the field to those of the frame.
    """

    image: NDArray[np.float32]
    matrix: NDArray[np.float64]


def make_frame(number: int, *, shape: tuple[int, int] = (1500, 2000), seed: int = 1) -> Frame:
    """Expose the field once.

    Gaussian stars of FWHM 2.4 to 3.4 pixels integrated over the pixels, turned by up to a degree,
    every fourth frame by 180 degrees more, moved by up to 30 pixels, with Poisson noise; every
    tenth has the trail of a satellite.

    Parameters
    ----------
    number : int
        Of the frame; decides all but the stars.
    shape : (int, int)
        Sides (ny, nx) in pixels.
    seed : int
        Of the field.
    """
    ny, nx = shape
    sky = np.random.default_rng(seed)
    stars = round(450 * ny * nx / 3e6)
    x, y = sky.uniform(-60, nx + 60, stars), sky.uniform(-60, ny + 60, stars)
    flux = 10 ** sky.uniform(2.6, 5.2, stars)
    rng = np.random.default_rng(1000 * seed + number)
    angle = np.radians(rng.uniform(-1, 1) + (180 if number % 4 == 3 else 0))
    c, s = np.cos(angle), np.sin(angle)
    mx, my = (nx - 1) / 2, (ny - 1) / 2
    dx, dy = rng.uniform(-30, 30, 2)
    matrix = np.array(
        [[c, -s, mx + dx - c * mx + s * my], [s, c, my + dy - s * mx - c * my], [0, 0, 1]]
    )
    u, v, _ = matrix @ np.stack([x, y, np.ones(stars)])
    image = np.full(shape, SKY)
    width = rng.uniform(2.4, 3.4) / 2.3548
    for a, b, light in zip(u, v, flux, strict=True):
        _add_star(image, a, b, light, width)
    if number % 10 == 5:
        t = np.linspace(0, 1, 4 * nx)
        rows = (ny * (0.2 + 0.5 * t)).astype(int)
        image[rows, np.minimum((nx * t).astype(int), nx - 1)] += 300
    observed = rng.poisson(image) + rng.normal(0, READNOISE, shape)
    return Frame(observed.astype(np.float32), matrix)


def _add_star(image: NDArray[np.float64], x: float, y: float, flux: float, sigma: float) -> None:
    rows = np.arange(max(round(y) - _STAMP, 0), min(round(y) + _STAMP + 1, image.shape[0]))
    columns = np.arange(max(round(x) - _STAMP, 0), min(round(x) + _STAMP + 1, image.shape[1]))
    if rows.size and columns.size:
        image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += flux * np.outer(
            _profile(rows - y, sigma), _profile(columns - x, sigma)
        )


def _profile(offset: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Light of a Gaussian of sum 1 in pixels at these distances."""
    places = offset[:, None] + _NODES / 2
    density = np.exp(-(places**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    return np.asarray(density @ _WEIGHTS / 2)


def two_lists(
    rng: np.random.Generator,
    *,
    stars: int = 300,
    angle: float | None = 7.0,
    scale: float = 1.0,
    mirror: bool = False,
    overlap: float = 1.0,
    spurious: int = 0,
    kept: float = 1.0,
    scatter: float = 0.0,
    noise: float = 0.05,
    shape: tuple[int, int] = (1500, 2000),
) -> tuple[Table, Table, NDArray[np.float64]]:
    """List the stars of one field as two images show them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all randomness.
    stars : int
        Stars in the area of a frame; below 10 all of them lie in its middle.
    angle : float or None
        Degrees by which the first image is turned; any if None.
    scale : float
        Pixels of the first image per pixel of the second.
    mirror : bool
        Whether the first image is mirrored.
    overlap : float
        Part of the width that both show.
    spurious : int
        Sources added to each list.
    kept : float
        Part of the stars that each shows.
    scatter : float
        Standard deviation of the magnitudes.
    noise : float
        Standard deviation of the places per axis in pixels.
    shape : (int, int)
        Sides (ny, nx) of both images.

    Returns
    -------
    image, reference : Table
        ``x y flux``.
    matrix : ndarray, shape (3, 3)
        From pixels of the second image to those of the first.
    """
    side = np.array(shape[::-1], dtype=float)
    few = stars < 10
    places = rng.uniform(0.2 if few else -1, 0.8 if few else 2, (stars if few else 9 * stars, 2))
    places *= side
    flux = 10 ** rng.uniform(2, 5, len(places))
    turn = np.radians(rng.uniform(0, 360) if angle is None else angle)
    c, s = scale * np.cos(turn), scale * np.sin(turn)
    linear = np.array([[c, -s], [s, c]]) @ np.diag([1, -1 if mirror else 1])
    shift = side / 2 - linear @ (side / 2) + [(1 - overlap) * side[0], 0]
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = linear, shift

    def see(seen_at: NDArray[np.float64]) -> Table:
        seen = ((seen_at > 0) & (seen_at < side)).all(axis=1) & (rng.random(len(flux)) < kept)
        listed = seen_at[seen] + rng.normal(0, noise, (seen.sum(), 2))
        light = flux[seen] * 10 ** (0.4 * rng.normal(0, scatter, seen.sum()))
        return _table(
            np.concatenate([listed, rng.uniform(0, 1, (spurious, 2)) * side]),
            np.append(light, 10 ** rng.uniform(2, 5, spurious)),
            shape,
        )

    return see(places @ linear.T + shift), see(places), matrix


def uniform_list(rng: np.random.Generator, shape: tuple[int, int] = (1500, 2000)) -> Table:
    """List 10 to 1000 stars all over a frame."""
    count = int(10 ** rng.uniform(1, 3))
    places = rng.uniform(0, 1, (count, 2)) * shape[::-1]
    return _table(places, 10 ** rng.uniform(2, 5, count), shape)


def clustered_list(rng: np.random.Generator, shape: tuple[int, int] = (1500, 2000)) -> Table:
    """List 50 to 400 stars in one to five clusters of 15 to 120 pixels."""
    count, clusters = int(rng.choice([50, 100, 200, 400])), int(rng.integers(1, 6))
    middles = rng.uniform(0.15, 0.85, (clusters, 2)) * shape[::-1]
    places = middles[rng.integers(0, clusters, count)]
    places = places + rng.normal(0, rng.uniform(15, 120), places.shape)
    return _table(places, 10 ** rng.uniform(2, 5, count), shape)


def _table(places: NDArray[np.float64], flux: NDArray[np.float64], shape: tuple[int, int]) -> Table:
    return Table({"x": places[:, 0], "y": places[:, 1], "flux": flux}, meta={"shape": shape})
