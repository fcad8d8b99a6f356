"""One image of a batch: everything that is done in a worker, whatever process that is."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astro_sr_plugin.batch.journal import hash_file, job_of
from astro_sr_plugin.batch.recipe import Recipe
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.exceptions import AstroSRError, AstroSRWarning
from astro_sr_plugin.inference.runtime import Runtime

__all__ = ["FrameResult", "Task", "work"]

_STREAMED = (".fits", ".fit", ".fts")


@dataclass(frozen=True)
class FrameResult:
    """What became of one image of a batch.

    Attributes
    ----------
    input, output : Path
        The image and its result.
    status : {'done', 'skipped', 'failed', 'pending'}
        ``'skipped'``: finished by an earlier run; ``'pending'``: to be done, in a dry run.
    message : str
        Why it failed; otherwise empty.
    shape : tuple of int
        Of the result; empty unless done.
    steps : tuple of dict
        The ``ASR...`` header keywords after each step.
    warnings : tuple of str
        What the user should know.
    seconds : float
        Time for this image.

    Examples
    --------
    >>> from pathlib import Path
    >>> import astro_sr_plugin as asr
    >>> frame = asr.FrameResult(Path("a.fits"), Path("out/a.fits"), "done",
    ...                         steps=({"ASRFWHMI": 3.4}, {"ASRFWHMO": 2.0}))
    >>> frame.figure("ASRFWHMI"), frame.figure("ASRSCALE")
    (3.4, None)
    """

    input: Path
    output: Path
    status: str
    message: str = ""
    shape: tuple[int, ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    def figure(self, keyword: str, *, last: bool = False) -> Any:
        """Return a header keyword of the first step that has it, or of the last; else None."""
        found = [step[keyword] for step in self.steps if keyword in step]
        return found[-1 if last else 0] if found else None


@dataclass(frozen=True)
class Task:
    """An image to be done; can be sent to another process or machine.

    Attributes
    ----------
    input, output : Path
        The image, and where its result will be.
    staged : Path
        Where the worker writes the result; it gets its name when the journal has it.
    recipe : Recipe
        What is done.
    identity : str
        Of the recipe.
    hdu, dtype : int or str, optional
        What is read, and how the result is stored.
    runtime : Runtime
        Device, tiles, progress.
    threads : int, optional
        Threads of PyTorch; by default those that the process has already.
    """

    input: Path
    output: Path
    staged: Path
    recipe: Recipe
    identity: str
    hdu: int | str | None = None
    dtype: str | None = None
    runtime: Runtime = field(default_factory=Runtime)
    threads: int | None = None


def work(task: Task) -> tuple[FrameResult, str, str]:
    """Do the recipe on an image; whatever goes wrong is stated in the result.

    Parameters
    ----------
    task : Task
        The image.

    Returns
    -------
    result : FrameResult
        What became of it.
    job, sha256 : str
        For the journal; empty if it failed.
    """
    if task.threads is not None:
        import torch

        torch.set_num_threads(task.threads)
    start = time.perf_counter()
    shape: tuple[int, ...] = ()
    steps: list[dict[str, Any]] = []
    job = sha256 = message = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", AstroSRWarning)
        try:
            # A process that died may have left it; done again, it must not be in the way.
            task.staged.unlink(missing_ok=True)
            job = job_of(task.identity, task.input, task.hdu, task.dtype)
            shape, steps = _do(task)
            sha256, status = hash_file(task.staged), "done"
        except Exception as error:  # noqa: BLE001, one bad image must not stop the others
            status, message = "failed", _sentence(error)
            task.staged.unlink(missing_ok=True)
    messages = tuple(dict.fromkeys(" ".join(str(w.message).split()) for w in caught))
    seconds = time.perf_counter() - start
    result = FrameResult(
        task.input, task.output, status, message, shape, tuple(steps), messages, seconds
    )
    return result, job, sha256


def _do(task: Task) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    image: Any = read_image(task.input, hdu=task.hdu)
    streamed = task.dtype is None and task.staged.suffix.lower() in _STREAMED
    steps = []
    for number, step in enumerate(task.recipe.steps, start=1):
        last = number == len(task.recipe.steps)
        out = task.staged if last and streamed else None
        image = step.apply(image, runtime=task.runtime, out=out)
        steps.append({key: image.meta[key] for key in image.meta if key.startswith("ASR")})
    if not streamed:
        write_image(image, task.staged, dtype=task.dtype)
    return tuple(image.shape), steps


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, AstroSRError):
        return text
    if isinstance(error, MemoryError):
        return "there is not enough memory; try fewer jobs or smaller tiles"
    if isinstance(error, OSError):
        return f"{error.strerror or text}{f': {error.filename}' if error.filename else ''}"
    return f"unexpected {type(error).__name__}: {text}"
