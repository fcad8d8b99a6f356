"""The one plane of an image on which its stars are found: mono, mean of colours, super-pixels."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import ColorFilterArray, find_mosaic
from astro_sr_plugin.data.debayer import interpolate_colour
from astro_sr_plugin.data.nddata import Unpacked
from astro_sr_plugin.measurement.sky.background import measure_background

__all__ = ["DetectionPlane", "green_light", "level_colours", "make_detection_plane"]

_SIDES = {2: 2, 6: 3}
"""Side in pixels of a super-pixel, by that of the repeated pattern: Bayer, X-Trans."""


class DetectionPlane(NamedTuple):
    """Pixels in which stars are found.

    Attributes
    ----------
    data : ndarray, shape (ny, nx)
        In image units.
    mask : ndarray of bool, shape (ny, nx), or None
        True marks pixels to leave out.
    side : int
        Pixels of the image along a side of one of `data`.
    filters : ndarray of str, shape (2, 2), or None
        Those of a Bayer camera.
    """

    data: NDArray[Any]
    mask: NDArray[np.bool_] | None
    side: int = 1
    filters: NDArray[np.str_] | None = None


def make_detection_plane(
    parts: Unpacked, cfa: ColorFilterArray | None | Literal["unknown"] = "unknown"
) -> DetectionPlane:
    """Make the plane on which the stars of an image are found.

    Parameters
    ----------
    parts : Unpacked
        A plane as it is; a colour image by the mean of its planes; a mosaic by its super-pixels.
    cfa : ColorFilterArray or None, optional
        Filters of a mosaic, None where it is none; by default the image says it.
    """
    data, mask = parts.data, parts.mask
    if data.ndim == 3:
        merged = None if mask is None else np.asarray(mask.any(axis=0))
        return DetectionPlane(data.mean(axis=0, dtype=np.float32), merged)
    if cfa == "unknown":
        cfa = find_mosaic(parts.meta, data)
    if cfa is None:
        return DetectionPlane(data, mask)
    filters = cfa.filters if cfa.is_rgb else np.array([["", ""], ["", ""]])
    side = _SIDES[len(filters)]
    ny, nx = data.shape[0] // side, data.shape[1] // side
    if min(ny, nx) < 1:
        return DetectionPlane(data, mask)
    total = np.zeros((ny, nx), dtype=np.float32)
    for row, column in np.ndindex(side, side):
        total += data[row : ny * side : side, column : nx * side : side]
    total /= np.float32(side**2)
    excluded: NDArray[np.bool_] | None = None
    if mask is not None:
        blocks = mask[: ny * side, : nx * side].reshape(ny, side, nx, side)
        excluded = np.asarray(blocks.any(axis=(1, 3)))
    known = cfa.is_rgb and len(filters) == side
    return DetectionPlane(total, excluded, side, filters if known else None)


def green_light(parts: Unpacked, filters: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the green light of a mosaic in each of its pixels, NaN where there is none.

    The places of stars follow from it: red and blue pixels would draw a star towards them by its
    colour.
    """
    return interpolate_colour(_usable(parts), filters, "G")


def level_colours(parts: Unpacked, filters: NDArray[np.str_]) -> NDArray[np.float32]:
    """Return the pixels of a mosaic as they are, less the sky behind each of its filters."""
    levelled = _usable(parts)
    for part in np.ndindex(filters.shape):
        own = levelled[part[0] :: len(filters), part[1] :: len(filters)]
        if np.isfinite(own).any():
            own -= measure_background(own).full()
    return levelled


def _usable(parts: Unpacked) -> NDArray[np.float32]:
    data: NDArray[np.float32] = parts.data.astype(np.float32)
    if parts.mask is not None:
        data[parts.mask] = np.nan
    return data
