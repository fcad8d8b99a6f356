"""The box of what is bright in a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.stacking.planetary.filters import Plane, binned, quantile, smooth

__all__ = ["Crop", "find_crop"]

_SEARCH_SIDE = 200
"""Pixels of the longer side of the frame in which the edges are searched."""


@dataclass(frozen=True)
class Crop:
    """The box of what is bright, from the gradients that are summed across each axis.

    Attributes
    ----------
    left, top, right, bottom : float
        Edges in pixels.
    """

    left: float
    top: float
    right: float
    bottom: float


def find_crop(plane: Plane) -> Crop:
    """Find the box around a planet: half the maximum of the summed Sobel gradients are its edges.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Luminance.

    Returns
    -------
    Crop
        The outermost places where the sums pass half of their maximum, to a fraction of a pixel.
    """
    factor = max(1, round(max(plane.shape) / _SEARCH_SIDE))
    smoothed = smooth(binned(plane, factor))
    rows = smoothed[:-2] + 2 * smoothed[1:-1] + smoothed[2:]
    across = np.abs(rows[:, 2:] - rows[:, :-2]).sum(axis=0)
    columns = smoothed[:, :-2] + 2 * smoothed[:, 1:-1] + smoothed[:, 2:]
    along = np.abs(columns[2:] - columns[:-2]).sum(axis=1)
    left, right = _half_maximum(across)
    top, bottom = _half_maximum(along)
    # The sums begin at the second pixel; the middle of a block of pixels is half a block in.
    edges = (factor * (edge + 1) + (factor - 1) / 2 for edge in (left, top, right, bottom))
    return Crop(*edges)


def _half_maximum(profile: NDArray[np.floating]) -> tuple[float, float]:
    """Return the first and last place where a profile passes half of its maximum."""
    profile = profile - quantile(profile, 0.5)
    half = profile.max() / 2
    above = np.flatnonzero(profile >= half)
    first, last = int(above[0]), int(above[-1])
    low, high = float(first), float(last)
    if first > 0:
        low -= (profile[first] - half) / max(profile[first] - profile[first - 1], 1e-12)
    if last < len(profile) - 1:
        high += (profile[last] - half) / max(profile[last] - profile[last + 1], 1e-12)
    return low, high
