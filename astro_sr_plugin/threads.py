"""Items worked on in threads, with the results in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from astro_sr_plugin.exceptions import InputError

__all__ = ["count_threads", "map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING = 2
"""Items per thread that are read ahead, or whose results wait for their turn: they bound the
memory."""


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], jobs: int | None = None
) -> Iterator[Result]:
    """Apply a function to items in threads; NumPy works on several of them at a time.

    Parameters
    ----------
    function : callable
        Called with an item.
    items : iterable
        Taken one by one, a few ahead of the results.
    jobs : int, optional
        Number of threads; that of the processors by default.

    Yields
    ------
    object
        The results in the order of the items, whatever the number of threads.

    Raises
    ------
    InputError
        If `jobs` is below 1.
    """
    count = count_threads(jobs)
    if count == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= _WAITING * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def count_threads(jobs: int | None) -> int:
    """Return the number of threads: `jobs`, or that of the processors.

    Raises
    ------
    InputError
        If `jobs` is below 1.
    """
    if jobs is None:
        known = hasattr(os, "sched_getaffinity")
        return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    if jobs < 1:
        msg = f"jobs={jobs} is out of range; allowed is 1 and above"
        raise InputError(msg)
    return jobs
