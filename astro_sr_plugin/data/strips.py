"""Walk through large arrays in strips, and hand pages of memory-mapped ones back."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHUNK_BYTES", "iter_rows", "iter_strips", "release"]

CHUNK_BYTES = 16 * 2**20
"""Bytes of a strip, or copied at a time: enough for NumPy to be fast, small beside any memory."""
# Reclaims clean pages and keeps changed ones (Linux 5.4 and later); Python has no name for it yet.
_MADV_PAGEOUT = 21


def iter_rows(rows: int, step: int) -> Iterator[tuple[int, int]]:
    """Walk down the rows of a plane in strips.

    Parameters
    ----------
    rows : int
        Number of rows.
    step : int
        Rows of a strip; the last may have fewer.

    Yields
    ------
    first, last : int
        First row of a strip, and the one after its last.
    """
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def iter_strips(array: NDArray, *, max_bytes: int = CHUNK_BYTES) -> Iterator[NDArray]:
    """Go through an array in its order, in pieces of whole rows.

    Parameters
    ----------
    array : ndarray, shape (ny, nx) or (n, ny, nx)
        Any array; never copied.
    max_bytes : int, default 16 MiB
        About how large a piece may be.

    Yields
    ------
    ndarray, shape (rows, nx)
        Views of `array`.
    """
    planes = [array] if array.ndim < 3 else array
    for plane in planes:
        rows = max(1, max_bytes // max(1, plane[:1].size * 8))
        for first, last in iter_rows(len(plane), rows):
            yield plane[first:last]


def release(array: NDArray) -> None:
    """Hand the pages of a memory-mapped array back, so that resident memory stays low.

    The content stays: it is read from the file again where it is needed. Values that were changed
    in a copy-on-write map stay too. For other arrays, and on systems without ``madvise``, nothing
    happens.

    Parameters
    ----------
    array : ndarray
        The array of an image read with ``memmap=True``, a view of it, or the array of
        `create_fits`.
    """
    base: object = array
    mode = ""
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            mode = base.mode
        base = base.base
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise"):
        return
    if mode == "c":
        advice = _MADV_PAGEOUT
    else:
        advice = mmap.MADV_DONTNEED
        if mode != "r":
            base.flush()
    try:
        base.madvise(advice)
    except OSError:
        # An older kernel: the pages are reclaimed when memory runs short.
        return
