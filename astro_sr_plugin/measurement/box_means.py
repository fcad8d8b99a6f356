"""Means over boxes around some pixels of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["BoxMeans"]


class BoxMeans:
    """The mean over a box around any pixel, as `scipy.ndimage.uniform_filter` gives it at all.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Finite; beyond its edges it is mirrored.
    side : int
        Side of the box in pixels.
    """

    def __init__(self, image: NDArray[np.floating], side: int) -> None:
        before = side // 2
        wider = np.pad(image, (before + 1, side - before - 1), mode="symmetric")
        # Sums over all pixels above and to the left; row by row, that is faster.
        sums = np.cumsum(wider, axis=1, dtype=np.float64)
        for above, row in zip(sums, sums[1:], strict=False):
            row += above
        self._sums, self._side, self._type = sums, side, image.dtype

    def at(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.floating]:
        """Return the means around pixels, in the type of the image."""
        sums, below, right = self._sums, rows + self._side, columns + self._side
        total = sums[below, right] - sums[rows, right] - sums[below, columns] + sums[rows, columns]
        return np.asarray(total / self._side**2, self._type)
