"""Run a recipe over many images: here, in processes, or on Dask."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from astro_sr_plugin.batch.inputs import find_inputs, name_outputs
from astro_sr_plugin.batch.journal import Journal, job_of
from astro_sr_plugin.batch.recipe import Recipe, Step, make_recipe
from astro_sr_plugin.batch.summary import BatchSummary
from astro_sr_plugin.batch.work import FrameResult, Task, work
from astro_sr_plugin.data.output import make_folder
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.processes import open_processes
from astro_sr_plugin.scheduler import open_client

__all__ = ["run_batch"]

_log = logging.getLogger(__name__)

Finished = tuple[FrameResult, str, str]
"""What `work` returns."""


def run_batch(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | Iterable[Step | Mapping[str, Any]],
    *,
    hdu: int | str | None = None,
    ending: str | None = None,
    suffix: str | None = None,
    dtype: str | None = None,
    overwrite: bool = False,
    jobs: int = 1,
    scheduler: Any = None,
    runtime: Runtime | None = None,
    notify: Callable[[FrameResult, int, int], None] | None = None,
    dry_run: bool = False,
) -> BatchSummary:
    """Do the same steps on many images; what an earlier run has finished is skipped.

    A result counts as finished if the journal in its folder says that it was made of this very
    input (by content) with the same recipe and model weights, and if its bytes are still those
    that were written. An image that cannot be done does not stop the others.

    Parameters
    ----------
    inputs : str, Path or sequence of them
        Folders, text files with one path per line, patterns, image files.
    output : str or Path
        Folder for the results; made if it does not exist.
    recipe : Recipe, str, Path or sequence
        Steps: a TOML file, or tables like ``{"verb": "denoise", "strength": 0.8}``.
    hdu : int or str, optional
        Which image of each file.
    ending : str, optional
        What the names of results end in; by default what was done, ``denoised_sharp``.
    suffix : str, optional
        File format of the results, such as ``".xisf"``; by default that of each input.
    dtype : str, optional
        Number format of the results, as for `write_image`.
    overwrite : bool
        Whether files that are not finished results of this batch may be replaced.
    jobs : int
        Images at a time, each in a process of its own; the threads of PyTorch are divided among
        them. A script that uses more than one needs ``if __name__ == "__main__":``.
    scheduler : str or distributed.Client, optional
        Dask: ``"local"`` starts `jobs` workers here, anything else is the address of a scheduler
        whose workers see the same files, or a client that is connected to one.
    runtime : Runtime, optional
        Device, tiles, and progress (of one image, with one job).
    notify : callable, optional
        Called as ``notify(result, done, total)`` after each image.
    dry_run : bool
        Only report what would be done.

    Returns
    -------
    BatchSummary
        One result per input, in their order.

    Raises
    ------
    InputError
        There is nothing to do it on, or the recipe or a parameter cannot be used.
    OutputError
        The folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> sky = np.random.default_rng(1).normal(100.0, 5.0, (64, 64)).astype("f4")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = asr.write_image(sky, f"{folder}/light.fits")
    ...     steps = [{"verb": "denoise", "model": "wiener"}]
    ...     summary = asr.run_batch(path, f"{folder}/done", steps)
    >>> summary.counts["done"], summary.frames[0].output.name
    (1, 'light_denoised.fits')
    >>> summary.to_table().colnames
    ['input', 'output', 'status', 'message', 'seconds', 'fwhm_in', 'fwhm_out', 'noise']
    """
    if jobs < 1:
        msg = f"jobs={jobs} is too small; allowed is 1 or more"
        raise InputError(msg)
    plan = make_recipe(recipe)
    words = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    found = dict.fromkeys(path.absolute() for path in find_inputs(words))
    folder = Path(output).absolute()
    journal = Journal(folder)
    # A second run over a folder that holds the results too must not take these for images.
    sources = [path for path in found if path.parent != folder or path.name not in journal]
    if not sources:
        msg = f"the inputs {', '.join(map(str, words))} hold nothing but results of batches"
        raise InputError(msg)
    targets = name_outputs(sources, folder, ending=ending or plan.ending, suffix=suffix)
    if not dry_run:
        make_folder(folder)
    identity = plan.identity()

    results: dict[Path, FrameResult] = {}
    total = len(sources)

    def settle(result: FrameResult) -> None:
        results[result.input] = result
        _log.info("%s: %s %s", result.input, result.status, result.message)
        if notify is not None:
            notify(result, len(results), total)

    todo = []
    for source, target in zip(sources, targets, strict=True):
        state = _state(source, target, journal, (identity, hdu, dtype), overwrite)
        if state.status != "pending" or dry_run:
            settle(state)
        else:
            todo.append((source, target))
    if todo:
        with tempfile.TemporaryDirectory(
            prefix=".astro-sr-", dir=folder, ignore_cleanup_errors=True
        ) as staging:
            tasks = [
                Task(s, t, Path(staging) / t.name, plan, identity, hdu, dtype, runtime or Runtime())
                for s, t in todo
            ]
            staged = {task.input: task.staged for task in tasks}
            # Closed before the folder goes, so that no worker still writes there.
            with closing(_run(tasks, jobs, scheduler)) as finished:
                for result, job, sha256 in finished:
                    if result.status == "done":
                        result = _finish(result, staged[result.input], journal, job, sha256, plan)
                    settle(result)
    return BatchSummary(tuple(results[source] for source in sources), plan)


def _state(
    source: Path,
    target: Path,
    journal: Journal,
    job: tuple[str, int | str | None, str | None],
    overwrite: bool,
) -> FrameResult:
    """Say whether an image is finished, cannot be done, or is to be done."""
    if not source.exists():
        return FrameResult(source, target, "failed", "the input does not exist")
    if target.is_dir():
        return FrameResult(source, target, "failed", "the output is a folder")
    if not target.exists():
        return FrameResult(source, target, "pending")
    identity, hdu, dtype = job
    try:
        trouble = journal.trouble(target, lambda: job_of(identity, source, hdu, dtype))
    except OSError as error:
        return FrameResult(source, target, "failed", f"{error.filename}: {error.strerror}")
    if trouble is None:
        return FrameResult(source, target, "skipped")
    if overwrite:
        return FrameResult(source, target, "pending")
    return FrameResult(source, target, "failed", f"{trouble}; overwrite=True replaces it")


def _finish(
    result: FrameResult, staged: Path, journal: Journal, job: str, sha256: str, recipe: Recipe
) -> FrameResult:
    """Write the line of the journal, then give the result its name."""
    journal.add(result.output.name, sha256, job, input=result.input, recipe=recipe.to_list())
    try:
        staged.replace(result.output)
    except OSError as error:
        text = f"cannot write {result.output}: {(error.strerror or str(error)).lower()}"
        return replace(result, status="failed", message=text)
    return result


def _run(tasks: list[Task], jobs: int, scheduler: Any) -> Generator[Finished, None, None]:
    if scheduler is not None:
        yield from _on_dask(tasks, jobs, scheduler)
    elif jobs > 1:
        yield from _in_processes(tasks, jobs)
    else:
        yield from map(work, tasks)


def _in_processes(tasks: list[Task], jobs: int) -> Iterator[Finished]:
    jobs = min(jobs, len(tasks))
    tasks = [_sendable(task, _threads_each(jobs)) for task in tasks]
    lost = []
    # Not forked: threads of PyTorch do not survive that.
    with open_processes(jobs, "spawn") as executor:
        futures = {executor.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                lost.append(futures[future])
    # One process that dies takes the others' work along: each again, with the machine to itself.
    for task in lost:
        if len(tasks) == 1:
            yield _lost(task, "the process ended unexpectedly")
        else:
            yield from _in_processes([task], 1)


def _on_dask(tasks: list[Task], jobs: int, scheduler: Any) -> Iterator[Finished]:
    jobs = min(jobs, len(tasks))
    # A worker elsewhere keeps the threads that whoever started it gave it.
    threads = _threads_each(jobs) if scheduler == "local" else None
    tasks = [_sendable(task, threads) for task in tasks]
    with open_client(scheduler, jobs) as client:
        import distributed

        futures = dict(zip(client.map(work, tasks, pure=False), tasks, strict=True))
        try:
            for future in distributed.as_completed(futures):
                if future.status == "finished":
                    yield future.result()
                else:
                    yield _lost(futures[future], f"the Dask worker gave up: {future.exception()}")
        finally:
            client.cancel(list(futures))


def _sendable(task: Task, threads: int | None) -> Task:
    return replace(task, runtime=replace(task.runtime, progress=None), threads=threads)


def _threads_each(jobs: int) -> int:
    """Return the share of one of several processes in the threads that this one may use."""
    import torch

    return max(1, torch.get_num_threads() // jobs)


def _lost(task: Task, reason: str) -> Finished:
    text = f"{reason}, perhaps for want of memory"
    return FrameResult(task.input, task.output, "failed", text), "", ""
