"""The one plane of an image on which its stars are found: mono, mean of colours, super-pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import find_mosaic
from astro_sr_plugin.data.nddata import Unpacked

__all__ = ["DetectionPlane", "make_detection_plane"]

_SIDES = {2: 2, 6: 3}
"""Side in pixels of a super-pixel, by that of the repeated pattern: Bayer, X-Trans."""


class DetectionPlane(NamedTuple):
    """Pixels in which stars are found.

    Attributes
    ----------
    data : ndarray, shape (ny, nx)
        In image units.
    green : ndarray, shape (ny, nx), or None
        Green light of the super-pixels of a mosaic. Its samples lie symmetrically about their
        middles, while red and blue ones would draw a star towards them by its colour.
    mask : ndarray of bool, shape (ny, nx), or None
        True marks pixels to leave out.
    side : int
        Pixels of the image along a side of one of `data`.
    """

    data: NDArray[Any]
    green: NDArray[Any] | None
    mask: NDArray[np.bool_] | None
    side: int


def make_detection_plane(parts: Unpacked) -> DetectionPlane:
    """Make the plane on which the stars of an image are found.

    Parameters
    ----------
    parts : Unpacked
        A plane as it is; a colour image by the mean of its planes; a mosaic by its super-pixels.
    """
    data, mask = parts.data, parts.mask
    if data.ndim == 3:
        merged = None if mask is None else np.asarray(mask.any(axis=0))
        return DetectionPlane(data.mean(axis=0, dtype=np.float32), None, merged, 1)
    cfa = find_mosaic(parts.meta, data)
    if cfa is None:
        return DetectionPlane(data, None, mask, 1)
    filters = cfa.filters if cfa.is_rgb else np.array([["", ""], ["", ""]])
    side = _SIDES[len(filters)]
    ny, nx = data.shape[0] // side, data.shape[1] // side
    if min(ny, nx) < 1:
        return DetectionPlane(data, None, mask, 1)
    every = _mean(data, side, np.ones((side, side), bool))
    is_green = (filters == "G")[:side, :side]
    # The two kinds of blocks of X-Trans have their green pixels elsewhere, symmetrically too.
    green = _mean(data, side, is_green) if is_green.any() and len(filters) == side else None
    excluded: NDArray[np.bool_] | None = None
    if mask is not None:
        blocks = mask[: ny * side, : nx * side].reshape(ny, side, nx, side)
        excluded = np.asarray(blocks.any(axis=(1, 3)))
    return DetectionPlane(every, green, excluded, side)


def _mean(data: NDArray[Any], side: int, chosen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean of the chosen pixels of each block."""
    ny, nx = data.shape[0] // side, data.shape[1] // side
    total = np.zeros((ny, nx), dtype=np.float32)
    for row, column in zip(*np.nonzero(chosen), strict=True):
        total += data[row : ny * side : side, column : nx * side : side]
    total /= np.float32(chosen.sum())
    return total
