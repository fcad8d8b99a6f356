"""Pixels as pictures for the window: one screen stretch for before and after."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ScreenStretch", "to_bytes"]

_TARGET = 0.25
_SHADOWS = 2.8


class ScreenStretch:
    """Siril's autostretch, all colours alike: the sky a quarter of the way up.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (3, ny, nx)
        Linear pixels to take the curve from.
    """

    def __init__(self, pixels: NDArray[np.float32]) -> None:
        values = pixels[np.isfinite(pixels)]
        median = float(np.median(values)) if values.size else 0.0
        sigma = 1.4826 * float(np.median(np.abs(values - median))) if values.size else 0.0
        self._black = median - _SHADOWS * (sigma or 0.001)
        self._middle = _transfer(median - self._black, _TARGET)

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the pixels from 0 to 1."""
        level = (np.nan_to_num(pixels) - self._black) / (1 - self._black)
        return _transfer(np.clip(level, 0, 1), self._middle)


def to_bytes(shown: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return shape (height, width, 3) of 0 to 255, the first row at the top as Siril shows it."""
    colour = np.broadcast_to(shown, (3, *shown.shape[-2:]))
    levels = np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(levels, 0, -1)[::-1])


def _transfer(level: Any, middle: float) -> Any:
    """Midtones transfer function."""
    return (middle - 1) * level / ((2 * middle - 1) * level - middle)
