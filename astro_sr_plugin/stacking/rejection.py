"""Rejection of outliers among the values that the frames have at one pixel.

All methods but ``noise`` keep a run of the sorted values of a pixel, so that values are sorted
once, and means and scatters of shorter runs follow from running sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from astro_sr_plugin.constants import MAD_TO_SIGMA, MEDIAN_VARIANCE
from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.exceptions import InputError, check_choice

__all__ = [
    "DEFAULT_LIMITS",
    "METHODS",
    "Method",
    "Tolerance",
    "check_limits",
    "hysteresis",
    "reject",
    "sorted_median",
]

Method = Literal[
    "noise", "sigma", "winsorized", "mad", "linearfit", "gesd", "percentile", "minmax", "none"
]
Tolerance = Callable[[int, NDArray[np.intp]], NDArray[np.float32]]
"""Deviation that is allowed in a frame, by its number, at pixels, by their flat indices."""
METHODS: tuple[Method, ...] = get_args(Method)
"""Names of the methods."""

DEFAULT_LIMITS: dict[str, tuple[float, float]] = {
    "noise": (4.0, 4.0),
    "sigma": (3.0, 3.0),
    "winsorized": (3.0, 3.0),
    "mad": (3.5, 3.5),
    "linearfit": (4.0, 4.0),
    "gesd": (0.05, 0.3),
    "percentile": (0.2, 0.1),
    "minmax": (1.0, 1.0),
    "none": (0.0, 0.0),
}
"""Limits below and above. In standard deviations, but: gesd, level of significance and largest
fraction of the values that is rejected; percentile, fractions of the median; minmax, numbers of
values."""

_FEWEST = 3
"""Number of values below which only `noise` rejects."""
_KEPT = 4
"""Number of values at which Siril, too, stops to clip by linear fit."""
_WINSOR = 1.5
"""Standard deviations beyond which values are replaced by the limit itself, and"""
_WINSOR_SIGMA = 1.134
"""the standard deviation of normal values over that after it (Huber 1981, Robust Statistics)."""
_WINSOR_CONVERGED = 5e-4
"""Relative change of the standard deviation at which the replacement ends."""
_GROWTH_LIMIT = 0.5
"""Limit, over that of rejection, beyond which neighbours of a rejected pixel are rejected too."""
_MOST_ROUNDS = 20
"""Rounds after which clipping ends at last; it takes 2 to 6."""
_MAD_ROUNDS = 5
"""The same where a round sorts again."""
_VALUES = 200_000
"""Values that are sorted at a time: they stay in the cache of a processor."""


@dataclass(frozen=True, eq=False)
class _Sorted:
    """The values of each pixel in ascending order, and the run of them that is kept so far."""

    values: NDArray[np.float32]
    first: NDArray[np.intp]
    last: NDArray[np.intp]

    @property
    def count(self) -> NDArray[np.intp]:
        return self.last - self.first

    def at(self, index: NDArray[np.intp]) -> NDArray[np.float32]:
        clipped = np.clip(index, 0, len(self.values) - 1)
        found: NDArray[np.float32] = np.take_along_axis(self.values, clipped[None], 0)[0]
        return found

    def median(self) -> NDArray[np.float32]:
        half = self.first + (self.count - 1) // 2
        middle: NDArray[np.float32] = self.at(half) + self.at(self.first + self.count // 2)
        middle /= 2
        return middle

    def without(
        self, low: NDArray[np.floating], high: NDArray[np.floating], fewest: int
    ) -> tuple[_Sorted, bool]:
        """Take off what lies below and above limits, unless fewer than `fewest` would be left."""
        with np.errstate(invalid="ignore"):
            first = np.sum(self.values < low, axis=0)
            last = np.sum(self.values <= high, axis=0)
        first, last = np.maximum(first, self.first), np.minimum(last, self.last)
        allowed = last - first >= np.minimum(fewest, self.count)
        first, last = np.where(allowed, first, self.first), np.where(allowed, last, self.last)
        changed = bool(np.any(first != self.first) or np.any(last != self.last))
        return _Sorted(self.values, first, last), changed


def check_limits(method: str, limits: tuple[float, float] | None) -> tuple[float, float]:
    """Return the limits of a method, its own by default.

    Raises
    ------
    InputError
        If the method is unknown, or the limits are no two numbers that it can use.
    """
    check_choice("rejection", method, METHODS)
    if limits is None:
        return DEFAULT_LIMITS[method]
    low, high = (float(value) for value in limits)
    most = 1.0 if method in ("gesd", "percentile") else np.inf
    if not (0 <= low <= most and 0 <= high <= most):
        msg = f"limits={low:g},{high:g} cannot be used by rejection={method!r}; allowed are numbers"
        raise InputError(f"{msg} from 0" + (" to 1" if most == 1 else ""))
    return low, high


def reject(
    values: NDArray[np.float32],
    method: Method = "noise",
    limits: tuple[float, float] | None = None,
    *,
    sigma: NDArray[np.float32] | None = None,
    tolerance: Tolerance | None = None,
    median: tuple[NDArray[np.float32], NDArray[np.intp]] | None = None,
    grow: int = 0,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the values of each pixel that are too low or too high.

    Parameters
    ----------
    values : ndarray, shape (n, ny, nx)
        Values of the frames on one scale; NaN is no value.
    method : str
        One of `METHODS`. ``"noise"`` compares with the median of the values, in the known noise of
        each; the others estimate the scatter from the values themselves.
    limits : tuple of float, optional
        Below and above; see `DEFAULT_LIMITS`.
    sigma : ndarray, broadcastable to the shape of `values`
        Standard deviation of the noise of each value, for ``"noise"``.
    tolerance : callable, optional
        Takes the number of a frame and flat indices of pixels, and gives the deviation that is
        allowed there beside the noise, for ``"noise"``.
    median : tuple of ndarray, optional
        Of `sorted_median`, where it is known.
    grow : int
        Pixels by which what ``"noise"`` rejects in a frame grows over neighbours that deviate in
        the same direction, by half of the limits at least: the faint sides of trails.

    Returns
    -------
    low, high : ndarray of bool, shape (n, ny, nx)
        True marks rejected values. Of no pixel all values are rejected.

    Notes
    -----
    ``sigma`` is iterated about the median; ``winsorized`` replaces values beyond 1.5 sigma to
    estimate the scatter; ``linearfit`` fits a line to the sorted values; ``gesd`` is the
    generalised extreme studentised deviate test (Rosner 1983, Technometrics 25, 165).
    """
    low, high = check_limits(method, limits)
    if method == "none":
        nothing = np.zeros(values.shape, bool)
        return nothing, nothing
    if method == "noise":
        if sigma is None:
            msg = "rejection='noise' needs sigma, the noise of the values"
            raise InputError(msg)
        median = median or sorted_median(values)
        return _reject_by_noise(values, low, high, sigma, tolerance, median, grow)
    ordered = np.sort(values, axis=0)
    count = np.sum(np.isfinite(ordered), axis=0)
    run = _Sorted(ordered, np.zeros_like(count), count)
    if method == "sigma":
        run = _clip_sigma(run, low, high)
    elif method == "winsorized":
        run = _clip_winsorized(run, low, high)
    elif method == "mad":
        run = _clip_mad(run, low, high)
    elif method == "linearfit":
        run = _clip_line(run, low, high)
    elif method == "gesd":
        run = _test_deviates(run, low, high)
    elif method == "percentile":
        centre = run.median()
        reach = np.abs(centre)
        run = run.without(centre - low * reach, centre + high * reach, 1)[0]
    else:
        run = _drop_extremes(run, round(low), round(high))
    with np.errstate(invalid="ignore"):
        return values < run.at(run.first), values > run.at(run.last - 1)


def sorted_median(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Return the median and the number of the values of each pixel; NaN is no value.

    Parameters
    ----------
    values : ndarray, shape (n, ny, nx)
        The values.

    Returns
    -------
    median : ndarray, shape (ny, nx)
        NaN where there is no value.
    count : ndarray of int, shape (ny, nx)
        Number of values.
    """
    n, height, width = values.shape
    median = np.empty((height, width), np.float32)
    count = np.full((height, width), n)
    for first, last in iter_rows(height, max(1, _VALUES // max(n * width, 1))):
        ordered = np.sort(values[:, first:last], axis=0)
        median[first:last] = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
        # What is no value is last.
        fewer = ~np.isfinite(ordered[-1])
        if fewer.any():
            some = ordered[:, fewer]
            number = np.sum(np.isfinite(some), axis=0)
            count[first:last][fewer] = number
            median[first:last][fewer] = _Sorted(some, np.zeros_like(number), number).median()
    return median, count


def _reject_by_noise(
    values: NDArray[np.float32],
    low: float,
    high: float,
    sigma: NDArray[np.float32],
    tolerance: Tolerance | None,
    median: tuple[NDArray[np.float32], NDArray[np.intp]],
    grow: int,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    centre, count = median
    two = count == 2
    if two.any():
        centre = centre.copy()
        # Of two values that disagree the higher one is wrong: stray light is never negative.
        centre[two] = np.fmin.reduce(values[:, two], axis=0)
    factor = np.sqrt(1 + MEDIAN_VARIANCE / np.maximum(count, 1)).astype(np.float32)
    too_low, too_high = np.zeros(values.shape, bool), np.zeros(values.shape, bool)
    sigmas = np.broadcast_to(sigma, values.shape)
    for k, frame in enumerate(values):
        allowed = None if tolerance is None else partial(tolerance, k)
        marked = (low, too_low[k]), (high, too_high[k])
        _mark_outliers(
            (frame - centre).ravel(), (sigmas[k] * factor).ravel(), allowed, marked, grow
        )
    lonely = (count > 0) & (np.sum(too_low | too_high, axis=0, dtype=np.uint16) == count)
    if lonely.any():
        distance = np.abs(values[:, lonely] - centre[lonely])
        kept = distance <= np.fmin.reduce(distance, axis=0)
        too_low[:, lonely] &= ~kept
        too_high[:, lonely] &= ~kept
    return too_low, too_high


def _mark_outliers(
    deviation: NDArray[np.float32],
    unit: NDArray[np.float32],
    allowed: Callable[[NDArray[np.intp]], NDArray[np.float32]] | None,
    marked: tuple[tuple[float, NDArray[np.bool_]], tuple[float, NDArray[np.bool_]]],
    grow: int,
) -> None:
    """Mark values of a frame beyond the limits below and above, in units of their noise."""

    def above(index: NDArray[np.intp]) -> NDArray[np.float32]:
        own = deviation[index]
        size = np.abs(own)
        if allowed is not None:
            size = np.maximum(size - allowed(index), 0)
        return np.copysign(size / unit[index], own)

    def below(index: NDArray[np.intp]) -> NDArray[np.float32]:
        return -above(index)

    # Few pixels deviate: all else is done for these alone.
    least = np.float32(min(limit for limit, _ in marked))
    found = np.flatnonzero(np.abs(deviation) > least * unit)
    for (limit, target), sizes in zip(marked, (below, above), strict=True):
        seeds = found[sizes(found) > limit]
        target.flat[seeds] = True
        _grow(target, seeds, sizes, _GROWTH_LIMIT * limit, grow)


def hysteresis(size: NDArray[np.floating], limit: float, grow: int) -> NDArray[np.bool_]:
    """Mark what exceeds a limit, and its neighbours that exceed half of it.

    Parameters
    ----------
    size : ndarray, shape (ny, nx)
        Deviations in standard deviations.
    limit : float
        The limit.
    grow : int
        Largest distance of such neighbours in pixels.
    """
    with np.errstate(invalid="ignore"):
        found: NDArray[np.bool_] = size > limit
    _grow(found, np.flatnonzero(found), size.ravel().take, _GROWTH_LIMIT * limit, grow)
    return found


def _grow(
    marked: NDArray[np.bool_],
    edge: NDArray[np.intp],
    sizes: Callable[[NDArray[np.intp]], NDArray[np.floating]],
    least: float,
    grow: int,
) -> None:
    """Mark neighbours of marked pixels, of flat indices `edge`, that exceed a size; in rounds."""
    (ny, nx), flat = marked.shape, marked.reshape(-1)
    steps = np.delete(np.arange(9), 4)
    for _ in range(grow):
        y, x = (edge // nx)[:, None] + steps // 3 - 1, (edge % nx)[:, None] + steps % 3 - 1
        near = np.unique((y * nx + x)[(y >= 0) & (y < ny) & (x >= 0) & (x < nx)])
        near = near[~flat[near]]
        edge = near[sizes(near) > least]
        flat[edge] = True


def _sums(run: _Sorted) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Middle of the values, and running sums of the differences from it and of their squares."""
    middle = run.median()
    steps = np.nan_to_num((run.values - middle).astype(np.float64))
    start = np.zeros((1, *middle.shape))
    sums = np.concatenate([start, np.cumsum(steps, axis=0)])
    squares = np.concatenate([start, np.cumsum(steps**2, axis=0)])
    return middle, sums, squares


def _between(sums: NDArray[np.float64], run: _Sorted) -> NDArray[np.float64]:
    ends = np.take_along_axis(sums, np.stack([run.first, run.last]), 0)
    difference: NDArray[np.float64] = ends[1] - ends[0]
    return difference


def _moments(
    sums: NDArray[np.float64], squares: NDArray[np.float64], run: _Sorted
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of the differences from the middle, and standard deviation, of the values kept."""
    n = np.maximum(run.count, 1)
    mean = _between(sums, run) / n
    variance = (_between(squares, run) - n * mean**2) / np.maximum(n - 1, 1)
    return mean, np.sqrt(np.maximum(variance, 0))


def _clip_sigma(run: _Sorted, low: float, high: float) -> _Sorted:
    _, sums, squares = _sums(run)
    for _ in range(_MOST_ROUNDS):
        centre = run.median()
        scatter = _moments(sums, squares, run)[1].astype(np.float32)
        run, changed = run.without(centre - low * scatter, centre + high * scatter, _FEWEST)
        if not changed:
            break
    return run


def _clip_winsorized(run: _Sorted, low: float, high: float) -> _Sorted:
    shape = run.first.shape
    flat = _Sorted(run.values.reshape(len(run.values), 1, -1), *(_flat(run.first, run.last)))
    first, last = flat.first[0].copy(), flat.last[0].copy()
    todo = np.arange(first.size)
    for _ in range(_MOST_ROUNDS):
        part = _Sorted(flat.values[:, :, todo], first[None, todo], last[None, todo])
        centre = part.median()
        scatter = _winsorized_sigma(part, centre)
        clipped, changed = part.without(centre - low * scatter, centre + high * scatter, _FEWEST)
        first[todo], last[todo] = clipped.first[0], clipped.last[0]
        todo = todo[((clipped.first != part.first) | (clipped.last != part.last))[0]]
        if not changed:
            break
    return _Sorted(run.values, first.reshape(shape), last.reshape(shape))


def _flat(*arrays: NDArray[np.intp]) -> tuple[NDArray[np.intp], ...]:
    return tuple(array.reshape(1, -1) for array in arrays)


def _winsorized_sigma(run: _Sorted, centre: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scatter after the replacement of the values beyond 1.5 sigma, iterated.

    The arrays have shape (n, 1, pixels); pixels whose scatter has converged leave the iteration.
    """
    middle, sums, squares = _sums(run)
    scatter = _moments(sums, squares, run)[1]
    todo = np.arange(scatter.size)
    for _ in range(_MOST_ROUNDS):
        part = _Sorted(run.values[:, :, todo], run.first[:, todo], run.last[:, todo])
        own, start = scatter[:, todo], middle[:, todo]
        ends = (centre[:, todo] - _WINSOR * own, centre[:, todo] + _WINSOR * own)
        inner = part.without(ends[0].astype(np.float32), ends[1].astype(np.float32), 0)[0]
        below, above = inner.first - part.first, part.last - inner.last
        low, high = ends[0] - start, ends[1] - start
        n = np.maximum(part.count, 1)
        mean = (_between(sums[:, :, todo], inner) + below * low + above * high) / n
        square = _between(squares[:, :, todo], inner) + below * low**2 + above * high**2
        variance = (square - n * mean**2) / np.maximum(n - 1, 1)
        new = _WINSOR_SIGMA * np.sqrt(np.maximum(variance, 0))
        scatter[:, todo] = new
        todo = todo[(np.abs(new - own) > _WINSOR_CONVERGED * own)[0]]
        if not todo.size:
            break
    return scatter.astype(np.float32)


def _clip_mad(run: _Sorted, low: float, high: float) -> _Sorted:
    place = np.arange(len(run.values))[:, None, None]
    for _ in range(_MAD_ROUNDS):
        centre = run.median()
        kept = (place >= run.first) & (place < run.last)
        distances = np.where(kept, np.abs(run.values - centre), np.float32(np.nan))
        scatter = np.float32(MAD_TO_SIGMA) * sorted_median(distances)[0]
        run, changed = run.without(centre - low * scatter, centre + high * scatter, _FEWEST)
        if not changed:
            break
    return run


def _clip_line(run: _Sorted, low: float, high: float) -> _Sorted:
    """Take values off that are far from the line through the sorted values of a pixel."""
    place = np.arange(len(run.values))[:, None, None]
    for _ in range(_MOST_ROUNDS):
        kept = (place >= run.first) & (place < run.last)
        n = np.maximum(run.count, 1)
        rank = place - run.first - (n - 1) / 2
        mean = np.where(kept, run.values, 0).sum(0, dtype=np.float64) / n
        product = np.where(kept, rank * (run.values - mean), 0).sum(0)
        slope = product / np.maximum((n * (n**2 - 1)) / 12, 1e-30)
        residual = run.values - (mean + slope * rank)
        scatter = np.where(kept, np.abs(residual), 0).sum(0) / n
        with np.errstate(invalid="ignore"):
            good = kept & (residual >= -low * scatter) & (residual <= high * scatter)
        first = np.where(good.any(0), good.argmax(0), run.first)
        last = np.where(good.any(0), len(place) - good[::-1].argmax(0), run.last)
        enough = last - first >= np.minimum(_KEPT, run.count)
        first, last = np.where(enough, first, run.first), np.where(enough, last, run.last)
        unchanged = np.all(first == run.first) and np.all(last == run.last)
        run = _Sorted(run.values, first, last)
        if unchanged:
            break
    return run


def _test_deviates(run: _Sorted, significance: float, fraction: float) -> _Sorted:
    """Take off the largest number of extremes of which the last one is significant."""
    _, sums, squares = _sums(run)
    middle = run.median()
    numbers = np.arange(len(run.values) + 1)
    most = np.maximum(0, np.floor(fraction * run.count)).astype(int)
    found, current = run, run
    for step in range(1, int(most.max(initial=0)) + 1):
        mean, scatter = _moments(sums, squares, current)
        lowest = middle + mean - current.at(current.first)
        highest = current.at(current.last - 1) - middle - mean
        low_end = lowest > highest
        deviate = np.maximum(lowest, highest) / np.maximum(scatter, np.finfo(float).tiny)
        left = np.maximum(numbers - step + 1, 3)
        quantile = stdtrit(left - 2, 1 - significance / (2 * left))
        critical = (left - 1) * quantile / np.sqrt((left - 2 + quantile**2) * left)
        tested = (step <= most) & (current.count > _FEWEST)
        first = current.first + (tested & low_end)
        last = current.last - (tested & ~low_end)
        current = _Sorted(run.values, first, last)
        significant = tested & (deviate > critical[run.count])
        found = _Sorted(
            run.values,
            np.where(significant, current.first, found.first),
            np.where(significant, current.last, found.last),
        )
    return found


def _drop_extremes(run: _Sorted, low: int, high: int) -> _Sorted:
    enough = run.count > low + high
    return _Sorted(run.values, run.first + low * enough, run.last - high * enough)
