"""How often the truth lies within the uncertainty of the verbs, by brightness and kind of scene."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from astro_sr_plugin.training.calibrate import COVERAGES, pulls_of
from benchmarks.arguments import add_options
from benchmarks.figures.coverage import coverage_table
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.truth.scene import TASKS
from benchmarks.truth.scenes import make_scene

_SHARES = {str(share): (str(share), ".1f") for share in COVERAGES}
_BY_BRIGHTNESS = {"name": ("brightness (sigma)", ""), "pixels": ("pixels", ".0f"), **_SHARES}
_BY_KIND = {"name": ("scene (all pixels)", ""), **_SHARES}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    add_options(parser, "kinds", "seeds", "size")


def main(options: argparse.Namespace) -> int:
    """Measure every task on every scene, and write the report."""
    report: dict[str, Any] = {}
    for task in TASKS:
        kinds, everything = {}, []
        for kind in options.kinds:
            scenes = (
                make_scene(kind, seed, size=options.size, cache=options.out / "scenes")
                for seed in options.seeds
            )
            found = [pulls_of(vars(scene), task) for scene in scenes]
            pulls, level = (np.concatenate(parts) for parts in zip(*found, strict=True))
            kinds[kind] = coverage_table(pulls, level)
            everything.append((pulls, level))
            say(task, kind, *(f"{kinds[kind][-1][share]:.1f}" for share in _SHARES))
        joined = [np.concatenate(parts) for parts in zip(*everything, strict=True)]
        report[task] = {"all": coverage_table(*joined), "kinds": kinds}
    about = (
        "Share of pixels (%) whose truth lies within 1, 1.645 and 1.96 standard deviations; "
        f"seeds {list(options.seeds)}. It should be 68, 90 and 95."
    )
    sections = [about]
    for task, tables in report.items():
        rows = [row | {"name": _range(row)} for row in tables["all"]]
        own = [rows[-1] | {"name": kind} for kind, rows in tables["kinds"].items()]
        sections += [f"## {task}", figures_table(rows, _BY_BRIGHTNESS)]
        sections += [figures_table(own, _BY_KIND)]
    text = write_results(
        options.out,
        "coverage",
        title="Coverage of the uncertainties",
        made=made_with(TASKS, uncertainty=True),
        sections=sections,
        record={"setting": {"size": options.size, "seeds": options.seeds}, "tables": report},
    )
    print(text)
    return 0


def _range(row: dict[str, float]) -> str:
    whole = row["from"] == 0 and np.isinf(row["to"])
    return "all" if whole else f"{row['from']:g} to {row['to']:g}"
