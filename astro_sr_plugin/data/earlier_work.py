"""What was done to an image before, by its header, and what a verb would make of that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from astro_sr_plugin.exceptions import InputError, warn

__all__ = ["Work", "check_earlier_work", "check_order", "find_earlier_work"]

_MILD = 0.3
"""Strength of denoising up to which sharpening afterwards loses little: `deconvolve` 0.0 dB and
`super_resolve` 0.1 dB in the mean over nine scenes of ``benchmarks/results/chains.md``, against
0.1 and 0.9 dB after 0.5, and 0.5 and 1.8 dB after full strength."""

_SHARPENING = ("deconvolve", "super-resolve")
_FORCE = "force=True does it all the same"
_OWN = re.compile(r"astro_sr_plugin \S+ ([a-z-]+): ")
_STRENGTH = re.compile(r"\bstrength=([0-9.]+)")
_UNSHARPENED = re.compile(r"\bmodel=bicubic\b")
_FOREIGN = re.compile(
    r"denois|noise reduction|noisexterminator|deepsnr|deconvol|blurxterminator|sharpen|unsharp",
    re.IGNORECASE,
)
"""What other programs write into HISTORY about noise removed and images sharpened."""


class Work(NamedTuple):
    """A step that was done on an image.

    Attributes
    ----------
    task : str
        Name of the verb, such as ``denoise``.
    strength : float
        0 to 1; 1 where the step has none.
    """

    task: str
    strength: float = 1.0


def find_earlier_work(meta: Mapping[str, Any]) -> list[Work]:
    """Return the steps of this package that HISTORY lists, or the last one by ``ASRTASK``."""
    text = " ".join(_history(meta))
    pieces = _OWN.split(text)
    found = []
    for task, rest in zip(pieces[1::2], pieces[2::2], strict=True):
        strength = _STRENGTH.search(rest)
        if not (task == "super-resolve" and _UNSHARPENED.search(rest)):
            found.append(Work(task, 1.0 if strength is None else float(strength[1].rstrip("."))))
    if not found and "ASRTASK" in meta and meta.get("ASRMODEL") != "bicubic":
        found = [Work(str(meta["ASRTASK"]), float(meta.get("ASRSTREN", 1.0)))]
    return found


def check_earlier_work(meta: Mapping[str, Any], task: str, *, force: bool = False) -> None:
    """Refuse an image that earlier steps have made unfit for a verb, or warn of them.

    Parameters
    ----------
    meta : mapping
        Header of the image.
    task : str
        What is to be done: ``denoise``, ``deconvolve``, ``super-resolve`` or ``remove-stars``.
    force : bool
        Do it all the same.

    Raises
    ------
    InputError
        If the image was denoised or sharpened by this package and is to be sharpened, or if it
        was denoised and is to lose its stars.

    Warns
    -----
    AstroSRWarning
        If less is at stake, or if HISTORY says that another program did so.
    """
    if force:
        return
    done = find_earlier_work(meta)
    refused, reason = _judge(done, task)
    if refused:
        msg = f"{reason}; {_FORCE}"
        raise InputError(msg)
    if not reason and task != "remove-stars":
        reason = _judge_foreign(meta, task)
    if reason:
        warn(reason)


def check_order(steps: Sequence[Work], forced: Sequence[bool]) -> None:
    """Refuse steps of a recipe whose order harms the images.

    Parameters
    ----------
    steps : sequence of Work
        In their order.
    forced : sequence of bool
        Whether each is to be done all the same.

    Raises
    ------
    InputError
        If a step would be refused for what the steps before it do.
    """
    for number, step in enumerate(steps):
        refused, reason = _judge(steps[:number], step.task)
        if refused and not forced[number]:
            msg = f"step {number + 1} of the recipe, {step.task!r}: {reason}; force=true does it"
            raise InputError(msg)


def _judge(done: Sequence[Work], task: str) -> tuple[bool, str]:
    """Return whether a task is refused after others, and why it is refused or warned of."""
    denoised = max((w.strength for w in done if w.task == "denoise"), default=0.0)
    sharpened = [w.task for w in done if w.task in _SHARPENING]
    if task in _SHARPENING and sharpened:
        return True, (
            f"the image was sharpened before ({sharpened[-1]}); a second time makes rings around "
            f"stars and false ones: run {task} on the image as it was before"
        )
    if task in _SHARPENING and denoised > _MILD:
        return True, (
            f"the image was denoised before (strength {denoised:g}); sharpening it makes rings "
            f"around stars and false ones: run {task} on the image as it was before denoising, "
            "for it removes the noise itself"
        )
    if task in _SHARPENING and denoised > 0:
        return False, (
            f"the image was denoised before (strength {denoised:g}); {task} removes the noise "
            "itself and does it better on the image as it was before"
        )
    if task == "denoise" and (denoised > _MILD or sharpened):
        what = f"sharpened ({sharpened[-1]})" if sharpened else f"denoised (strength {denoised:g})"
        return False, (
            f"the image was {what} before, which removed its noise; denoising it again adds "
            "nothing, and in stacks with correlated noise it takes faint structure away"
        )
    if task == "remove-stars" and denoised > _MILD:
        return True, (
            f"the image was denoised before (strength {denoised:g}), after which stars stay in it: "
            "run remove-stars on the image as it was before denoising, and denoise what is left"
        )
    return False, ""


def _judge_foreign(meta: Mapping[str, Any], task: str) -> str:
    lines = [line for line in _history(meta) if _FOREIGN.search(line)]
    lines = [line for line in lines if "astro_sr_plugin" not in line]
    if not lines or find_earlier_work(meta):
        return ""
    return (
        f"HISTORY says {lines[-1].strip()[:70]!r}: if noise was removed or the image sharpened, "
        f"run {task} on the image as it was before"
    )


def _history(meta: Mapping[str, Any]) -> list[str]:
    if "HISTORY" not in meta:
        return []
    found = meta["HISTORY"]
    return [str(line) for line in found] if not isinstance(found, str) else found.splitlines()
