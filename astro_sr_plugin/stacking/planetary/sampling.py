"""Values of a frame at places between its pixels, by quadratic or linear B-splines.

Quadratic B-splines smooth by (1, 6, 1) / 8 along each axis unless the frame is filtered before. The
filter commutes with shifts and with sums over frames, and is applied once to the finished stack
(`sharpen_spline`) instead of to every frame. Field and frames stay small enough for the cache.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from astro_sr_plugin.stacking.planetary.filters import Plane

__all__ = ["Places", "cut", "sample_shifted", "sharpen_spline", "smooth_spline"]

_BAND_PIXELS = 16384
"""Pixels worked on at a time: the arrays of a band fit into the second-level cache."""
_ANY: Literal["wrap"] = "wrap"
"""How `numpy.take` treats places outside of the plane. There are none, and this is its fastest."""


class Places:
    """Places in a frame at which its planes are sampled.

    Parameters
    ----------
    x, y : ndarray of float32, shape (ny, nx)
        Coordinates in the frame.
    shape : (int, int)
        Shape of the frame, 4 x 4 at least.
    linear : bool
        Linear interpolation instead of quadratic B-splines.
    """

    def __init__(self, x: Plane, y: Plane, shape: tuple[int, int], *, linear: bool = False) -> None:
        self.shape = x.shape
        self.linear = linear
        ny, nx = shape
        self.inside = (x >= 0) & (y >= 0) & (x <= nx - 1) & (y <= ny - 1)
        x, y = np.clip(x, 0, nx - 1), np.clip(y, 0, ny - 1)
        # Taps are floor and floor + 1, or the nearest pixel and those beside it.
        half = np.float32(0 if linear else 0.5)
        left = np.minimum(np.floor(x + half), nx - 2 if linear else nx - 1)
        top = np.minimum(np.floor(y + half), ny - 2 if linear else ny - 1)
        self._u, self._v = x - left, y - top
        self._weights = _linear if linear else _quadratic
        self._nx = nx if linear else nx + 2
        self._start = (top * self._nx + left).astype(np.intp)

    def sample(self, plane: Plane) -> Plane:
        """Return the values of a plane of the frame; the nearest ones outside of it."""
        flat = np.ascontiguousarray(plane if self.linear else _framed(plane)).ravel()
        result = np.empty(self.shape, np.float32)
        rows = max(1, _BAND_PIXELS // self.shape[1])
        for first in range(0, self.shape[0], rows):
            band = slice(first, first + rows)
            start = self._start[band]
            along, across = self._weights(self._u[band]), self._weights(self._v[band])
            total = np.zeros(start.shape, np.float32)
            for row, factor in enumerate(across):
                line = along[0] * flat[row * self._nx :].take(start, mode=_ANY)
                for column, weight in enumerate(along[1:], start=1):
                    line += weight * flat[row * self._nx + column :].take(start, mode=_ANY)
                line *= factor
                total += line
            result[band] = total
        return result


def _framed(plane: Plane) -> Plane:
    """Put a frame of one pixel around a plane, by reflection as `sharpen_spline` assumes it."""
    ny, nx = plane.shape
    framed = np.empty((ny + 2, nx + 2), np.float32)
    framed[1:-1, 1:-1] = plane
    framed[0, 1:-1], framed[-1, 1:-1] = plane[1], plane[-2]
    framed[:, 0], framed[:, -1] = framed[:, 2], framed[:, -3]
    return framed


def sample_shifted(plane: Plane, dx: float, dy: float) -> Plane:
    """Return the values of a plane at x + dx, y + dy, smoothed as quadratic B-splines do.

    One shift for all pixels has one set of weights, and is many times faster than `Places`.
    """
    ny, nx = plane.shape
    columns, rows = int(np.floor(dx + 0.5)), int(np.floor(dy + 0.5))
    part = cut(plane, rows - 1, columns - 1, (ny + 2, nx + 2))
    along, across = _quadratic(np.float32(dx - columns)), _quadratic(np.float32(dy - rows))
    lines = across[0] * part[:ny]
    for tap, weight in enumerate(across[1:], start=1):
        lines += weight * part[tap : tap + ny]
    result = along[0] * lines[:, :nx]
    for tap, weight in enumerate(along[1:], start=1):
        result += weight * lines[:, tap : tap + nx]
    return result


def cut(plane: Plane, top: int, left: int, shape: tuple[int, ...]) -> Plane:
    """Cut a box out of a plane, which is continued beyond its edges by the nearest values."""
    bottom, right = top + shape[0], left + shape[1]
    ny, nx = plane.shape
    if top >= 0 and left >= 0 and bottom <= ny and right <= nx:
        return plane[top:bottom, left:right]
    rows = np.clip(np.arange(top, bottom), 0, ny - 1)
    columns = np.clip(np.arange(left, right), 0, nx - 1)
    return plane.take(rows, axis=0).take(columns, axis=1)


def _quadratic(u: Any) -> list[Any]:
    """Weights of the pixels at -1, 0 and 1 for a place `u` after pixel 0, half a pixel away."""
    half = np.float32(0.5)
    square = u * u
    middle = np.float32(0.75) - square
    # Their sum is 1 and their first moment u.
    before = half * (np.float32(0.25) - u + square)
    return [before, middle, before + u]


def _linear(u: Plane) -> list[Plane]:
    return [1 - u, u]


def smooth_spline(plane: Plane) -> Plane:
    """Smooth a plane as sampling by quadratic B-splines does."""
    rows = 6 * plane
    rows[1:] += plane[:-1]
    rows[0] += plane[0]
    rows[:-1] += plane[1:]
    rows[-1] += plane[-1]
    result = 6 * rows
    result[:, 1:] += rows[:, :-1]
    result[:, 0] += rows[:, 0]
    result[:, :-1] += rows[:, 1:]
    result[:, -1] += rows[:, -1]
    result *= np.float32(1 / 64)
    return result


def sharpen_spline(plane: NDArray[np.floating]) -> Plane:
    """Undo the smoothing of quadratic B-splines.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        A mean of sampled frames, finite.

    Returns
    -------
    ndarray of float32
        The values themselves.
    """
    return np.asarray(spline_filter(plane, order=2, output=np.float32, mode="mirror"))
