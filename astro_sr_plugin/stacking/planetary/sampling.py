"""Values of a frame at places between its pixels, by cubic or linear B-splines.

Cubic B-splines smooth by (1, 4, 1) / 6 along each axis unless the frame is filtered before. The
filter commutes with shifts and with sums over frames, and is applied once to the finished stack
(`sharpen_spline`) instead of to every frame. Field and frames stay small enough for the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from astro_sr_plugin.stacking.planetary.filters import Plane

__all__ = ["Places", "sample_shifted", "sharpen_spline", "smooth_spline"]

_BAND_PIXELS = 16384
"""Pixels worked on at a time: the arrays of a band fit into the second-level cache."""


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
        # With linear weights the four taps are floor - 1 to floor + 2, of which two are 0.
        left = np.clip(np.floor(x), 1, nx - 3)
        top = np.clip(np.floor(y), 1, ny - 3)
        self._u, self._v = x - left, y - top
        np.clip(self._u, 0, 1, out=self._u)
        np.clip(self._v, 0, 1, out=self._v)
        self._start = ((top - 1) * nx + (left - 1)).astype(np.intp)
        self._nx = nx

    def bands(self) -> Iterator[tuple[slice, NDArray[np.intp], list[Plane], list[Plane]]]:
        """Yield rows, index of the first tap, and weights along x and y."""
        weights = _linear if self.linear else _cubic
        rows = max(1, _BAND_PIXELS // self.shape[1])
        for first in range(0, self.shape[0], rows):
            band = slice(first, first + rows)
            yield band, self._start[band], weights(self._u[band]), weights(self._v[band])

    def sample(self, plane: Plane) -> Plane:
        """Return the values of a plane of the frame; the nearest ones outside of it."""
        flat = np.ascontiguousarray(plane).ravel()
        result = np.empty(self.shape, np.float32)
        for band, start, along, across in self.bands():
            total = np.zeros(start.shape, np.float32)
            for row, factor in enumerate(across):
                line = np.zeros(start.shape, np.float32)
                for column, weight in enumerate(along):
                    line += weight * flat.take(start + (row * self._nx + column))
                total += factor * line
            result[band] = total
        return result


def sample_shifted(plane: Plane, dx: float, dy: float) -> Plane:
    """Return the values of a plane at x + dx, y + dy, smoothed as cubic B-splines do.

    One shift for all pixels has one set of weights, and is many times faster than `Places`.
    """
    for axis, step in ((0, dy), (1, dx)):
        length = plane.shape[axis]
        whole = int(np.floor(step))
        result = np.zeros_like(plane)
        for tap, weight in enumerate(_cubic(np.float32(step - whole)), start=whole - 1):
            index = np.clip(np.arange(length) + tap, 0, length - 1)
            result += weight * plane.take(index, axis=axis)
        plane = result
    return plane


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
    zero = np.zeros_like(u)
    return [zero, 1 - u, u, zero]


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
