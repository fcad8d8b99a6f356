"""Estimates from values of which each has its own error or weight."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["shrink", "weighted_median"]

_SMALLEST = np.finfo(np.float64).tiny


def shrink(value: ArrayLike, error: ArrayLike, expected: float = 0.0) -> NDArray[np.float64]:
    """Draw values to what is expected, by their errors.

    Parameters
    ----------
    value, error : array_like
        The values and their 1-sigma errors.
    expected : float
        What they are drawn to: all the way if they differ from it by less than their error.

    References
    ----------
    James & Stein (1961), positive part.
    """
    excess = np.asarray(value, np.float64) - expected
    with np.errstate(over="ignore"):
        share = np.maximum(0.0, 1 - (error / np.maximum(np.abs(excess), _SMALLEST)) ** 2)
    return np.asarray(expected + excess * share)


def weighted_median(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weighted median along the first axis: one of the values."""
    order = np.argsort(values, axis=0)
    cumulative = np.cumsum(np.take_along_axis(weights, order, 0), axis=0)
    place = (cumulative >= 0.5 * cumulative[-1]).argmax(axis=0)
    chosen = np.take_along_axis(order, place[None], 0)
    result: NDArray[np.float64] = np.take_along_axis(values, chosen, 0)[0]
    return result
