"""Frames and bands worked on at once: in threads, or by the workers of a Dask scheduler."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from astro_sr_plugin.exceptions import KeptWarning, keep_warnings, warn
from astro_sr_plugin.scheduler import open_client
from astro_sr_plugin.stacking.threads import count_threads, map_in_order

__all__ = ["Workers"]

Item = TypeVar("Item", bound=Hashable)

_AHEAD = 2
"""Items in flight for each Dask worker: one that it works on, and the next one."""


class Workers:
    """Workers of the steps of a stack; a context.

    Parameters
    ----------
    jobs : int, optional
        Number of threads, or of local Dask workers; that of the processors by default.
    scheduler : str or distributed.Client, optional
        Address of a Dask scheduler, ``"local"``, or a client; connected to at first use.

    Raises
    ------
    InputError
        If `jobs` is below 1.
    """

    def __init__(self, jobs: int | None = None, scheduler: Any = None) -> None:
        self.jobs, self.scheduler = count_threads(jobs), scheduler
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
            result, warnings = future.result()
            for text, category in warnings:
                warn(text, category)
            yield running.pop(future), result


def _call(
    function: Callable[..., Any], job: tuple[Any, ...], item: Any
) -> tuple[Any, list[KeptWarning]]:
    """Call a function on a worker, whose warnings nobody would see."""
    with keep_warnings() as kept:
        return function(*job, item), kept
