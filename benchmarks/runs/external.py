"""Networks of other projects beside ours, bicubic and Richardson-Lucy, on scenes with a truth.

Each file of ``--models`` is run as usual, between a stretch and its exact inverse, and by the
verbs, which hold the light to that of the input and put the input where the result contradicts it.
Networks of scale 4 are averaged to scale 2. A network knows no target PSF: its decibels are against
a truth that is sharper than the input, as those of bicubic are.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin import AstroSRError, AstroSRWarning
from benchmarks.arguments import add_options, one_of
from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.figures.external import (
    FAILURES,
    FWHM,
    PROBES,
    SIGMA,
    SKY,
    failure_figures,
    make_failure,
    make_probe,
    probe_figures,
    seam_figures,
)
from benchmarks.figures.pictures import save_greys
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.bench import Bench
from benchmarks.peers.external import (
    as_usual,
    by_the_verbs,
    load_networks,
    run_in_tiles,
    run_picture,
)
from benchmarks.peers.verbs import VERBS, enhance
from benchmarks.truth.optics import OPTICS, make_optics_scene
from benchmarks.truth.scene import SCALES, TASKS, Scene
from benchmarks.truth.scenes import make_scene

_PEERS = {"denoise": ("untouched",), "super-resolve": ("bicubic", "rl"), "deconvolve": ("rl",)}
_COLUMNS = {
    "method": ("method", ""),
    "scenes": ("scenes", ".0f"),
    "db": ("dB", ".1f"),
    "worst": ("worst dB", ".1f"),
    "excess_ratio": ("light", ".3f"),
    "bias": ("bias (mag)", "+.3f"),
    "scatter": ("scatter (mag)", ".3f"),
    "invented_per_mpx": ("invented per Mpx", ".0f"),
    "radius_ratio": ("half-flux radius", ".2f"),
    "guarded": ("mended places", ".1f"),
    "seconds_per_mpx": ("s per Mpx", ".0f"),
}
_FAILURES = {
    "method": ("method", ""),
    "maxima": ("stars in the place of one", ".0f"),
    "broken": ("scatter along spikes", ".3f"),
    "colour": ("colour of a gray ramp", ".2%"),
    "seams": ("tiles less the whole (sigma)", ".2g"),
}
_SPAN = 7.0  # of asinh(I / 3 sigma) in the pictures
_TILE = 64  # side of the tiles whose seams are looked for, in pixels

Row = dict[str, Any]
Array = NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--models", nargs="*", default=[], metavar="FILE", help="weights files")
    add_options(parser, "kinds", "seeds", "size", size=192)
    parser.add_argument("--optics", type=one_of(OPTICS), default=tuple(OPTICS), help="optics kinds")


def main(options: argparse.Namespace) -> int:
    """Run every method on every scene, and on the images without a truth, and write the report."""
    networks = load_networks(options.models)
    bench = Bench(options.out / "peers")
    rows: list[Row] = []
    failures = _failures(networks, options)
    probes = _probes(networks, options)
    text = _write(options, rows, failures, probes)
    kept = {"size": options.size, "cache": options.out / "scenes"}
    tasks = [task for task in TASKS if any(m.spec.task == task for m in networks.values())]
    for seed in options.seeds:
        for kind in (*options.kinds, *options.optics):
            make = make_optics_scene if kind in OPTICS else make_scene
            scene = make(kind, seed, **kept)
            for task in tasks:
                rows += _run_scene(scene, task, networks, bench)
            text = _write(options, rows, failures, probes)
    print(text)
    return 0


def _run_scene(scene: Scene, task: str, networks: dict[str, Any], bench: Bench) -> list[Row]:
    rows: list[Row] = []
    pixels = scene.observed.size / 1e6

    def add(method: str, image: Array | None, seconds: float, **more: float) -> None:
        figures = {} if image is None else evaluate_outputs(scene, task, image)
        if figures:
            figures["invented_per_mpx"] = figures["invented"] * figures["detections"] / pixels
        figures |= {"seconds_per_mpx": seconds / pixels} | more
        rows.append({"task": task, "kind": scene.kind, "seed": scene.seed, "method": method})
        rows[-1] |= figures
        say(f"{task} {scene.kind} {method:40s} {figures.get('db', np.nan):6.2f} dB {seconds:.1f} s")

    for peer in _PEERS[task]:
        begun = time.perf_counter()
        image = bench.run(scene, task, peer).image
        add(peer, image, time.perf_counter() - begun)
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstroSRWarning)  # of a PSF that is no Moffat profile
        try:
            ours = enhance(scene, task)
        except AstroSRError:
            ours = None
        add("ours", ours, time.perf_counter() - begun)
    for name, model in networks.items():
        if model.spec.task != task:
            continue
        image, seconds = as_usual(scene, model)
        add(f"{name} as usual", image, seconds)
        image, seconds, header = by_the_verbs(scene, model)
        add(f"{name} here", image, seconds, guarded=float(header.get("ASRGUARD", np.nan)))
    return rows


def _methods(networks: dict[str, Any], tile: int | None = None) -> list[tuple[str, Any]]:
    """Return (label, function of an image) for images that have no truth and no stars.

    ``tile`` is the side of the tiles in which they run; None runs on the whole image.
    """

    def verb(task: str, **options: Any) -> Any:
        given = {"psf": (FWHM, 3.0), "runtime": asr.Runtime(tile_size=tile or 512)} | options
        if task != "denoise" and "model" not in options:
            given["target_fwhm"] = FWHM * SCALES[task] / 2

        def run(image: Array) -> Array:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstroSRWarning)  # that there are no stars
                result = VERBS[task](CCDData(image, unit="adu"), **given)
            return np.asarray(result.data, np.float64)

        return run

    found = [(f"ours, {task}", verb(task)) for task in TASKS]
    found.append(("bicubic", verb("super-resolve", model="bicubic")))
    for name, model in networks.items():

        def usual(image: Array, model: Any = model) -> Array:
            if tile is None:
                return run_picture(image, SKY, SIGMA, model)
            return run_in_tiles(image, SKY, SIGMA, model, tile)

        found.append((f"{name} as usual", usual))
        scale = {"scale": model.spec.scale} if model.spec.scale > 1 else {}
        found.append((f"{name} here", verb(model.spec.task, model=model, **scale)))
    return found


def _failures(networks: dict[str, Any], options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    methods = _methods(networks)
    for label, _ in methods:
        rows.append({"method": label})
    for kind in FAILURES:
        image, clean = make_failure(kind, 128)
        if kind == "seams":
            _seams(image, rows, methods, networks, options.out / "crops")
            continue
        shown = [("observed", (image - SKY) / SIGMA)]
        for row, (label, run) in zip(rows, methods, strict=True):
            result = run(image)
            row |= failure_figures(kind, clean, result)
            shown.append((label, (result - SKY) / SIGMA))
            say(kind, label)
        if image.ndim == 2:
            path = options.out / "crops" / f"external-{kind.replace(' ', '-')}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_greys(shown, path, span=_SPAN)
    return rows


def _seams(
    image: Array,
    rows: list[Row],
    methods: Sequence[tuple[str, Any]],
    networks: dict[str, Any],
    folder: Path,
) -> None:
    """Compare results in tiles with those of the whole, and draw both and their difference."""
    tiled = _methods(networks, _TILE)
    for row, (label, whole), (_, in_tiles) in zip(rows, methods, tiled, strict=True):
        results = [_middle(run(image)) for run in (whole, in_tiles)]
        row |= seam_figures(results[1], results[0])
        shown = [
            (f"{label}, whole", (results[0] - SKY) / SIGMA),
            (f"in tiles of {_TILE} pixels", (results[1] - SKY) / SIGMA),
            ("difference", (results[1] - results[0]) / SIGMA),
        ]
        name = label.replace(",", "").replace(" ", "-")
        save_greys(shown, folder / f"external-seams-{name}.png", span=_SPAN)
        say("seams", label, row["seams"])


def _middle(image: Array) -> Array:
    """Return the half of an image, along both axes, around its centre, where four tiles meet."""
    rows, columns = (slice(n // 4, n - n // 4) for n in image.shape)
    return image[rows, columns]


def _probes(networks: dict[str, Any], options: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    for label, run in _methods(networks):
        row: Row = {"method": label}
        for kind in PROBES:
            image, clean = make_probe(kind, options.size)
            figures = probe_figures(clean, run(image))
            row |= {f"{kind} {name}": value for name, value in figures.items()}
        rows.append(row)
        say("probe", label)
    return rows


def _summary(rows: Sequence[Row], task: str, kinds: Sequence[str]) -> list[Row]:
    """Average the figures of each method over the scenes."""
    found = []
    own = [r for r in rows if r["task"] == task and r["kind"] in kinds and "db" in r]
    for method in dict.fromkeys(r["method"] for r in own):
        mine = [r for r in own if r["method"] == method]
        row: Row = {"method": method, "scenes": len(mine), "worst": min(r["db"] for r in mine)}
        for name in [name for name in _COLUMNS if name != "method"]:
            values = [r[name] for r in mine if np.isfinite(r.get(name, np.nan))]
            if name not in row and values:
                row[name] = float(np.mean(np.abs(values) if name == "bias" else values))
        found.append(row)
    return found


def _write(
    options: argparse.Namespace,
    rows: Sequence[Row],
    failures: Sequence[Row],
    probes: Sequence[Row],
) -> str:
    sections = [f"Seeds {list(options.seeds)}, {options.size} x {options.size} pixels; CPU."]
    for task in dict.fromkeys(r["task"] for r in rows):
        for title, kinds in (("scenes", options.kinds), ("real optics", options.optics)):
            table = _summary(rows, task, kinds)
            if table:
                sections += [f"## {task}: {title}", figures_table(table, _COLUMNS)]
    sections += ["## Known failures", figures_table(failures, _FAILURES)]
    columns = {"method": ("method", "")} | {
        f"{kind} {name}": (f"{kind}: {name}", ".0f" if name == "invented" else ".2f")
        for name in ("invented", "level")
        for kind in PROBES
    }
    sections += [
        "## Images without stars",
        "Sources invented per Mpx, and largest change of the mean level of blocks of 16 x 16 "
        "pixels in sigma. In photographs the edges that a method sharpens count as invented.",
        figures_table(probes, columns),
    ]
    return write_results(
        options.out,
        "external",
        title="Networks of other projects",
        made=made_with(TASKS, models=[Path(m) for m in options.models]),
        sections=sections,
        record={
            "setting": {"size": options.size, "seeds": options.seeds},
            "version": asr.__version__,
            "rows": rows,
            "failures": failures,
            "probes": probes,
        },
    )
