"""How near the verbs come to what the noise allows, on isolated stars of known signal-to-noise.

``python -m benchmarks.limits --out results`` writes limits.md and limits.json. The verbs measure
PSF and noise, for which a row of bright stars is there. Two limits stand beside the results:

* of the image: the posterior mean of ``asinh(I / 3 sigma)`` of a star that may be there or not,
  with the true PSF, and as the prior the density and the fluxes of the scene "star-field". No
  estimator has a smaller mean square error over the stars of that scene.
* of flux and place: the Cramer-Rao bound.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sep
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from astro_sr_plugin.metrics import aperture_photometry
from benchmarks.exposure import Camera
from benchmarks.kinds import Plan
from benchmarks.peers import Bench
from benchmarks.quality import enhance
from benchmarks.rendering import Content, moffat, render
from benchmarks.scenes import TASKS, Scene, observe_plan
from benchmarks.tables import markdown_table

__all__ = ["BayesLimit", "cramer_rao", "main", "make_stars", "run_limits"]

Array = NDArray[np.float64]

FWHM, BETA, SKY = 3.2, 3.0, 50_000.0
SNRS = (4.0, 5.0, 7.0, 10.0, 15.0, 25.0, 100.0)
_SIDE, _SPACING = 480, 40
_DENSITY = 500 / 512**2  # stars per pixel, as in the scene "star-field", and their slope
_SLOPE, _LEAST, _MOST = 0.7, 3.0, 2000.0
_STEP = 1 / 16  # of the places summed over (pixels); fine enough up to an SNR of 25
_REACH, _STAMP, _LEVELS = 2.5, 10, 32
_FINEST_SNR = 25.0
_REFERENCE_SNR = 300.0  # of the first row
_WITHIN = 1.2  # FWHM around a star in which errors count
_CHAIN = {"denoise": "bm3d", "deconvolve": "bm3d+rl", "super-resolve": "bm3d+rl"}


def make_stars(snr: float, *, side: int = _SIDE, seed: int = 1) -> Scene:
    """Simulate isolated stars in white noise: a row of bright ones, then of the ratio wanted."""
    rng = np.random.default_rng([round(10 * snr), seed])
    camera = Camera(1.0, 1.0)
    grid = np.arange(_SPACING / 2, side, _SPACING)
    y, x = (axis.ravel() + rng.uniform(-0.5, 0.5, axis.size) for axis in np.meshgrid(grid, grid))
    levels = np.where(np.arange(x.size) < grid.size, _REFERENCE_SNR, snr)
    flux = levels * (camera.sigma(SKY) * np.sqrt(4 * np.pi) * FWHM / 2.355)
    plan = Plan([Content(x, y, flux)], [moffat(FWHM, BETA)], camera, (SKY,))
    return observe_plan(plan, FWHM, f"stars-{snr:g}", seed, side, rng)


def cramer_rao(psf: Array) -> tuple[float, float]:
    """Return the least error of the flux, and of the place times the flux, at noise 1."""
    slope = np.gradient(psf, axis=1)
    return float((psf**2).sum() ** -0.5), float((slope**2).sum() ** -0.5)


@dataclass(frozen=True)
class BayesLimit:
    """The least mean square error of ``asinh(I / 3 sigma)`` of a task, star by star."""

    task: str

    @cached_property
    def _offsets(self) -> Array:
        count = round(_REACH / _STEP)
        return np.arange(-count, count + 1) * _STEP

    @cached_property
    def _bank(self) -> Array:
        """Stars at all offsets, shape (places, pixels), flux 1."""
        fine = round(1 / _STEP)
        side = 2 * (_STAMP + 3) + 1
        star = Content(np.array([side // 2]), np.array([side // 2]), np.ones(1))
        image = render(
            star, moffat(FWHM, BETA), (side, side), fwhm=FWHM, sigma=1e-9, step=_STEP, pixel=1.0
        )
        # Sample j of the fine grid lies at (j + 0.5) step - 0.5: the mean of four is on the places.
        image = (image[1:, 1:] + image[:-1, 1:] + image[1:, :-1] + image[:-1, :-1]) / 4
        middle = round((side // 2 + 0.5) / _STEP) - 1
        pixels = np.arange(-_STAMP, _STAMP + 1) * fine
        moves = np.round(self._offsets / _STEP).astype(int)
        rows = (middle + pixels[None, :] - moves[:, None]).ravel()
        block = image[np.ix_(rows, rows)].reshape(moves.size, pixels.size, moves.size, pixels.size)
        return block.transpose(0, 2, 1, 3).reshape(moves.size**2, pixels.size**2)

    @cached_property
    def _levels(self) -> tuple[Array, Array]:
        """Fluxes in sky sigma, and how many stars of each are expected at a place."""
        snr = np.geomspace(_LEAST, 4 * _FINEST_SNR, _LEVELS)
        share = snr**-_SLOPE * np.log(snr[1] / snr[0]) * _SLOPE
        share /= _LEAST**-_SLOPE - _MOST**-_SLOPE
        return snr * np.sqrt(4 * np.pi) * FWHM / 2.355, share * _DENSITY * _STEP**2

    @cached_property
    def _profiles(self) -> list[Array]:
        reach = np.arange(-8, 8 + _STEP / 2, _STEP)
        square = reach[:, None] ** 2 + reach[None, :] ** 2
        if self.task == "denoise":
            alpha = FWHM / 2 / np.sqrt(2 ** (1 / BETA) - 1)
            shape = _over_pixel((1 + square / alpha**2) ** -BETA * (BETA - 1) / np.pi / alpha**2)
        else:
            target = max(2.0, FWHM / 2) if self.task == "deconvolve" else max(2.0, FWHM) / 2
            width = target / 2.3548
            shape = np.exp(-0.5 * square / width**2) / (2 * np.pi * width**2)
        return [np.arcsinh(flux * shape / 3) for flux in self._levels[0]]

    def mean_square(self, scene: Scene, count: int) -> float:
        """Return the mean square error at the first ``count`` stars of a scene."""
        sigma = float(scene.sigma)
        data = (scene.observed - scene.background) / sigma
        errors = []
        own = _wanted(scene)
        for x, y in zip(scene.x[own][:count], scene.y[own][:count], strict=True):
            column, row = round(float(x)), round(float(y))
            window = np.s_[row - _STAMP : row + _STAMP + 1, column - _STAMP : column + _STAMP + 1]
            estimate = self._posterior_mean(data[window])
            errors.append(_square_error(estimate, scene, self.task, x, y, (column, row)))
        return float(np.mean(errors))

    def _posterior_mean(self, data: Array) -> Array:
        fluxes, prior = self._levels
        n = self._offsets.size
        match = (self._bank @ data.ravel()).reshape(n, n)
        power = (self._bank**2).sum(axis=1).reshape(n, n)
        weights = [
            p * np.exp(f * match - 0.5 * f**2 * power) for f, p in zip(fluxes, prior, strict=True)
        ]
        total = 1.0 + sum(float(w.sum()) for w in weights)
        # A sum over places is the convolution of their weights with the profile, and only the
        # pixels of the output are wanted of it.
        parts = [
            fftconvolve(w / total, profile)
            for w, profile in zip(weights, self._profiles, strict=True)
            if w.sum() > 1e-6 * total
        ]
        fine = np.sum(parts, axis=0) if parts else np.zeros((n + 256, n + 256))
        middle = fine.shape[0] // 2
        places = np.round(_output_offsets(self.task) / _STEP).astype(int) + middle
        return fine[np.ix_(places, places)]


def _wanted(scene: Scene) -> slice:
    """Return which stars are not those of the bright row."""
    return slice(math.isqrt(scene.x.size), None)


def _over_pixel(shape: Array) -> Array:
    """Average over a pixel; the sides are far out."""
    width = round(1 / _STEP)
    kernel = np.ones(width + 1)
    kernel[[0, -1]] = 0.5
    kernel /= width
    return fftconvolve(shape, kernel[:, None] * kernel[None, :], mode="same")


def _output_offsets(task: str) -> Array:
    """Offsets of the pixels of the output from the middle of an input pixel, in input pixels."""
    if task == "super-resolve":
        return np.arange(-10, 10) * 0.5 + 0.25
    return np.arange(-5, 6) * 1.0


def _square_error(
    estimate: Array | None,
    scene: Scene,
    task: str,
    x: float,
    y: float,
    at: tuple[int, int],
    output: Array | None = None,
) -> float:
    """Return the mean square error of the asinh image near a star.

    The estimate is given on the pixels around ``at``, or cut out of ``output``.
    """
    offsets = _output_offsets(task)
    scale = 2 if task == "super-resolve" else 1
    background = scene.background_x2 if scale == 2 else scene.background
    columns, rows = (np.round((at[k] + offsets + 0.5) * scale - 0.5).astype(int) for k in range(2))
    area = np.ix_(rows, columns)
    sigma = float(scene.sigma)
    if estimate is None:
        assert output is not None
        estimate = np.arcsinh((output[area] - background[area]) / (3 * sigma))
    truth = np.arcsinh((scene.truth(task)[area] - background[area]) / (3 * sigma))
    distance = np.hypot((at[1] + offsets - y)[:, None], (at[0] + offsets - x)[None, :])
    return float(((estimate - truth) ** 2)[distance < _WITHIN * FWHM].mean())


def _figures(scene: Scene, task: str, output: Array) -> dict[str, float]:
    """Return the error of the image, and those of flux and place, of all stars."""
    own = _wanted(scene)
    places_x, places_y, true_flux = scene.x[own], scene.y[own], scene.flux[own]
    errors = [
        _square_error(
            None, scene, task, x, y, (round(float(x)), round(float(y))), np.asarray(output, float)
        )
        for x, y in zip(places_x, places_y, strict=True)
    ]
    scale = 2 if task == "super-resolve" else 1
    background = scene.background_x2 if scale == 2 else scene.background
    target = scene.target_fwhm(task)
    u, v = (places_x + 0.5) * scale - 0.5, (places_y + 0.5) * scale - 0.5
    places = np.column_stack([u, v])

    def fluxes(image: NDArray[Any]) -> Array:
        return np.asarray(aperture_photometry(image, places, radius=1.5 * target).flux, float)

    image = np.ascontiguousarray(output - background, dtype=np.float64)
    flux = true_flux * fluxes(image) / fluxes(scene.truth(task) - background)
    found_x, found_y, _ = sep.winpos(image, u, v, target / 2.3548)
    shift = np.concatenate([found_x - u, found_y - v]) / scale
    return {
        "mean_square": float(np.mean(errors)),
        "flux_bias": float(np.median(flux / true_flux) - 1),
        "flux_error": _spread(flux) / float(scene.sigma),
        "place_error": _spread(shift[np.isfinite(shift)]),
    }


def _spread(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def run_limits(
    out: str | Path,
    *,
    tasks: Sequence[str] = TASKS,
    snrs: Sequence[float] = SNRS,
    stars: int = 48,
    side: int = _SIDE,
) -> list[dict[str, Any]]:
    """Measure and write the report.

    Parameters
    ----------
    out : path
        Folder for limits.md, limits.json and the kept peers/.
    tasks, snrs : sequence
        What to run.
    stars : int
        Stars per signal-to-noise ratio of which the limit of the image is computed.
    side : int
        Side of the frames in pixels.

    Returns
    -------
    list of dict
        The figures of each task and signal-to-noise ratio.
    """
    folder = Path(out)
    bench = Bench(folder / "peers")
    rows: list[dict[str, Any]] = []
    for task in tasks:
        limit = BayesLimit(task)
        for snr in snrs:
            scene = make_stars(snr, side=side)
            flux_limit, place_limit = cramer_rao(np.asarray(scene.psf, float))
            place_limit /= float(scene.flux[-1]) / float(scene.sigma)
            row: dict[str, Any] = {"task": task, "snr": snr}
            ours = _figures(scene, task, enhance(scene, task))
            chain = bench.run(scene, task, _CHAIN[task]).image
            if snr <= _FINEST_SNR:
                row["limit"] = limit.mean_square(scene, stars)
            row["ours"] = ours
            row["chain"] = None if chain is None else _figures(scene, task, chain)
            row["flux_limit"], row["place_limit"] = flux_limit, place_limit
            rows.append(row)
            print(_line(row), file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "limits.json").write_text(json.dumps(rows, indent=1))
    (folder / "limits.md").write_text(_report(rows))
    return rows


def _cells(row: dict[str, Any]) -> list[str]:
    def error(figures: dict[str, float] | None) -> str:
        return "–" if figures is None else f"{np.sqrt(figures['mean_square']):.3f}"

    ours, chain = row["ours"], row["chain"]
    limit = row.get("limit")
    above = "–" if limit is None else f"{10 * np.log10(ours['mean_square'] / limit):.1f}"
    most = (
        "–"
        if limit is None or chain is None
        else f"{10 * np.log10(chain['mean_square'] / limit):.1f}"
    )
    return [
        f"{row['snr']:g}",
        "–" if limit is None else f"{np.sqrt(limit):.3f}",
        error(ours),
        error(chain),
        above,
        most,
        f"{ours['flux_bias']:+.3f}",
        f"{ours['flux_error'] / row['flux_limit']:.2f}",
        f"{ours['place_error'] / row['place_limit']:.2f}",
    ]


def _line(row: dict[str, Any]) -> str:
    return f"{row['task']:14s} " + "  ".join(_cells(row))


def _report(rows: list[dict[str, Any]]) -> str:
    head = [
        "SNR",
        "limit",
        "ours",
        "chain",
        "ours above limit (dB)",
        "chain above limit (dB)",
        "flux bias",
        "flux error / bound",
        "place error / bound",
    ]
    parts = [
        "# Distance from the limits of the noise",
        f"Isolated stars of FWHM {FWHM:g} px in white noise. Limit, ours, chain: root mean square"
        f" error of asinh(I / 3 sigma) within {_WITHIN:g} FWHM of a star. Chain: BM3D for"
        " denoising, BM3D and Richardson-Lucy for the others, told PSF and noise and stopped by the"
        " truth.",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [_cells(row) for row in rows if row["task"] == task]
        parts += [f"## {task}", markdown_table(head, own)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--stars", type=int, default=48, help="stars of the limit of the image")
    parser.add_argument("--out", default="benchmarks/results/quality", metavar="DIR")
    options = parser.parse_args(arguments)
    run_limits(options.out, stars=options.stars)
    print((Path(options.out) / "limits.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
