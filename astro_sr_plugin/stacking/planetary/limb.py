"""The limb of a disc: its places along radii, and the circle or ellipse that fits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.stacking.planetary.filters import Plane, quantile
from astro_sr_plugin.stacking.planetary.sampling import Places

__all__ = ["RAYS", "Circle", "Limb", "fit_circle", "fit_ellipse", "measure_limb"]

Circle = tuple[float, float, float]
"""x and y of the centre, and the radius, in pixels."""
RAYS = 180
"""Radii along which the edge is measured."""
_STEP = 0.5
"""Pixels between samples along a radius."""
_WEAK_EDGE = 0.5
"""Gradient of an edge over the 90th percentile of all, below which it is not the limb."""
_FULL_LIMB = 0.85
"""Part of the radii that shows the limb of a disc without a terminator."""
_LARGEST_GAP = 45.0
"""Degrees between radii that show the limb, above which no oblateness is measured."""
_FEWEST_EDGES = 8
"""Places of the limb that a fit needs."""
_CLIP, _LEAST_CLIP = 3.0, 0.05
"""Edges that deviate by more standard deviations, and more pixels, are left out."""
_STEPS, _FREE_STEPS = 10, 2
"""Steps of a fit, and those before edges are left out."""
_ROUNDS = 4
"""Times that an ellipse is fitted, each without the places beside the one before."""
_TINY = 1e-12
"""Part of the trace that is added to the diagonal of a fit, for edges in one direction alone."""


@dataclass(frozen=True)
class Limb:
    """Places of the limb.

    Attributes
    ----------
    x, y : ndarray
        In pixels.
    angles : ndarray
        Of their radii, ascending, in radians.
    rays : int
        Number of radii that were looked at.
    width : float
        Median of the full width of the gradient at half of its maximum, in pixels.
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    angles: NDArray[np.floating]
    rays: int
    width: float

    def is_whole(self, used: NDArray[np.bool_]) -> bool:
        """Whether used places lie all around, without a gap as a terminator leaves it."""
        angles = self.angles[used]
        gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
        return float(gaps.max()) < np.deg2rad(_LARGEST_GAP)


def measure_limb(
    plane: Plane,
    circle: Circle,
    reach: float,
    shape_of: tuple[float, float],
    every: int = 1,
) -> Limb | None:
    """Measure the limb along radii, at the middle of the half maximum of the gradient.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Smoothed luminance.
    circle : (float, float, float)
        Where the limb is expected.
    reach : float
        Pixels from there within which it is looked for.
    shape_of : (float, float)
        Oblateness, and angle of the longer axis in radians.
    every : int
        Every so manieth radius is used.

    Returns
    -------
    Limb or None
        None where it is not seen.
    """
    x, y, radius = circle
    angles = np.arange(0, RAYS, every) * (2 * np.pi / RAYS)
    cos, sin = np.cos(angles), np.sin(angles)
    expected = radius * _radius_of_ellipse(cos, sin, shape_of)
    r = np.arange(-reach, reach + _STEP / 2, _STEP, dtype=np.float32)
    distance = np.maximum(expected.astype(np.float32)[:, None] + r, 0)
    px = np.float32(x) + distance * cos.astype(np.float32)[:, None]
    py = np.float32(y) + distance * sin.astype(np.float32)[:, None]
    ny, nx = plane.shape
    inside = (px > 1) & (py > 1) & (px < nx - 2) & (py < ny - 2)
    values = Places(px, py, (ny, nx), linear=True).sample(plane)
    slope = values[:, :-2] - values[:, 2:]
    slope *= inside[:, :-2] & inside[:, 2:] & (distance[:, 1:-1] > 0)
    peak = slope.argmax(axis=1)
    rays = np.arange(len(angles))
    height = slope[rays, peak]
    seen = height > 0
    if np.count_nonzero(seen) < _FEWEST_EDGES:
        return None
    half = height[:, None] / 2
    column = np.arange(slope.shape[1], dtype=np.int16)
    below = slope < half
    beyond = column > peak[:, None]
    right = np.where(below & beyond, column, slope.shape[1]).min(axis=1)
    left = np.where(below & ~beyond, column, -1).max(axis=1)
    usable = seen & (height > _WEAK_EDGE * quantile(height[seen], 0.9))
    rays = np.flatnonzero(usable & (left >= 0) & (right < slope.shape[1]))
    if len(rays) < _FEWEST_EDGES:
        return None
    low, high, level = left[rays], right[rays], half[rays, 0]
    rise = slope[rays, low + 1] - slope[rays, low]
    fall = slope[rays, high - 1] - slope[rays, high]
    first = low + (level - slope[rays, low]) / rise
    last = high - (level - slope[rays, high]) / fall
    # The middle of both half maxima. The shading of a phase widens the inner side by amounts that
    # change along the limb: there the outer half maximum gives the shape, and the middle the size.
    widths = last - first
    width = float(np.median(widths))
    inner = widths if len(rays) >= _FULL_LIMB * len(angles) else width
    place = expected[rays] + r[0] + _STEP * (1 + last - inner / 2)
    return Limb(
        x + place * cos[rays], y + place * sin[rays], angles[rays], len(angles), _STEP * width
    )


def _radius_of_ellipse(
    cos: NDArray[np.float64], sin: NDArray[np.float64], shape_of: tuple[float, float]
) -> NDArray[np.float64]:
    """Return the radius of an ellipse over its longer half axis, in directions."""
    oblateness, angle = shape_of
    if oblateness == 0:
        return np.ones_like(cos)
    ratio = 1 - oblateness
    along = cos * np.cos(angle) + sin * np.sin(angle)
    across = sin * np.cos(angle) - cos * np.sin(angle)
    result: NDArray[np.float64] = ratio / np.hypot(ratio * along, across)
    return result


def fit_circle(
    limb: Limb, circle: Circle, shape_of: tuple[float, float]
) -> tuple[Circle, float, NDArray[np.bool_]]:
    """Fit a circle, or an ellipse of known shape, and leave out what lies beside it.

    Parameters
    ----------
    limb : Limb
        Places of the limb.
    circle : (float, float, float)
        Where the fit begins.
    shape_of : (float, float)
        Oblateness, and angle of the longer axis in radians.

    Returns
    -------
    circle : (float, float, float)
        Centre and longer half axis.
    scatter : float
        RMS distance of the places, in pixels.
    used : ndarray of bool
        The places that lie on it.
    """
    oblateness, angle = shape_of
    cos, sin = np.cos(angle), np.sin(angle)
    x, y, radius = circle
    dx, dy = limb.x - x, limb.y - y
    u = dx * cos + dy * sin
    v = (dy * cos - dx * sin) / (1 - oblateness)
    used = np.ones(len(u), bool)
    a = b = scatter = 0.0
    for number in range(_STEPS):
        du, dv = u - a, v - b
        distance = np.hypot(du, dv)
        residual = distance - radius
        scatter = float(np.sqrt(np.mean(np.square(residual[used]))))
        if number >= _FREE_STEPS:
            kept = np.abs(residual) < max(_CLIP * scatter, _LEAST_CLIP)
            if np.count_nonzero(kept) < _FEWEST_EDGES:
                break
            settled = number > _FREE_STEPS and np.array_equal(kept, used)
            used = kept
            if settled:
                break
        terms = np.stack([du / distance, dv / distance, np.ones_like(du)])
        weighted = terms * used
        square = weighted @ terms.T
        square += _TINY * np.trace(square) * np.eye(3)
        step = np.linalg.solve(square, weighted @ residual)
        a, b, radius = a + float(step[0]), b + float(step[1]), radius + float(step[2])
    b *= 1 - oblateness
    centre = float(x + a * cos - b * sin), float(y + a * sin + b * cos)
    return (*centre, radius), scatter, used


def fit_ellipse(limb: Limb, circle: Circle) -> tuple[Circle, float, float]:
    """Fit an ellipse to the whole limb: its radius is a sum of cosines of twice the angle.

    Parameters
    ----------
    limb : Limb
        All around.
    circle : (float, float, float)
        What `fit_circle` found.

    Returns
    -------
    circle : (float, float, float)
        Centre and longer half axis.
    oblateness : float
        Difference of the axes over the longer one.
    angle : float
        Of the longer axis from x towards y, in radians.
    """
    x, y, _ = circle
    dx, dy = limb.x - x, limb.y - y
    angle, distance = np.arctan2(dy, dx), np.hypot(dx, dy)
    used = np.ones(len(angle), bool)
    waves = [wave(k * angle) for k in (1, 2) for wave in (np.cos, np.sin)]
    terms = np.stack([np.ones_like(angle), *waves], axis=1)
    found = np.zeros(5)
    for _ in range(_ROUNDS):
        found = np.linalg.lstsq(terms[used], distance[used], rcond=None)[0]
        residual = distance - terms @ found
        used = np.abs(residual) <= max(_CLIP * residual[used].std(), _LEAST_CLIP)
    mean, right, down, cos2, sin2 = (float(value) for value in found)
    size = float(np.hypot(cos2, sin2))
    radius = mean + size
    return (x + right, y + down, radius), 2 * size / radius, float(np.arctan2(sin2, cos2) / 2)
