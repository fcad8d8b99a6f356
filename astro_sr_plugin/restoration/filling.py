"""Pixels without a value, filled from the light around them."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_hole", "fill_pixels"]

_RIM = 1.5
"""Standard deviation in pixels of the Gaussian that smooths the light around a hole."""
_CELL = 64
"""Side in pixels of the cells that are filled at once, so that long trails take no longer."""
_MARGIN = 48
"""Pixels around a cell that it is filled from."""


def fill_pixels(
    plane: NDArray, filled: NDArray[np.bool_], unusable: NDArray[np.bool_], sink: NDArray
) -> None:
    """Fill pixels of a plane.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        The light.
    filled, unusable : ndarray of bool, shape (ny, nx)
        Pixels to fill, and others that nothing is to be filled from.
    sink : ndarray, shape (ny, nx)
        Takes the values of those to fill; its other pixels stay.
    """
    corners = (range(0, length, _CELL) for length in plane.shape)
    for y, x in itertools.product(*corners):
        cell = np.s_[y : y + _CELL, x : x + _CELL]
        inside = filled[cell]
        if not inside.any():
            continue
        top, left = max(0, y - _MARGIN), max(0, x - _MARGIN)
        window = np.s_[top : y + _CELL + _MARGIN, left : x + _CELL + _MARGIN]
        hidden = filled[window] | unusable[window]
        if hidden.all():
            continue
        values = fill_hole(plane[window], hidden)[y - top :, x - left :]
        sink[cell][inside] = values[: inside.shape[0], : inside.shape[1]][inside]


def fill_hole(plane: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return a part of a plane with the pixels of a mask filled from those around it.

    The surface that solves the biharmonic equation, exact where the light is smooth. The light
    around is smoothed by a Gaussian first, so that its noise does not run into the hole; for that
    the hole holds what the light as it is makes of it.
    """
    from scipy.ndimage import gaussian_filter
    from skimage.restoration import inpaint_biharmonic

    around = np.asarray(plane, dtype=np.float64)[~mask]
    level, scale = float(np.median(around)), float(np.ptp(around)) or 1.0
    values = np.zeros(plane.shape)
    values[~mask] = (around - level) / scale
    for _ in range(2):
        filled = inpaint_biharmonic(values, mask)
        values = np.where(mask, 0.0, gaussian_filter(filled, _RIM))
    return np.asarray(filled * scale + level)
