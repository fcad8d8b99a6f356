"""Images whose steps are as large as their noise: photon counts, 8-bit and other coarse integers.

Medians of integers are whole steps, and modes computed from them miss the sky by up to a step.
Where the noise is no larger than a step, clipped deviations are 0 too, whatever the sky is. Means
are right then: the sky is the mean of the pixels outside sources, and its noise their root mean
square. Sources are found in a smoothed image, whose values are no longer whole steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import cut_window, spread_windows

__all__ = ["ROUNDING", "Steps", "clip_limit", "dither", "find_steps", "mask_sources"]

ROUNDING = 1 / np.sqrt(12.0)
"""Standard deviation of the error of rounding, in steps."""

_WINDOW, _WINDOWS = 256, 9
"""Side in pixels and number of the windows in which a step is looked for."""
_EQUAL = 0.19
"""Fraction of horizontal neighbours that are equal from which an image is coarse: 0.28 in white
noise of one step, 0.19 in that of 1.5 steps, from which on the usual statistics are right to some
per cent of the noise."""
_SMALLEST = 0.5
"""Percentile of the differences of unequal neighbours that is one step: in white noise of 20 steps,
beyond which steps do no harm, 3 % differ by one."""
_FEW_STEPS, _SHARE, _WHOLE, _ACCURACY = 8.5, 0.1, 0.95, 0.02
"""Of these differences, at least the fraction 0.1 has at most 8.5 steps, and of these 0.95 is a
whole number of steps to 0.02; float32 keeps scaled integers less exactly than integers."""
_PAIRS = 200
"""Smallest number of pairs of neighbours from which a step is known."""
_SKY = 0.4
"""Fraction of the pixels outside sources below which a field is too crowded for a mean of its
sky."""
_WIDTH, _NSIGMA, _PHOTONS = 2.0, 4.0, 2.5
"""Gaussian width in pixels to which the image is smoothed to find sources; threshold above the
noise of the smooth image, in sigma; and number of single steps (photons) in one place that are a
source."""
_GROWTH = 4
"""Pixels by which a source is dilated, so that its wings are masked too."""
_ROUNDS = 12
"""Largest number of rounds of masking; it ends once the sources stay the same."""
_ABSOLUTE_ROUNDS, _THINNING = 15, 7
"""Rounds of reweighting after which least absolute deviations have converged; one of so many pixels
is used: the smooth image holds no more information."""
_RIDGE = 1e-6
"""Relative weight of small slopes, which makes the fit to a single row of pixels solvable."""
_CLIP = 3.1
"""Deviations up to so many steps are noise: three photons in a pixel are no outlier."""


class Steps(NamedTuple):
    """The steps between the values of an image.

    Attributes
    ----------
    size : float
        In image units; 0 where the noise is larger than some 20 steps, or the values have none.
    coarse : bool
        Whether the noise is no larger than some 1.5 steps, and there is sky between the sources.
    """

    size: float
    coarse: bool


def find_steps(data: NDArray[Any], unusable: UnusablePixels) -> Steps:
    """Find the steps between the values of an image.

    Parameters
    ----------
    data, unusable : numpy.ndarray and UnusablePixels, shape (ny, nx)
        As returned by `check_plane`.

    Returns
    -------
    Steps
        Their size, and whether the noise is as small.
    """
    equal = pairs = 0
    found: list[NDArray[np.float64]] = []
    for window in spread_windows((data.shape[0], data.shape[1]), _WINDOW, _WINDOWS):
        y0, y1, x0, x1 = window
        _, bad = cut_window(data, unusable, window)
        # Small steps on a high level are lost in float32.
        values = np.where(bad, 0.0, np.asarray(data[y0:y1, x0:x1], dtype=np.float64))
        differences = np.abs(np.diff(values, axis=1))
        differences = differences[~(bad[:, 1:] | bad[:, :-1])]
        pairs += differences.size
        equal += int((differences == 0).sum())
        found.append(differences[differences > 0])
    unequal = np.concatenate(found)
    if pairs < _PAIRS or not unequal.size:
        return Steps(0.0, False)
    smallest = np.percentile(unequal, _SMALLEST)
    few = unequal[unequal < _FEW_STEPS * smallest] / smallest
    # Images without any noise have equal neighbours too, but no common step.
    whole = np.abs(few - np.round(few)) < _ACCURACY * np.maximum(few, 1)
    ones = few[np.round(few) == 1]
    if few.size < _SHARE * unequal.size or whole.mean() < _WHOLE or not ones.size:
        return Steps(0.0, False)
    one = float(np.median(ones) * smallest)
    return Steps(one, equal >= _EQUAL * pairs and _has_sky(data, unusable, one))


def _has_sky(data: NDArray[Any], unusable: UnusablePixels, step: float) -> bool:
    """Whether there is enough sky between the sources for a mean."""
    windows = spread_windows((data.shape[0], data.shape[1]), _WINDOW, _WINDOWS)
    rest = [int((~unusable[y0:y1, x0:x1]).sum()) for y0, y1, x0, x1 in windows]
    needed = _SKY * sum(rest)
    sky = 0
    for window in windows:
        values, bad = cut_window(data, unusable, window)
        sky += int((~(bad | mask_sources(values, bad, step))).sum())
        del rest[0]
        if sky >= needed or sky + sum(rest) < needed:
            break
    return sky >= needed


def dither(values: NDArray[np.float32], step: float, seed: int) -> NDArray[np.float32]:
    """Spread whole steps evenly, as they were before rounding.

    Medians are then no whole steps. The variance grows by ``step**2 / 12``.

    Parameters
    ----------
    values : numpy.ndarray of float32
        Pixels.
    step : float
        Step between them.
    seed : int
        The same seed adds the same.

    Returns
    -------
    numpy.ndarray of float32
    """
    shifts = np.random.default_rng(seed).random(values.shape, dtype=np.float32)
    shifts -= np.float32(0.5)
    shifts *= np.float32(step)
    shifts += values
    return shifts


def mask_sources(
    values: NDArray[np.float32], bad: NDArray[np.bool_], step: float
) -> NDArray[np.bool_]:
    """Find the sources of a coarse image, as groups of pixels above a tilted sky.

    Parameters
    ----------
    values : numpy.ndarray of float32, shape (ny, nx)
        Pixels, with a sky that is nearly a tilted plane.
    bad : numpy.ndarray of bool, shape (ny, nx)
        True marks unusable pixels.
    step : float
        Step between the values.

    Returns
    -------
    numpy.ndarray of bool
        True on sources.
    """
    good = ~bad
    if not good.any():
        return np.zeros_like(bad)
    rest = np.where(bad, np.float32(0), values - values[good].mean())
    smooth = gaussian_filter(rest, _WIDTH)
    smooth /= np.maximum(gaussian_filter(good.astype(np.float32), _WIDTH), np.float32(0.1))
    photon = _PHOTONS * step / (2 * np.pi * _WIDTH**2)
    # Medians of the smooth image start well below the stars, and least squares then find the mean.
    level, spread = _fit_plane(smooth, good, robust=True), 0.0
    found = np.zeros_like(bad)
    for _ in range(_ROUNDS):
        # The noise of a Gaussian mean of white noise is 1 / sqrt(4 pi width^2) of that of a pixel.
        above = max(_NSIGMA * spread / np.sqrt(4 * np.pi * _WIDTH**2), photon)
        before, found = found, good & (smooth > level + np.float32(above))
        sky = good & ~binary_dilation(found, iterations=_GROWTH)
        if not sky.any() or (before == found).all():
            break
        deviations = rest - level
        near = sky & (np.abs(deviations) <= clip_limit(float(deviations[sky].std()), step))
        if not near.any():
            break
        spread = float(deviations[near].std())
        level = _fit_plane(rest, near)
    result: NDArray[np.bool_] = good & ~sky
    return result


def _fit_plane(
    values: NDArray[np.float32], used: NDArray[np.bool_], *, robust: bool = False
) -> NDArray[np.float32]:
    """Fit a tilted plane to the used pixels, by least squares or by least absolute deviations."""
    y, x = (np.linspace(-1, 1, length, dtype=np.float32) for length in values.shape)
    if robust:
        found = _least_absolute(values, used, y, x)
    else:
        rows, columns = used.sum(axis=1), used.sum(axis=0)
        middle, across, down = rows.sum(), columns @ x, rows @ y
        mixed = y @ (used @ x)
        normal = np.array(
            [[middle, across, down], [across, columns @ x**2, mixed], [down, mixed, rows @ y**2]]
        )
        chosen = np.where(used, values, 0)
        sums = chosen.sum(axis=0, dtype=np.float64)
        right = [sums.sum(), sums @ x, chosen.sum(axis=1, dtype=np.float64) @ y]
        found = np.linalg.solve(normal + _RIDGE * middle * np.eye(3), right)
    level, slope_x, slope_y = found.astype(np.float32)
    result: NDArray[np.float32] = (level + slope_y * y)[:, None] + slope_x * x
    return result


def _least_absolute(
    values: NDArray[np.float32],
    used: NDArray[np.bool_],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Fit a plane by reweighted least squares; coefficients of 1, x, y."""
    row, column = (places[::_THINNING] for places in np.nonzero(used))
    design, data = np.stack([np.ones_like(x[column]), x[column], y[row]]), values[row, column]
    weights = np.ones(data.size, np.float32)
    found = np.zeros(3)
    for _ in range(_ABSOLUTE_ROUNDS):
        normal = (design * weights) @ design.T + _RIDGE * weights.sum() * np.eye(3)
        found = np.linalg.solve(normal, (design * weights) @ data)
        deviations = np.abs(data - found.astype(np.float32) @ design)
        weights = 1 / np.maximum(deviations, 1e-3 * deviations.max() + np.float32(1e-30))
    return found


def clip_limit(scatter: float, step: float, nsigma: float = 4.0) -> float:
    """Give the deviation from which a pixel is an outlier: at least 3.1 steps."""
    return max(nsigma * scatter, _CLIP * step)
