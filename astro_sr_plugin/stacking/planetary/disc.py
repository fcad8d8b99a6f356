"""The disc of a planet, the Moon or the Sun: centre, radius, oblateness, to a fraction of a pixel.

Gradients lead from the edge to a circle on which most of them agree; the edge is then measured
along radii, at the middle of the half maximum of the gradient. The terminator of a phase is a weak
edge, and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import sobel

from astro_sr_plugin.stacking.planetary.filters import Plane, binned, quantile, smooth
from astro_sr_plugin.stacking.planetary.limb import (
    RAYS,
    Circle,
    fit_circle,
    fit_ellipse,
    measure_limb,
)

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
_FIRST_RAYS = 3
"""Every so manieth of them before the last pass."""
_REACH = 0.35
"""Part of the radius by which the edge may differ from the first circle."""
_NEAR_REACH = 0.12
"""The same where centre and radius are about known."""
_LEAST_REACH = 6.0
"""The same in pixels, for small discs."""
_WIDTHS = 1.5
"""The same in widths of the limb, for blurred discs."""
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
_SAME_RADIUS = 0.1
"""Part of the radius by which the discs of a video may differ."""
_MARGIN = 12
"""Pixels of sky around a disc that take part."""
_SPARSE = 4
"""Every so manieth row and column gives the darkest part of the frame."""
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
    width : float
        Width of the limb in pixels: where its gradient is above half of its maximum.
    reason : str
        Why there is no disc; empty if there is one.
    """

    x: float = np.nan
    y: float = np.nan
    radius: float = np.nan
    oblateness: float = 0.0
    angle: float = 0.0
    coverage: float = 0.0
    width: float = 0.0
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
    if like is not None and near is not None:
        disc = _find_near(plane, like, near)
        if disc is not None:
            return disc
    factor = max(1, round(max(plane.shape) / _SEARCH_SIDE))
    circle = _search(smooth(binned(plane, factor)))
    if circle is None:
        return Disc(reason="no disc is seen")
    x, y, radius = (factor * value for value in circle)
    x, y = x + (factor - 1) / 2, y + (factor - 1) / 2
    return _refine(plane, (x, y, radius), like, _PASSES, _REACH * radius)


def _find_near(plane: Plane, like: Disc, near: tuple[float, float]) -> Disc | None:
    """Find a disc that is known but for its centre: at once if that is about right."""
    for passes, share in ((1, _NEAR_REACH), (2, _REACH)):
        reach = max(share * like.radius, _WIDTHS * like.width)
        size = int(like.radius + reach + _MARGIN)
        left, top = (max(0, round(place) - size) for place in near)
        box = plane[top : round(near[1]) + size, left : round(near[0]) + size]
        if min(box.shape) <= size:
            return None
        start = (near[0] - left, near[1] - top, like.radius)
        disc = _refine(box, start, like, passes, reach)
        if not disc.found or abs(disc.radius - like.radius) > _SAME_RADIUS * like.radius:
            continue
        if passes > 1 or np.hypot(disc.x - start[0], disc.y - start[1]) < reach / 2:
            return replace(disc, x=disc.x + left, y=disc.y + top)
    return None


def _refine(
    plane: Plane,
    circle: Circle,
    like: Disc | None,
    passes: int,
    reach: float,
) -> Disc:
    """Measure the limb within a reach of a circle, and judge whether it is one."""
    shape_of = (like.oblateness, np.deg2rad(like.angle)) if like is not None else (0.0, 0.0)
    smoothed = smooth(plane, (1, 1, 2))
    width = 0.0
    for number in range(passes):
        part = min(reach, max(reach / (number + 1), _WIDTHS * width))
        every = 1 if number == passes - 1 else _FIRST_RAYS
        found = measure_limb(smoothed, circle, max(_LEAST_REACH, part), shape_of, every)
        if found is None:
            return Disc(reason="no disc is seen")
        limb, width = found, found.width
        circle, scatter, used = fit_circle(limb, circle, shape_of)
    radius, coverage = circle[2], np.count_nonzero(used) / limb.rays
    if not _SMALLEST_RADIUS <= radius <= _LARGEST_RADIUS * max(plane.shape):
        return Disc(reason="no disc is seen")
    if coverage < _FEWEST_RAYS:
        return Disc(reason="no disc is seen")
    if scatter > max(1.0, _LARGEST_SCATTER * radius):
        return Disc(reason="the limb is no circle")
    if not _is_bright(smoothed, circle, width):
        return Disc(reason="no disc is seen before a dark sky")
    oblateness, angle = shape_of
    if like is None and limb.is_whole(used):
        circle, oblateness, angle = fit_ellipse(limb, circle)
    return Disc(*circle, oblateness, float(np.rad2deg(angle)), coverage, width)


def _search(plane: Plane) -> Circle | None:
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
    x, y = x.astype(np.float32), y.astype(np.float32)
    a, b = rng.integers(0, len(x), (2, _PAIRS))
    # Centres at the same distance t along both gradients: p + t u = q + t v, in least squares.
    px, py = x[b] - x[a], y[b] - y[a]
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


def _is_bright(plane: Plane, circle: Circle, width: float) -> bool:
    """Whether some of the inside of the limb is brighter than the sky outside of it."""
    x, y, radius = circle
    angles = np.arange(0, RAYS, _FIRST_RAYS) * (2 * np.pi / RAYS)
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
