"""Stars to be measured, and the crops worth a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.metrics import half_flux_radius
from astro_sr_plugin.validation.comparison import Comparison, luminance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Crop", "Stars", "choose_crops", "find_stars", "given_crops", "pick_crops"]

#: Most crops that can be asked for.
_MOST = 6
#: Of larger images the middle part is searched for stars and crops.
_SEARCHED = 2048


class Crop(NamedTuple):
    """A square piece of the field, in pixels of the image before."""

    name: str
    x0: int
    y0: int
    size: int


class Stars(NamedTuple):
    """Isolated stars, brightest first.

    Attributes
    ----------
    positions : array of float64
        (n, 2) of x, y in the image before.
    fwhm : float
        Typical FWHM, twice the half-flux radius, in pixels of the image before; NaN if no star.
    """

    positions: NDArray[np.float64]
    fwhm: float


def find_stars(pair: Comparison, *, limit: int = 200) -> Stars:
    """Find isolated, unsaturated, compact sources of the image before.

    A quick search for the report, not a catalogue: local maxima of a smoothed image, with no
    other one near, that are about as wide as most of them are.

    Parameters
    ----------
    pair : Comparison
        The images.
    limit : int, optional
        Most stars to be returned.

    Returns
    -------
    Stars
    """
    from scipy.ndimage import gaussian_filter, maximum_filter

    image, x0, y0 = _searched(pair)
    good = np.isfinite(image)
    filled = np.where(good, image, np.median(image[good]))
    detail = gaussian_filter(filled, 1.2) - gaussian_filter(filled, 8.0)
    noise = 1.4826 * float(np.median(np.abs(detail - np.median(detail)))) or float(detail.std())
    peaks = (detail == maximum_filter(detail, size=5)) & (detail > 10.0 * noise) & good
    # The brightest level of a saturated image is flat: such cores are no measure of anything.
    full = filled >= filled.max() - 0.01 * abs(float(filled.max()))
    if np.count_nonzero(full) > 8:
        peaks &= ~full
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-detail[rows, columns])[:2000]
    points = np.column_stack([columns, rows])[order].astype(np.float64)
    if len(points) < 1:
        return Stars(np.empty((0, 2)), float("nan"))
    points = _centred(filled, points)
    alone, inside = _alone(points, 12.0), _inside(points, image, 12.0)
    radii = half_flux_radius(filled, points, max_radius=8.0)
    # The width of most: of the brighter half of the isolated sources, for those are mostly stars.
    known = radii[np.isfinite(radii) & alone & inside]
    known = known if known.size else radii[np.isfinite(radii)]
    if known.size == 0:
        return Stars(np.empty((0, 2)), float("nan"))
    typical = float(np.median(known[: max(5, (known.size + 1) // 2)]))
    reach = max(8.0, 9.0 * typical)
    alone, inside = _alone(points, reach), _inside(points, image, reach)
    compact = np.abs(radii - typical) <= 0.35 * typical
    use = alone & inside & compact
    # Cores near the top of the range may bleed or be clipped; they are for the case of no others.
    x, y = points.astype(int).T
    base = float(np.median(filled))
    safe = use & (filled[y, x] - base < 0.5 * (float(filled.max()) - base))
    chosen = points[safe if np.count_nonzero(safe) >= 3 else use][:limit]
    return Stars(chosen + (x0, y0), 2.0 * typical)


def choose_crops(pair: Comparison, stars: Stars, size: int) -> list[Crop]:
    """Choose a bright isolated star, the most structured area and a faint one.

    Parameters
    ----------
    pair : Comparison
        The images.
    stars : Stars
        Of `find_stars`.
    size : int
        Side of the crops, in pixels of the image before; made smaller for small images.

    Returns
    -------
    list of Crop
        Up to three, which do not overlap where there is room.
    """
    from scipy.ndimage import gaussian_filter

    ny, nx = pair.shape
    size = min(size, ny, nx)
    crops: list[Crop] = []
    if len(stars.positions):
        crops.append(_around("bright star", stars.positions[0], size, pair))
    image, x0, y0 = _searched(pair)
    shown = pair.stretch(image) if pair.stretch.channels == 1 else _shown(pair, x0, y0, image.shape)
    level = np.clip(np.nan_to_num(shown, nan=0.0), 0.0, 1.0)
    smooth = gaussian_filter(level, 1.5)
    detail = np.abs(smooth - gaussian_filter(level, 6.0))
    base = float(np.nanmedian(image))
    # Not the brightest star of the frame, with its spikes and its bleeding columns.
    bad = ~(image - base < 0.5 * (float(np.nanmax(image)) - base))

    step = max(1, size // 2)
    corners = [
        (x, y)
        for y in range(0, image.shape[0] - size + 1, step)
        for x in range(0, image.shape[1] - size + 1, step)
        if not bad[y : y + size, x : x + size].any()
    ]
    if len(corners) < 2:
        return crops or [Crop("middle", (nx - size) // 2, (ny - size) // 2, size)]
    # Percentiles, so that a single star makes no structure and a hot pixel no signal.
    texture = [float(np.percentile(detail[y : y + size, x : x + size], 75)) for x, y in corners]
    signal = [float(np.percentile(smooth[y : y + size, x : x + size], 95)) for x, y in corners]
    by_texture = np.argsort(texture)[::-1]
    faintest = np.argsort(signal)
    by_faintness = np.roll(faintest, -(len(corners) // 10))
    for name, order in (("structure", by_texture), ("faint", by_faintness)):
        options = [Crop(name, corners[i][0] + x0, corners[i][1] + y0, size) for i in order]
        free = [c for c in options if not any(_overlap(c, other) for other in crops)]
        if free:
            crops.append(free[0])
    return crops


def given_crops(pair: Comparison, centres: Sequence[tuple[float, float]], size: int) -> list[Crop]:
    """Make crops about given positions.

    Parameters
    ----------
    pair : Comparison
        The images.
    centres : sequence of (float, float)
        x and y in the image before.
    size : int
        Side of the crops; made smaller for small images.

    Returns
    -------
    list of Crop

    Raises
    ------
    InputError
        If a position lies outside of the image.
    """
    ny, nx = pair.shape
    for x, y in centres:
        if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
            msg = f"crops has a centre at {(x, y)}; it must lie in the image of {nx} x {ny} pixels"
            raise InputError(msg)
    small = min(size, ny, nx)
    return [_around(f"x {x:.0f}, y {y:.0f}", np.array([x, y]), small, pair) for x, y in centres]


def pick_crops(
    pair: Comparison,
    stars: Stars,
    crops: Sequence[tuple[float, float]] | None,
    crop_size: int,
) -> list[Crop]:
    """Return the crops asked for, or chosen ones.

    Parameters
    ----------
    pair : Comparison
        The images.
    stars : Stars
        Of `find_stars`.
    crops : sequence of (float, float) or None
        Centres in pixels of the image before; None: choose.
    crop_size : int
        At least 8.

    Returns
    -------
    list of Crop
        At most six.
    """
    if crop_size < 8:
        msg = f"crop_size is {crop_size}; it must be at least 8"
        raise InputError(msg)
    if crops is None:
        return choose_crops(pair, stars, crop_size)
    if len(crops) > _MOST:
        msg = f"crops has {len(crops)} centres; at most {_MOST} can be shown"
        raise InputError(msg)
    return given_crops(pair, crops, crop_size)


def _searched(pair: Comparison) -> tuple[NDArray[np.float64], int, int]:
    """Luminance of the middle part, and where it begins."""
    ny, nx = pair.shape
    y0, x0 = max(0, (ny - _SEARCHED) // 2), max(0, (nx - _SEARCHED) // 2)
    part = pair.before[..., y0 : y0 + _SEARCHED, x0 : x0 + _SEARCHED]
    return luminance(part), x0, y0


def _shown(pair: Comparison, x0: int, y0: int, shape: tuple[int, ...]) -> NDArray[Any]:
    part = pair.before[..., y0 : y0 + shape[0], x0 : x0 + shape[1]]
    return np.asarray(pair.stretch(part).mean(axis=0))


def _centred(image: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move each point to the centroid of the 5 x 5 pixels about it."""
    ny, nx = image.shape
    result = points.copy()
    offsets = np.arange(-2, 3)
    for index, (x, y) in enumerate(points.astype(int)):
        if 2 <= x < nx - 2 and 2 <= y < ny - 2:
            weight = image[y - 2 : y + 3, x - 2 : x + 3]
            weight = weight - weight.min()
            total = float(weight.sum())
            if total > 0.0:
                result[index, 0] += float((weight * offsets[None, :]).sum()) / total
                result[index, 1] += float((weight * offsets[:, None]).sum()) / total
    return result


def _alone(points: NDArray[np.float64], reach: float) -> NDArray[np.bool_]:
    from scipy.spatial import cKDTree

    return np.array([len(near) == 1 for near in cKDTree(points).query_ball_point(points, reach)])


def _inside(
    points: NDArray[np.float64], image: NDArray[np.float64], reach: float
) -> NDArray[np.bool_]:
    ny, nx = image.shape
    good = (points > reach) & (points < (nx - 1 - reach, ny - 1 - reach))
    return np.asarray(good.all(axis=1))


def _around(name: str, centre: NDArray[np.float64], size: int, pair: Comparison) -> Crop:
    ny, nx = pair.shape
    x0, y0 = (round(float(c) - (size - 1) / 2) for c in centre)
    return Crop(name, min(max(x0, 0), nx - size), min(max(y0, 0), ny - size), size)


def _overlap(a: Crop, b: Crop) -> bool:
    return abs(a.x0 - b.x0) < max(a.size, b.size) and abs(a.y0 - b.y0) < max(a.size, b.size)
