"""The level at which the pixels of an image pile up because the detector was full."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation, binary_fill_holes

from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import check_plane, cut_window, iterate_strips

__all__ = ["find_highest", "find_saturation"]

_TOP = 0.04
"""Fraction of the range from the sky to the maximum in which the pile-up is looked for."""
_BELOW = 0.16
"""Fraction of the range, from the maximum down, that it is compared with: the 12 % below the
top."""
_EXCESS = 4.0
"""Pixels in the top, over those expected from below it, from which they are a pile-up."""
_FEWEST_PIXELS = 8
"""Smallest number of pixels of a pile-up."""
_FEWEST_STEPS = 25
"""Steps above the sky below which a maximum is no profile: the uppermost 4 % must be a step or
more."""

_LARGEST_RING = 48
"""Side in pixels up to which the uppermost pixels may be the bright ring of one star."""
_FLAT = 0.01
"""Spread of the uppermost pixels, over the range, below which even a ring is full."""


def find_highest(plane: ArrayLike, mask: ArrayLike | UnusablePixels | None = None) -> float:
    """Return the largest usable value of a plane; -infinity if there is none."""
    data, excluded = check_plane(plane, mask)
    highest = -np.inf
    for strip in iterate_strips(data.shape):
        values, bad = cut_window(data, excluded, strip)
        values[bad] = -np.inf
        highest = max(highest, float(values.max()))
    return highest


def find_saturation(
    plane: ArrayLike,
    *,
    mask: ArrayLike | UnusablePixels | None = None,
    level: float = 0.0,
    rms: float = 0.0,
    step: float = 0.0,
    highest: float | None = None,
) -> float | None:
    """Find the value from which pixels are saturated, from a pile-up at the maximum.

    The profile of a star has equally many pixels in equal steps of brightness near its peak, or
    fewer the higher one goes. A clear excess in the uppermost step is therefore saturation. The
    plateaus of registered stacks differ by some per cent, so the step is 4 % of the range. Where no
    two of its pixels touch, they are the peaks of equal stars; where they lie around darker ones,
    they are the ring of a star that is out of focus.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    level, rms : float
        Sky level and scatter in image units; nothing below ``level + 50 * rms`` counts.
    step : float
        Step between the values of a coarse image; nothing below ``level + 25 * step`` counts.
    highest : float, optional
        The largest usable value, of `find_highest`.

    Returns
    -------
    float or None
        Value of the faintest saturated pixels in image units; None without a pile-up.

    Raises
    ------
    InputError
        If the plane is unusable.
    """
    data, excluded = check_plane(plane, mask)
    if highest is None:
        highest = find_highest(data, excluded)
    span = highest - level
    if not np.isfinite(span) or span <= max(50 * rms, _FEWEST_STEPS * step, 0):
        return None
    upper, places = [], []
    touching = False
    for strip in iterate_strips(data.shape):
        values, bad = cut_window(data, excluded, strip)
        values[bad] = -np.inf
        upper.append(values[values >= highest - _BELOW * span])
        places.append(np.argwhere(values >= highest - _TOP * span) + (strip.y0, strip.x0))
        at_top = values >= highest - _TOP * span
        touching |= bool((at_top[1:] & at_top[:-1]).any() or (at_top[:, 1:] & at_top[:, :-1]).any())
    if not touching:
        return None
    bright = np.concatenate(upper)
    top = bright[bright >= highest - _TOP * span]
    below = bright.size - top.size
    expected = below * _TOP / (_BELOW - _TOP)
    if top.size < _FEWEST_PIXELS or top.size < _EXCESS * max(expected, 1):
        return None
    if top.size > 0.2 * data.size:
        return None
    flat = np.ptp(np.percentile(top, (10, 90))) < _FLAT * span
    if not flat and _is_ring(data, np.concatenate(places), highest - _BELOW * span):
        return None
    # The plateau is the densest part of the top; its lower end is where saturation begins.
    return max(float(np.percentile(top, 5)) - 0.005 * span, highest - _TOP * span)


def _is_ring(data: NDArray, places: NDArray[np.int_], level: float) -> bool:
    """Whether all places lie on a ring around pixels below a level."""
    low, high = places.min(axis=0), places.max(axis=0) + 1
    if (high - low).max() > _LARGEST_RING:
        return False
    ring = np.zeros(high - low + 2, dtype=bool)
    ring[tuple((places - low + 1).T)] = True
    closed = binary_dilation(ring, np.ones((3, 3)))
    hole = (binary_fill_holes(closed) & ~closed)[1:-1, 1:-1]
    inside = data[low[0] : high[0], low[1] : high[1]][hole]
    return bool((inside < level).any())
