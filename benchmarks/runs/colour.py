"""Colours of stars before and after, where the planes differ in seeing, noise and refraction."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import astro_sr_plugin as asr
from benchmarks.arguments import add_options
from benchmarks.figures.colour import BRIGHT_SNR, LEAST_SNR, VISIBLE, colour_figures
from benchmarks.figures.pictures import save_crops
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.verbs import enhance
from benchmarks.truth.colour import SKIES, make_colour_scene
from benchmarks.truth.scene import Scene

METHODS = ("input", "per plane", "luminance only")
"""The last one is for the verbs that sharpen."""

_COLUMNS = {
    "label": ("", ""),
    "core": ("core (mag)", ".4f"),
    "core_scatter": ("its scatter", ".3f"),
    "total": ("total (mag)", ".4f"),
    "total_scatter": ("its scatter", ".3f"),
    "fringe": ("wrong colour", ".1%"),
    "reaches": ("reach / truth (px)", ""),
    "flux": ("flux", ".4%"),
    "db": ("dB", ".1f"),
    "colour_db": ("colour dB", ".1f"),
}
_ABOUT = (
    f"Stars of SNR {LEAST_SNR:g} or more in every plane. Core, total: median error of the colour in"
    " apertures of 1.5 FWHM of the result and of 8 px, and the scatter about it; the worse of two"
    f" pairs of planes. Of stars of SNR {BRIGHT_SNR:g} or more, wrong colour: share of the light"
    " that is in the wrong place in the difference of the outer planes; reach: radius up to which"
    f" these differ by more than {VISIBLE:.0%} of the peak. Flux: largest error of the sum of a"
    " plane. dB: -20 log10 of the error of asinh(I / 3 sigma); colour dB: of the differences of"
    " that between planes."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    add_options(parser, "tasks", "size", "seed")


def main(options: argparse.Namespace) -> int:
    """Measure every sky, task and method, and write the report."""
    crops = options.out / "colour_crops"
    rows: list[dict[str, Any]] = []
    for name, sky in SKIES.items():
        scene = make_colour_scene(sky, size=options.size, seed=options.seed)
        for task in options.tasks:
            truth = np.asarray(scene.truth(task), float)
            shown = []
            for method in METHODS[:2] if task == "denoise" else METHODS:
                output = _enhanced(scene, task, method)
                figures = colour_figures(scene, task, output, truth)
                rows.append({"sky": name, "task": task, "method": method, **figures})
                shown.append((method, output))
                say(name, task, method, f"{figures['db']:.1f} dB")
            picture = f"{task}_{name.replace(', ', '_').replace(' ', '-')}.png"
            save_crops(scene, task, shown, crops / picture)
    text = write_results(
        options.out,
        "colour",
        title="Colours",
        made=made_with(options.tasks),
        sections=[_ABOUT, *_sections(rows)],
        record={"setting": {"size": options.size, "seed": options.seed}, "rows": rows},
    )
    print(text)
    return 0


def _enhanced(scene: Scene, task: str, method: str) -> NDArray[np.floating]:
    """Return the input (bicubic where it is to be doubled) or a result of the package."""
    if method == "input":
        if task != "super-resolve":
            return scene.observed
        return np.asarray(asr.super_resolve(scene.observed, model="bicubic"))
    options = {} if task == "denoise" else {"luminance_only": method == "luminance only"}
    return enhance(scene, task, **options)


def _sections(rows: list[dict[str, Any]]) -> list[str]:
    sections = []
    for name, sky in SKIES.items():
        own = [
            row
            | {
                "label": f"{row['task']}, {row['method']}",
                "reaches": f"{row['reach']:.1f} / {row['true_reach']:.1f}",
            }
            for row in rows
            if row["sky"] == name
        ]
        sections += [
            f"## {name}",
            f"FWHM {', '.join(f'{w:g}' for w in sky.fwhm)} px; shifted by"
            f" {', '.join(f'{w:g}' for w in sky.shift)} px;"
            f" {'nebula' if sky.nebula else 'empty sky'}.",
            figures_table(own, _COLUMNS),
        ]
    return sections
