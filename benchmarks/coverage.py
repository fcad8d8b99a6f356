"""How often the truth lies within the uncertainty that the verbs tell, on truth-known scenes.

``python -m benchmarks.coverage --out results`` writes coverage.md and coverage.json. Pixels are
binned by the brightness of the result in noise sigma, which is what a user can see.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray

import astro_sr_plugin as asr
from benchmarks.scenes import KINDS, TASKS, Scene, make_scene
from benchmarks.tables import plain

__all__ = ["COVERAGES", "EDGES", "coverage_table", "main", "pulls_of"]

COVERAGES = {68: 1.0, 90: 1.645, 95: 1.96}
"""Per cent, and half widths in standard deviations."""

EDGES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, np.inf)
"""Edges of the bins of brightness, in noise sigma of a pixel."""

_BORDER = 8


def pulls_of(scene: Scene, task: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run a verb on a scene and compare its error with the uncertainty that it tells.

    Parameters
    ----------
    scene : Scene
        Only `observed` is given to the verb, and the wanted FWHM.
    task : str
        One of `benchmarks.scenes.TASKS`.

    Returns
    -------
    pulls : numpy.ndarray
        (result - truth) / uncertainty of every pixel that a metric may look at, shape (n,).
    level : numpy.ndarray
        (result - background) / sigma of these pixels.
    """
    image = CCDData(scene.observed.copy(), unit="adu")
    verbs: dict[str, Callable[..., Any]] = {
        "denoise": asr.denoise,
        "deconvolve": asr.deconvolve,
        "super-resolve": asr.super_resolve,
    }
    wanted = {} if task == "denoise" else {"target_fwhm": scene.target_fwhm(task)}
    result = verbs[task](image, uncertainty=True, **wanted)
    scale = 2 if task == "super-resolve" else 1
    background = scene.background_x2 if scale == 2 else scene.background
    sigma = scene.sigma[..., None, None]
    data = np.asarray(result.data, np.float64)
    pulls = (data - scene.truth(task)) / result.uncertainty.array
    level = (data - background) / sigma
    use = ~np.kron(scene.excluded, np.ones((scale, scale), dtype=bool))
    border = _BORDER * scale
    inner = np.zeros_like(use)
    inner[border:-border, border:-border] = True
    use = np.broadcast_to(use & inner, data.shape)
    return pulls[use], level[use]


def coverage_table(
    pulls: NDArray[np.float64], level: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Return, for each bin of brightness and for all, the shares (per cent) that are covered."""
    size = np.abs(level)
    bins = [(low, high) for low, high in zip(EDGES[:-1], EDGES[1:], strict=True)]
    rows = []
    for low, high in [*bins, (0.0, np.inf)]:
        inside = np.abs(pulls[(size >= low) & (size < high)])
        shares = {
            str(per_cent): 100 * float(np.mean(inside < width)) if inside.size else float("nan")
            for per_cent, width in COVERAGES.items()
        }
        rows.append({"from": low, "to": high, "pixels": float(inside.size), **shares})
    return rows


def run(kinds: Sequence[str], seeds: Sequence[int], cache: Path, size: int = 512) -> dict[str, Any]:
    """Return the tables of every task: per kind, and of all kinds with equal weight."""
    report: dict[str, Any] = {}
    for task in TASKS:
        per_kind, everything = {}, []
        for kind in kinds:
            found = [
                pulls_of(make_scene(kind, seed, size=size, cache=cache), task) for seed in seeds
            ]
            pulls, level = (np.concatenate(parts) for parts in zip(*found, strict=True))
            per_kind[kind] = coverage_table(pulls, level)
            everything.append((pulls, level))
            print(task, kind, *(f"{v:.1f}" for v in _shares(per_kind[kind][-1])), file=sys.stderr)
        joined = [np.concatenate(parts) for parts in zip(*everything, strict=True)]
        report[task] = {"all": coverage_table(*joined), "kinds": per_kind}
    return report


def _shares(row: dict[str, float]) -> list[float]:
    return [row[str(per_cent)] for per_cent in COVERAGES]


def _markdown(report: dict[str, Any], seeds: Sequence[int]) -> str:
    lines = [
        "# Coverage of the uncertainties",
        "",
        f"Share of pixels (%) whose truth lies within 1, 1.645 and 1.96 standard deviations; "
        f"seeds {list(seeds)}. It should be 68, 90 and 95.",
    ]
    for task, tables in report.items():
        lines += ["", f"## {task}", "", "| brightness (sigma) | pixels | 68 | 90 | 95 |"]
        lines.append("|---|---:|---:|---:|---:|")
        for row in tables["all"]:
            whole = row["from"] == 0 and np.isinf(row["to"])
            name = "all" if whole else f"{row['from']:g} to {row['to']:g}"
            shares = " | ".join(f"{v:.1f}" for v in _shares(row))
            lines.append(f"| {name} | {row['pixels']:.0f} | {shares} |")
        lines += ["", "| scene (all pixels) | 68 | 90 | 95 |", "|---|---:|---:|---:|"]
        for kind, rows in tables["kinds"].items():
            lines.append(f"| {kind} | {' | '.join(f'{v:.1f}' for v in _shares(rows[-1]))} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated")
    parser.add_argument("--seeds", default="1", help="comma-separated")
    parser.add_argument("--size", type=int, default=512, help="side of the scenes (pixels)")
    parser.add_argument("--scenes", type=Path, help="where scenes are kept (default: in DIR)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    options = parser.parse_args(arguments)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    cache = options.scenes or options.out / "quality" / "scenes"
    report = run(options.kinds.split(","), seeds, cache, options.size)
    text = _markdown(report, seeds)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "coverage.md").write_text(text)
    record = json.dumps(plain(report), indent=1, allow_nan=False)
    (options.out / "coverage.json").write_text(record)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
