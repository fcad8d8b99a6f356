"""Mosaics of galaxies of four kinds, without and with discs, spheres and trails before them.

Every galaxy has a cell of its own; stars stand between the cells, so that the PSF can be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.truth.contaminants import dot_shape, log_uniform

__all__ = ["CELL", "CELLS", "CLASSES", "Mosaic", "cells_of", "make_mosaic"]

Array = NDArray[np.float64]
Rng = np.random.Generator

CELL = 48
"""Side of a cell in pixels."""
CELLS = 8
"""Cells along each side of a mosaic."""
_SIGMA_PSF = 1.1
"""Standard deviation of the PSF in pixels; a FWHM of 2.6."""
_LEVEL, _NOISE = 200.0, 5.0
"""Sky and its noise."""
_BRIGHTNESS = (1.5, 9.0)
"""Mean light of a galaxy within its half-light radius, in noise sigma."""
_COVERED = 0.8
"""How often a disc or sphere lies before a galaxy."""


def _frame(rng: Rng, q: float) -> tuple[Array, Array, float]:
    """Return coordinates along and across a galaxy off the middle of its cell, and a size."""
    y, x = np.indices((CELL, CELL)) - (CELL - 1) / 2 - rng.uniform(-2, 2, 2)[:, None, None]
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = (y * np.cos(angle) - x * np.sin(angle)) / q
    return along, across, rng.uniform(4.0, 7.0)


def _sersic(radius: Array, half: float, n: float) -> Array:
    return np.asarray(np.exp(-(2 * n - 1 / 3) * ((radius / half) ** (1 / n))))


def _elliptical(rng: Rng) -> Array:
    along, across, half = _frame(rng, rng.uniform(0.55, 1.0))
    return _sersic(np.hypot(along, across) + 0.3, half, rng.uniform(2.5, 4.0))


def _spiral(rng: Rng) -> Array:
    along, across, half = _frame(rng, rng.uniform(0.55, 1.0))
    radius = np.hypot(along, across) + 0.3
    turn = rng.choice([-1, 1]) * np.log(radius) / np.tan(np.radians(rng.uniform(15, 30)))
    arms = np.cos(2 * (np.arctan2(across, along) - turn))
    disc = _sersic(radius, 1.5 * half, 1.0) * (1 + rng.uniform(0.4, 0.9) * arms)
    return disc + 0.5 * _sersic(radius, 0.25 * half, 2.0)


def _edge_on(rng: Rng) -> Array:
    along, across, half = _frame(rng, rng.uniform(0.15, 0.4))
    return _sersic(np.hypot(along, across), 1.5 * half, 1.0)


def _barred(rng: Rng) -> Array:
    along, across, half = _frame(rng, rng.uniform(0.6, 1.0))
    turn = rng.uniform(0, np.pi)
    u, v = (
        along * np.cos(turn) + across * np.sin(turn),
        across * np.cos(turn) - along * np.sin(turn),
    )
    bar = np.exp(-((u / (0.8 * half)) ** 4) - (v / (0.25 * half)) ** 2)
    return _sersic(np.hypot(along, across), 1.5 * half, 1.0) + rng.uniform(0.4, 1.0) * bar


CLASSES: dict[str, Callable[[Rng], Array]] = {
    "elliptical": _elliptical,
    "spiral": _spiral,
    "edge-on": _edge_on,
    "barred": _barred,
}
"""Functions that draw a galaxy of each kind."""


@dataclass(frozen=True)
class Mosaic:
    """Galaxies in cells, row by row.

    Attributes
    ----------
    clean, contaminated : ndarray of float32
        Without and with contaminants; the noise is the same.
    labels : ndarray of int, shape (CELLS**2,)
        Numbers of the kinds in the order of `CLASSES`.
    """

    clean: NDArray[np.float32]
    contaminated: NDArray[np.float32]
    labels: NDArray[np.int64]


def make_mosaic(rng: Rng) -> Mosaic:
    """Draw a mosaic."""
    labels = rng.integers(len(CLASSES), size=CELLS**2)
    draw = list(CLASSES.values())
    light = np.zeros((CELLS * CELL, CELLS * CELL))
    for number, label in enumerate(labels):
        galaxy = draw[label](rng)
        brightest = np.sort(galaxy.ravel())[-100:].mean()
        level = log_uniform(rng, *_BRIGHTNESS) * _NOISE
        light[_cell(number)] = galaxy * level / brightest
    rows, columns = (rng.integers(1, CELLS, 40) * CELL for _ in range(2))
    np.add.at(light, (rows, columns), _NOISE * np.exp(rng.uniform(4.0, 8.0, 40)))
    seen = ndimage.gaussian_filter(light, _SIGMA_PSF, mode="constant")
    noise = _NOISE * rng.standard_normal(seen.shape)
    clean = seen + _LEVEL + noise
    return Mosaic(
        clean.astype(np.float32), (clean + _NOISE * _contaminants(rng)).astype(np.float32), labels
    )


def _contaminants(rng: Rng) -> Array:
    """Return discs and spheres before most galaxies, and a trail, in noise sigma."""
    side = CELLS * CELL
    y, x = np.indices((side, side)).astype(float)
    light = np.zeros((side, side))
    for number in range(CELLS**2):
        if rng.uniform() > _COVERED:
            continue
        part, reach = _cell(number), rng.uniform(4.0, 9.0)
        place = [s.start + CELL / 2 + rng.uniform(-14, 14) for s in part]
        radius = np.hypot(y[part] - place[0], x[part] - place[1])
        shape = dot_shape(radius, reach, sphere=rng.uniform() < 0.5)
        light[part] += shape * log_uniform(rng, 6.0, 40.0)
    angle, middle = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8, 2) * side
    across = (y - middle[0]) * np.cos(angle) - (x - middle[1]) * np.sin(angle)
    width = _SIGMA_PSF * rng.uniform(1.0, 1.6)
    trail = np.exp(-0.5 * (across / width) ** 2) * log_uniform(rng, 5.0, 40.0)
    return np.asarray(light + trail)


def _cell(number: int) -> tuple[slice, slice]:
    row, column = divmod(number, CELLS)
    return (
        slice(row * CELL, (row + 1) * CELL),
        slice(column * CELL, (column + 1) * CELL),
    )


def cells_of(image: NDArray[np.floating]) -> Array:
    """Return the cells of a mosaic, shape (CELLS**2, CELL, CELL), in noise sigma above the sky."""
    light = (np.asarray(image, dtype=np.float64) - _LEVEL) / _NOISE
    return np.stack([light[_cell(number)] for number in range(CELLS**2)])
