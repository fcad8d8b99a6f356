"""What each part of the recipe is worth: small networks, each trained for the same CPU time.

The variants of `benchmarks.peers.variants` are trained for deconvolution on the simulation, and
measured on simulated skies of another seed. A second table says what the steps after the shipped
network are worth, on the scenes rendered by GalSim.
"""

from __future__ import annotations

import argparse
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from astro_sr_plugin.models.wiener_unet.flux import FluxStep
from astro_sr_plugin.restoration.flux import FluxCorrection
from benchmarks.arguments import add_options, one_of
from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.variants import VARIANTS, measure_variant, train_variant
from benchmarks.peers.verbs import enhance
from benchmarks.truth.kinds import KINDS
from benchmarks.truth.scenes import make_scene

_TASK = "deconvolve"
_VARIANT_COLUMNS = {
    "variant": ("variant", ""),
    "about": ("", ""),
    "steps": ("steps", ".0f"),
    "db": ("dB", ".2f"),
    "bias": ("bias (%)", ".2f"),
    "scatter": ("scatter (%)", ".2f"),
}
_STEP_COLUMNS = {
    "steps": ("after the network", ""),
    "db": ("dB", ".2f"),
    "bias": ("absolute bias (mag)", ".4f"),
    "flux": ("worst total flux (%)", ".3f"),
}

_WITHOUT_SCALING = patch.object(FluxStep, "correct", lambda self, result, *_: result)
_WITHOUT_BALANCE = patch.object(
    FluxCorrection,
    "correction",
    lambda self, first, last: np.zeros((last - first, self.shape[1] * self.scale), np.float32),
)
STEPS = {
    "as shipped": (),
    "no flux step of the sources": (_WITHOUT_SCALING,),
    "no correction at large scales": (_WITHOUT_BALANCE,),
    "neither": (_WITHOUT_SCALING, _WITHOUT_BALANCE),
}
"""What is left out after the network."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument(
        "--variants", type=one_of(VARIANTS), default=tuple(VARIANTS), help="comma-separated"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="CPU time of each")
    parser.add_argument("--patches", type=int, default=160, help="patches that measure")
    add_options(parser, "size")


def main(options: argparse.Namespace) -> int:
    """Train and measure every variant and every step, and write the report after each variant."""
    rows: list[dict[str, Any]] = []
    for name in options.variants:
        variant = VARIANTS[name]
        net, steps = train_variant(variant, 60 * options.minutes)
        figures = measure_variant(net, options.patches)
        rows.append({"variant": name, "about": variant.about, "steps": steps, **figures})
        say(*rows[-1].items())
        _write(options, rows, [])
    print(_write(options, rows, measure_steps(options.out, options.size)))
    return 0


def measure_steps(out: Path, size: int, seed: int = 1) -> list[dict[str, Any]]:
    """Measure deconvolution on all scenes without the steps that keep the flux.

    Returns
    -------
    list of dict
        For each of `STEPS`: the mean of the decibels, the mean of the absolute bias of isolated
        stars (mag), and the largest relative error of the light above the sky.
    """
    rows = []
    for name, patches in STEPS.items():
        found = []
        for kind in KINDS:
            scene = make_scene(kind, seed, size=size, cache=out / "scenes")
            with ExitStack() as stack, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for step in patches:
                    stack.enter_context(step)
                found.append(evaluate_outputs(scene, _TASK, enhance(scene, _TASK)))
        rows.append(
            {
                "steps": name,
                "db": float(np.mean([f["db"] for f in found])),
                "bias": float(np.mean([abs(f["bias"]) for f in found])),
                "flux": float(max(abs(f["flux_ratio"] - 1) for f in found)),
            }
        )
        say(*rows[-1].items())
    return rows


def _write(
    options: argparse.Namespace, rows: list[dict[str, Any]], steps: list[dict[str, Any]]
) -> str:
    in_percent = [
        row | {"bias": 100 * row["bias"], "scatter": 100 * row["scatter"]} for row in rows
    ]
    sections = [
        f"Deconvolution, {options.minutes:g} minutes of CPU time each, {options.patches} simulated"
        " patches.",
        figures_table(in_percent, _VARIANT_COLUMNS),
    ]
    if steps:
        sections += [
            "The shipped network on the rendered scenes, mean over the kinds, one seed.",
            figures_table([step | {"flux": 100 * step["flux"]} for step in steps], _STEP_COLUMNS),
        ]
    return write_results(
        options.out,
        "ablations",
        title="Ablations",
        made=made_with([_TASK]),
        sections=sections,
        record={"minutes": options.minutes, "variants": rows, "steps": steps},
    )
