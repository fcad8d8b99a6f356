"""Means over boxes around some pixels of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_means"]

_STRIP = 256
"""Rows that are summed at a time, in memory that fits a processor's cache."""


def box_means(
    image: NDArray[np.floating], side: int, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[Any]:
    """Return the mean over a box around some pixels, as `scipy.ndimage.uniform_filter` does at all.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Finite; beyond its edges it is mirrored.
    side : int
        Side of the box in pixels.
    rows, columns : ndarray of int
        The pixels, of any shape.

    Returns
    -------
    ndarray
        Of their shape and the type of the image.
    """
    before, after = side // 2, side - side // 2 - 1
    means = np.empty(rows.shape, image.dtype)
    buffer = np.empty((_STRIP + side, image.shape[1] + side))
    for first in range(0, len(image), _STRIP):
        here = (rows >= first) & (rows < first + _STRIP)
        if not here.any():
            continue
        low, high = first - before - 1, min(first + _STRIP, len(image)) + after
        beyond = (max(0, -low), max(0, high - len(image)))
        part = image[max(0, low) : high]
        part = np.pad(part, (beyond, (before + 1, after)), mode="symmetric")
        # Sums over all pixels above and to the left; row by row, that is faster.
        sums = np.cumsum(part, axis=1, dtype=np.float64, out=buffer[: len(part)])
        for above, row in zip(sums, sums[1:], strict=False):
            row += above
        y, x = rows[here] - first, columns[here]
        total = sums[y + side, x + side] - sums[y, x + side] - sums[y + side, x] + sums[y, x]
        means[here] = total / side**2
    return means
