"""Chains of verbs on truth-known scenes: which order and strength helps, and which harms.

``python -m benchmarks.chains --out benchmarks/results`` writes chains.md and chains.json. Each
chain is held against the truth of what its verbs make together: the image without noise, the image
at the target of `deconvolve`, that of `super_resolve`, or the sky without stars and noise.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRError, AstroSRWarning
from astro_sr_plugin.metrics import asinh_psnr_db
from benchmarks.evaluation import evaluate_outputs
from benchmarks.scenes import KINDS, SCALES, Scene, make_scene
from benchmarks.star_removal import SKIES, make_starry
from benchmarks.tables import markdown_table, plain

__all__ = ["CHAINS", "STARLESS", "dark_rims", "main", "run_chain"]

Chain = tuple[tuple[str, dict[str, Any]], ...]

_DENOISE, _DECONVOLVE, _DOUBLE = ("denoise", {}), ("deconvolve", {}), ("super_resolve", {})
_STARS_OUT = ("remove_stars", {})


def _denoise(strength: float) -> tuple[str, dict[str, Any]]:
    return ("denoise", {"strength": strength})


CHAINS: dict[str, dict[str, Chain]] = {
    "denoise": {
        "denoise": (_DENOISE,),
        "denoise, denoise": (_DENOISE, _DENOISE),
        "denoise 0.5, denoise": (_denoise(0.5), _DENOISE),
    },
    "deconvolve": {
        "deconvolve": (_DECONVOLVE,),
        "denoise 0.3, deconvolve": (_denoise(0.3), _DECONVOLVE),
        "denoise 0.5, deconvolve": (_denoise(0.5), _DECONVOLVE),
        "denoise 0.8, deconvolve": (_denoise(0.8), _DECONVOLVE),
        "denoise 1, deconvolve": (_DENOISE, _DECONVOLVE),
        "deconvolve, denoise": (_DECONVOLVE, _DENOISE),
        "deconvolve, deconvolve": (("deconvolve", {"half_way": True}), _DECONVOLVE),
    },
    "super-resolve": {
        "super-resolve": (_DOUBLE,),
        "denoise 0.3, super-resolve": (_denoise(0.3), _DOUBLE),
        "denoise 0.5, super-resolve": (_denoise(0.5), _DOUBLE),
        "denoise 1, super-resolve": (_DENOISE, _DOUBLE),
        "deconvolve, super-resolve": (_DECONVOLVE, _DOUBLE),
        "super-resolve, denoise": (_DOUBLE, _DENOISE),
    },
}
"""Chains by the task whose truth they are held against. `half_way` takes half of the way to the
target, so that two steps end where one does."""

STARLESS: dict[str, Chain] = {
    "remove-stars, denoise": (_STARS_OUT, _DENOISE),
    "denoise 0.5, remove-stars": (_denoise(0.5), _STARS_OUT),
    "denoise 1, remove-stars": (_DENOISE, _STARS_OUT),
}
"""Chains that are held against the sky without stars."""

_FINEST = 2.0  # pixels; the narrowest target that can be sampled
_BRIGHT = 50.0  # least SNR of the stars around which dark rims are looked for
_RINGS = ((0.75, 1.25), (1.25, 1.75), (1.75, 2.5), (2.5, 3.5))  # radii in FWHM of the result


def run_chain(image: Any, chain: Chain, target: float | None = None) -> Any:
    """Do the verbs of a chain one after the other.

    Parameters
    ----------
    image : CCDData or array
        Not changed.
    chain : tuple
        Names of functions of the package and their keywords.
    target : float, optional
        FWHM (pixels of the result) that the sharpening verbs go to; their own choice by default.

    Returns
    -------
    CCDData or ndarray
        The last result; of star removal, the starless image.
    """
    first = asr.measure(image).fwhm
    for verb, given in chain:
        options = dict(given)
        half_way = options.pop("half_way", False)
        if target is not None and verb in ("deconvolve", "super_resolve"):
            # Before the pixels are doubled, the same width is half as many of them.
            goal = target / 2 if verb == "deconvolve" and _DOUBLE in chain else target
            if half_way:
                goal = float(np.sqrt(goal * np.nanmax(first)))
            options["target_fwhm"] = max(_FINEST, goal)
        result = getattr(asr, verb)(image, **options)
        image = result[0] if isinstance(result, tuple) else result
    return image


def dark_rims(scene: Scene, task: str, output: NDArray[np.floating]) -> float:
    """Return the part of bright stars whose surroundings are darker than the truth.

    A star of SNR 50 or more counts if the mean error in one of four rings, 0.75 to 3.5 FWHM of the
    result from it, is below -1 noise sigma and below -2 % of the light within 1 FWHM per pixel.
    """
    scale = SCALES[task]
    fwhm = scene.target_fwhm(task) if task != "denoise" else scene.fwhm
    planes = zip(
        np.reshape(scene.excess(output, scale), (-1, *output.shape[-2:])),
        np.reshape(scene.excess(scene.truth(task), scale), (-1, *output.shape[-2:])),
        np.atleast_2d(scene.snr),
        strict=True,
    )
    dark, count = 0, 0
    for plane, truth, snr in planes:
        rows, columns = np.indices(plane.shape)
        for x, y in _bright_stars(scene, snr):
            x, y = (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5
            away = np.hypot(columns - x, rows - y) / fwhm
            error = plane - truth
            light = truth[away < 1].mean()
            rings = [error[(away >= low) & (away < high)].mean() for low, high in _RINGS]
            dark += min(rings) < -max(1.0, 0.02 * light)
            count += 1
    return dark / count if count else float("nan")


def _bright_stars(scene: Scene, snr: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    side = scene.observed.shape[-1]
    edge = 4 * scene.fwhm
    for x, y, value in zip(scene.x, scene.y, snr, strict=True):
        inside = edge < min(x, y) and max(x, y) < side - 1 - edge
        if inside and value > _BRIGHT and not scene.excluded[round(y), round(x)]:
            yield float(x), float(y)


def _rows(kinds: Sequence[str], seeds: Sequence[int], size: int) -> Iterator[dict[str, Any]]:
    from astropy.nddata import CCDData

    for kind in kinds:
        for seed in seeds:
            scene = make_scene(kind, seed, size=size)
            image = CCDData(scene.observed.copy(), unit="adu")
            for task, chains in CHAINS.items():
                target = None if task == "denoise" else scene.target_fwhm(task)
                for name, chain in chains.items():
                    row = {"task": task, "chain": name, "kind": kind, "seed": seed}
                    try:
                        result = run_chain(image, chain, target)
                    except AstroSRError as error:
                        yield row | {"fails": str(error)}
                        continue
                    output = np.asarray(result.data)
                    figures = evaluate_outputs(scene, task, output)
                    kept = ("db", "bias", "scatter", "completeness", "false")
                    row |= {key: figures[key] for key in kept}
                    row["dark_rims"] = dark_rims(scene, task, output)
                    yield row | _verdict(image, result)


def _verdict(image: Any, result: Any) -> dict[str, Any]:
    """Return what an audit of the result says."""
    try:
        found = asr.audit(image, result)
    except AstroSRError as error:
        return {"audit": str(error), "broken": None}
    return {"audit": "; ".join(found.broken), "broken": bool(found.broken)}


def _starless_rows(seeds: Sequence[int], size: int) -> Iterator[dict[str, Any]]:
    for kind in SKIES:
        for seed in seeds:
            starry = make_starry(kind, size=size, seed=seed)
            scene = starry.scene
            sigma = float(scene.sigma)
            for name, chain in STARLESS.items():
                output = np.asarray(run_chain(scene.observed, chain), float)
                pair = ((i - scene.background) / sigma for i in (output, starry.starless))
                level = asinh_psnr_db(*pair, sigma=1.0, mask=scene.excluded)
                yield {"task": "starless", "chain": name, "kind": kind, "seed": seed, "db": level}


def _report(rows: Sequence[dict[str, Any]], size: int, seeds: Sequence[int]) -> str:
    """Write a table per truth: decibels by kind, then the means of the other figures."""
    parts = [
        "# Chains of verbs",
        f"{size} x {size} pixels, seeds {list(seeds)}. dB: -20 log10 of the RMSE of "
        "asinh(I / 3 sigma) against the truth. bias, scatter: magnitudes of isolated stars of "
        "SNR >= 30. dark rims: part of the stars of SNR >= 50 with a ring that is darker than the "
        "truth by 1 sigma and by 2 % of the star's mean light. audit: results in which the audit "
        "finds a broken promise.",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        kinds = list(dict.fromkeys(row["kind"] for row in mine))
        more = task != "starless"
        head = ["chain", *kinds, "mean"]
        head += ["bias", "scatter", "dark rims", "audit"] if more else []
        lines = []
        for chain in dict.fromkeys(row["chain"] for row in mine):
            here = [row for row in mine if row["chain"] == chain]
            values = [_mean(row.get("db") for row in here if row["kind"] == kind) for kind in kinds]
            line = [chain, *(f"{v:.1f}" for v in values), f"{np.nanmean(values):.2f}"]
            if more:
                bias = _mean(abs(row["bias"]) for row in here if "bias" in row)
                line += [f"{bias:.3f}", f"{_mean(row.get('scatter') for row in here):.3f}"]
                line.append(f"{100 * _mean(row.get('dark_rims') for row in here):.0f} %")
                done = [row for row in here if row.get("broken") is not None]
                line.append(f"{sum(row['broken'] for row in done)} of {len(done)}")
            lines.append(line)
        parts += [f"## {task}", markdown_table(head, lines)]
    return "\n\n".join(parts) + "\n"


def _mean(values: Any) -> float:
    found = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(found)) if found else float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chains", description=__doc__)
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma-separated")
    parser.add_argument("--seeds", default="1,2", help="comma-separated")
    parser.add_argument("--size", type=int, default=256, help="side of the scenes (pixels)")
    parser.add_argument("--out", default="benchmarks/results", metavar="DIR")
    options = parser.parse_args(arguments)
    seeds = [int(word) for word in options.seeds.split(",")]
    kinds = options.kinds.split(",")
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstroSRWarning)
        for source in (_rows(kinds, seeds, options.size), _starless_rows(seeds, options.size)):
            for row in source:
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    report = _report(rows, options.size, seeds)
    (folder / "chains.md").write_text(report)
    record = {"size": options.size, "seeds": seeds, "rows": rows}
    (folder / "chains.json").write_text(json.dumps(plain(record), indent=1, allow_nan=False) + "\n")
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
