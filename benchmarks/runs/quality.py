"""Quality of the verbs and of other methods on scenes with a known truth, in one run.

The verbs measure PSF and noise themselves, while the classical methods are given both and are
stopped by the truth; only the wanted resolution is given to all.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin import AstroSRError
from benchmarks.arguments import add_options, one_of
from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.figures.pictures import save_crops
from benchmarks.figures.quality import Row, gains, quality_report
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.peers.bench import PEERS, Bench
from benchmarks.peers.verbs import enhance
from benchmarks.truth.scene import ALL_TASKS, SCALES, TASKS, Scene
from benchmarks.truth.scenes import make_scene, with_truth_x4

MODELS = (
    "default",
    "denoise=denoise-quality",
    "deconvolve=deconvolve-quality",
    "super-resolve=super-resolve-x2-quality",
    "super-resolve-x4=super-resolve-x4-quality",
)
"""Default of --models: what a verb takes by itself, and the slower forms."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument(
        "--tasks",
        type=one_of(ALL_TASKS),
        default=TASKS,
        help=f"comma-separated, of {', '.join(ALL_TASKS)}",
    )
    add_options(parser, "kinds", "seeds", "size")
    parser.add_argument(
        "--models",
        default=",".join(MODELS),
        help="names or paths, or task=name; default: the verb's own choice",
    )
    parser.add_argument("--siril", metavar="ROOT", help="Debian root with siril-cli >= 1.4")
    parser.add_argument("--textures", metavar="FOLDER", help="pictures as extended structure")
    parser.add_argument("--no-peers", action="store_true", help="run only the verbs")
    parser.add_argument("--no-ours", action="store_true", help="run only the peers")
    parser.add_argument("--name", default="quality", help="of the results files")


def main(options: argparse.Namespace) -> int:
    """Run the verbs and the peers on every scene, and write the report after each task."""
    models = () if options.no_ours else tuple(options.models.split(","))
    bench = Bench(options.out / "peers", siril_root=options.siril)
    if not options.no_peers:
        for peer, reason in bench.missing.items():
            say(f"skipped {peer}: {reason}")
    kept: dict[str, Any] = {"textures": options.textures, "cache": options.out / "scenes"}
    rows: list[Row] = []
    text = ""
    for kind in options.kinds:
        for seed in options.seeds:
            scene = make_scene(kind, seed, size=options.size, **kept)
            if any(SCALES[task] == 4 for task in options.tasks):
                scene = with_truth_x4(scene, **kept)
            for task in options.tasks:
                peers = () if options.no_peers else PEERS[task]
                rows += _run_scene(bench, scene, task, models, peers, options.out / "crops")
                text = _write(options, rows, bench, models)
    print(text)
    return 0


def _run_scene(
    bench: Bench,
    scene: Scene,
    task: str,
    models: Sequence[str],
    peers: Sequence[str],
    crops: Path,
) -> list[Row]:
    rows: list[Row] = []
    shown: list[tuple[str, NDArray[np.floating]]] = []
    for peer in peers:
        start = time.perf_counter()
        result = bench.run(scene, task, peer)
        figures = {} if result.image is None else evaluate_outputs(scene, task, result.image)
        rows.append(Row(task, scene.kind, scene.seed, peer, figures, result.note))
        say(_line(rows[-1], time.perf_counter() - start))
        if result.image is not None and (peer == "bm3d+rl" or task + peer == "denoisebm3d"):
            shown.append((f"{peer} {figures['db']:.1f} dB", result.image))
    for name in models:
        wanted, _, model = name.rpartition("=")
        if wanted and wanted != task:
            continue
        start = time.perf_counter()
        try:
            image = enhance(scene, task, **({} if model == "default" else {"model": model}))
        except AstroSRError as error:
            rows.append(Row(task, scene.kind, scene.seed, _label(name), {}, f"fails: {error}"))
            say(_line(rows[-1], time.perf_counter() - start))
            continue
        seconds = time.perf_counter() - start
        figures = evaluate_outputs(scene, task, image) | {"seconds": seconds}
        rows.append(Row(task, scene.kind, scene.seed, _label(name), figures))
        say(_line(rows[-1], seconds))
        shown.insert(0, (f"{_label(name)} {figures['db']:.1f} dB", image))
    save_crops(scene, task, shown, crops / f"{scene.kind}-{scene.seed}-{task}.png")
    return rows


def _label(name: str) -> str:
    model = name.rpartition("=")[2]
    return "ours" if model == "default" else f"ours:{Path(model).name}"


def _line(row: Row, seconds: float) -> str:
    figures = row.figures
    text = f"{figures['db']:6.2f} dB" if figures else "   no result"
    if figures:
        text += f"  bias {figures['bias']:+.4f}  scatter {figures['scatter']:.4f}"
        text += f"  invented {figures['invented']:.2%}  complete {figures['completeness']:.1%}"
    head = f"{row.task} {row.kind} {row.seed} {row.method}"
    return f"{head:52s} {text}  {seconds:.1f} s {row.note}"


def _write(
    options: argparse.Namespace, rows: Sequence[Row], bench: Bench, models: Sequence[str]
) -> str:
    ours = list(dict.fromkeys(r.method for r in rows if r.method.startswith("ours")))
    versions = ", ".join(f"{name} {number}" for name, number in bench.versions().items())
    size, tasks = options.size, list(dict.fromkeys(r.task for r in rows))
    about = f"Seeds {sorted({r.seed for r in rows})}, {size} x {size} pixels, peers: "
    absent = {} if options.no_peers else bench.missing
    missing = [f"- {peer} skipped: {reason}" for peer, reason in absent.items()]
    return write_results(
        options.out,
        options.name,
        title="Quality on truth-known scenes",
        made=made_with(tasks, models=[name.rpartition("=")[2] for name in models]),
        sections=[f"{about}{versions or 'own'}.", *missing, quality_report(rows, ours)],
        record={
            "setting": {"size": size, "textures": options.textures is not None},
            "versions": bench.versions(),
            "missing": absent,
            "gains": {
                f"{task} {method}": gains(rows, task, method) for task in tasks for method in ours
            },
            "rows": [row._asdict() for row in rows],
        },
    )
