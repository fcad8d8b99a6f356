"""Tables of the quality of methods on scenes: decibels, leads, and the figures of each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.figures.tables import figures_table, markdown_table, number_text

__all__ = ["Row", "gains", "quality_report"]

SIMPLE = {
    "denoise": ("bm3d", "siril"),
    "deconvolve": ("untouched", "wiener", "rl", "bm3d+rl", "siril"),
    "super-resolve": ("bicubic", "lanczos", "rl", "bm3d+rl"),
    "super-resolve-x4": ("bicubic", "lanczos", "rl", "bm3d+rl"),
}
"""The tools that a gain is counted over."""
_CHAIN = "bm3d+rl"
_COHERENCE = "coherence_"
_WEIGHTED = ("bias", "scatter", "input_scatter", "radius_ratio")
_COLUMNS = {
    "stars": ("stars", ".0f"),
    "bias": ("bias (mag)", ".4f"),
    "scatter": ("scatter (mag)", ".4f"),
    "input_scatter": ("input's scatter", ".4f"),
    "radius_ratio": ("half-flux radius", ".3f"),
    "invented": ("invented", ".2%"),
    "false": ("false sources", ".2%"),
    "clear_invented": ("invented, clear", ".2%"),
    "clear_false": ("false, clear", ".2%"),
    "completeness": ("completeness", ".1%"),
    "found_ratio": ("stars found / matched filter", ".3f"),
    "wiener_ratio": ("error / Wiener", ".4f"),
    "flux_ratio": ("total flux", ".5f"),
    "seconds": ("seconds", ".1f"),
}


class Row(NamedTuple):
    """The figures of one method on one scene."""

    task: str
    kind: str
    seed: int
    method: str
    figures: dict[str, float]
    note: str = ""


def figure(rows: Sequence[Row], kind: str, method: str, name: str) -> float:
    """Return a figure of a method on a kind of scene, the mean over the seeds.

    Figures of stars are weighted by the number of stars.
    """
    found = [r.figures for r in rows if r.kind == kind and r.method == method and name in r.figures]
    values = np.array([f[name] for f in found])
    weights = np.array([f["stars"] if name in _WEIGHTED else 1.0 for f in found])
    good = np.isfinite(values) & (weights > 0)
    if not good.any():
        return float("nan")
    return float(np.average(values[good], weights=weights[good]))


def gains(rows: Sequence[Row], task: str, method: str) -> dict[str, tuple[float, float]]:
    """Return for each kind the gain in dB over the chain and over the best simple tool."""
    rows = [r for r in rows if r.task == task]
    result = {}
    for kind in _kinds(rows):
        ours = figure(rows, kind, method, "db")
        rivals = [figure(rows, kind, rival, "db") for rival in SIMPLE[task]]
        best = max((value for value in rivals if np.isfinite(value)), default=float("nan"))
        result[kind] = (ours - figure(rows, kind, _CHAIN, "db"), ours - best)
    return result


def quality_report(rows: Sequence[Row], ours: Sequence[str]) -> str:
    """Return all tables: dB of every method, then the other figures of ours and of the chain."""
    parts = []
    for task in dict.fromkeys(r.task for r in rows):
        own = [r for r in rows if r.task == task]
        parts += [f"## {task}", _decibels(own, task, ours)]
        if any(name.startswith(_COHERENCE) for r in own for name in r.figures):
            parts += [f"### {task}: coherence with the truth", _coherences(own)]
        reference = _CHAIN if any(r.method == _CHAIN for r in own) else "bm3d"
        for method in [*ours, reference]:
            if any(r.method == method and r.figures for r in own):
                parts += [f"### {task}: figures of {method}", _figures(own, method)]
    return "\n\n".join(parts) + "\n"


def _kinds(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(r.kind for r in rows))


def _decibels(rows: Sequence[Row], task: str, ours: Sequence[str]) -> str:
    methods = list(dict.fromkeys(r.method for r in rows))
    kinds = _kinds(rows)
    values = {m: [figure(rows, kind, m, "db") for kind in kinds] for m in methods}
    for method in ours:
        if method in values:
            gained = gains(rows, task, method)
            if task != "denoise":
                values[f"{method} over chain"] = [gained[kind][0] for kind in kinds]
            values[f"{method} over best"] = [gained[kind][1] for kind in kinds]
    # Without the peers there is nothing to be ahead of.
    values = {name: column for name, column in values.items() if np.isfinite(column).any()}
    lines = [
        [kind, *(number_text(column[i], ".1f") for column in values.values())]
        for i, kind in enumerate(kinds)
    ]
    for label, reduce in (("mean", np.mean), ("worst", np.min)):
        columns = [np.array(column)[np.isfinite(column)] for column in values.values()]
        lines.append(
            [label, *(number_text(float(reduce(c)) if c.size else np.nan) for c in columns)]
        )
    return markdown_table(["scene (dB)", *values], lines)


def _coherences(rows: Sequence[Row]) -> str:
    """Return by method and frequency, in cycles per input pixel, the mean over the scenes."""
    names = [n for r in rows for n in r.figures if n.startswith(_COHERENCE)]
    names = list(dict.fromkeys(names))
    head = ["cycles per input pixel", *(name.removeprefix(_COHERENCE) for name in names)]
    lines = []
    for method in dict.fromkeys(r.method for r in rows if r.figures):
        values = [[figure(rows, kind, method, name) for kind in _kinds(rows)] for name in names]
        lines.append([method, *(number_text(float(np.nanmean(v)), ".2f") for v in values)])
    return markdown_table(head, lines)


def _figures(rows: Sequence[Row], method: str) -> str:
    found = [
        {"kind": kind} | {name: figure(rows, kind, method, name) for name in _COLUMNS}
        for kind in _kinds(rows)
    ]
    return figures_table(found, {"kind": ("scene", "")} | _COLUMNS)
