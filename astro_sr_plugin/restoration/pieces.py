"""The pieces of a plane that a result is held against its input in, and windows in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.fft import next_fast_len
from scipy.ndimage import find_objects, label

from astro_sr_plugin.measurement.psf.reconvolution import REACH
from astro_sr_plugin.models.spec import Conditions

__all__ = ["CELL", "Piece", "split", "windows_around"]

CELL = 64
"""Side in input pixels of the cells of a piece that windows are made of."""
_PIECE, _LEAST_PIECE = 896, 64
"""Side in input pixels of the pieces that are checked at a time, without their margin; and the
least side where the PSF changes over the field."""

Piece = tuple[int, int, int, int]
"""First and last row, first and last column of a part of the input."""


def split(shape: tuple[int, int], conditions: Conditions) -> Iterator[Piece]:
    """Yield the pieces of a plane of this shape; smaller ones if its PSF changes over it."""
    side = _PIECE
    if conditions.nodes is not None:
        side = max(_LEAST_PIECE, max(shape) // len(conditions.nodes.rows))
        # Fourier transforms of a piece with its margin are fast, whatever the size of the plane.
        side = min(_PIECE, next_fast_len(side + 2 * REACH) - 2 * REACH)
    for y0 in range(0, shape[0], side):
        for x0 in range(0, shape[1], side):
            yield y0, min(y0 + side, shape[0]), x0, min(x0 + side, shape[1])


def windows_around(piece: Piece, changed: Iterable[tuple[float, float, float]]) -> list[Piece]:
    """Return the windows of a piece whose agreement depends on what was changed.

    Parameters
    ----------
    piece : Piece
        The piece.
    changed : iterable of (float, float, float)
        Squares by row, column and half of their side, in input pixels.

    Returns
    -------
    list of Piece
        Made of cells of the piece; the piece itself if they are no less work.
    """
    y0, y1, x0, x1 = piece
    near = np.zeros((-(-(y1 - y0) // CELL), -(-(x1 - x0) // CELL)), dtype=bool)
    for row, column, half in changed:
        rows, columns = (
            slice(
                *np.clip([(place - reach) // CELL, (place + reach) // CELL + 1], 0, n).astype(int)
            )
            for place, reach, n in zip(
                (row - y0, column - x0), [half + REACH] * 2, near.shape, strict=True
            )
        )
        near[rows, columns] = True
    windows = [
        (
            y0 + rows.start * CELL,
            min(y0 + rows.stop * CELL, y1),
            x0 + columns.start * CELL,
            min(x0 + columns.stop * CELL, x1),
        )
        for rows, columns in find_objects(label(near, np.ones((3, 3)))[0])
    ]
    return windows if sum(map(_work, windows)) < _work(piece) else [piece]


def _work(window: Piece) -> int:
    """Pixels of a window with its margin."""
    y0, y1, x0, x1 = window
    return (y1 - y0 + 2 * REACH) * (x1 - x0 + 2 * REACH)
