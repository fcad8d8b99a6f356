"""Bands worked on at once: in threads, or by the workers of a Dask scheduler."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.scheduler import open_client
from astro_sr_plugin.stacking.bands import Light, StackSettings, combine_band
from astro_sr_plugin.stacking.combination import Combined

__all__ = ["run_bands"]

Band = tuple[int, int]
Finished = tuple[Band, list[Combined]]

_AHEAD = 2
"""Bands in flight for each Dask worker: one that it works on, and the next one."""


def run_bands(
    lights: list[Light],
    settings: StackSettings,
    bands: list[Band],
    *,
    jobs: int | None = None,
    workers: int = 1,
    scheduler: Any = None,
) -> Iterator[Finished]:
    """Combine bands, in any order.

    Parameters
    ----------
    lights : list of Light
        The frames.
    settings : StackSettings
        How they are combined.
    bands : list of (int, int)
        Rows of each.
    jobs : int, optional
        Number of threads, or of local Dask workers; that of the processors by default.
    workers : int
        Number of bands that fit into memory.
    scheduler : str or distributed.Client, optional
        Address of a Dask scheduler, ``"local"``, or a client.

    Yields
    ------
    band : (int, int)
        Its rows.
    planes : list of Combined
        One for each colour.
    """
    if jobs is None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if jobs is None or jobs < 1:
        msg = f"jobs={jobs} is too small; allowed is 1 or more"
        raise InputError(msg)
    if not bands:
        return
    if scheduler is not None:
        yield from _on_dask(lights, settings, bands, min(jobs, len(bands)), scheduler)
        return
    count = min(jobs, workers, len(bands))
    if count == 1:
        for band in bands:
            yield band, combine_band(lights, settings, band)
        return
    yield from _in_threads(lights, settings, bands, count)


def _in_threads(
    lights: list[Light], settings: StackSettings, bands: list[Band], count: int
) -> Iterator[Finished]:
    executor = ThreadPoolExecutor(count)
    waiting = list(bands[::-1])
    running: dict[Future[list[Combined]], Band] = {}
    try:
        while waiting or running:
            while waiting and len(running) < count:
                band = waiting.pop()
                running[executor.submit(combine_band, lights, settings, band)] = band
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def _on_dask(
    lights: list[Light], settings: StackSettings, bands: list[Band], jobs: int, scheduler: Any
) -> Iterator[Finished]:
    with open_client(scheduler, jobs) as client:
        import distributed

        # Sent to each worker once; frames travel as the names of their files.
        job = client.scatter((lights, settings), broadcast=True, hash=False)
        threads = max(1, sum(client.nthreads().values()))
        waiting = list(bands[::-1])
        running: dict[Any, Band] = {}
        finished = distributed.as_completed()
        while waiting or running:
            while waiting and len(running) < _AHEAD * threads:
                band = waiting.pop()
                future = client.submit(_combine, job, band, pure=False)
                running[future] = band
                finished.add(future)
            future = next(finished)
            yield running.pop(future), future.result()


def _combine(job: tuple[list[Light], StackSettings], band: Band) -> list[Combined]:
    return combine_band(*job, band)
