"""Stars through telescopes as they are: aberrations, trails, undersampling, few stars.

Each kind of `benchmarks.truth.optics` is restored by the verbs, which measure the PSF themselves
(and, as "PSF given", once with the true one), and by classical methods that are given the true PSF
and noise and stopped by the truth. Rows of the classical methods that the results file has already
are taken from it, as long as the scene is the same.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astro_sr_plugin import AstroSRError
from benchmarks.arguments import numbers, one_of
from benchmarks.figures.optics import optics_figures
from benchmarks.figures.pictures import save_crops
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.bench import Bench
from benchmarks.peers.verbs import enhance
from benchmarks.truth.optics import OPTICS, make_optics_scene
from benchmarks.truth.scene import Scene

__all__ = ["lead_table"]

_TASKS = ("deconvolve", "super-resolve")
_PEERS = ("rl", "bm3d+rl")
_NAME = "optics"
_MEANS = ("db", "bias", "scatter", "input_scatter", "radius_ratio", "invented", "false_light")
"""Figures that are averaged over seeds; of the others the largest counts, but for `split`."""
_COLUMNS = {
    "kind": ("optics", ""),
    "db": ("dB", ".1f"),
    "lead": ("lead (dB)", "+.1f"),
    "bias": ("bias (mag)", "+.3f"),
    "scatter": ("scatter (mag)", ".3f"),
    "input_scatter": ("input's scatter", ".3f"),
    "radius_ratio": ("half-flux radius", ".3f"),
    "invented": ("invented", ".1%"),
    "false_light": ("false light", ".2%"),
    "split": ("split stars", ".0f"),
    "stars": ("of stars", ".0f"),
    "ring": ("darkest ring", ".1f"),
    "shift": ("shift (px)", ".2f"),
}

Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    for name, known in (("tasks", _TASKS), ("kinds", tuple(OPTICS)), ("peers", _PEERS)):
        text = f"comma-separated, of {', '.join(known)} (default: all)"
        parser.add_argument(f"--{name}", type=one_of(known), default=known, help=text)
    parser.add_argument("--no-peers", action="store_true", help="run no peer that is not kept")
    parser.add_argument("--no-given", action="store_true", help="leave out the PSF given")
    parser.add_argument("--seeds", type=numbers, default=(1, 2, 3), help="comma-separated")
    parser.add_argument("--size", type=int, default=320, help="side of the frames (pixels)")
    parser.add_argument(
        "--models", default="default", help="names or paths, or task=name, comma-separated"
    )


def main(options: argparse.Namespace) -> int:
    """Run the verbs and the peers on every scene, and write the report after each."""
    bench = Bench(options.out / "peers")
    kept = _kept_rows(options.out / f"{_NAME}.json")
    rows: list[Row] = []
    text = ""
    for seed in options.seeds:
        for kind in options.kinds:
            scene = make_optics_scene(kind, seed, size=options.size, cache=options.out / "scenes")
            for task in options.tasks:
                rows += _run_scene(scene, task, options, bench, kept)
                text = _write(options, rows, kept)
    print(text)
    return 0


def _kept_rows(path: Path) -> list[Row]:
    """Return the rows of peers of earlier results."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [
        {key: float("nan") if value is None else value for key, value in row.items()}
        for row in rows
        if row["method"] in _PEERS
    ]


def _run_scene(
    scene: Scene, task: str, options: argparse.Namespace, bench: Bench, kept: Sequence[Row]
) -> list[Row]:
    about = {"task": task, "kind": scene.kind, "seed": scene.seed, "scene": scene.digest()}
    rows: list[Row] = []
    shown = []

    def add(method: str, image: Any, begun: float, note: str = "") -> None:
        figures = {} if image is None else optics_figures(scene, task, image)
        seconds = time.perf_counter() - begun
        rows.append(about | {"method": method, **figures, "seconds": seconds, "note": note})
        level = f"{figures['db']:.2f} dB" if figures else "no result"
        say(f"{task} {scene.kind} {scene.seed} {method:24s} {level} {seconds:.1f} s {note}")
        if image is not None:
            shown.append((f"{method} {level}", np.asarray(image)))

    for method, choice in _methods(task, options):
        begun = time.perf_counter()
        if method.endswith("PSF given"):
            choice = choice | {"psf": scene.psf.astype(np.float32)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                add(method, enhance(scene, task, **choice), begun)
        except AstroSRError as error:
            add(method, None, begun, f"refused: {error}")
    for peer in options.peers:
        found = [r for r in kept if all(r.get(k) == v for k, v in about.items())]
        found = [r for r in found if r["method"] == peer]
        if found:
            rows.append(found[0])
        elif not options.no_peers:
            begun = time.perf_counter()
            result = bench.run(scene, task, peer)
            add(peer, result.image, begun, result.note)
    save_crops(scene, task, shown, options.out / "crops" / f"{scene.kind}-{scene.seed}-{task}.png")
    return rows


def _methods(task: str, options: argparse.Namespace) -> Iterable[tuple[str, dict[str, Any]]]:
    for name in options.models.split(","):
        wanted, _, model = name.rpartition("=")
        if wanted and wanted != task:
            continue
        label = "ours" if model == "default" else f"ours:{Path(model).stem}"
        choice = {} if model == "default" else {"model": model}
        yield label, choice
        if not options.no_given:
            yield f"{label}, PSF given", choice


def _summary(rows: Sequence[Row], method: str) -> list[Row]:
    """Return a row for each kind of optics: the mean over the seeds, or the worst of them."""
    found = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [r for r in rows if r["kind"] == kind and r["method"] == method and "db" in r]
        if not own:
            continue
        line: Row = {"kind": kind}
        for name in (*_MEANS, "ring", "shift"):
            values = np.array([r[name] for r in own], float)
            good = values[np.isfinite(values)]
            pick = np.mean if name in _MEANS else np.max
            line[name] = float(pick(good)) if good.size else float("nan")
        line |= {name: sum(r[name] for r in own) for name in ("split", "stars")}
        line["lead"] = lead(rows, kind, method)
        found.append(line)
    return found


def lead(rows: Sequence[Row], kind: str, method: str) -> float:
    """Return by how many dB a method is ahead of the best peer, on the seeds that both have."""
    leads = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        here = [r for r in rows if r["kind"] == kind and r["seed"] == seed and "db" in r]
        own = [r["db"] for r in here if r["method"] == method]
        best = [r["db"] for r in here if r["method"] in _PEERS]
        if own and best:
            leads.append(own[0] - max(best))
    return float(np.mean(leads)) if leads else float("nan")


def lead_table(rows: Sequence[Row], task: str) -> list[str]:
    """Return the tables of a task: one for each method, with the mean lead in its heading."""
    rows = [r for r in rows if r["task"] == task]
    parts = []
    for method in dict.fromkeys(r["method"] for r in rows):
        lines = _summary(rows, method)
        if not lines:
            continue
        columns = dict(_COLUMNS)
        heading = f"### {task}: {method}"
        if method in _PEERS:
            del columns["lead"]
        else:
            leads = np.array([line["lead"] for line in lines])
            if np.isfinite(leads).any():
                heading += f", lead {np.nanmean(leads):+.2f} dB on average"
        parts += [heading, figures_table(lines, columns)]
    return parts


def _write(options: argparse.Namespace, rows: Sequence[Row], kept: Sequence[Row]) -> str:
    """Write the report; rows of peers that this run did not touch are kept."""
    keys = ("task", "kind", "seed", "method")
    done = {tuple(row[key] for key in keys) for row in rows}
    rest = [row for row in kept if tuple(row[key] for key in keys) not in done]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    seeds = sorted({row["seed"] for row in rows})
    about = (
        f"Seeds {seeds}, {options.size} x {options.size} pixels. Lead: over the better of "
        "Richardson-Lucy and BM3D with it, both given the true PSF and noise and stopped by the "
        "truth. Darkest ring: over 1 sigma and 1 % of the light there."
    )
    models = [name.rpartition("=")[2] for name in options.models.split(",")]
    return write_results(
        options.out,
        _NAME,
        title="Real optics",
        made=made_with(tasks, models=models),
        sections=[about, *(part for task in tasks for part in lead_table(rows, task))],
        record={"setting": {"size": options.size}, "rows": [*rows, *rest]},
    )
