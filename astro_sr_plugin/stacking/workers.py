"""Frames and bands worked on at once: in processes or threads, or by workers of Dask."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from astro_sr_plugin.allocation import keep_freed_memory, refuse_huge_pages
from astro_sr_plugin.exceptions import AstroSRError, KeptWarning, keep_warnings, warn
from astro_sr_plugin.processes import can_fork, open_processes
from astro_sr_plugin.scheduler import open_client
from astro_sr_plugin.threads import count_threads, map_in_order

__all__ = ["Workers"]

Item = TypeVar("Item", bound=Hashable)

_AHEAD = 2
"""Items in flight for each worker: one that it works on, and the next one."""


class Workers:
    """Workers of the steps of a stack; a context.

    Parameters
    ----------
    jobs : int, optional
        Number of processes or threads, or of local Dask workers; that of the processors by default.
    scheduler : str or distributed.Client, optional
        Address of a Dask scheduler, ``"local"``, or a client; connected to at first use.
    large : bool
        Whether there is so much work that copies of this process pay, where the system has them:
        threads wait for each other in Python.

    Raises
    ------
    InputError
        If `jobs` is below 1.
    """

    def __init__(
        self, jobs: int | None = None, scheduler: Any = None, *, large: bool = False
    ) -> None:
        self.jobs, self.scheduler, self.large = count_threads(jobs), scheduler, large
        self._client: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def run(
        self,
        function: Callable[..., Any],
        job: tuple[Any, ...],
        items: Sequence[Item],
        *,
        at_once: int = 1,
    ) -> Iterator[tuple[Item, Any]]:
        """Call a function for each of the items.

        Parameters
        ----------
        function : callable
            Takes the parts of `job`, and an item.
        job : tuple
            What all calls need; it is sent to each Dask worker once.
        items : sequence
            The items.
        at_once : int
            Number of calls that fit into the memory of this computer.

        Yields
        ------
        item
            In any order; in their own one without a scheduler.
        result
            What the function gives for it.
        """
        if not items:
            return
        if self.scheduler is not None:
            yield from self._on_dask(function, job, items)
            return
        count = min(self.jobs, at_once, len(items))
        if self.large and count > 1 and can_fork():
            results = _in_processes(function, job, items, count)
        else:
            results = map_in_order(partial(function, *job), items, count)
        yield from zip(items, results, strict=True)

    def _on_dask(
        self, function: Callable[..., Any], job: tuple[Any, ...], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Any]]:
        if self._client is None:
            client = open_client(self.scheduler, min(self.jobs, len(items)))
            self._client = self._stack.enter_context(client)
        import distributed

        # Frames travel as the names of their files.
        sent = self._client.scatter(job, broadcast=True, hash=False)
        threads = max(1, sum(self._client.nthreads().values()))
        waiting = list(items[::-1])
        running: dict[Any, Item] = {}
        finished = distributed.as_completed()
        while waiting or running:
            while waiting and len(running) < _AHEAD * threads:
                item = waiting.pop()
                future = self._client.submit(_call, function, sent, item, pure=False)
                running[future] = item
                finished.add(future)
            future = next(finished)
            yield running.pop(future), _received(future.result())


_work: tuple[Callable[..., Any], tuple[Any, ...]]
"""What the copies of this process do, and with what: they have it in memory."""


def _keep(function: Callable[..., Any], job: tuple[Any, ...]) -> None:
    global _work
    _work = function, job
    keep_freed_memory()
    refuse_huge_pages()


def _do(item: Any) -> tuple[Any, list[KeptWarning]]:
    return _call(*_work, item)


def _in_processes(
    function: Callable[..., Any], job: tuple[Any, ...], items: Sequence[Any], count: int
) -> Iterator[Any]:
    """Call a function for items in copies of this process; the results come in order."""
    waiting: deque[Future[Any]] = deque()
    try:
        with open_processes(count, "fork", _keep, function, job) as processes:
            for item in items:
                waiting.append(processes.submit(_do, item))
                if len(waiting) >= _AHEAD * count:
                    yield _received(waiting.popleft().result())
            while waiting:
                yield _received(waiting.popleft().result())
    except BrokenProcessPool as error:
        msg = "a process of the stack was ended, perhaps for want of memory; lower memory or jobs"
        raise AstroSRError(msg) from error


def _received(answer: tuple[Any, list[KeptWarning]]) -> Any:
    """Return a result, and give the warnings that came with it."""
    result, warnings = answer
    for text, category in warnings:
        warn(text, category)
    return result


def _call(
    function: Callable[..., Any], job: tuple[Any, ...], item: Any
) -> tuple[Any, list[KeptWarning]]:
    """Call a function on a worker, whose warnings nobody would see."""
    with keep_warnings() as kept:
        return function(*job, item), kept
