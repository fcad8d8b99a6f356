"""How near the verbs come to the least errors that noise allows, on isolated stars.

The verbs measure PSF and noise, for which a row of bright stars is there. The limits are those of
`benchmarks.figures.limits`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.arguments import add_options
from benchmarks.figures.limits import (
    FINEST_SNR,
    WITHIN,
    BayesLimit,
    cramer_rao,
    star_errors,
)
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.bench import Bench
from benchmarks.peers.verbs import enhance
from benchmarks.truth.isolated_stars import FIELDS, SNRS, STAR_FIELD, make_stars

CHAIN = {"denoise": "bm3d", "deconvolve": "bm3d+rl", "super-resolve": "bm3d+rl"}
"""The chain of classical methods for each task."""

_COLUMNS = {
    "snr": ("SNR", "g"),
    "limit": ("limit", ".3f"),
    "ours": ("ours", ".3f"),
    "chain": ("chain", ".3f"),
    "above": ("ours above limit (dB)", ".1f"),
    "chain_above": ("chain above limit (dB)", ".1f"),
    "bias": ("flux bias", "+.3f"),
    "flux": ("flux error / bound", ".2f"),
    "place": ("place error / bound", ".2f"),
}
_ABOUT = (
    f"Isolated stars of FWHM {STAR_FIELD.fwhm:g} px in white noise. Limit, ours, chain: root mean"
    f" square error of asinh(I / 3 sigma) within {WITHIN:g} FWHM of a star. Chain: BM3D for"
    " denoising, BM3D and Richardson-Lucy for the others, with the true PSF and noise, and stopped"
    " by the truth."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--stars", type=int, default=48, help="stars of the limit of the image")
    parser.add_argument("--side", type=int, default=480, help="side of the frames (pixels)")
    add_options(parser, "tasks")


def main(options: argparse.Namespace) -> int:
    """Measure every task and signal-to-noise ratio, and write the report."""
    bench = Bench(options.out / "peers")
    rows: list[dict[str, Any]] = []
    for task in options.tasks:
        limit = BayesLimit(task)
        for snr in SNRS:
            rows.append(measure(bench, task, snr, limit, options.stars, options.side))
            say(task, *_row(rows[-1]).values())
    scenes: dict[str, dict[str, float]] = {}
    for kind, field in FIELDS.items():
        scenes[kind] = {
            task: BayesLimit(task, field).scene_db(options.stars) for task in options.tasks
        }
        say(kind, scenes[kind])
    text = write_results(
        options.out,
        "limits",
        title="Distance from the limits of the noise",
        made=made_with(options.tasks),
        sections=[_ABOUT, *_sections(rows, scenes)],
        record={"stars": rows, "scenes": scenes},
    )
    print(text)
    return 0


def measure(
    bench: Bench, task: str, snr: float, limit: BayesLimit, stars: int, side: int
) -> dict[str, Any]:
    """Measure the errors of the verb and of the chain at stars of a signal-to-noise ratio.

    Parameters
    ----------
    bench : Bench
        Runs the chain.
    task : str
        One of `TASKS`.
    snr : float
        Signal-to-noise ratio.
    limit : BayesLimit
        Of this task.
    stars : int
        Stars of which the limit of the image is computed.
    side : int
        Side of the frame (pixels).

    Returns
    -------
    dict
        Task, ratio, errors of both (``None`` where the chain cannot be run), and the limits.
    """
    scene = make_stars(snr, side=side)
    flux_limit, place_limit = cramer_rao(np.asarray(scene.psf, float))
    place_limit /= float(scene.flux[-1]) / float(scene.sigma)
    row: dict[str, Any] = {"task": task, "snr": snr}
    if snr <= FINEST_SNR:
        row["limit"] = limit.mean_square(scene, stars)
    chain = bench.run(scene, task, CHAIN[task]).image
    row["ours"] = star_errors(scene, task, enhance(scene, task))
    row["chain"] = None if chain is None else star_errors(scene, task, chain)
    return row | {"flux_limit": flux_limit, "place_limit": place_limit}


def _row(found: dict[str, Any]) -> dict[str, Any]:
    ours, chain, limit = found["ours"], found["chain"], found.get("limit")

    def root(square: float | None) -> float | None:
        return None if square is None else float(np.sqrt(square))

    def above(square: float | None) -> float | None:
        return None if square is None or limit is None else float(10 * np.log10(square / limit))

    square = None if chain is None else chain["mean_square"]
    return {
        "snr": found["snr"],
        "limit": root(limit),
        "ours": root(ours["mean_square"]),
        "chain": root(square),
        "above": above(ours["mean_square"]),
        "chain_above": above(square),
        "bias": ours["flux_bias"],
        "flux": ours["flux_error"] / found["flux_limit"],
        "place": ours["place_error"] / found["place_limit"],
    }


def _sections(rows: Sequence[dict[str, Any]], scenes: dict[str, dict[str, float]]) -> list[str]:
    sections = []
    tasks = dict.fromkeys(row["task"] for row in rows)
    for task in tasks:
        own = [_row(row) for row in rows if row["task"] == task]
        sections += [f"## {task}", figures_table(own, _COLUMNS)]
    columns = {"kind": ("scene", "")} | {task: (task, ".1f") for task in tasks}
    sections += [
        "## Scenes of stars",
        "dB that no method can exceed on average: the errors at the stars alone, as if each stood"
        " alone, and without those of galaxies.",
        figures_table([{"kind": kind} | found for kind, found in scenes.items()], columns),
    ]
    return sections
