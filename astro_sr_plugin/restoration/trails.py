"""The light of trails, taken off before a model looks for the stars, and put back after."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, median_filter

from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.sources.trails import Trail, sample_beside

__all__ = ["TrailLight"]

_REACH = 4.0
"""Distance in FWHM of a star out to which a trail is taken off."""
_SIDES = 1.0
"""Width in FWHM, at that distance, of the sides whose median is the sky."""
_OFFSET = 0.5
"""Distance in pixels of the places across a trail at which its light is kept."""
_STARS, _SHORTEST = 10, 24
"""Length in FWHM, and at least in pixels, of the part of a trail whose median is its light: stars
fill no half of it, but the flashes of a tumbling satellite may."""
_SECTION = 32
"""Length in pixels beyond its ends out to which a trail is looked for."""
_PIECE = 256
"""Length in pixels of the pieces of a trail that are read at a time."""


class TrailLight:
    """Light of the trails of a plane.

    Across a trail it is the median along a part of it, less that of the sky on both sides, so that
    stars on the trail are not in it.

    Parameters
    ----------
    plane : MeasuredPlane
        The plane.
    trails : iterable of Trail
        Its trails, or those of another plane of the image.
    """

    def __init__(self, plane: MeasuredPlane, trails: Iterable[Trail]) -> None:
        self._bands = [_Band(plane, trail) for trail in trails]

    def on(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.float32]:
        """Return the light on rows ``y0:y1`` and columns ``x0:x1``, in the unit of the plane."""
        light = np.zeros((y1 - y0, x1 - x0), np.float32)
        for band in self._bands:
            band.add_to(light, y0, x0)
        return light


class _Band:
    """Light of one trail."""

    def __init__(self, plane: MeasuredPlane, trail: Trail) -> None:
        fwhm = plane.star_profile.fwhm
        start, end = np.array([trail.x0, trail.y0]), np.array([trail.x1, trail.y1])
        self._along = (end - start) / trail.length
        part = max(_SHORTEST, round(_STARS * fwhm)) | 1
        margin = max(part, _SECTION)
        self._start = start - margin * self._along
        self._reach = np.ceil(_REACH * fwhm)
        offsets = np.arange(-self._reach, self._reach + _OFFSET, _OFFSET)
        pieces = np.arange(0, trail.length + 2 * margin, _PIECE)
        light = np.concatenate(
            [
                sample_beside(
                    plane.data,
                    plane.unusable,
                    self._start,
                    self._along,
                    first + np.arange(_PIECE),
                    offsets,
                    order=3,
                )
                for first in pieces
            ]
        )
        light = median_filter(_filled(light), (part, 1))
        side = np.abs(offsets) >= self._reach - _SIDES * fwhm
        light -= np.median(light[:, side], axis=1, keepdims=True)
        # A trail may end in the middle of a section; what is brighter there is another source.
        last = margin + int(trail.length)
        light[:margin] = np.minimum(light[:margin], light[margin])
        light[last:] = np.minimum(light[last:], light[last])
        self._light = light * np.clip((self._reach - np.abs(offsets)) / fwhm, 0, 1)

    def add_to(self, light: NDArray[np.float32], y0: int, x0: int) -> None:
        """Add the light to the part of the plane from row ``y0`` and column ``x0`` on."""
        y = np.arange(light.shape[0]) + y0 - self._start[1]
        x = np.arange(light.shape[1]) + x0 - self._start[0]
        along_x, along_y = self._along
        offset = y[:, None] * along_x - x * along_y
        rows, columns = np.nonzero(np.abs(offset) < self._reach)
        distance = x[columns] * along_x + y[rows] * along_y
        places = (distance, (offset[rows, columns] + self._reach) / _OFFSET)
        light[rows, columns] += map_coordinates(self._light, places, order=1, mode="constant")


def _filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill what is NaN from the places before and after it along a trail, 0 where nothing is."""
    places = np.arange(len(values))
    for column in values.T:
        known = np.isfinite(column)
        if known.any():
            column[:] = np.interp(places, places[known], column[known])
        else:
            column[:] = 0
    return values
