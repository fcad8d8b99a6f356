"""How memory is got from the system: settings of the GNU C library and of Linux."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

__all__ = ["keep_freed_memory", "refuse_huge_pages", "reuse_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of mallopt, as malloc.h of the GNU C library numbers them."""
_SET_THP_DISABLE = 41
"""Option of prctl, as linux/prctl.h numbers it."""
_NEVER_TRIM = 2**31 - 1
"""Free bytes at the end of the heap from which they are given back: the largest int."""
_DEFAULT_MMAP_MAX = 65536
"""Number of blocks that may be memory-mapped, as malloc(3) gives it."""
_LARGE_MMAP_THRESHOLD, _LARGE_TRIM_THRESHOLD = 2**25, 2**26
"""Bytes where the library's own adjustment ends up in a process that uses large arrays."""


def keep_freed_memory() -> Any:
    """Let freed memory stay in the process to its end; return the library, None if it is another.

    To get memory from the system anew for each array takes longer than the sums over it.
    """
    try:
        library = ctypes.CDLL(None)
        set_option, _ = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    set_option(_MMAP_MAX, 0)
    set_option(_TRIM_THRESHOLD, _NEVER_TRIM)
    return library


def refuse_huge_pages() -> None:
    """Let Linux give this process, which ends soon, memory in small pages.

    Where memory is in pieces, to put pages of 2 MB together takes longer than they save: NumPy asks
    for them for each large array.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).prctl(_SET_THP_DISABLE, 1, 0, 0, 0)


@contextlib.contextmanager
def reuse_memory() -> Iterator[None]:
    """Let freed memory stay in the process for the time of a ``with`` block.

    The GNU C library gives blocks of more than 32 MB back to the system when they are freed, and
    the system has to clear the next ones page by page, which costs a third of the time of a tile.
    Afterwards everything is given back. The settings are those of the whole process. Other C
    libraries are left as they are.
    """
    library = keep_freed_memory()
    try:
        yield
    finally:
        if library is not None:
            library.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
            library.mallopt(_MMAP_THRESHOLD, _LARGE_MMAP_THRESHOLD)
            library.mallopt(_TRIM_THRESHOLD, _LARGE_TRIM_THRESHOLD)
            library.malloc_trim(0)
