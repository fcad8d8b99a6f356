"""Super-resolution of many dithered frames against drizzle, the mean, and our network on one image.

Truth is what a camera of pixels half as wide records. Drizzle has the kernel and the drop that are
best for each case, found with the truth.
"""

from __future__ import annotations

import argparse
import time
import warnings
from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import CCDData
from numpy.typing import NDArray
from photutils.aperture import CircularAperture, aperture_photometry
from photutils.centroids import centroid_com, centroid_sources
from scipy.ndimage import zoom

import astro_sr_plugin as asr
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.truth.dithered import DitheredField

_SKY = 200.0
_MARGIN = 16
"""Fine pixels along the edges that are not judged: not all frames are there."""
_DRIZZLES = [(kernel, drop) for kernel in ("square", "gaussian") for drop in (1.0, 0.7, 0.5)]
_FAINT, _BRIGHT = (100.0, 3000.0), (300.0, 30000.0)
CASES: dict[str, dict[str, Any]] = {
    "12 frames, noise 3": {"number": 12, "noise": 3.0},
    "40 frames, noise 3": {"number": 40, "noise": 3.0},
    "40 frames, noise 12": {"number": 40, "noise": 12.0, "flux": _FAINT},
    "16 frames, noise 30": {"number": 16, "noise": 30.0, "flux": _FAINT},
    "20 frames, turned up to 3 degrees": {"number": 20, "noise": 5.0, "angle": 3.0},
    "20 frames, FWHM 1.3 to 2.2": {"number": 20, "noise": 5.0, "fwhm": (1.3, 1.5, 1.8, 2.2)},
    "20 frames, FWHM 2.0": {"number": 20, "noise": 5.0, "fwhm": (2.0,)},
    "20 frames, FWHM 2.5": {"number": 20, "noise": 5.0, "fwhm": (2.5,)},
    "40 frames, noise 3, mosaic": {"number": 40, "noise": 3.0, "mosaic": True},
    "40 frames, noise 12, mosaic": {"number": 40, "noise": 12.0, "mosaic": True},
}
"""Frames of each case; FWHM of 1.5 pixels without any."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--size", type=int, default=96, help="side of the frames (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers (%(default)s)")
    parser.add_argument("--cases", metavar="TEXT", default="", help="only cases with this in them")
    parser.add_argument("--no-networks", action="store_true", help="without our networks")


def main(options: argparse.Namespace) -> int:
    """Measure all, and write the report."""
    rows = []
    for name, case in CASES.items():
        if options.cases in name:
            rows.append({"case": name, **_measure(options, **case)})
            say(*rows[-1].items())
    gains = {
        "case": ("case", ""),
        "own": ("PSNR (dB)", ".1f"),
        "drizzle": ("over drizzle", "+.1f"),
        "mean": ("over the mean", "+.1f"),
        "denoised": ("denoised after it", "+.1f"),
        "network": ("over x2 of the stack by the network", "+.1f"),
        "seconds": ("s", ".0f"),
    }
    figures = {
        "case": ("case", ""),
        "dark": ("scatter over uncertainty, sky", ".2f"),
        "light": ("in light", ".2f"),
        "flux": ("flux", ".4f"),
        "offset": ("centroid (px)", ".3f"),
        "ring": ("about stars", ".2f"),
        "correlation": ("NOISCORR", ".2f"),
    }
    text = write_results(
        options.out,
        "super_resolution",
        title="Super-resolution of many frames",
        made=made_with([] if options.no_networks else ["denoise", "super-resolve"]),
        sections=[
            f"Gain in dB, {options.size} x {options.size} pixels, scale 2.",
            figures_table(rows, gains),
            "About stars: mean deviation 2 to 4 pixels from bright stars, over 1 sigma + 1 % of "
            "the light there; 95 % of the stars are below it.",
            figures_table(rows, figures),
        ],
        record={"setting": {"size": options.size, "seed": options.seed}, "cases": rows},
    )
    print(text)
    return 0


def _measure(
    options: argparse.Namespace,
    *,
    number: int,
    noise: float,
    flux: tuple[float, float] = _BRIGHT,
    fwhm: tuple[float, ...] = (1.5,),
    angle: float = 0.0,
    mosaic: bool = False,
) -> dict[str, Any]:
    field = DitheredField(options.size, options.seed, flux=flux)
    arrays = field.frames(
        number, noise=noise, sky=_SKY, seed=options.seed + 5, fwhm=fwhm, angle=angle
    )
    meta = Header({"BAYERPAT": "RGGB"} if mosaic else {})
    frames = []
    for array in arrays:
        raw = array.astype(np.float32)
        if mosaic:
            raw[::2, ::2] += 150
            raw[1::2, 1::2] += 75
        frames.append(CCDData(raw, unit="adu", meta=meta))
    sharp = float(np.percentile(fwhm, 25))
    truth = field.render(fwhm=sharp, scale=2) + _SKY
    added = np.array([150.0, 0.0, 75.0])[:, None, None] if mosaic else 0.0
    start = time.perf_counter()
    result = asr.super_resolve_stack(frames, reference=0).image
    seconds = time.perf_counter() - start
    own = _error(result.data - added, truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        drizzled = [
            asr.stack(
                frames, reference=0, drizzle=2, pixfrac=drop, drizzle_kernel=kernel
            ).image.data
            - added
            for kernel, drop in _DRIZZLES
        ]
    stack = asr.stack(frames, reference=0).image
    factors = (1, 2, 2) if mosaic else 2
    mean = zoom(stack.data - added, factors, order=3, mode="mirror", grid_mode=True)
    row: dict[str, Any] = {
        "own": 20 * np.log10((truth - _SKY).max() / own),
        "drizzle": _gain(min(_error(_filled(one), truth) for one in drizzled), own),
        "mean": _gain(_error(mean, truth), own),
        "correlation": result.meta["NOISCORR"],
        "seconds": seconds,
    }
    if not options.no_networks:
        row |= _networks(field, result, stack, truth, added, own)
    return row | _photometry(field, result, truth, added)


def _networks(
    field: DitheredField,
    result: CCDData,
    stack: CCDData,
    truth: NDArray[np.float64],
    added: Any,
    own: float,
) -> dict[str, float]:
    """Gain of our networks after it, and over the network on the plain stack."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        denoised = asr.denoise(result)
        doubled = asr.super_resolve(stack, scale=2)
    width = float(doubled.meta["ASRFWHMO"])
    # Pixels of the truth average; those of the network's target are points.
    target = field.render(fwhm=np.sqrt(width**2 - 0.68**2) / 2, scale=2, gaussian=True) + _SKY
    # The better of both: against its own target, and against the truth.
    error = _error(doubled.data - added, target) * np.std(truth) / np.std(target)
    error = min(error, _error(doubled.data - added, truth))
    return {
        "denoised": _gain(own, _error(denoised.data - added, truth)),
        "network": _gain(error, own),
    }


def _photometry(
    field: DitheredField, result: CCDData, truth: NDArray[np.float64], added: Any
) -> dict[str, float]:
    data, error = result.data - added, result.uncertainty.array
    if data.ndim == 3:
        data, error = data[1], error[1]
    inner = np.s_[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    light = truth - _SKY
    pull = ((data - truth) / error)[inner]
    dark = light[inner] < 0.01 * light.max() / 100
    x, y = 2 * field.x[: field.n_stars] + 0.5, 2 * field.y[: field.n_stars] + 0.5
    flux = field.flux[: field.n_stars]
    margin = _MARGIN + 8
    side = len(truth)
    apart = [np.sort(np.hypot(x - u, y - v))[1] > 12 for u, v in zip(x, y, strict=True)]
    chosen = (flux > np.median(flux)) & np.array(apart)
    chosen &= (x > margin) & (x < side - margin) & (y > margin) & (y < side - margin)
    places = np.column_stack([x, y])[chosen]
    own, expected = (
        np.asarray(aperture_photometry(one, CircularAperture(places, 8))["aperture_sum"])
        for one in (data - _SKY, light)
    )
    found = [
        np.array(centroid_sources(one, *places.T, box_size=9, centroid_func=centroid_com))
        for one in (np.maximum(data - _SKY, 0), light)
    ]
    rows, columns = np.indices(truth.shape)
    rings = []
    for u, v in places:
        ring = np.abs(np.hypot(columns - u, rows - v) - 6) < 2
        allowed = np.mean(error[ring]) + 0.01 * np.mean(light[ring])
        rings.append(abs(np.mean((data - truth)[ring])) / allowed)
    return {
        "dark": float(np.nanstd(pull[dark])),
        "light": float(1.4826 * np.nanmedian(np.abs(pull[~dark]))),
        "flux": float(np.sum(own * expected) / np.sum(expected**2)),
        "offset": float(np.abs(np.median(found[0] - found[1], axis=1)).max() / 2),
        "ring": float(np.percentile(rings, 95)),
    }


def _error(image: NDArray[np.floating], truth: NDArray[np.float64]) -> float:
    inner = np.s_[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return float(np.sqrt(np.nanmean((image - truth)[inner] ** 2)))


def _filled(image: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(np.isfinite(image), image, np.nanmedian(image))


def _gain(other: float, own: float) -> float:
    return float(20 * np.log10(other / own))
