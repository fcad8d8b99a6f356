"""How near the verbs come to what the noise allows, on isolated stars of known signal-to-noise.

``python -m benchmarks.limits --out results`` writes limits.md and limits.json. The verbs measure
PSF and noise, for which a row of bright stars is there. Three limits stand beside the results:

* of the image: the posterior mean of ``asinh(I / 3 sigma)`` of a star that may be there or not,
  with the true PSF, and as the prior the density and the fluxes of the scene "star-field". No
  estimator has a smaller mean square error over the stars of that scene.
* of flux and place: the Cramer-Rao bound.
* of whole scenes of stars: the first, summed over stars as the scene has them (above a
  signal-to-noise ratio of 25 by the bound of Cramer and Rao), galaxies and blends taken for free.
"""

from __future__ import annotations

import argparse
import itertools
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
from benchmarks.kinds import FWHM, Plan
from benchmarks.peers import Bench
from benchmarks.quality import enhance
from benchmarks.rendering import Content, moffat, render
from benchmarks.scenes import TASKS, Scene, observe_plan
from benchmarks.tables import markdown_table

__all__ = ["BayesLimit", "cramer_rao", "main", "make_stars", "run_limits"]

Array = NDArray[np.float64]

SKY = 50_000.0
SNRS = (4.0, 5.0, 7.0, 10.0, 15.0, 25.0, 100.0)
_SIDE, _SPACING = 480, 40
_SLOPE = 0.7  # of the cumulative numbers of stars
_REACH, _STAMP, _LEVELS = 0.78, 3.1, 32  # the first two in FWHM
_FINEST_SNR = 25.0
_REFERENCE_SNR = 300.0  # of the first row
_AROUND = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
_WITHIN = 1.2  # FWHM around a star in which errors count
_CHAIN = {"denoise": "bm3d", "deconvolve": "bm3d+rl", "super-resolve": "bm3d+rl"}


@dataclass(frozen=True)
class Field:
    """The stars of a kind of scene.

    Attributes
    ----------
    fwhm, beta : float
        Their profile, of Moffat (pixels).
    per_512 : float
        Their number in 512 x 512 pixels.
    snr : (float, float)
        Least and greatest signal-to-noise ratio.
    """

    fwhm: float
    beta: float
    per_512: float
    snr: tuple[float, float] = (3.0, 2000.0)

    @property
    def density(self) -> float:
        """Stars per pixel."""
        return self.per_512 / 512**2

    @property
    def steps(self) -> int:
        """Places per pixel that are summed over; fine enough up to an SNR of 25."""
        return 32 if self.fwhm < 2 else 16 if self.fwhm < 4 else 8

    @property
    def stamp(self) -> int:
        """Pixels of the input on each side of a star that are looked at."""
        return int(np.ceil(_STAMP * self.fwhm))

    def flux(self, snr: Any) -> Any:
        """Return the fluxes of signal-to-noise ratios, in sky sigma."""
        return snr * np.sqrt(4 * np.pi) * self.fwhm / 2.355

    def share(self, snr: Array) -> Array:
        """Return how many of the stars there are per unit of ``snr``."""
        least, most = (limit**-_SLOPE for limit in self.snr)
        return np.asarray(_SLOPE * snr ** (-_SLOPE - 1) / (least - most))


FIELDS = {
    "star-field": Field(FWHM["star-field"], 3.0, 500),
    "undersampled": Field(FWHM["undersampled"], 4.0, 450),
    "oversampled": Field(FWHM["oversampled"], 4.765, 110, (8.0, 2000.0)),
    "integer-gradient": Field(FWHM["integer-gradient"], 3.4, 420),
}
"""The scenes of `benchmarks.kinds` that are made of single stars, galaxies left out."""

STAR_FIELD = FIELDS["star-field"]


def make_stars(snr: float, *, field: Field = STAR_FIELD, side: int = _SIDE, seed: int = 1) -> Scene:
    """Simulate isolated stars in white noise: a row of bright ones, then of the ratio wanted."""
    rng = np.random.default_rng([round(10 * snr), seed])
    camera = Camera(1.0, 1.0)
    spacing = max(_SPACING, 2 * field.stamp + 4)
    grid = np.arange(spacing / 2, side, spacing)
    y, x = (axis.ravel() + rng.uniform(-0.5, 0.5, axis.size) for axis in np.meshgrid(grid, grid))
    levels = np.where(np.arange(x.size) < grid.size, _REFERENCE_SNR, snr)
    flux = camera.sigma(SKY) * field.flux(levels)
    plan = Plan([Content(x, y, flux)], [moffat(field.fwhm, field.beta)], camera, (SKY,))
    return observe_plan(plan, field.fwhm, f"stars-{snr:g}", seed, side, rng)


def cramer_rao(psf: Array) -> tuple[float, float]:
    """Return the least error of the flux, and of the place times the flux, at noise 1."""
    slope = np.gradient(psf, axis=1)
    return float((psf**2).sum() ** -0.5), float((slope**2).sum() ** -0.5)


@dataclass(frozen=True)
class BayesLimit:
    """The least mean square error of ``asinh(I / 3 sigma)`` of a task, star by star."""

    task: str
    field: Field = STAR_FIELD

    @cached_property
    def _moves(self) -> NDArray[np.int_]:
        """Offsets of the places along an axis, in steps."""
        count = round(_REACH * self.field.fwhm * self.field.steps)
        return np.arange(-count, count + 1)

    @cached_property
    def _bank(self) -> Array:
        """Stars at all offsets, shape (places, pixels), flux 1."""
        fine = self.field.steps
        side = 2 * (self.field.stamp + int(np.ceil(_REACH * self.field.fwhm))) + 1
        star = Content(np.array([side // 2]), np.array([side // 2]), np.ones(1))
        psf = moffat(self.field.fwhm, self.field.beta)
        image = render(
            star, psf, (side, side), fwhm=self.field.fwhm, sigma=1e-9, step=1 / fine, pixel=1.0
        )
        # Sample j of the fine grid lies at (j + 0.5) step - 0.5: the mean of four is on the places.
        image = (image[1:, 1:] + image[:-1, 1:] + image[1:, :-1] + image[:-1, :-1]) / 4
        middle = round((side // 2 + 0.5) * fine) - 1
        pixels = np.arange(-self.field.stamp, self.field.stamp + 1) * fine
        n = self._moves.size
        rows = (middle + pixels[None, :] - self._moves[:, None]).ravel()
        block = image[np.ix_(rows, rows)].reshape(n, pixels.size, n, pixels.size)
        return block.transpose(0, 2, 1, 3).reshape(n**2, pixels.size**2)

    @cached_property
    def _power(self) -> Array:
        """Sums of the squares of the stars of the bank, shape (places, places)."""
        n = self._moves.size
        return np.asarray((self._bank**2).sum(axis=1).reshape(n, n))

    @cached_property
    def _levels(self) -> tuple[Array, Array]:
        """Fluxes in sky sigma, and how many stars of each are expected at a place."""
        snr = np.geomspace(self.field.snr[0], 4 * _FINEST_SNR, _LEVELS)
        number = self.field.share(snr) * snr * np.log(snr[1] / snr[0])
        number *= self.field.density / self.field.steps**2
        return np.asarray(self.field.flux(snr)), number

    @cached_property
    def _shape(self) -> Array:
        """The result's profile in steps, at least as far as the window from every place."""
        fwhm, beta, fine = self.field.fwhm, self.field.beta, self.field.steps
        reach = round((_window(fwhm) + 0.5) * fine) + self._moves[-1]
        places = np.arange(-reach, reach + 1) / fine
        square = places[:, None] ** 2 + places[None, :] ** 2
        if self.task == "denoise":
            alpha = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
            shape = (1 + square / alpha**2) ** -beta * (beta - 1) / np.pi / alpha**2
            return _over_pixel(shape, fine)
        target = max(2.0, fwhm / 2) if self.task == "deconvolve" else max(2.0, fwhm) / 2
        width = target / 2.3548
        return np.asarray(np.exp(-0.5 * square / width**2) / (2 * np.pi * width**2))

    @cached_property
    def _profiles(self) -> list[Array]:
        return [np.arcsinh(flux * self._shape / 3) for flux in self._levels[0]]

    def mean_square(self, scene: Scene, count: int) -> float:
        """Return the mean square error at the first ``count`` stars of a scene of `make_stars`."""
        sigma = float(scene.sigma)
        data = (scene.observed - scene.background) / sigma
        errors = []
        own, half = _wanted(scene), self.field.stamp
        for x, y in zip(scene.x[own][:count], scene.y[own][:count], strict=True):
            column, row = round(float(x)), round(float(y))
            window = np.s_[row - half : row + half + 1, column - half : column + half + 1]
            estimate = self._posterior_mean(data[window])
            errors.append(_square_error(estimate, scene, self.task, x, y, (column, row)))
        return float(np.mean(errors))

    def bright_mean_square(self, snr: float) -> float:
        """Return the mean square error at stars whose flux and place have normal errors.

        They are those of Cramer and Rao, carried on to the image; the mean over places in a pixel.
        """
        flux = float(self.field.flux(snr))
        fine, n = self.field.steps, self._moves.size
        bank = self._bank.reshape(n, n, -1)
        offsets = _output_offsets(self.task, self.field.fwhm)
        pixels = np.round(offsets * fine).astype(int) + self._shape.shape[0] // 2
        errors = []
        for row, column in itertools.product((-fine // 3, 0, fine // 3), repeat=2):
            y, x = n // 2 + row, n // 2 + column
            # The star as seen and as shown, there and a step further along both axes.
            seen = [bank[y + v, x + u] for v, u in _AROUND]
            shown = [self._shape[np.ix_(pixels - row - v, pixels - column - u)] for v, u in _AROUND]
            of_data, of_image = (_derivatives(flux, images, fine) for images in (seen, shown))
            covariance = np.linalg.inv(of_data @ of_data.T)
            of_image /= np.sqrt(9.0 + (flux * shown[0].ravel()) ** 2)
            variance = np.einsum("ip,ij,jp->p", of_image, covariance, of_image)
            near = (
                np.hypot((offsets - row / fine)[:, None], (offsets - column / fine)[None, :])
                < _WITHIN * self.field.fwhm
            )
            errors.append(float(variance[near.ravel()].mean()))
        return float(np.mean(errors))

    def scene_db(self, stars: int, *, seed: int = 1) -> float:
        """Return the dB that no method can exceed on a scene of this field, on average.

        Stars are as far apart as need be, and only within 1.2 FWHM of them errors are counted.
        """
        least, most = self.field.snr
        ratios = np.array([least, *(snr for snr in SNRS if least < snr <= _FINEST_SNR)])
        errors = [
            self.mean_square(make_stars(snr, field=self.field, seed=seed), stars) for snr in ratios
        ]
        bright = np.geomspace(1.2 * _FINEST_SNR, most, 20)
        errors += [self.bright_mean_square(snr) for snr in bright]
        snr = np.geomspace(least, most, 1000)
        ratios = np.concatenate([ratios, bright])
        square = np.exp(np.interp(np.log(snr), np.log(ratios), np.log(errors)))
        area = np.pi * (_WITHIN * self.field.fwhm) ** 2
        total = np.trapezoid(square * self.field.share(snr), snr)
        return float(-10 * np.log10(total * area * self.field.density))

    def _posterior_mean(self, data: Array) -> Array:
        fluxes, prior = self._levels
        n = self._moves.size
        match = (self._bank @ data.ravel()).reshape(n, n)
        weights = [
            p * np.exp(f * match - 0.5 * f**2 * self._power)
            for f, p in zip(fluxes, prior, strict=True)
        ]
        total = 1.0 + sum(float(w.sum()) for w in weights)
        # A sum over places is the convolution of their weights with the profile, and only the
        # pixels of the output are wanted of it.
        parts = [
            fftconvolve(w / total, profile)
            for w, profile in zip(weights, self._profiles, strict=True)
            if w.sum() > 1e-6 * total
        ]
        side = n + self._profiles[0].shape[0] - 1
        fine = np.sum(parts, axis=0) if parts else np.zeros((side, side))
        offsets = _output_offsets(self.task, self.field.fwhm)
        places = np.round(offsets * self.field.steps).astype(int) + side // 2
        return fine[np.ix_(places, places)]


def _derivatives(flux: float, images: list[Array], fine: int) -> Array:
    """Return the derivatives (3, pixels) of a star by flux and place from images of `_AROUND`."""
    here, below, above, left, right = (image.ravel() for image in images)
    return np.stack([here, flux * (above - below) * fine / 2, flux * (right - left) * fine / 2])


def _wanted(scene: Scene) -> slice:
    """Return which stars are not those of the bright row."""
    return slice(math.isqrt(scene.x.size), None)


def _over_pixel(shape: Array, width: int) -> Array:
    """Average over a pixel of so many steps; the sides are far out."""
    kernel = np.ones(width + 1)
    kernel[[0, -1]] = 0.5
    kernel /= width
    return fftconvolve(shape, kernel[:, None] * kernel[None, :], mode="same")


def _window(fwhm: float) -> int:
    """Pixels of the input on each side of a star in which errors are looked for."""
    return int(np.ceil(_WITHIN * fwhm)) + 1


def _output_offsets(task: str, fwhm: float) -> Array:
    """Offsets of the pixels of the output from the middle of an input pixel, in input pixels."""
    window = _window(fwhm)
    if task == "super-resolve":
        return np.arange(-2 * window, 2 * window) * 0.5 + 0.25
    return np.arange(-window, window + 1) * 1.0


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
    offsets = _output_offsets(task, scene.fwhm)
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
    return float(((estimate - truth) ** 2)[distance < _WITHIN * scene.fwhm].mean())


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
    kinds: Sequence[str] = tuple(FIELDS),
) -> dict[str, Any]:
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
    kinds : sequence of str
        Of `FIELDS`: scenes whose limit is computed.

    Returns
    -------
    dict
        ``"stars"``: a list of the figures of each task and signal-to-noise ratio; ``"scenes"``: the
        limit (dB) of each kind and task.
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
    scenes: dict[str, dict[str, float]] = {}
    for kind in kinds:
        scenes[kind] = {task: BayesLimit(task, FIELDS[kind]).scene_db(stars) for task in tasks}
        print(kind, scenes[kind], file=sys.stderr, flush=True)
    record = {"stars": rows, "scenes": scenes}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "limits.json").write_text(json.dumps(record, indent=1))
    (folder / "limits.md").write_text(_report(rows, scenes))
    return record


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


def _report(rows: list[dict[str, Any]], scenes: dict[str, dict[str, float]]) -> str:
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
        f"Isolated stars of FWHM {STAR_FIELD.fwhm:g} px in white noise. Limit, ours, chain: root"
        f" mean square error of asinh(I / 3 sigma) within {_WITHIN:g} FWHM of a star. Chain: BM3D"
        " for denoising, BM3D and Richardson-Lucy for the others, told PSF and noise and stopped by"
        " the truth.",
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [_cells(row) for row in rows if row["task"] == task]
        parts += [f"## {task}", markdown_table(head, own)]
    if scenes:
        tasks = list(next(iter(scenes.values())))
        parts += [
            "## Scenes of stars",
            "dB that no method can exceed on average: the errors at the stars alone, as if each"
            " stood alone, and without those of galaxies.",
            markdown_table(
                ["scene", *tasks],
                [
                    [kind, *(f"{found[task]:.1f}" for task in tasks)]
                    for kind, found in scenes.items()
                ],
            ),
        ]
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
