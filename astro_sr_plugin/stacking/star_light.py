"""The light of stars in a stack, and how much frames may deviate from it without being outliers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import grey_opening, map_coordinates, maximum_filter

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.data.cfa import ColorFilterArray
from astro_sr_plugin.data.debayer import interpolate_colour

__all__ = ["find_stars", "star_shares", "star_sizes"]

_TOLERANCE = 0.3
"""Deviation, over the light of stars, that is allowed beside the noise: stars are resampled and
guided unequally (the value of SWarp)."""
_SEEING = 1.5
"""Factor of the deviation that follows from the widths of the stars."""
_STAR_NSIGMA = 5.0
"""Standard deviations of the median above which its fine structure is the light of stars."""
_STAR_SIZE = 4.0
"""Size in FWHM beyond which structure is no star."""
_SPREAD = 1.2
"""Size in FWHM of the area in which the seeing changes the light of a star."""
_UNKNOWN_FWHM = 3.0
"""FWHM in pixels of stars that could not be measured."""
_STEP = 0.1
"""FWHM in pixels is rounded to this where interpolation errors are looked up."""
_PLACES = 12
"""Places of a star along each axis of the repeated filters at which these errors are looked at."""
_REACH = 3
"""Distance in FWHM from a star out to which they are."""


def star_sizes(widths: Sequence[float]) -> tuple[int, int]:
    """Sizes in pixels, odd, of the filters that find the light of stars and spread it.

    Parameters
    ----------
    widths : sequence of float
        FWHM of the frames in pixels; NaN where it is not known.
    """
    known = [width for width in widths if np.isfinite(width)]
    middle, widest = (np.median(known), max(known)) if known else (_UNKNOWN_FWHM, _UNKNOWN_FWHM)
    size = 2 * int(np.ceil(_STAR_SIZE * min(widest, 2 * middle) / 2)) + 1
    return size, 2 * int(np.ceil(_SPREAD * min(widest, 2 * middle) / 2)) + 1


def find_stars(
    above: NDArray[np.float32], error: NDArray[np.floating], widths: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the light of stars in a combination of frames.

    It is what an opening by a square larger than stars takes off: a nebula is no star.

    Parameters
    ----------
    above : ndarray, shape (ny, nx)
        Values above the sky.
    error : ndarray, shape (ny, nx)
        Their errors.
    widths : sequence of float
        FWHM of the frames in pixels; NaN where it is not known.

    Returns
    -------
    stars, around : ndarray of float32, shape (ny, nx)
        The light of stars, 0 elsewhere, and its maximum in an area about as large as a star.
    """
    size, spread = star_sizes(widths)
    stars = above - grey_opening(above, size=(size, size), mode="nearest")
    stars -= (_STAR_NSIGMA * error).astype(np.float32)
    stars = np.maximum(stars, 0)
    return stars, maximum_filter(stars, size=spread, mode="nearest")


def star_shares(
    widths: Sequence[float], cfa: ColorFilterArray | None, planes: int
) -> NDArray[np.float32]:
    """Return how much of the light of stars, and of that around, each frame may deviate by.

    The peak of a star goes with the inverse square of its FWHM. In a mosaic it depends beside that
    on where the star lies among the pixels of a colour.

    Parameters
    ----------
    widths : sequence of float
        FWHM of the frames in pixels; NaN where it is not known.
    cfa : ColorFilterArray or None
        Filters of the frames.
    planes : int
        Number of colours.

    Returns
    -------
    ndarray, shape (frames, planes, 2)
        Shares of both outputs of `find_stars`.
    """
    fwhm = np.asarray(widths, dtype=float)
    known = np.isfinite(fwhm)
    middle = float(np.median(fwhm[known])) if known.any() else _UNKNOWN_FWHM
    ratio = np.where(known, (middle / np.where(known, fwhm, middle)) ** 2, 1.0)
    shares = np.empty((len(fwhm), planes, 2), np.float32)
    shares[..., 0] = _TOLERANCE
    shares[..., 1] = _SEEING * np.abs(ratio - 1)[:, None]
    if cfa is not None:
        shares[..., 1] += _interpolation_errors(cfa, round(middle / _STEP))
    return shares


@lru_cache(maxsize=8)
def _interpolation_errors(cfa: ColorFilterArray, steps: int) -> NDArray[np.float64]:
    """Largest error of a star that is interpolated in a mosaic, over its mean peak, by colour."""
    sigma = max(steps, 1) * _STEP / FWHM_PER_SIGMA
    reach = int(np.ceil(_REACH * sigma * FWHM_PER_SIGMA))
    period = len(cfa.filters)
    side = 2 * (reach + 2 * period) + period
    middle = side // 2
    pixels, offsets = np.arange(side), np.arange(-reach, reach + 1)
    places = middle + (np.arange(_PLACES) + 0.5) * period / _PLACES
    found = []
    for y, x in np.array(np.meshgrid(places, places)).reshape(2, -1).T:
        along_y, along_x = (np.exp(-0.5 * ((pixels - at) / sigma) ** 2) for at in (y, x))
        star = np.outer(along_y, along_x)
        grid = np.array(np.meshgrid(y + offsets, x + offsets, indexing="ij"))
        found.append(
            [
                map_coordinates(
                    interpolate_colour(star, cfa.filters, colour, cubic=True), grid, order=3
                )
                for colour in "RGB"
            ]
        )
    values = np.array(found)
    mean = values.mean(axis=0)
    errors: NDArray[np.float64] = np.abs(values - mean).max(axis=(0, 2, 3)) / mean.max(axis=(1, 2))
    return errors
