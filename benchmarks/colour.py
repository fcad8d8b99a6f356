"""Colours of stars before and after: planes of different seeing, noise and atmospheric dispersion.

``python -m benchmarks.colour --out results`` writes colour.md, colour.json and pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import astro_sr_plugin as asr
from astro_sr_plugin.metrics import aperture_photometry
from benchmarks import structure
from benchmarks.crops import save_crops
from benchmarks.exposure import Camera
from benchmarks.kinds import Plan
from benchmarks.rendering import Content, moffat
from benchmarks.scenes import TASKS, Scene, observe_plan
from benchmarks.tables import markdown_table

__all__ = [
    "METHODS",
    "SKIES",
    "Sky",
    "colour_figures",
    "enhanced",
    "main",
    "make_colour_scene",
    "run_colour",
]

Array = NDArray[np.float64]
Pixels = NDArray[np.floating]

BETA = 3.2
_LEVELS = (300.0, 900.0, 600.0)  # of the sky, and so of the noise
METHODS = ("input", "per plane", "luminance only")
_SPACING = 32
_LEAST_SNR, _BRIGHT_SNR = 50.0, 200.0
_TOTAL = 8.0  # radius in input pixels of the aperture of the total light
_STAR = 6.0  # input pixels around a star in which fringes are sought
_VISIBLE = 0.05  # of the peak of a star, from which a difference of colours is a fringe


@dataclass(frozen=True)
class Sky:
    """What differs between the planes: FWHM of the optics and shift along y, in pixels."""

    fwhm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    nebula: float = 15.0
    """Median surface brightness in sigma of the middle plane."""


SKIES = {
    "alike": Sky(),
    "seeing": Sky(fwhm=(3.6, 3.0, 2.6)),
    "dispersion": Sky(shift=(0.3, 0.0, -0.4)),
    "both": Sky(fwhm=(3.6, 3.0, 2.6), shift=(0.3, 0.0, -0.4)),
    "both, no nebula": Sky(fwhm=(3.6, 3.0, 2.6), shift=(0.3, 0.0, -0.4), nebula=0.0),
}


def make_colour_scene(sky: Sky, *, size: int = 384, seed: int = 1) -> Scene:
    """Simulate stars of many colours, the brighter ones isolated, on a nebula of two colours.

    Parameters
    ----------
    sky : Sky
        What differs between the planes.
    size : int
        Side of the frame in pixels.
    seed : int
        Of places, fluxes, colours and noise.
    """
    rng = np.random.default_rng(seed)
    camera, fwhm = Camera(1.0, 5.0), max(sky.fwhm)
    unit = camera.sigma(_LEVELS[1])
    grid = np.arange(_SPACING / 2, size, _SPACING)
    y, x = (a.ravel() + rng.uniform(-4, 4, a.size) for a in np.meshgrid(grid, grid))
    faint = rng.uniform(0, size, (2, x.size // 2))
    snr = np.exp(rng.uniform(*np.log((60.0, 4000.0)), x.size))
    snr = np.concatenate([snr, rng.uniform(3, 12, faint.shape[1])])
    x, y = np.concatenate([x, faint[0]]), np.concatenate([y, faint[1]])
    # From red to blue along a line, with some scatter.
    tint = np.outer((0.45, 0.0, -0.45), rng.uniform(-1, 1, x.size)) + rng.normal(
        0, 0.1, (3, x.size)
    )
    flux = snr * np.exp(tint) * unit * np.sqrt(4 * np.pi) * fwhm / 2.355
    n = 2 * (size + 80)
    gas = np.stack([structure.nebula(n, rng) for _ in range(2)])
    mix = np.array([(1.0, 0.1), (0.3, 0.5), (0.2, 0.6)])
    texture = np.einsum("kg,gyx->kyx", mix, gas) * unit * sky.nebula
    content = [
        Content(
            x,
            y + sky.shift[k],
            flux[k],
            texture=ndimage.shift(texture[k], (sky.shift[k] / 0.5, 0), mode="nearest")
            if sky.nebula
            else None,
        )
        for k in range(3)
    ]
    plan = Plan(content, [moffat(width, BETA) for width in sky.fwhm], camera, _LEVELS)
    return observe_plan(plan, fwhm, "colour", seed, size, rng)


def colour_figures(scene: Scene, task: str, output: Pixels, truth: Pixels) -> dict[str, float]:
    """Measure the colours of an image against those of its truth.

    Parameters
    ----------
    scene : Scene
        From `make_colour_scene`.
    task : str
        Sets the aperture.
    output, truth : ndarray, shape (3, s ny, s nx)
        The image and what it should be.

    Returns
    -------
    dict
        ``core`` and ``total``: largest of the two pairs of planes of the absolute median colour
        error (mag), in apertures of 1.5 target FWHM and of 8 input pixels; ``core_scatter`` and
        ``total_scatter`` the largest 1.4826 MAD about it. ``fringe``: median share of the light of
        a star by which the difference of the outer planes is not that of the truth.
        ``reach``, ``true_reach``: median radius (input pixels) up to which the outer planes differ
        by more than 5 % of the peak. ``flux``: largest relative error of the sum of a plane.
        ``db``: -20 log10 of the error of asinh(I / 3 sigma); ``colour_db`` that of its differences
        between planes.
    """
    scale = output.shape[-1] // scene.observed.shape[-1]
    inner = (scene.snr.min(0) > _LEAST_SNR) & (scene.neighbour > 4)
    edge = 14
    size = scene.observed.shape[-1]
    inner &= (np.minimum(scene.x, scene.y) > edge) & (np.maximum(scene.x, scene.y) < size - edge)
    places = (np.column_stack([scene.x, scene.y])[inner] + 0.5) * scale - 0.5
    target = scene.target_fwhm(task) * scale / (2 if task == "super-resolve" else 1)
    figures: dict[str, float] = {"stars": float(inner.sum())}
    for name, radius in (("core", 1.5 * target), ("total", _TOTAL * scale)):
        errors = _colours(output, places, radius) - _colours(truth, places, radius)
        bias = np.median(errors, axis=1)
        figures[name] = float(np.abs(bias).max())
        scatter = 1.4826 * np.median(np.abs(errors - bias[:, None]), axis=1)
        figures[f"{name}_scatter"] = float(scatter.max())
    bright = places[scene.snr.min(0)[inner] > _BRIGHT_SNR]
    fringes = [_fringe(output, truth, place, scale, target) for place in bright]
    for name, values in zip(("fringe", "reach", "true_reach"), np.transpose(fringes), strict=True):
        figures[name] = float(np.median(values))
    sums, before = output.sum((1, 2), dtype=float), scene.observed.sum((1, 2), dtype=float)
    figures["flux"] = float(np.abs(sums / scale**2 / before - 1).max())
    unit = 3 * np.asarray(scene.sigma)[:, None, None]
    sky = scene.background if scale == 1 else scene.background_x2
    a, b = np.arcsinh((output - sky) / unit), np.arcsinh((truth - sky) / unit)
    figures["db"] = float(-10 * np.log10(np.mean((a - b) ** 2)))
    c, d = a[[0, 2]] - a[1], b[[0, 2]] - b[1]
    figures["colour_db"] = float(-10 * np.log10(np.mean((c - d) ** 2)))
    return figures


def _colours(image: Pixels, places: Array, radius: float) -> Array:
    """Colours (mag) of the outer planes against the middle one, shape (2, n)."""
    ring = (1.15 * radius + 1, 1.5 * radius + 3)
    flux = [aperture_photometry(p, places, radius=radius, annulus=ring).flux for p in image]
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = -2.5 * np.log10(np.maximum(flux, 1e-3))
    return np.asarray(magnitude[[0, 2]] - magnitude[1])


def _fringe(
    output: Pixels, truth: Pixels, place: Array, scale: int, target: float
) -> tuple[float, float, float]:
    """Return wrong share of light and the reach of fringes, in the output and in the truth."""
    column, row = np.round(place).astype(int)
    half = 7 * scale
    offset = np.arange(-half, half + 1)
    distance = np.hypot(*np.meshgrid(column + offset - place[0], row + offset - place[1])) / scale
    differences, peak = [], 0.0
    for image in (output, truth):
        planes = []
        for plane in image[[0, 2]]:
            star = aperture_photometry(plane, [place], radius=1.5 * target)
            cut = plane[row - half : row + half + 1, column - half : column + half + 1]
            planes.append((cut - star.background[0]) / star.flux[0])
        differences.append(planes[0] - planes[1])
        peak = float(np.max(planes))
    wrong = np.abs(differences[0] - differences[1])[distance < _STAR].sum() / 2
    reaches = [
        np.max(distance[(np.abs(d) > _VISIBLE * peak) & (distance < _STAR)], initial=0.0)
        for d in differences
    ]
    return float(wrong), float(reaches[0]), float(reaches[1])


def enhanced(scene: Scene, task: str, method: str) -> Pixels:
    """Return the input (bicubic where it is to be doubled) or a result of the package."""
    if method == "input":
        if task != "super-resolve":
            return scene.observed
        return np.asarray(asr.super_resolve(scene.observed, model="bicubic"))
    if task == "denoise":
        return np.asarray(asr.denoise(scene.observed))
    verb: Any = asr.deconvolve if task == "deconvolve" else asr.super_resolve
    only = method == "luminance only"
    return np.asarray(
        verb(scene.observed, target_fwhm=scene.target_fwhm(task), luminance_only=only)
    )


def run_colour(
    out: str | Path,
    *,
    skies: Sequence[str] = tuple(SKIES),
    tasks: Sequence[str] = TASKS,
    size: int = 512,
    seed: int = 1,
) -> list[dict[str, Any]]:
    """Measure and write the report.

    Parameters
    ----------
    out : path
        Folder for colour.md, colour.json and colour_crops/.
    skies : sequence of str
        Of `SKIES`.
    tasks : sequence of str
        What to run.
    size, seed : int
        Side of the frames in pixels, and what they are drawn from.

    Returns
    -------
    list of dict
        The figures of each sky, task and method.
    """
    folder = Path(out)
    (folder / "colour_crops").mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name in skies:
        scene = make_colour_scene(SKIES[name], size=size, seed=seed)
        for task in tasks:
            truth = np.asarray(scene.truth(task), float)
            shown = [("truth", truth)]
            for method in METHODS[:2] if task == "denoise" else METHODS:
                output = np.asarray(enhanced(scene, task, method), float)
                figures = colour_figures(scene, task, output, truth)
                rows.append({"sky": name, "task": task, "method": method, **figures})
                shown.append((method, output))
                print(name, task, *_cells(rows[-1]), sep="  ", file=sys.stderr, flush=True)
            picture = f"{task}_{name.replace(', ', '_').replace(' ', '-')}.png"
            save_crops(scene, task, shown[1:], folder / "colour_crops" / picture)
    (folder / "colour.json").write_text(json.dumps(rows, indent=1))
    (folder / "colour.md").write_text(_report(rows))
    return rows


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["method"],
        f"{row['core']:.4f}",
        f"{row['core_scatter']:.3f}",
        f"{row['total']:.4f}",
        f"{row['total_scatter']:.3f}",
        f"{row['fringe']:.1%}",
        f"{row['reach']:.1f} / {row['true_reach']:.1f}",
        f"{row['flux']:.4%}",
        f"{row['db']:.1f}",
        f"{row['colour_db']:.1f}",
    ]


def _report(rows: Sequence[dict[str, Any]]) -> str:
    head = [
        "",
        "core (mag)",
        "its scatter",
        "total (mag)",
        "its scatter",
        "wrong colour",
        "reach / truth (px)",
        "flux",
        "dB",
        "colour dB",
    ]
    parts = [
        "# Colours",
        "Stars of SNR 50 or more in every plane. Core, total: median error of the colour in"
        " apertures of 1.5 FWHM of the result and of 8 px, and the scatter about it; the worse of"
        f" two pairs of planes. Of stars of SNR {_BRIGHT_SNR:g} or more, wrong colour: share of the"
        " light that is in the wrong place in the difference of the outer planes; reach: radius up"
        f" to which these differ by more than {_VISIBLE:.0%} of the peak. Flux: largest error of"
        " the sum of a plane. dB: -20 log10 of the error of asinh(I / 3 sigma); colour dB: of the"
        " differences of that between planes.",
    ]
    for name in dict.fromkeys(row["sky"] for row in rows):
        sky = SKIES[name]
        told = (
            f"FWHM {', '.join(f'{w:g}' for w in sky.fwhm)} px; shifted by"
            f" {', '.join(f'{w:g}' for w in sky.shift)} px;"
            f" {'nebula' if sky.nebula else 'empty sky'}."
        )
        parts += [f"## {name}", told]
        lines = [
            [f"{row['task']}, {label}", *figures]
            for row in rows
            if row["sky"] == name
            for label, *figures in [_cells(row)]
        ]
        parts.append(markdown_table(head, lines))
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.colour", description=__doc__)
    parser.add_argument("--out", default="benchmarks/results/quality", metavar="DIR")
    parser.add_argument("--size", type=int, default=512, help="side of the frames in pixels")
    options = parser.parse_args(arguments)
    run_colour(options.out, size=options.size)
    print((Path(options.out) / "colour.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
