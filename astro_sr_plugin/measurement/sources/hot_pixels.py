"""Hot pixels and tracks of cosmic rays: sharper than the PSF."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_rows

__all__ = ["find_hot_pixels", "mark_hot_pixels"]

Window = Callable[
    [int, int, int, int], tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]
]
"""``(y0, y1, x0, x1) -> (values, invalid, saturated)`` of a part of the plane."""

_LEAST_VALUE = 15.0
"""Value in noise sigma from which a pixel is tested."""
_LEAST_NEIGHBOURS = 0.4
"""Mean of the four neighbours, over that of a star centred on the pixel, below which it is hot."""
_PASSES = 3
"""Passes, each of which takes the ends off a track."""
_MOST_PIXELS = 0.01
"""Fraction of the plane above which the PSF must be wrong: hot pixels are rare."""


def find_hot_pixels(
    window: Window, shape: tuple[int, int], psf: NDArray[np.float32], rows: int = 256
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]] | None:
    """Find pixels that stand out of their neighbours more than the core of a star can.

    No light through the optics is sharper than a star in the middle of a pixel, whose four
    neighbours have a known fraction of its peak. A pixel of 15 sigma is hot if they have less than
    0.4 of that. Tracks are removed from their ends, in three passes.

    Parameters
    ----------
    window : callable
        Gives a part of the plane, in noise sigma.
    shape : tuple of int
        Shape (ny, nx) of the plane.
    psf : ndarray
        PSF on the pixels of the plane, odd sides, sum 1.
    rows : int
        Rows that are searched at a time.

    Returns
    -------
    pixels : ndarray of int, shape (n, 2)
        Row and column of each.
    values : ndarray, shape (n,)
        The mean of their neighbours, in noise sigma.
    excess : ndarray, shape (n,)
        The recorded value above that mean. None instead of the three if no pixel is hot, or so
        many that the PSF must be wrong.

    Notes
    -----
    L.A.Cosmic (van Dokkum 2001, PASP 113, 1420), as in astroscrappy, finds more of the faint
    pixels, but marks pixels of undersampled stars: 50 to 1800 in a field of 150 stars of FWHM 1.2
    to 3 pixels, where this test marks none.
    """
    y, x = (side // 2 for side in psf.shape)
    around = psf[y - 1, x] + psf[y + 1, x] + psf[y, x - 1] + psf[y, x + 1]
    least = _LEAST_NEIGHBOURS * float(around / 4 / psf[y, x])
    found = []
    for first, last in iter_rows(shape[0], rows):
        low, high = max(0, first - _PASSES), min(shape[0], last + _PASSES)
        values, invalid, saturated = window(low, high, 0, shape[1])
        recorded, hot = values.copy(), np.zeros(values.shape, dtype=bool)
        tested = np.flatnonzero((values > _LEAST_VALUE) & ~(invalid | saturated))
        row, column = np.unravel_index(tested, values.shape)
        for _ in range(_PASSES):
            mean = _mean_of_neighbours(values, row, column)
            new = mean < least * values[row, column]
            if not new.any():
                break
            spots = row[new], column[new]
            hot[spots] = True
            values[spots] = mean[new]
            above = values[row, column] > _LEAST_VALUE
            row, column = row[above], column[above]
        hot[: first - low] = hot[last - low :] = False
        row, column = np.unravel_index(np.flatnonzero(hot), values.shape)
        light = values[row, column]
        place = np.stack([row + low, column], axis=1)
        found.append((place, light, recorded[row, column] - light))
    pixels, light, excess = (np.concatenate([part[k] for part in found]) for k in range(3))
    if not 0 < len(pixels) <= _MOST_PIXELS * shape[0] * shape[1]:
        return None
    return pixels, light, excess


def mark_hot_pixels(
    image: NDArray[np.floating],
    psf: NDArray[np.floating],
    invalid: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Mark the pixels of an image in memory that `find_hot_pixels` finds.

    Parameters
    ----------
    image : ndarray
        In noise sigma, the sky at 0; not changed.
    psf : ndarray
        As there.
    invalid : ndarray of bool, optional
        Pixels that are not tested.
    """
    none = np.zeros(image.shape, dtype=bool)
    left_out = none if invalid is None else invalid

    def window(
        y0: int, y1: int, x0: int, x1: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        part = np.s_[y0:y1, x0:x1]
        return image[part].astype(np.float32), left_out[part], none[part]

    found = find_hot_pixels(window, image.shape, psf.astype(np.float32))
    marked = np.zeros(image.shape, dtype=bool)
    if found is not None:
        marked[tuple(found[0].T)] = True
    return marked


def _mean_of_neighbours(
    values: NDArray[np.float32], row: NDArray[np.int64], column: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Mean of the four neighbours of pixels; beyond the edge a pixel is its own neighbour."""
    last_row, last_column = values.shape[0] - 1, values.shape[1] - 1
    mean: NDArray[np.float32] = values[np.maximum(row - 1, 0), column]
    mean /= 4
    mean += values[np.minimum(row + 1, last_row), column] / 4
    mean += values[row, np.maximum(column - 1, 0)] / 4
    mean += values[row, np.minimum(column + 1, last_column)] / 4
    return mean
