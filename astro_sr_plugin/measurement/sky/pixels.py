"""The pixels of a plane as measurements and models take them: usable ones known, units bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels, find_unusable, sample_spread

__all__ = ["PlanePixels", "ScaledPlane", "describe_fill", "open_plane", "plane_name"]

_LARGEST_EXPONENT = 20
"""Planes whose scatter lies within 2**-20 to 2**20 are worked with as they are: squares and sums of
their pixels stay within float32."""
_LIMIT = 1000
"""Powers of two beyond this are not far from the ends of the range of float64."""
_CHANNELS = ("R", "G", "B")
"""Names of the planes of a colour image."""


class ScaledPlane:
    """A view of a plane in units of a power of two, converted window by window to float64.

    Parameters
    ----------
    plane : numpy.ndarray, shape (ny, nx)
        The plane; never changed, and never copied as a whole.
    exponent : int
        Pixels are divided by ``2**exponent``: without rounding.
    """

    def __init__(self, plane: NDArray[Any], exponent: int) -> None:
        self.base, self._exponent = plane, exponent
        self.shape, self.size, self.ndim = plane.shape, plane.size, plane.ndim
        self.dtype = np.dtype(np.float64)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, key: Any) -> NDArray[np.float64]:
        # Values that overflow are infinite, and as unusable as the others of that kind.
        # Signalling NaN are invalid to a conversion.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(np.ldexp(np.asarray(self.base[key], np.float64), -self._exponent))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy
        return self[:].astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True, eq=False)
class PlanePixels:
    """A plane with its unusable pixels, found once.

    Attributes
    ----------
    data : numpy.ndarray or ScaledPlane, shape (ny, nx)
        The pixels in units of `unit`.
    unusable : UnusablePixels
        Those without data.
    unit : float
        A power of two in image units; 1 unless the values are too large or small for float32.
    """

    data: Any
    unusable: UnusablePixels
    unit: float = 1.0


def open_plane(plane: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> PlanePixels:
    """Find the unusable pixels of a plane and the unit to work in.

    Parameters
    ----------
    plane : numpy.ndarray, shape (ny, nx)
        Integer or floating-point pixels; may be memory-mapped.
    mask : numpy.ndarray of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    """
    # Differences of values near the end of the range of float64 would overflow.
    middle, spread = sample_spread(ScaledPlane(plane, _LARGEST_EXPONENT))
    size = spread or abs(middle) or math.ldexp(_largest(plane), -_LARGEST_EXPONENT)
    exponent = math.frexp(size)[1] + _LARGEST_EXPONENT if size > 0 else 0
    exponent = min(max(exponent, -_LIMIT), _LIMIT)
    if abs(exponent) <= _LARGEST_EXPONENT:
        return PlanePixels(plane, find_unusable(plane, mask))
    scaled = ScaledPlane(plane, exponent)
    return PlanePixels(scaled, find_unusable(scaled, mask), math.ldexp(1.0, exponent))


def _largest(plane: NDArray[Any]) -> float:
    """Return the largest finite distance from 0 of a plane most of whose pixels are 0."""
    largest = 0.0
    for y0, y1 in iter_rows(len(plane), 256):
        rows = np.asarray(plane[y0:y1], dtype=np.float64)
        largest = max(largest, float(np.abs(rows[np.isfinite(rows)]).max(initial=0.0)))
    return largest


def plane_name(number: int, count: int) -> str:
    """Name a plane in a message: ``plane 2 (B)`` of a colour image, ``plane 5`` of a cube."""
    if count == 1:
        return "the image"
    return f"plane {number} ({_CHANNELS[number]})" if count == len(_CHANNELS) else f"plane {number}"


def describe_fill(planes: list[PlanePixels]) -> str | None:
    """Say how many pixels hold fill instead of data, over all planes; None if none do."""
    pixels = sum(plane.unusable.fill_pixels for plane in planes)
    if not pixels:
        return None
    values = sorted({value * p.unit for p in planes for value in p.unusable.fill_values})
    share = 100 * pixels / sum(math.prod(plane.unusable.shape) for plane in planes)
    listed = ", ".join(f"{value:g}" for value in values[:4]) + (", ..." if len(values) > 4 else "")
    return (
        f"{pixels} pixels ({share:.1f} %) hold a constant ({listed}) where the image has no data: "
        "they are not used and come back as they are"
    )
