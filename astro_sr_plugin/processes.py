"""Processes that share work, and end with the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, Literal

__all__ = ["can_fork", "open_processes"]


def can_fork() -> bool:
    """Whether copies of this process can go on with its work, with all that it has in memory.

    The system has to do it safely, and locks of other threads would stay closed in a copy.
    """
    return (
        sys.platform == "linux"
        and threading.active_count() == 1
        and not multiprocessing.current_process().daemon
    )


@contextmanager
def open_processes(
    count: int,
    start: Literal["fork", "spawn"],
    prepare: Callable[..., None] | None = None,
    *arguments: Any,
) -> Iterator[ProcessPoolExecutor]:
    """Open processes, which are stopped in the midst of their work where an error leaves the block.

    Parameters
    ----------
    count : int
        Number of processes.
    start : {"fork", "spawn"}
        Copies of this one, for which `can_fork` has to hold, or new ones.
    prepare : callable, optional
        Called with `arguments` in each of them.
    *arguments
        Not pickled in copies.
    """
    older = set(multiprocessing.active_children())
    context = multiprocessing.get_context(start)
    executor = ProcessPoolExecutor(
        count, mp_context=context, initializer=_prepare, initargs=(prepare, arguments)
    )
    with warnings.catch_warnings():
        # Python warns of the threads of OpenBLAS, which starts them anew in a copy.
        warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
        # The first item starts all processes.
        executor.submit(os.getpid)
    try:
        yield executor
    except BaseException:
        # Ctrl-C: nobody waits for work that takes minutes.
        for child in set(multiprocessing.active_children()) - older:
            child.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def _prepare(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the parent; end when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow_parent, daemon=True).start()
    if prepare is not None:
        prepare(*arguments)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
