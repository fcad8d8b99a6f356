"""STARRED, the two-channel deconvolution, beside the verb and the classical chain.

It needs the extra "peers". Of several strengths of its regularisation that which comes nearest to
the truth is kept; see `benchmarks.peers.starred` for what else it is given.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.metrics import asinh_psnr_db
from benchmarks.arguments import add_options
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.bench import Bench
from benchmarks.peers.starred import (
    SIDE,
    STRENGTHS,
    TASK,
    Cutout,
    cut_out,
    deconvolve,
    middle,
)
from benchmarks.peers.verbs import enhance
from benchmarks.truth.scenes import make_scene

_COLUMNS = {
    "kind": ("scene (dB)", ""),
    "stars": ("stars given", ".0f"),
    "starred": ("STARRED", ".1f"),
    "chain": ("chain", ".1f"),
    "ours": ("ours", ".1f"),
    "over": ("ours over STARRED", ".1f"),
    "best": ("best strengths", ""),
}
_ABOUT = (
    f"Deconvolution, the middle {SIDE} x {SIDE} pixels of each scene, one seed. STARRED is given"
    " PSF, noise, and the places and fluxes of the stars, and its strengths are chosen by the"
    " truth; the chain too is given PSF and noise and stopped by the truth; ours is given nothing."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    add_options(parser, "kinds", "seed")


def main(options: argparse.Namespace) -> int:
    """Run STARRED, the verb and the chain, and write the report after each scene."""
    bench = Bench(options.out / "peers")
    rows: list[dict[str, Any]] = []
    text = ""
    for kind in options.kinds:
        scene = make_scene(kind, options.seed, cache=options.out / "scenes")
        cutout = cut_out(scene)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries that STARRED is built on
            tries = {s: _decibels(deconvolve(cutout, s), cutout) for s in STRENGTHS}
        best = max(tries, key=lambda s: tries[s])
        chain = bench.run(scene, TASK, "bm3d+rl").image
        row = {
            "kind": kind,
            "stars": len(cutout.x),
            "strengths": best,
            "starred": tries[best],
            "chain": None if chain is None else _decibels(middle(scene, chain), cutout),
            "ours": _decibels(middle(scene, enhance(scene, TASK)), cutout),
        }
        rows.append(row)
        say(*row.items())
        text = write_results(
            options.out,
            "starred",
            title="STARRED",
            made=made_with([TASK]),
            sections=[_ABOUT, _table(rows)],
            record={"setting": {"seed": options.seed}, "rows": rows},
        )
    print(text)
    return 0


def _decibels(image: NDArray[np.float64], cutout: Cutout) -> float:
    return asinh_psnr_db(image, cutout.truth, sigma=1.0, mask=cutout.excluded)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        row
        | {
            "over": row["ours"] - row["starred"],
            "best": ", ".join(f"{strength:g}" for strength in row["strengths"]),
        }
        for row in rows
    ]
    mean = {
        name: float(np.mean([line[name] for line in lines])) for name in ("starred", "ours", "over")
    }
    return figures_table([*lines, {"kind": "mean"} | mean], _COLUMNS)
