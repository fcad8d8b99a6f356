"""The mean or median of the frames at each pixel, with its variance and the counts of values."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MEDIAN_VARIANCE
from astro_sr_plugin.stacking.rejection import sorted_median

__all__ = ["COMBINATIONS", "Combination", "Combined", "combine_values"]

Combination = Literal["mean", "median"]
COMBINATIONS = ("mean", "median")
"""Names of the ways to combine."""


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
    shape = values.shape[1:]
    share = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    variances = None if variance is None else np.broadcast_to(variance, values.shape)
    total, spread = np.zeros(shape), np.zeros(shape)
    used = np.zeros(shape, np.uint16)
    sums = np.zeros(shape)
    keep = np.isfinite(values) & ~low & ~high
    for k, frame in enumerate(values):
        kept = keep[k]
        np.add(total, share[k], out=total, where=kept)
        np.add(sums, share[k] * frame.astype(np.float64), out=sums, where=kept)
        if variances is not None:
            np.add(spread, share[k] ** 2 * variances[k], out=spread, where=kept)
        used += kept
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(total > 0, sums / total, np.nan)
        if variances is None:
            for k, frame in enumerate(values):
                np.add(spread, share[k] * (frame - mean) ** 2, out=spread, where=keep[k])
            # Right where weights are inverse variances on any scale.
            error = np.where(used > 1, spread / total / (used - 1.0), np.nan)
        else:
            error = np.where(total > 0, spread / total**2, np.nan)
    data = mean
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
