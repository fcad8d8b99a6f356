"""Quality of the verbs and of their rivals on truth-known scenes, in one run.

``python -m benchmarks.quality --out results`` writes quality.md, quality.json and a PNG of
cut-outs per scene and task. The verbs measure PSF and noise themselves, while the classical
rivals are told both and are stopped by the truth; only the wanted resolution is given to all.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import AstroSRError
from benchmarks.crops import save_crops
from benchmarks.evaluation import evaluate_outputs
from benchmarks.peers import PEERS, Bench
from benchmarks.scenes import (
    ALL_TASKS,
    KINDS,
    SCALES,
    TASKS,
    Scene,
    make_scene,
    with_truth_x4,
)
from benchmarks.tables import Row, gains, plain, quality_report

__all__ = ["MODELS", "enhance", "evaluate_outputs", "main", "run_quality"]


MODELS = (
    "default",
    "denoise=denoise-quality",
    "deconvolve=deconvolve-quality",
    "super-resolve=super-resolve-x2-quality",
    "super-resolve-x4=super-resolve-x4-quality",
)
"""What is run unless told otherwise: what a verb takes by itself, and the slower ones."""
_FINEST_X4 = 4.0  # output pixels; the narrowest target that the verb takes at scale 4


def enhance(scene: Scene, task: str, *, model: str | None = None) -> NDArray[np.floating]:
    """Run the package's verb for a task on the observation of a scene.

    Parameters
    ----------
    scene : Scene
        Only `observed` is given to the verb, and the wanted FWHM where it takes one.
    task : str
        One of `benchmarks.scenes.ALL_TASKS`.
    model : str, optional
        Name or path of a model; the verb's default otherwise.

    Returns
    -------
    numpy.ndarray
        The result's data.
    """
    from astropy.nddata import CCDData

    import astro_sr_plugin as asr

    verbs: dict[str, Callable[..., Any]] = {
        "denoise": asr.denoise,
        "deconvolve": asr.deconvolve,
        "super-resolve": asr.super_resolve,
        "super-resolve-x4": asr.super_resolve,
    }
    verb = verbs[task]
    options: dict[str, Any] = {} if model is None else {"model": model}
    if task != "denoise" and "target_fwhm" in inspect.signature(verb).parameters:
        options["target_fwhm"] = scene.target_fwhm(task)
    if SCALES[task] > 1:
        options["scale"] = SCALES[task]
    if SCALES[task] == 4:
        options["target_fwhm"] = max(_FINEST_X4, scene.target_fwhm(task))
    return np.asarray(verb(CCDData(scene.observed.copy(), unit="adu"), **options).data)


def run_quality(
    out: str | Path,
    *,
    tasks: Sequence[str] = TASKS,
    kinds: Sequence[str] = KINDS,
    seeds: Sequence[int] = (1,),
    models: Sequence[str] = ("default",),
    size: int = 512,
    siril_root: str | Path | None = None,
    textures: str | Path | None = None,
    peers: bool = True,
) -> list[Row]:
    """Run the verbs and the peers and write the report.

    Parameters
    ----------
    out : path
        Folder for quality.md, quality.json, crops/ and the kept scenes/ and peers/.
    tasks, kinds, seeds : sequence
        What to run.
    models : sequence of str
        "default" for a verb's own choice, otherwise names or paths, as "task=name" to serve one
        task only. Empty: the peers alone.
    size : int
        Side of the scenes.
    siril_root, textures : path, optional
        See `benchmarks.peers.Bench` and `benchmarks.scenes.make_scene`.
    peers : bool
        False leaves out the peers.

    Returns
    -------
    list of Row
        One per task, scene and method.
    """
    folder = Path(out)
    bench = Bench(folder / "peers", siril_root=siril_root)
    for peer, reason in bench.missing.items():
        if peers:
            _say(f"skipped {peer}: {reason}")
    rows: list[Row] = []
    for kind in kinds:
        for seed in seeds:
            kept: dict[str, Any] = {"textures": textures, "cache": folder / "scenes"}
            scene = make_scene(kind, seed, size=size, **kept)
            if any(SCALES[task] == 4 for task in tasks):
                scene = with_truth_x4(scene, **kept)
            for task in tasks:
                rows += _run_scene(bench, scene, task, models, folder / "crops", peers)
                _write(folder, rows, bench, {"size": size, "textures": textures is not None})
    return rows


def _run_scene(
    bench: Bench, scene: Scene, task: str, models: Sequence[str], crops: Path, peers: bool
) -> list[Row]:
    rows: list[Row] = []
    shown: list[tuple[str, NDArray[np.floating]]] = []
    for peer in PEERS[task] if peers else ():
        start = time.perf_counter()
        result = bench.run(scene, task, peer)
        figures = {} if result.image is None else evaluate_outputs(scene, task, result.image)
        rows.append(Row(task, scene.kind, scene.seed, peer, figures, result.note))
        _say(_line(rows[-1], time.perf_counter() - start))
        if result.image is not None and (peer == "bm3d+rl" or task + peer == "denoisebm3d"):
            shown.append((f"{peer} {figures['db']:.1f} dB", result.image))
    for name in models:
        wanted, _, model = name.rpartition("=")
        if wanted and wanted != task:
            continue
        start = time.perf_counter()
        try:
            image = enhance(scene, task, model=None if model == "default" else model)
        except AstroSRError as error:
            rows.append(Row(task, scene.kind, scene.seed, _label(name), {}, f"fails: {error}"))
            _say(_line(rows[-1], time.perf_counter() - start))
            continue
        seconds = time.perf_counter() - start
        figures = evaluate_outputs(scene, task, image) | {"seconds": seconds}
        rows.append(Row(task, scene.kind, scene.seed, _label(name), figures))
        _say(_line(rows[-1], seconds))
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


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(folder: Path, rows: list[Row], bench: Bench, setting: dict[str, Any]) -> None:
    ours = list(dict.fromkeys(r.method for r in rows if r.method.startswith("ours")))
    seeds = sorted({r.seed for r in rows})
    missing = [f"- {peer} skipped: {reason}" for peer, reason in bench.missing.items()]
    versions = ", ".join(f"{name} {number}" for name, number in bench.versions().items())
    head = [
        "# Quality on truth-known scenes",
        f"Seeds {seeds}, {setting['size']} x {setting['size']} pixels, peers: {versions or 'own'}.",
        *missing,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quality.md").write_text("\n\n".join(head) + "\n\n" + quality_report(rows, ours))
    record = {
        "setting": setting,
        "versions": bench.versions(),
        "missing": bench.missing,
        "gains": {
            f"{task} {method}": gains(rows, task, method)
            for task in dict.fromkeys(r.task for r in rows)
            for method in ours
        },
        "rows": [row._asdict() for row in rows],
    }
    (folder / "quality.json").write_text(json.dumps(plain(record), indent=1, allow_nan=False))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument(
        "--tasks", type=_words, default=TASKS, help=f"comma-separated, of {', '.join(ALL_TASKS)}"
    )
    parser.add_argument("--kinds", type=_words, default=KINDS, help="comma-separated")
    parser.add_argument("--seeds", type=_numbers, default=(1,), help="comma-separated")
    parser.add_argument(
        "--models", type=_words, default=MODELS, help="names or paths, or task=name"
    )
    parser.add_argument("--size", type=int, default=512, help="side of the scenes (pixels)")
    parser.add_argument("--siril", metavar="ROOT", help="Debian root with siril-cli >= 1.4")
    parser.add_argument("--textures", metavar="FOLDER", help="pictures as extended structure")
    parser.add_argument("--no-peers", action="store_true", help="run only our verbs")
    parser.add_argument("--no-ours", action="store_true", help="run only the peers")
    parser.add_argument("--out", default="benchmarks/results/quality", metavar="DIR")
    options = parser.parse_args(arguments)
    for chosen, known in ((options.tasks, ALL_TASKS), (options.kinds, KINDS)):
        if unknown := set(chosen) - set(known):
            parser.error(f"{', '.join(sorted(unknown))} is not one of {', '.join(known)}")
    run_quality(
        options.out,
        tasks=options.tasks,
        kinds=options.kinds,
        seeds=options.seeds,
        models=() if options.no_ours else options.models,
        size=options.size,
        siril_root=options.siril,
        textures=options.textures,
        peers=not options.no_peers,
    )
    print((Path(options.out) / "quality.md").read_text())
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.split(",") if word)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in _words(text))


if __name__ == "__main__":
    sys.exit(main())
