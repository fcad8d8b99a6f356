"""What became of a batch, for people and for programs."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from html import escape
from typing import Any

from astro_sr_plugin.batch.recipe import Recipe
from astro_sr_plugin.batch.work import FrameResult

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

    def to_text(self) -> str:
        """Return a table for a person."""
        rows = [_HEAD, *map(_row, self.frames)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
        lines = ["  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) for row in rows]
        told = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        return "\n".join([*(line.rstrip() for line in lines), told])

    def _repr_html_(self) -> str:
        rows = [f"<th>{escape(cell)}</th>" for cell in _HEAD]
        body = ["".join(rows)]
        body += ["".join(f"<td>{escape(c)}</td>" for c in _row(frame)) for frame in self.frames]
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in body)}</table>"


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
