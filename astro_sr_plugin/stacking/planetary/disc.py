"""The disc of a planet, the Moon or the Sun: centre, radius, oblateness, to a fraction of a pixel.

Gradients lead from the edge to a circle on which most of them agree; the edge is then measured
along radii, at the middle of the half maximum of the gradient. The terminator of a phase is a weak
edge, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import sobel

from astro_sr_plugin.stacking.planetary.filters import Plane, binned, quantile, smooth
from astro_sr_plugin.stacking.planetary.sampling import Places

__all__ = ["Disc", "find_disc"]

_SEARCH_SIDE = 200
"""Pixels of the longer side of the frame in which the circle is searched."""
_CANDIDATES = 400
"""Pixels with the strongest gradients that take part in the search."""
_PAIRS = 600
"""Pairs of such pixels, each of which gives a circle."""
_WEAKEST_CANDIDATE = 0.25
"""Gradient of these pixels over the strongest."""
_TOLERANCE = (1.5, 0.08)
"""Distance from a circle within which a pixel lies on it: pixels, and part of the radius."""
_LEAST_VOTES = 0.15
"""Part of the gradients that has to lie on the circle."""
_RAYS = 180
"""Radii along which the edge is measured."""
_FIRST_RAYS = 3
"""Every so manieth of them before the last pass."""
_STEP = 0.5
"""Pixels between samples along a radius."""
_REACH = 0.35
"""Part of the radius by which the edge may differ from the first circle."""
_LEAST_REACH = 6.0
"""The same in pixels, for small discs."""
_WIDTHS = 1.5
"""The same in widths of the limb, for blurred discs after the first pass."""
_WEAK_EDGE = 0.5
"""Gradient of an edge over the 90th percentile of all, below which it is not the limb."""
_FEWEST_RAYS = 0.25
"""Part of the radii that has to show the limb; a thin crescent has half of them."""
_LARGEST_SCATTER = 0.06
"""Scatter of the edge over the radius, above which it is no disc."""
_SMALLEST_RADIUS = 4.0
"""Pixels."""
_LARGEST_RADIUS = 3.0
"""Radius over the longer side of the frame."""
_LEAST_CONTRAST = 3.0
"""Brightness inside of the limb over that outside of it, above the darkest part of the frame."""
_LEAST_GAP, _GAP = 3.0, 0.1
"""Least distance from the limb at which the inside and the sky are compared: pixels, and part of
the radius; the width of a blurred limb where it is more."""
_FULL_LIMB = 0.85
"""Part of the radii that shows the limb of a disc without a terminator."""
_LARGEST_GAP = 45.0
"""Degrees between radii that show the limb, above which no oblateness is measured."""
_FEWEST_EDGES = 8
"""Places of the limb that a fit needs."""
_SAME_RADIUS = 0.1
"""Part of the radius by which the discs of a video may differ."""
_MARGIN = 12
"""Pixels of sky around a disc that take part."""
_CLIP, _LEAST_CLIP = 3.0, 0.05
"""Edges that deviate by more standard deviations, and more pixels, are left out."""
_SPARSE = 4
"""Every so manieth row and column gives the darkest part of the frame."""
_STEPS, _FREE_STEPS = 10, 2
"""Steps of a fit, and those before edges are left out."""
_TINY = 1e-12
"""Part of the trace that is added to the diagonal of a fit, for edges in one direction alone."""
_PASSES = 3
"""Times that the edge is measured, each about the centre found before."""


@dataclass(frozen=True)
class Disc:
    """A disc, or the reason why there is none.

    Attributes
    ----------
    x, y : float
        Centre in pixels.
    radius : float
        Half of the longer axis in pixels.
    oblateness : float
        Difference of the axes over the longer one; 0 where it is not measured.
    angle : float
        Of the longer axis from x towards y, in degrees.
    coverage : float
        Part of the directions in which the limb was found.
    reason : str
        Why there is no disc; empty if there is one.
    """

    x: float = np.nan
    y: float = np.nan
    radius: float = np.nan
    oblateness: float = 0.0
    angle: float = 0.0
    coverage: float = 0.0
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether there is a disc."""
        return not self.reason

    def overhang(self, shape: tuple[int, int]) -> float:
        """Return by how many pixels the disc reaches beyond the frame; negative inside."""
        ny, nx = shape
        return self.radius - min(self.x, self.y, nx - 1 - self.x, ny - 1 - self.y)


def find_disc(
    plane: Plane, *, like: Disc | None = None, near: tuple[float, float] | None = None
) -> Disc:
    """Find the disc of a planet in a frame.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Luminance.
    like : Disc, optional
        A disc whose oblateness and angle this one has; without it they are measured where the
        whole limb is seen.
    near : (float, float), optional
        Where its centre is expected, to a fifth of its radius; with `like` only. The circle is
        searched where nothing is found there.

    Returns
    -------
    Disc
        Its `reason` says why nothing was found.
    """
    shape: tuple[int, int] = plane.shape  # type: ignore[assignment]
    if like is not None and near is not None:
        size = int(like.radius * (1 + _REACH) + _MARGIN)
        left, top = (max(0, round(place) - size) for place in near)
        box = plane[top : round(near[1]) + size, left : round(near[0]) + size]
        if min(box.shape) > size:
            start = (near[0] - left, near[1] - top, like.radius)
            disc = _refine(box, start, like, passes=2)
            if disc.found and abs(disc.radius - like.radius) < _SAME_RADIUS * like.radius:
                return replace(disc, x=disc.x + left, y=disc.y + top)
    factor = max(1, round(max(shape) / _SEARCH_SIDE))
    circle = _search(smooth(binned(plane, factor)))
    if circle is None:
        return Disc(reason="no disc is seen")
    x, y, radius = (factor * value for value in circle)
    x, y = x + (factor - 1) / 2, y + (factor - 1) / 2
    return _refine(plane, (x, y, radius), like, passes=_PASSES)


def _refine(
    plane: Plane, circle: tuple[float, float, float], like: Disc | None, passes: int
) -> Disc:
    """Measure the limb near a circle, and judge whether it is one."""
    shape_of = (like.oblateness, np.deg2rad(like.angle)) if like is not None else (0.0, 0.0)
    smoothed = smooth(plane, (1, 1, 2))
    width = 0.0
    for number in range(passes):
        reach = _REACH * circle[2]
        if number > 0:
            reach = min(reach, max(reach / (number + 1), _WIDTHS * width))
        every = 1 if number == passes - 1 else _FIRST_RAYS
        limb = _measure_limb(smoothed, circle, max(_LEAST_REACH, reach), shape_of, every)
        if limb is None:
            return Disc(reason="no disc is seen")
        width = limb.width
        circle, scatter, used = _fit(limb, circle, shape_of)
    x, y, radius = circle
    coverage = float(np.count_nonzero(used)) / limb.rays
    if not _SMALLEST_RADIUS <= radius <= _LARGEST_RADIUS * max(plane.shape):
        return Disc(reason="no disc is seen")
    if coverage < _FEWEST_RAYS:
        return Disc(reason="no disc is seen")
    if scatter > max(1.0, _LARGEST_SCATTER * radius):
        return Disc(reason="the limb is no circle")
    if not _is_bright(smoothed, circle, width):
        return Disc(reason="no disc is seen before a dark sky")
    disc = Disc(x, y, radius, shape_of[0], float(np.rad2deg(shape_of[1])), coverage)
    if like is None and _is_whole(limb, used):
        return _with_oblateness(disc, limb)
    return disc


def _search(plane: Plane) -> tuple[float, float, float] | None:
    """Find the circle on which most strong gradients lie, and to whose centre they point."""
    gx, gy = sobel(plane, axis=1), sobel(plane, axis=0)
    size = np.hypot(gx, gy)
    size[[0, -1]] = 0
    size[:, [0, -1]] = 0
    top = float(np.partition(size.ravel(), -20)[-20]) if size.size > 20 else 0.0
    if not top > 0:
        return None
    y, x = np.nonzero(size > _WEAKEST_CANDIDATE * top)
    if len(x) < 8:
        return None
    rng = np.random.default_rng(0)
    if len(x) > _CANDIDATES:
        chosen = rng.choice(len(x), _CANDIDATES, replace=False)
        x, y = x[chosen], y[chosen]
    weight = size[y, x]
    ux, uy = gx[y, x] / weight, gy[y, x] / weight
    a, b = rng.integers(0, len(x), (2, _PAIRS))
    # Centres at the same distance t along both gradients: p + t u = q + t v, in least squares.
    px, py = (x[b] - x[a]).astype(float), (y[b] - y[a]).astype(float)
    vx, vy = ux[a] - ux[b], uy[a] - uy[b]
    square = vx**2 + vy**2
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (px * vx + py * vy) / square
        gap = np.hypot(px - t * vx, py - t * vy) / np.abs(t)
    good = (square > 0.1) & (t > 2) & (t < _LARGEST_RADIUS * max(plane.shape)) & (gap < 0.2)
    if not good.any():
        return None
    t, a, b = t[good], a[good], b[good]
    cx = (x[a] + x[b] + t * (ux[a] + ux[b])) / 2
    cy = (y[a] + y[b] + t * (uy[a] + uy[b])) / 2
    dx, dy = cx[:, None] - x, cy[:, None] - y
    distance = np.hypot(dx, dy)
    tolerance = _TOLERANCE[0] + _TOLERANCE[1] * t[:, None]
    towards = dx * ux + dy * uy > 0.9 * distance
    votes = ((np.abs(distance - t[:, None]) < tolerance) & towards) @ weight
    best = int(np.argmax(votes))
    if votes[best] < _LEAST_VOTES * weight.sum():
        return None
    return float(cx[best]), float(cy[best]), float(t[best])


@dataclass(frozen=True)
class _Limb:
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

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    angles: NDArray[np.float64]
    rays: int
    width: float


def _measure_limb(
    plane: Plane,
    circle: tuple[float, float, float],
    reach: float,
    shape_of: tuple[float, float],
    every: int = 1,
) -> _Limb | None:
    """Measure the limb along radii, up to a distance from the circle; None if it is not seen."""
    x, y, radius = circle
    angles = np.arange(0, _RAYS, every) * (2 * np.pi / _RAYS)
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
    return _Limb(
        x + place * cos[rays], y + place * sin[rays], angles[rays], len(angles), _STEP * width
    )


def _is_whole(limb: _Limb, used: NDArray[np.bool_]) -> bool:
    """Whether the limb is seen all around, without a gap as a terminator leaves it."""
    angles = limb.angles[used]
    gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
    return float(gaps.max()) < np.deg2rad(_LARGEST_GAP)


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


def _fit(
    limb: _Limb, circle: tuple[float, float, float], shape_of: tuple[float, float]
) -> tuple[tuple[float, float, float], float, NDArray[np.bool_]]:
    """Fit a circle, or an ellipse of known shape: the circle, the scatter, the edges on it."""
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
    return (x + a * cos - b * sin, y + a * sin + b * cos, radius), scatter, used


def _is_bright(plane: Plane, circle: tuple[float, float, float], width: float) -> bool:
    """Whether some of the inside of the limb is brighter than the sky outside of it."""
    x, y, radius = circle
    angles = np.arange(0, _RAYS, _FIRST_RAYS) * (2 * np.pi / _RAYS)
    cos, sin = np.cos(angles), np.sin(angles)
    gap = max(_LEAST_GAP, _GAP * radius, width)
    floor = quantile(plane[::_SPARSE, ::_SPARSE], 0.01)
    ny, nx = plane.shape
    levels = []
    for distance in (max(radius - gap, radius / 2), radius + gap):
        columns = np.rint(x + distance * cos).astype(int)
        rows = np.rint(y + distance * sin).astype(int)
        seen = (columns >= 0) & (rows >= 0) & (columns < nx) & (rows < ny)
        if not seen.any():
            return True
        levels.append(quantile(plane[rows[seen], columns[seen]] - floor, 0.75))
    return levels[0] > _LEAST_CONTRAST * max(levels[1], 0)


def _with_oblateness(disc: Disc, limb: _Limb) -> Disc:
    """Fit an ellipse to the whole limb: its radius is a sum of cosines of twice the angle."""
    dx, dy = limb.x - disc.x, limb.y - disc.y
    angle, distance = np.arctan2(dy, dx), np.hypot(dx, dy)
    used = np.ones(len(angle), bool)
    waves = [wave(k * angle) for k in (1, 2) for wave in (np.cos, np.sin)]
    terms = np.stack([np.ones_like(angle), *waves], axis=1)
    found = np.zeros(5)
    for _ in range(4):
        found = np.linalg.lstsq(terms[used], distance[used], rcond=None)[0]
        residual = distance - terms @ found
        used = np.abs(residual) <= max(_CLIP * residual[used].std(), _LEAST_CLIP)
    size = float(np.hypot(found[3], found[4]))
    radius = float(found[0]) + size
    return Disc(
        disc.x + float(found[1]),
        disc.y + float(found[2]),
        radius,
        2 * size / radius,
        float(np.rad2deg(np.arctan2(found[4], found[3]) / 2)),
        disc.coverage,
    )
