"""The mean or median of the frames at each pixel, with its variance and the counts of values."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MEDIAN_VARIANCE
from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.stacking.rejection import sorted_median

__all__ = ["COMBINATIONS", "Combination", "Combined", "combine_values"]

Combination = Literal["mean", "median"]
COMBINATIONS = ("mean", "median")
"""Names of the ways to combine."""
_VALUES = 200_000
"""Values that are combined at a time: they stay in the cache of a processor."""


class Combined(NamedTuple):
    """What became of the values of each pixel.

    Attributes
    ----------
    data : ndarray of float32, shape (ny, nx)
        Mean or median; NaN where no frame has a value.
    variance : ndarray of float32, shape (ny, nx)
        Its variance, from the variances of the values; NaN where no frame has a value.
    used, low, high : ndarray of uint16, shape (ny, nx)
        Numbers of the values that are in it, and that were rejected as too low and as too high.
    """

    data: NDArray[np.float32]
    variance: NDArray[np.float32]
    used: NDArray[np.uint16]
    low: NDArray[np.uint16]
    high: NDArray[np.uint16]


def combine_values(
    values: NDArray[np.float32],
    low: NDArray[np.bool_],
    high: NDArray[np.bool_],
    *,
    combine: Combination = "mean",
    weights: NDArray[np.floating] | None = None,
    variance: NDArray[np.floating] | None = None,
) -> Combined:
    """Combine the values of the frames at each pixel.

    Parameters
    ----------
    values : ndarray, shape (n, ny, nx)
        Values on one scale; NaN is no value.
    low, high : ndarray of bool, shape (n, ny, nx)
        True marks values rejected as too low or too high.
    combine : {"mean", "median"}
        The mean is weighted; the median is not.
    weights : ndarray, shape (n,), optional
        Weight of each frame, not negative; all the same by default. At every pixel the weights of
        the values that are used are normalised.
    variance : ndarray, broadcastable to the shape of `values`, optional
        Variance of each value. By default that of the mean is estimated from the scatter of the
        values, for weights that are inverse variances; this takes two values at least.

    Returns
    -------
    Combined
        The result.
    """
    n, height, width = values.shape
    share = np.ones(n) if weights is None else np.asarray(weights)
    share = share.astype(np.float32)[:, None, None]
    low, high = (np.broadcast_to(flags, values.shape) for flags in (low, high))
    variances = None if variance is None else np.broadcast_to(variance, values.shape)
    rows = max(1, _VALUES // max(n * width, 1))
    parts = []
    for part in (np.s_[:, first:last] for first, last in iter_rows(height, rows)):
        own = None if variances is None else variances[part]
        parts.append(_combine(values[part], low[part], high[part], combine, share, own))
    return Combined(*(np.concatenate(planes) for planes in zip(*parts, strict=True)))


def _combine(
    values: NDArray[np.float32],
    low: NDArray[np.bool_],
    high: NDArray[np.bool_],
    combine: Combination,
    share: NDArray[np.float32],
    variances: NDArray[np.floating] | None,
) -> Combined:
    """Do the work of `combine_values` for a few rows."""
    keep = np.isfinite(values) & ~low & ~high
    kept = np.where(keep, values, np.float32(0))
    used = keep.sum(axis=0, dtype=np.uint16)
    counted = keep.astype(np.float32)
    total, sums = (np.sum(share * each, axis=0) for each in (counted, kept))
    with np.errstate(invalid="ignore", divide="ignore"):
        data = np.where(total > 0, sums / total, np.float32(np.nan))
        if variances is None:
            spread = np.sum(share * counted * (kept - data) ** 2, axis=0)
            # Right where weights are inverse variances on any scale.
            error = np.where(used > 1, spread / total / (used - 1.0), np.nan)
        else:
            spread = np.sum(share**2 * variances * counted, axis=0)
            error = np.where(total > 0, spread / total**2, np.nan)
    if combine == "median":
        data = sorted_median(np.where(keep, values, np.float32(np.nan)))[0]
        error = np.where(used > 2, error * MEDIAN_VARIANCE, error)
    return Combined(
        data.astype(np.float32),
        error.astype(np.float32),
        used,
        np.sum(low, axis=0, dtype=np.uint16),
        np.sum(high, axis=0, dtype=np.uint16),
    )
