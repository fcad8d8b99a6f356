"""Empirical PSFs: what they leave of stars that they have not seen, beside EPSFBuilder and PSFEx.

Each program gets the same training stars. Of stars without noise at other places, fitted in flux
and place, the residual is given over the star (root mean square). EPSFBuilder, which has no
weights, and PSFEx are tried with three oversamplings, and the best by the truth is kept. PSFEx and
Source Extractor have to be installed (Debian: psfex, source-extractor); without them their column
stays empty. With --data, stars of the FITS files in that folder are left out instead.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF
from astro_sr_plugin.measurement.psf.empirical_estimate import estimate_psf
from astro_sr_plugin.measurement.psf.empirical_stars import (
    FinePSF,
    StarStamps,
    cut_star_stamps,
    fit_stars,
)
from astro_sr_plugin.measurement.psf.moffat import fit_psf
from benchmarks.arguments import numbers, one_of
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.psfs import build_epsf, run_psfex
from benchmarks.truth.psf_fields import KINDS, make_star_field, make_stars

Array = NDArray[np.float64]
PSFAt = Callable[[float, float], FinePSF]
"""The PSF at a place of the plane."""

_COLUMNS = {
    "kind": ("stars", ""),
    "count": ("number", ".0f"),
    "moffat": ("Moffat fit", ".4f"),
    "epsf": ("EPSFBuilder", ".4f"),
    "psfex": ("PSFEx", ".4f"),
    "ours": ("ours", ".4f"),
}
_RADIUS = 10
"""Pixels about a star in which the residual is taken."""
_OVERSAMPLINGS = (1, 2, 4)
"""Nodes per pixel of EPSFBuilder, of which the best is kept."""
_BRIGHT = 0.5
"""Part of the left-out stars of a real frame, the brightest, that is judged."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--kinds", type=one_of(KINDS), default=KINDS)
    parser.add_argument("--counts", type=numbers, default=(3, 10, 30, 100))
    parser.add_argument("--seeds", type=numbers, default=(1, 2, 3))
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="real frames instead")


def main(options: argparse.Namespace) -> int:
    """Measure all PSFs, and write the report after each."""
    rows: list[dict[str, Any]] = []
    cases = _frames(options) if options.data else _fields(options)
    name = "psf_frames" if options.data else "psf"
    for row in cases:
        rows.append(row)
        say(figures_table([row], _COLUMNS).splitlines()[-1])
        write_results(
            options.out,
            name,
            title="Residual of stars that a PSF has not seen, over the stars",
            made=made_with(()),
            sections=[figures_table(rows, _COLUMNS)],
            record={"rows": rows},
        )
    return 0


def _fields(options: argparse.Namespace) -> Any:
    for kind in options.kinds:
        for count in options.counts:
            found = [_one_field(kind, count, seed) for seed in options.seeds]
            known = [row for row in found if row]
            if known:
                yield {
                    "kind": kind,
                    "count": count,
                    **{
                        name: float(np.nanmean([row.get(name, np.nan) for row in known]))
                        for name in known[0]
                    },
                }


def _one_field(kind: str, count: int, seed: int) -> dict[str, float]:
    field = make_star_field(kind, count, seed, size=max(200, int(40 * np.sqrt(count))))
    (plane,) = asr.measure(field.image + 100).planes
    if not plane.psf.known:
        return {}
    psfs = _all(field.image, field.x, field.y, plane.empirical_psf, kind == "field-coma")
    size = len(field.image)
    places = [(0.0, 0.0), (-0.75, 0.5), (0.75, 0.75)]
    figures: dict[str, float] = {}
    for name, psf in psfs.items():
        left = [
            _residual(make_stars(kind, u, v, _RADIUS), psf, (u + 1) / 2 * size, (v + 1) / 2 * size)
            for u, v in (places if kind == "field-coma" else places[:1])
        ]
        figures[name] = float(np.mean(left))
    return _best(figures)


def _frames(options: argparse.Namespace) -> Any:
    for path in sorted(options.data.rglob("*.fit*")):
        try:
            (plane,) = asr.measure(path, force=True).planes
        except (asr.AstroSRError, ValueError) as error:
            say(f"{path.name}: {error}")
            continue
        _, stars = fit_psf(plane.candidates, plane.noise)
        if stars is None or len(stars) < 20:
            continue
        rng = np.random.default_rng(1)
        mixed = rng.permutation(len(stars))
        for count in options.counts:
            if count > 0.7 * len(stars):
                continue
            train, rest = stars.select(mixed[:count]), stars.select(mixed[count:])
            sky = plane.background.level_at(0, plane.shape[0], 0, plane.shape[1])
            image = np.where(
                plane.unusable[0 : plane.shape[0]], 0.0, (plane.data - sky) / plane.sigma
            )
            first = EmpiricalPSF(plane.psf.moffat, None, plane.shape)
            ours = estimate_psf(train, first)
            psfs = _all(image, train.x, train.y, ours, ours.varies)
            brightest = rest.select(np.argsort(-rest.snr)[: max(5, int(_BRIGHT * len(rest)))])
            stamps = cut_star_stamps(brightest, 2 * _RADIUS, curved_sky=False)
            yield {
                "kind": path.name.split(".")[0],
                "count": count,
                **_best({name: _left_out(stamps, psf) for name, psf in psfs.items()}),
            }


def _all(image: Array, x: Array, y: Array, ours: EmpiricalPSF, varies: bool) -> dict[str, PSFAt]:
    """Measure the PSF by all programs."""
    radius, fine = 2 * _RADIUS + 1, ours.oversampling
    plain = EmpiricalPSF(ours.moffat, ours.field, ours.shape, oversampling=fine)

    def moffat_at(u: float, v: float) -> FinePSF:
        return FinePSF(plain.image(u, v, radius=radius, oversampling=fine), fine)

    def ours_at(u: float, v: float) -> FinePSF:
        return FinePSF(ours.image(u, v, radius=radius, oversampling=fine), fine)

    psfs: dict[str, PSFAt] = {"moffat": moffat_at, "ours": ours_at}
    for step in _OVERSAMPLINGS:
        try:
            psfs[f"epsf{step}"] = _constant(FinePSF(build_epsf(image, x, y, step), step))
        except (ValueError, IndexError) as error:
            say(f"EPSFBuilder, {step} nodes per pixel: {error}")
    if shutil.which("psfex") and shutil.which("source-extractor"):
        order = 0 if not varies else 2 if len(x) >= 60 else 1 if len(x) >= 20 else 0
        for step in _OVERSAMPLINGS:
            psfs[f"psfex{step}"] = _polynomial(*run_psfex(image, x, y, step, order), order, step)
    return psfs


def _constant(psf: FinePSF) -> PSFAt:
    return lambda x, y: psf


def _polynomial(images: Array, scale: Array, order: int, step: int) -> PSFAt:
    def psf_at(x: float, y: float) -> FinePSF:
        u, v = (np.array([x, y]) - scale[0]) / scale[1]
        terms = [u**i * v**j for j in range(order + 1) for i in range(order + 1 - j)]
        return FinePSF(np.tensordot(np.array(terms), images, 1), step)

    return psf_at


def _best(figures: dict[str, float]) -> dict[str, float]:
    """Keep the best oversampling of EPSFBuilder and of PSFEx alone."""
    for peer in ("epsf", "psfex"):
        tried = [figures.pop(name) for name in list(figures) if name.startswith(peer)]
        figures[peer] = min(tried, default=float("nan"))
    return figures


def _residual(stars: Array, psf: PSFAt, x: float, y: float) -> float:
    """Residual of stars without noise, over the stars."""
    fitted, model = _fit(_stamps(stars * 1e6), [psf(x, y)])
    rest = fitted.values - model - fitted.sky[:, :1, None]
    return float(np.sqrt((rest**2).sum() / (fitted.values**2).sum()))


def _left_out(stamps: StarStamps, psf: PSFAt) -> float:
    """Median residual of real stars beyond the noise, over the stars."""
    places = zip(stamps.columns, stamps.rows, strict=True)
    psfs = [psf(float(x), float(y)) for x, y in places]
    _, residuals = fit_stars(stamps, psfs, radius=_RADIUS, psf_error=0.02, steps=6)
    return float(np.sqrt(max(0.0, np.median(residuals[:, 1]))))


def _fit(stamps: StarStamps, psfs: Sequence[FinePSF]) -> tuple[StarStamps, Array]:
    fitted, _ = fit_stars(stamps, psfs, radius=_RADIUS, psf_error=0.02, steps=8)
    model = [
        fitted.flux[k] * psfs[0].at(fitted.x[k], fitted.y[k], _RADIUS) for k in range(len(fitted))
    ]
    return fitted, np.stack(model)


def _stamps(values: Array) -> StarStamps:
    v, u = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]
    total = values.sum(axis=(1, 2))
    x, y = ((values * axis).sum(axis=(1, 2)) / total for axis in (u, v))
    whole = np.zeros(len(values), dtype=int)
    good = np.ones(values.shape, dtype=bool)
    return StarStamps(values, good, whole, whole, x, y, 0 * x, np.zeros((len(values), 1)))
