"""Values of a frame at places between its pixels, by cubic or linear B-splines.

Cubic B-splines smooth by (1, 4, 1) / 6 along each axis unless the frame is filtered before. The
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
        Linear interpolation instead of cubic B-splines.
    """

    def __init__(self, x: Plane, y: Plane, shape: tuple[int, int], *, linear: bool = False) -> None:
        self.shape = x.shape
        self.linear = linear
        ny, nx = shape
        self.inside = (x >= 0) & (y >= 0) & (x <= nx - 1) & (y <= ny - 1)
        # Taps are floor and floor + 1, or floor - 1 to floor + 2.
        before = 0 if linear else 1
        left = np.clip(np.floor(x), before, nx - 2 - before)
        top = np.clip(np.floor(y), before, ny - 2 - before)
        self._u, self._v = x - left, y - top
        np.clip(self._u, 0, 1, out=self._u)
        np.clip(self._v, 0, 1, out=self._v)
        self._start = ((top - before) * nx + (left - before)).astype(np.intp)
        self._weights = _linear if linear else _cubic
        self._nx = nx

    def sample(self, plane: Plane) -> Plane:
        """Return the values of a plane of the frame; the nearest ones outside of it."""
        flat = np.ascontiguousarray(plane).ravel()
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


def sample_shifted(plane: Plane, dx: float, dy: float) -> Plane:
    """Return the values of a plane at x + dx, y + dy, smoothed as cubic B-splines do.

    One shift for all pixels has one set of weights, and is many times faster than `Places`.
    """
    ny, nx = plane.shape
    columns, rows = int(np.floor(dx)), int(np.floor(dy))
    part = cut(plane, rows - 1, columns - 1, (ny + 3, nx + 3))
    along, across = _cubic(np.float32(dx - columns)), _cubic(np.float32(dy - rows))
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


def _cubic(u: Any) -> list[Any]:
    """Weights of the pixels at -1, 0, 1 and 2 for a place `u` after pixel 0."""
    v = 1 - u
    third = np.float32(2 / 3)
    half, sixth = np.float32(0.5), np.float32(1 / 6)
    u2, v2 = u * u, v * v
    return [
        sixth * v2 * v,
        third - u2 * (1 - half * u),
        third - v2 * (1 - half * v),
        sixth * u2 * u,
    ]


def _linear(u: Plane) -> list[Plane]:
    return [1 - u, u]


def smooth_spline(plane: Plane) -> Plane:
    """Smooth a plane as sampling by cubic B-splines does."""
    rows = 4 * plane
    rows[1:] += plane[:-1]
    rows[0] += plane[0]
    rows[:-1] += plane[1:]
    rows[-1] += plane[-1]
    result = 4 * rows
    result[:, 1:] += rows[:, :-1]
    result[:, 0] += rows[:, 0]
    result[:, :-1] += rows[:, 1:]
    result[:, -1] += rows[:, -1]
    result *= np.float32(1 / 36)
    return result


def sharpen_spline(plane: NDArray[np.floating]) -> Plane:
    """Undo the smoothing of cubic B-splines.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        A mean of sampled frames, finite.

    Returns
    -------
    ndarray of float32
        The values themselves.
    """
    return np.asarray(spline_filter(plane, order=3, output=np.float32, mode="mirror"))
