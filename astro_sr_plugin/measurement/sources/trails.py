"""Long straight lines of light: trails of satellites and aeroplanes.

Lines are looked for by the Hough transform of scikit-image in a reduced image, and followed in the
image itself. There, medians along a line tell it from a row of stars.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import Window, cut_window

__all__ = ["Trail", "find_trails", "sample_beside"]

_SIDE = 512
"""Largest side in pixels of the reduced image that lines are looked for in."""
_BLOCK = 16
"""Side in pixels of the reduced image of the blocks whose median is the local sky."""
_NSIGMA = 3.0
"""Threshold of that image in its own noise sigma."""
_ANGLES = 360
"""Number of directions: half a degree apart, so that the ends of a line are off by about a pixel of
the reduced image."""
_CANDIDATES = 6
"""Largest number of lines that are followed."""
_LEAST_VOTES = 0.5
"""Part of a line that lies above the threshold from which it is followed; of its length, or of
`_SHORTEST`."""
_SHORTEST = 0.5
"""Length of the shortest trail over the shorter side of the image."""
_SECTION, _STARS = 32, 8
"""Smallest length in pixels of the sections of a line whose median is taken, and their length in
FWHM, so that a star fills no half of one."""
_FEWEST_SECTIONS = 6
"""Smallest number of sections: a shorter line may be a galaxy, or a row of stars of a cluster."""
_SIGNIFICANT = 5.0
"""Light of a section over its own error from which it counts."""
_BESIDE = 2.5
"""Distance in FWHM of a star from the middle of a line to its sides. The networks take no wider
line for stars."""
_REACH = 12.0
"""Distance in FWHM out to which the light beside a line is compared with that of the line."""
_FOUND = 0.75
"""Fraction of the sections of a trail that count."""
_SPIKE = 6.0
"""Ratio of the light of the brightest fifth of the sections to that of the faintest fifth above
which a line is the spike of a star: its light falls outwards with the square of the distance."""
_MEDIAN_ERROR = 1.25
"""Error of a median over that of a mean, in normal noise."""


@dataclass(frozen=True)
class Trail:
    """A long straight line of light.

    Attributes
    ----------
    x0, y0, x1, y1 : float
        Its ends in pixels.
    peak : float
        Median light along its middle, in the unit of the plane.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    peak: float

    @property
    def length(self) -> float:
        """Length in pixels."""
        return float(np.hypot(self.x1 - self.x0, self.y1 - self.y0))

    def distance(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far places are from it, in pixels."""
        across_x, across_y = (self.x1 - self.x0) / self.length, (self.y1 - self.y0) / self.length
        along = (x - self.x0) * across_x + (y - self.y0) * across_y
        beyond = np.maximum(np.maximum(-along, along - self.length), 0)
        aside = (y - self.y0) * across_x - (x - self.x0) * across_y
        result: NDArray[np.float64] = np.hypot(aside, beyond)
        return result

    def lies_on(self, other: Trail) -> bool:
        """Whether both are one: both ends of this one lie near to the line of the other."""
        along = np.array([other.x1 - other.x0, other.y1 - other.y0]) / other.length
        ends = np.array([[self.x0, self.y0], [self.x1, self.y1]]) - (other.x0, other.y0)
        return bool(np.all(np.abs(ends @ (-along[1], along[0])) < _SECTION / 2))


def find_trails(
    data: Any, unusable: UnusablePixels, background: Background | None, fwhm: float
) -> tuple[Trail, ...]:
    """Find the long, thin, straight lines of a plane.

    Parameters
    ----------
    data, unusable : numpy.ndarray and UnusablePixels, shape (ny, nx)
        As returned by `check_plane`.
    background : Background or None
        Of the plane; None where it is subtracted.
    fwhm : float
        Width of a star in pixels.

    Returns
    -------
    tuple of Trail
        Of light that varies little along them, over 200 pixels and half of the shorter side of the
        image at least. Diffraction spikes, whose light falls outwards, are none; columns of a
        detector that are too bright may be some.
    """
    ny, nx = unusable.shape
    if min(ny, nx) < _FEWEST_SECTIONS * _SECTION:
        return ()
    factor = min(-(-max(ny, nx) // _SIDE), min(ny, nx) // _BLOCK)
    section = max(_SECTION, round(_STARS * fwhm))
    trails: list[Trail] = []
    above = _above_the_sky(data, unusable, background, factor)
    for (x0, y0), (x1, y1) in _candidates(above):
        middle = (factor - 1) / 2
        ends = np.array([[x0, y0], [x1, y1]]) * factor + middle
        line = _Line(data, unusable, ends[0], ends[1], 2.0 * factor + _REACH * fwhm, section)
        trail = _follow(line, fwhm, _SHORTEST * min(ny, nx))
        if trail is not None and not any(trail.lies_on(other) for other in trails):
            trails.append(trail)
    return tuple(trails)


def _above_the_sky(
    data: Any, unusable: UnusablePixels, background: Background | None, factor: int
) -> NDArray[np.bool_]:
    """Return the pixels of the reduced image that are brighter than what surrounds them."""
    ny, nx = (length // factor for length in unusable.shape)
    reduced = np.zeros((ny, nx), dtype=np.float32)
    rows = max(1, 256 // factor)
    for first in range(0, ny, rows):
        last = min(first + rows, ny)
        window = Window(first * factor, last * factor, 0, nx * factor)
        values, bad = cut_window(data, unusable, window)
        if background is not None:
            values -= background.level_at(*window)
        values[bad] = 0
        # Whole rows first: sums of a few values each are slow.
        sums = values.reshape(last - first, factor, nx * factor).sum(axis=1)
        reduced[first:last] = sum(sums[:, k::factor] for k in range(factor))
    reduced /= np.float32(factor**2)
    reduced -= _local_level(reduced)
    spread = MAD_TO_SIGMA * np.median(np.abs(reduced))
    found: NDArray[np.bool_] = reduced > _NSIGMA * spread
    return found


def _local_level(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the median of the block of each pixel."""
    ny, nx = image.shape
    padded = np.pad(image, ((0, -ny % _BLOCK), (0, -nx % _BLOCK)), mode="reflect")
    blocks = padded.reshape(padded.shape[0] // _BLOCK, _BLOCK, padded.shape[1] // _BLOCK, _BLOCK)
    medians = np.median(blocks, axis=(1, 3))
    level: NDArray[np.float32] = medians.repeat(_BLOCK, 0).repeat(_BLOCK, 1)[:ny, :nx]
    return level


def _candidates(above: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Yield the ends (x, y) of the lines through the image on which most pixels are marked."""
    # Loading it takes 0.2 seconds.
    from skimage.transform import hough_line, hough_line_peaks

    ny, nx = above.shape
    theta = np.linspace(-np.pi / 2, np.pi / 2, _ANGLES, endpoint=False)
    votes, angles, distances = hough_line(above, theta)
    least = _LEAST_VOTES * _SHORTEST * min(ny, nx)
    if votes.max() <= least:
        return
    for _, angle, distance in zip(
        *hough_line_peaks(votes, angles, distances, threshold=least, num_peaks=_CANDIDATES),
        strict=True,
    ):
        yield _ends(angle, distance, ny, nx)


def _ends(angle: float, distance: float, ny: int, nx: int) -> NDArray[np.float64]:
    """Return where the line ``x cos(angle) + y sin(angle) = distance`` crosses the edges."""
    normal = np.array([np.cos(angle), np.sin(angle)])
    along = np.array([-normal[1], normal[0]])
    foot = distance * normal
    limits = np.array([nx - 1.0, ny - 1.0])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.stack([(0 - foot) / along, (limits - foot) / along])
    crossings[:, np.abs(along) < 1e-9] = [[-np.inf], [np.inf]]
    first, last = crossings.min(axis=0).max(), crossings.max(axis=0).min()
    return np.stack([foot + first * along, foot + last * along])


class _Line:
    """Pixels beside a line, straightened section by section.

    Parameters
    ----------
    data, unusable : numpy.ndarray and UnusablePixels
        The plane.
    start, end : ndarray, shape (2,)
        Ends (x, y) of the line in pixels.
    reach : float
        Largest distance from the line, in pixels.
    section : int
        Length of a section in pixels.
    """

    def __init__(
        self,
        data: Any,
        unusable: UnusablePixels,
        start: NDArray[np.float64],
        end: NDArray[np.float64],
        reach: float,
        section: int,
    ) -> None:
        self.start, self.section = start, section
        self.along = (end - start) / np.hypot(*(end - start))
        self.normal = np.array([-self.along[1], self.along[0]])
        self.offsets = np.arange(-np.ceil(reach), np.ceil(reach) + 1)
        sections = int(np.hypot(*(end - start))) // self.section
        found = [self._section(data, unusable, k) for k in range(sections)]
        self.light = np.array([light for light, _ in found])
        self.error = np.array([error for _, error in found])

    def _section(
        self, data: Any, unusable: UnusablePixels, number: int
    ) -> tuple[NDArray[np.float64], float]:
        """Return the median along a section at each offset, and the error of it."""
        distance = self.section * number + np.arange(self.section, dtype=np.float64)
        values = sample_beside(
            data, unusable, self.start, self.along, distance, self.offsets, order=1
        )
        unknown = np.isnan(values)
        few = unknown.sum(axis=0) > self.section // 2
        if few.all():
            return np.full(len(self.offsets), np.nan), np.inf
        values[:, few] = 0.0
        # The median that knows of NaN is far slower.
        median = np.nanmedian if unknown.any() else np.median
        light = median(values, axis=0)
        spread = median(np.abs(values - light)[:, ~few])
        light[few] = np.nan
        return light, float(_MEDIAN_ERROR * MAD_TO_SIGMA * spread / np.sqrt(self.section))

    def point(self, section: float, offset: float) -> NDArray[np.float64]:
        """Return the place (x, y) at an offset from the start of a section."""
        place: NDArray[np.float64] = self.start + self.section * section * self.along
        return place + offset * self.normal


def sample_beside(
    data: Any,
    unusable: UnusablePixels,
    start: NDArray[np.float64],
    along: NDArray[np.float64],
    distances: NDArray[np.float64],
    offsets: NDArray[np.float64],
    *,
    order: int,
) -> NDArray[np.float64]:
    """Interpolate the pixels beside a line.

    Parameters
    ----------
    data, unusable : numpy.ndarray and UnusablePixels
        The plane; only what is near to the points is read.
    start, along : ndarray, shape (2,)
        A point (x, y) of the line, and its direction, of length 1.
    distances, offsets : ndarray, shapes (m,) and (n,)
        Distances along the line from `start`, and to its side, in pixels.
    order : int
        Of the spline.

    Returns
    -------
    ndarray of float64, shape (m, n)
        NaN where a pixel is unusable or outside the plane.
    """
    normal = np.array([-along[1], along[0]])
    points = start + distances[:, None, None] * along + offsets[:, None] * normal
    x, y = points[..., 0], points[..., 1]
    ny, nx = unusable.shape
    window = Window(
        int(np.clip(np.floor(y.min()) - order, 0, ny - 1)),
        int(np.clip(np.ceil(y.max()) + order + 1, 1, ny)),
        int(np.clip(np.floor(x.min()) - order, 0, nx - 1)),
        int(np.clip(np.ceil(x.max()) + order + 1, 1, nx)),
    )
    values, bad = cut_window(data, unusable, window)
    values[bad] = 0
    places = np.stack([y - window.y0, x - window.x0])
    found = map_coordinates(values.astype(np.float64), places, order=order, mode="nearest")
    near = map_coordinates(bad.astype(np.float32), places, order=1, mode="constant", cval=1)
    found[near > 0] = np.nan
    return np.asarray(found)


def _follow(line: _Line, fwhm: float, least_length: float) -> Trail | None:
    """Return the trail on a line, or None if there is none."""
    if len(line.error) < _FEWEST_SECTIONS:
        return None
    excess = _excess(line, fwhm)
    # In crowded fields and nebulae other places beside the line scatter by more than the noise.
    scatter = MAD_TO_SIGMA * np.nanmedian(np.abs(excess - np.nanmedian(excess)))
    error = np.maximum(line.error, scatter)
    # Constant areas, such as the black sky of a picture, have no error.
    error[error == 0] = np.inf
    significance = np.nan_to_num(excess / error[:, None])
    best = significance.argmax(axis=1)
    clear = np.flatnonzero(significance.max(axis=1) > _SIGNIFICANT)
    if len(clear) < _FOUND * _FEWEST_SECTIONS:
        return None
    slope, offset = _median_line(clear, line.offsets[best[clear]])
    place = offset + slope * np.arange(len(best))
    near = np.abs(line.offsets - place[:, None]) <= max(1.0, fwhm / 2)
    on = np.where(near, significance, 0).max(axis=1) > _SIGNIFICANT
    first, last = _longest(on)
    if (last - first) * line.section < least_length or last - first < _FEWEST_SECTIONS:
        return None
    light = np.where(near, np.nan_to_num(excess), 0).max(axis=1)[first:last]
    faint, peak, bright = np.percentile(light[on[first:last]], (20, 50, 80))
    if bright > _SPIKE * faint:
        return None
    (x0, y0), (x1, y1) = (line.point(k, offset + slope * k) for k in (first, last))
    return Trail(float(x0), float(y0), float(x1), float(y1), float(peak))


def _median_line(x: NDArray[np.int64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and offset of the line of Theil and Sen; loading that of SciPy takes 0.4 seconds."""
    first, second = np.triu_indices(len(x), 1)
    slope = float(np.median((y[second] - y[first]) / (x[second] - x[first])))
    return slope, float(np.median(y) - slope * np.median(x))


def _excess(line: _Line, fwhm: float) -> NDArray[np.float64]:
    """Return how far the light of a line exceeds that of both its sides."""
    beside = round(_BESIDE * fwhm) + 1
    padded = np.pad(line.light, ((0, 0), (beside, beside)), constant_values=np.nan)
    sides = np.maximum(padded[:, : -2 * beside], padded[:, 2 * beside :])
    excess: NDArray[np.float64] = line.light - sides
    return excess


def _longest(on: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the first and the last section, exclusive, of the longest part that mostly counts."""
    total = np.concatenate([[0], np.cumsum(on)])
    best = (0, 0)
    starts = np.flatnonzero(on)
    for first in starts:
        lasts = starts[starts >= first] + 1
        enough = lasts[total[lasts] - total[first] >= _FOUND * (lasts - first)]
        if enough[-1] - first > best[1] - best[0]:
            best = (int(first), int(enough[-1]))
    return best
