"""Colours of stars before and after, where the planes differ in seeing, noise and refraction."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin.models.registry import default_model
from benchmarks.arguments import add_options
from benchmarks.figures.colour import (
    BRIGHT_SNR,
    FAINT,
    LEAST_SNR,
    VISIBLE,
    colour_figures,
    lonely_maxima,
)
from benchmarks.figures.pictures import save_crops
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.verbs import VERBS, enhance
from benchmarks.truth.colour import SKIES, make_colour_scene
from benchmarks.truth.scene import SCALES, Scene

METHODS = {
    "denoise": ("input", "per plane", "together"),
    "deconvolve": ("input", "per plane", "together", "luminance only"),
    "super-resolve": ("input", "per plane", "luminance only"),
}
"""How each task treats the planes of an image."""

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
    parser.add_argument(
        "--stack", type=Path, metavar="FILE", help="a real stack of three planes with much noise"
    )
    parser.add_argument(
        "--stack-of", default="a real stack", metavar="TEXT", help="what it shows, for the report"
    )


def main(options: argparse.Namespace) -> int:
    """Measure every sky, task and method, and write the report."""
    crops = options.out / "colour_crops"
    rows: list[dict[str, Any]] = []
    for name, sky in SKIES.items():
        scene = make_colour_scene(sky, size=options.size, seed=options.seed)
        for task in options.tasks:
            truth = np.asarray(scene.truth(task), float)
            shown = []
            for method in METHODS[task]:
                output = _enhanced(scene, task, method)
                figures = colour_figures(scene, task, output, truth)
                rows.append({"sky": name, "task": task, "method": method, **figures})
                shown.append((method, output))
                say(name, task, method, f"{figures['db']:.1f} dB")
            picture = f"{task}_{name.replace(', ', '_').replace(' ', '-')}.png"
            save_crops(scene, task, shown, crops / picture)
    real = [] if options.stack is None else _real_stack(options)
    text = write_results(
        options.out,
        "colour",
        title="Colours",
        made=made_with(options.tasks, models=_colour_models()),
        sections=[_ABOUT, *_sections(rows), *_real_section(options, real)],
        record={
            "setting": {"size": options.size, "seed": options.seed},
            "rows": rows,
            "real": real,
        },
    )
    print(text)
    return 0


def _enhanced(scene: Scene, task: str, method: str) -> NDArray[np.floating]:
    """Return the input (bicubic where it is to be doubled) or a result of the package."""
    if method == "input":
        if task != "super-resolve":
            return scene.observed
        return np.asarray(asr.super_resolve(scene.observed, model="bicubic"))
    if method == "together":
        return enhance(scene, task)
    # Named, it gets one plane after the other, or the luminance.
    options: dict[str, Any] = {"model": default_model(task, SCALES[task])}
    if method == "luminance only":
        options["luminance_only"] = True
    return enhance(scene, task, **options)


def _colour_models() -> list[str]:
    """Return the names of the networks that see all planes."""
    return sorted({s.variants["colour"] for s in asr.list_models() if "colour" in s.variants})


def _real_stack(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Count the faint maxima of a real stack that stand in one plane alone."""
    stack = asr.read_image(options.stack)
    sigma = [plane.noise.sigma for plane in asr.measure(stack).planes]
    rows = []
    for task in options.tasks:
        for method in METHODS[task]:
            if method not in {"per plane", "together"}:
                continue
            named = default_model(task, SCALES[task]) if method == "per plane" else None
            result = np.asarray(VERBS[task](stack, model=named).data, float)
            count, lonely = lonely_maxima(result, sigma, SCALES[task])
            label = f"{task}, {method}"
            rows.append({"label": label, "maxima": count, "lonely": lonely})
            say("stack", label, f"{lonely} of {count}")
    return rows


def _real_section(options: argparse.Namespace, rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    low, high = FAINT
    return [
        "## Faint maxima of a real stack",
        f"{options.stack_of}. Maxima of {low:g} to {high:g} times the noise of a pixel of the input"
        " above the sky around them, and how many of them stand in one plane alone.",
        figures_table(
            rows,
            {
                "label": ("", ""),
                "maxima": ("maxima", ""),
                "lonely": ("in one plane alone", ""),
            },
        ),
    ]


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
