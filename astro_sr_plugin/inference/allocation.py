"""Keep the memory of one tile for the next."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

__all__ = ["reuse_memory"]

# Of malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4


@contextlib.contextmanager
def reuse_memory() -> Iterator[None]:
    """Let freed memory stay in the process for the time of a ``with`` block.

    The GNU C library gives blocks of more than 32 MB back to the system when they are freed, and
    the system has to clear the next ones page by page, which costs a third of the time of a tile.
    Afterwards everything is given back. Other C libraries are left as they are.
    """
    try:
        library = ctypes.CDLL(None)
        set_option, trim = library.mallopt, library.malloc_trim
    except (AttributeError, OSError, TypeError):
        yield
        return
    set_option(_MMAP_MAX, 0)
    set_option(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        # Where the library's own adjustment ends up in a process that uses large arrays.
        set_option(_MMAP_MAX, 65536)
        set_option(_MMAP_THRESHOLD, 2**25)
        set_option(_TRIM_THRESHOLD, 2**26)
        trim(0)
