"""Halos and diffraction spikes of bright stars, followed outwards in the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter1d

from astro_sr_plugin.constants import MAD_TO_SIGMA

__all__ = ["Rays", "follow_halo", "follow_spikes", "sample_rays"]

_ANGLES = 240
"""Number of directions of the rays: 1.5 degrees apart."""


class Rays(NamedTuple):
    """Pixel values along rays from a star outwards.

    Attributes
    ----------
    values : numpy.ndarray, shape (angles, radii)
        Interpolated values, NaN outside the image and where unusable.
    angles : numpy.ndarray, shape (angles,)
        Direction in radians, counter-clockwise from +x.
    radii : numpy.ndarray, shape (radii,)
        Distance in pixels, in steps of 1.
    """

    values: NDArray[np.float64]
    angles: NDArray[np.float64]
    radii: NDArray[np.float64]


def sample_rays(values: NDArray[np.float32], x: float, y: float, reach: int) -> Rays:
    """Interpolate a cut-out along rays.

    Parameters
    ----------
    values : numpy.ndarray, shape (ny, nx)
        Sky-subtracted pixels, NaN where unusable.
    x, y : float
        Position of the star in the cut-out in pixels.
    reach : int
        Length of the rays in pixels, at least 1.

    Returns
    -------
    Rays
        The values along 240 directions.
    """
    angles = np.arange(_ANGLES, dtype=np.float64) * (2 * np.pi / _ANGLES)
    radii = np.arange(1, reach + 1, dtype=np.float64)
    points = [
        y + np.sin(angles)[:, None] * radii,
        x + np.cos(angles)[:, None] * radii,
    ]
    sampled = map_coordinates(values, points, order=1, cval=np.nan, output=np.float64)
    return Rays(sampled, angles, radii)


def follow_halo(rays: Rays, start: float, level: float, peak: float) -> float:
    """Find the radius at which the mean ring around a star has fallen below a level.

    Parameters
    ----------
    rays : Rays
        Values around the star.
    start : float
        Radius in pixels from which to look outwards.
    level : float
        Value in image units at which the halo ends.
    peak : float
        Amplitude of the star in image units. A ring brighter than 4 % of it where the star itself
        has ended is no halo, but a cloud that the source lies in.

    Returns
    -------
    float
        Radius in pixels; `start` if there is no halo beyond it.
    """
    # A halo is there on all sides; a neighbour or a bright cloud is on one.
    quarters = np.split(rays.values, 4)
    rings = np.min([_rings(quarter) for quarter in quarters], axis=0)
    smooth = uniform_filter1d(rings, 5, mode="nearest")
    # What is still there at the end of the rays is sky or nebula, not halo.
    smooth -= max(0.0, float(np.median(smooth[-max(1, smooth.size // 5) :])))
    first = min(int(np.ceil(start)), smooth.size - 1)
    if smooth[first] > 0.04 * peak:
        return float(start)
    below = np.flatnonzero(~(smooth[first:] > level))
    end = first + (int(below[0]) if below.size else smooth.size - 1 - first)
    return max(float(start), float(rays.radii[end])) if end > first else float(start)


def follow_spikes(
    rays: Rays, start: float, sigma: float, width: float
) -> list[tuple[float, float]]:
    """Find the diffraction spikes of a star: narrow rays brighter than the ring at each radius.

    A spike begins at the star, and has a partner on the opposite side, as the vanes of a
    telescope make them.

    Parameters
    ----------
    rays : Rays
        Values around the star.
    start : float
        Radius in pixels of the star itself.
    sigma : float
        Noise of one pixel in image units.
    width : float
        Width of a spike, about the FWHM, in pixels.

    Returns
    -------
    list of (float, float)
        Direction in radians and end radius in pixels of each spike.
    """
    first = int(np.clip(np.ceil(0.7 * start), 2, rays.radii.size - 1))
    span = max(8, int(start))
    if rays.radii.size - first < span:
        return []
    excess = np.nan_to_num(rays.values - _rings(rays.values), nan=0.0)
    steps = int(np.clip(0.64 * width / max(start, 1) * _ANGLES, 3, _ANGLES // 8))
    near = excess[:, first : first + span].mean(axis=1)
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(near - np.median(near))))
    error = max(scatter, 1.5 * sigma / np.sqrt(span))
    peaks = [
        i
        for i in range(_ANGLES)
        if near[i] > 5 * error
        and near[i] >= near[np.arange(i - steps, i + steps + 1) % _ANGLES].max()
    ]
    spikes = []
    for i in peaks:
        opposite = (np.arange(-4, 5) + i + _ANGLES // 2) % _ANGLES
        if near[opposite].max() < 0.3 * near[i]:
            continue
        along = excess[np.arange(i - 1, i + 2) % _ANGLES].max(axis=0)
        smooth = uniform_filter1d(along, 7, mode="nearest")
        ends = np.flatnonzero(smooth[first:] < sigma)
        end = first + int(ends[0]) if ends.size else smooth.size - 1
        if rays.radii[end] > 1.15 * start:
            spikes.append((float(rays.angles[i]), float(rays.radii[end])))
    return spikes if len(spikes) <= 12 else []


def _rings(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over the directions at each radius; 0 where too little is usable."""
    # Sorting moves NaN to the end; numpy's nanmedian is far slower on arrays of this size.
    ordered = np.sort(values, axis=0)
    count = np.isfinite(values).sum(axis=0)
    columns = np.arange(values.shape[1])
    low, high = np.maximum(count - 1, 0) // 2, count // 2
    high = np.minimum(high, len(values) - 1)
    median = (ordered[low, columns] + ordered[high, columns]) / 2
    return np.where(count >= 0.12 * len(values), median, 0)
