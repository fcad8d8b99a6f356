"""What became of a batch, for people and for programs."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

from astropy.table import QTable
from astropy.units import Quantity

from astro_sr_plugin.batch.recipe import Recipe
from astro_sr_plugin.batch.work import FrameResult
from astro_sr_plugin.data.records import align_rows, as_html

__all__ = ["BatchSummary"]

_HEAD = ("image", "status", "pixels", "FWHM [px]", "noise", "seconds", "")


@dataclass(frozen=True)
class BatchSummary:
    """What became of a batch.

    Attributes
    ----------
    frames : tuple of FrameResult
        One per image, in the order of the inputs.
    recipe : Recipe
        What was done.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> import numpy as np, os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> pixels = np.random.default_rng(1).normal(100, 4, (64, 64)).astype("f4")
    >>> image = asr.write_image(pixels, os.path.join(folder, "a.fits"))
    >>> summary = asr.run_batch([image], os.path.join(folder, "out"),
    ...                         [{"verb": "denoise", "model": "wiener"}])
    >>> summary.counts["done"], summary.frames[0].status
    (1, 'done')
    """

    frames: tuple[FrameResult, ...]
    recipe: Recipe

    @property
    def counts(self) -> dict[str, int]:
        """How many images have each status."""
        found = Counter(frame.status for frame in self.frames)
        return {status: found[status] for status in ("done", "skipped", "failed", "pending")}

    @property
    def failed(self) -> tuple[FrameResult, ...]:
        """The images that could not be done."""
        return tuple(frame for frame in self.frames if frame.status == "failed")

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings for JSON."""
        return {
            "recipe": self.recipe.to_list(),
            "counts": self.counts,
            "results": [_entry(frame) for frame in self.frames],
        }

    def to_table(self) -> QTable:
        """Return one row per image.

        The columns are input, output, status and message as text, the seconds of work, the FWHM of
        the stars before and after in pixels of each, and the noise in units of the image; what is
        not known is NaN. ``meta`` holds the recipe and the counts.
        """
        frames = self.frames
        numbers = {
            "seconds": [frame.seconds if frame.status == "done" else None for frame in frames],
            "fwhm_in": [frame.figure("ASRFWHMI") for frame in frames],
            "fwhm_out": [frame.figure("ASRFWHMO", last=True) for frame in frames],
            "noise": [frame.figure("ASRNOISE") for frame in frames],
        }
        units = {"seconds": "s", "fwhm_in": "pix", "fwhm_out": "pix"}
        table = QTable(
            {
                "input": [os.fspath(frame.input) for frame in frames],
                "output": [os.fspath(frame.output) for frame in frames],
                "status": [frame.status for frame in frames],
                "message": [frame.message for frame in frames],
            }
        )
        for name, values in numbers.items():
            column = [math.nan if value is None else float(value) for value in values]
            table[name] = Quantity(column, units[name]) if name in units else column
        table.meta = {"recipe": self.recipe.to_list(), "counts": self.counts}
        return table

    def to_text(self) -> str:
        """Return a table for a person."""
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        return f"{align_rows([_HEAD, *map(_row, self.frames)])}\n{counts}"

    def _repr_html_(self) -> str:
        return as_html([_HEAD, *map(_row, self.frames)], header=True)


def _entry(frame: FrameResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "input": os.fspath(frame.input),
        "output": os.fspath(frame.output),
        "status": frame.status,
    }
    if frame.message:
        entry["error"] = frame.message
    if frame.status == "done":
        entry |= {"shape": list(frame.shape), "seconds": round(frame.seconds, 3)}
        entry["steps"] = [dict(step) for step in frame.steps]
    if frame.warnings:
        entry["warnings"] = list(frame.warnings)
    return entry


def _row(frame: FrameResult) -> tuple[str, ...]:
    before, after = frame.figure("ASRFWHMI"), frame.figure("ASRFWHMO", last=True)
    noise = frame.figure("ASRNOISE")
    done = frame.status == "done"
    note = frame.message or "; ".join(frame.warnings)
    return (
        frame.input.name,
        frame.status,
        f"{frame.shape[-1]} x {frame.shape[-2]}" if frame.shape else "",
        f"{before:.2f} -> {after:.2f}" if before is not None and after is not None else "",
        "" if noise is None else f"{noise:.4g}",
        f"{frame.seconds:.1f}" if done else "",
        note,
    )
