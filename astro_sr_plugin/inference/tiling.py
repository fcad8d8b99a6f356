"""Tiles as plain geometry: which pixels to read, and which to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tile", "make_tiles", "pick", "reflect_indices"]


@dataclass(frozen=True)
class Tile:
    """One tile of a plane, in input pixels.

    Attributes
    ----------
    y0, y1, x0, x1 : int
        The pixels that the tile answers for, ``y1`` and ``x1`` excluded; inside the plane.
    height, width : int
        Size to compute, not less than ``y1 - y0`` and ``x1 - x0``, multiples of what the model
        wants.
    halo : int
        Pixels to read around that size on every side, beyond the plane too (mirrored).
    """

    y0: int
    y1: int
    x0: int
    x1: int
    height: int
    width: int
    halo: int

    @property
    def rows(self) -> tuple[int, int]:
        """First and last-plus-one row to read; may lie outside the plane."""
        return self.y0 - self.halo, self.y0 + self.height + self.halo

    @property
    def columns(self) -> tuple[int, int]:
        """First and last-plus-one column to read; may lie outside the plane."""
        return self.x0 - self.halo, self.x0 + self.width + self.halo


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def make_tiles(
    shape: tuple[int, int], *, tile_size: int, halo: int, multiple_of: int, min_size: int = 1
) -> list[Tile]:
    """Cover a plane with tiles, row by row.

    Parameters
    ----------
    shape : tuple of int
        Shape (ny, nx) of the plane.
    tile_size : int
        Wanted side of a tile; rounded up to ``multiple_of``, and evened out over the plane.
    halo : int
        Pixels around a tile on which its result depends.
    multiple_of : int
        Origins and sizes are multiples of this, so that a pixel keeps its place in the grids of a
        network that works at lower resolutions, whatever the tiles.
    min_size : int
        Least side of a tile with its halo; the tiles of small planes reach beyond them.

    Returns
    -------
    list of Tile
        Every pixel of the plane belongs to just one tile; tiles of a row follow each other.
    """
    halo = _round_up(halo, multiple_of)
    spans = []
    for length in shape:
        count = max(1, -(-length // max(1, tile_size)))
        size = _round_up(max(-(-length // count), min_size - 2 * halo), multiple_of)
        spans.append([(start, min(start + size, length), size) for start in range(0, length, size)])
    return [
        Tile(y0, y1, x0, x1, height, width, halo)
        for y0, y1, height in spans[0]
        for x0, x1, width in spans[1]
    ]


def reflect_indices(start: int, stop: int, length: int) -> NDArray[np.intp]:
    """Give indices ``start`` to ``stop`` of an axis mirrored about its first and last pixel.

    Parameters
    ----------
    start, stop : int
        Range wanted; may lie anywhere.
    length : int
        Length of the axis, 1 or more.

    Returns
    -------
    ndarray of int, shape (stop - start,)
        Each in 0 to ``length - 1``.
    """
    if length == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (length - 1)
    index = np.arange(start, stop) % period
    return np.minimum(index, period - index)


def pick(image: NDArray[Any], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[Any]:
    """Return rows and columns of an image; quickly, and not copied, if they follow each other."""
    for axis, index in enumerate((rows, columns)):
        first, last = int(index[0]), int(index[-1])
        if last - first == len(index) - 1 and np.all(np.diff(index) == 1):
            image = image[(slice(None),) * axis + (slice(first, last + 1),)]
        else:
            image = image.take(index, axis)
    return image
