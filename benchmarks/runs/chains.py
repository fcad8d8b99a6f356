"""Chains of verbs on truth-known scenes: which order and strength helps, and which harms.

Each chain is held against the truth of what its verbs make together: the image without noise, the
image at the target of `deconvolve`, that of `super_resolve`, or the sky without stars and noise.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from itertools import chain as joined
from pathlib import Path
from typing import Any

import numpy as np
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin import AstroSRError, AstroSRWarning
from astro_sr_plugin.metrics import asinh_psnr_db
from benchmarks.arguments import add_options
from benchmarks.figures.dark_rims import BRIGHT_SNR, dark_rims
from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import Columns, figures_table
from benchmarks.peers.chains import CHAINS, STARLESS, run_chain
from benchmarks.truth.scene import TASKS
from benchmarks.truth.scenes import make_scene
from benchmarks.truth.star_removal import SKIES, make_starry

_KEPT = ("db", "bias", "scatter", "completeness", "false")
_MORE = {
    "bias": ("bias", ".3f"),
    "scatter": ("scatter", ".3f"),
    "dark_rims": ("dark rims", ".0%"),
    "audit": ("audit", ""),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    add_options(parser, "kinds", "seeds", "size", size=256)


def main(options: argparse.Namespace) -> int:
    """Run every chain on every scene, and write the report."""
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstroSRWarning)
        for row in joined(
            _rows(options.kinds, options.seeds, options.size, options.out),
            _starless_rows(options.seeds, options.size),
        ):
            rows.append(row)
            say(*row.items())
    print(_write(rows, options.size, options.seeds, options.out))
    return 0


def _write(rows: Sequence[dict[str, Any]], size: int, seeds: Sequence[int], out: Path) -> str:
    about = (
        f"{size} x {size} pixels, seeds {list(seeds)}. dB: -20 log10 of the RMSE of"
        " asinh(I / 3 sigma) against the truth; the mean is that over scenes in which no chain"
        " fails. bias, scatter: magnitudes of isolated stars of SNR >= 30. dark rims: part of the"
        f" stars of SNR >= {BRIGHT_SNR:g} with a ring that is darker than the truth by 1 sigma and"
        " by 2 % of the star's mean light. audit: results in which the audit finds a fault."
    )
    return write_results(
        out,
        "chains",
        title="Chains of verbs",
        made=made_with([*TASKS, "remove-stars"]),
        sections=[about, *_sections(rows)],
        record={"setting": {"size": size, "seeds": list(seeds)}, "rows": list(rows)},
    )


def _rows(
    kinds: Sequence[str], seeds: Sequence[int], size: int, out: Path
) -> Iterator[dict[str, Any]]:
    for kind in kinds:
        for seed in seeds:
            scene = make_scene(kind, seed, size=size, cache=out / "scenes")
            image = CCDData(scene.observed.copy(), unit="adu")
            for task, chains in CHAINS.items():
                target = None if task == "denoise" else scene.target_fwhm(task)
                for name, chain in chains.items():
                    row = {"task": task, "chain": name, "kind": kind, "seed": seed}
                    try:
                        result = run_chain(image, chain, target)
                    except AstroSRError as error:
                        yield row | {"fails": str(error)}
                        continue
                    output = np.asarray(result.data)
                    figures = evaluate_outputs(scene, task, output)
                    row |= {key: figures[key] for key in _KEPT}
                    row["dark_rims"] = dark_rims(scene, task, output)
                    yield row | _verdict(image, result)


def _verdict(image: Any, result: Any) -> dict[str, Any]:
    """Return what an audit of the result says."""
    try:
        found = asr.audit(image, result)
    except AstroSRError as error:
        return {"audit": str(error), "broken": None}
    return {"audit": "; ".join(found.failed), "broken": not found.passed}


def _starless_rows(seeds: Sequence[int], size: int) -> Iterator[dict[str, Any]]:
    for kind in SKIES:
        for seed in seeds:
            starry = make_starry(kind, size=size, seed=seed)
            scene = starry.scene
            sigma = float(scene.sigma)
            for name, chain in STARLESS.items():
                output = np.asarray(run_chain(scene.observed, chain), float)
                pair = ((i - scene.background) / sigma for i in (output, starry.starless))
                level = asinh_psnr_db(*pair, sigma=1.0, mask=scene.excluded)
                yield {"task": "starless", "chain": name, "kind": kind, "seed": seed, "db": level}


def _sections(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a table per truth: decibels by kind, then the means of the other figures."""
    sections = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        kinds = list(dict.fromkeys(row["kind"] for row in mine))
        common = [k for k in kinds if all("db" in row for row in mine if row["kind"] == k)]
        columns: Columns = {"chain": ("chain", "")} | {kind: (kind, ".1f") for kind in kinds}
        columns |= {"mean": ("mean", ".2f")} | ({} if task == "starless" else _MORE)
        lines = []
        for chain in dict.fromkeys(row["chain"] for row in mine):
            here = [row for row in mine if row["chain"] == chain]
            decibels = {kind: _mean("db", [r for r in here if r["kind"] == kind]) for kind in kinds}
            audited = [row["broken"] for row in here if row.get("broken") is not None]
            lines.append(
                {
                    "chain": chain,
                    **decibels,
                    "mean": float(np.mean([decibels[kind] for kind in common])),
                    "bias": _mean("bias", here),
                    "scatter": _mean("scatter", here),
                    "dark_rims": _mean("dark_rims", here),
                    "audit": f"{sum(audited)} of {len(audited)}",
                }
            )
        sections += [f"## {task}", figures_table(lines, columns)]
    return sections


def _mean(name: str, rows: Sequence[dict[str, Any]]) -> float:
    """Return the mean of a figure where there is one; of biases, that of their absolute values."""
    found = [row[name] for row in rows if np.isfinite(row.get(name, np.nan))]
    if not found:
        return float("nan")
    return float(np.mean(np.abs(found) if name == "bias" else found))
