"""When the workflow "crush" helps: stars of several widths, with little and with much noise.

A network of ``--model`` enlarges the same stars directly and by the workflow; bicubic beside it.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray
from scipy.ndimage import zoom

import astro_sr_plugin as asr
from astro_sr_plugin import AstroSRWarning
from astro_sr_plugin.metrics import (
    asinh_psnr_db,
    invented_and_completeness,
    photometric_bias_scatter,
    star_peak_threshold,
)
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table

_SKY, _SIGMA, _STEP = 500.0, 5.0, 32
"""Level and noise (ADU), and distance of the stars (pixels)."""
_FWHM = (2.0, 4.0, 8.0)
_SNR = {"faint": (8.0, 30.0), "bright": (100.0, 2000.0)}
"""Range of the peaks of the stars in sigma."""
_COLUMNS = {
    "fwhm": ("FWHM", ".0f"),
    "stars": ("stars", ""),
    "method": ("method", ""),
    "db": ("dB", ".1f"),
    "bias": ("bias (mag)", "+.3f"),
    "scatter": ("scatter (mag)", ".3f"),
    "completeness": ("completeness", ".0%"),
    "invented": ("invented per Mpx", ".0f"),
    "rms": ("noise of the sky / that of the input", ".2f"),
}

Array = NDArray[np.float64]


def _field(side: int, fwhm: float, snr: tuple[float, float], scale: int) -> tuple[Array, Array]:
    """Return stars without noise on a grid as fine as ``scale``, and their places there."""
    rng = np.random.default_rng(5)
    y, x = (np.indices((side * scale, side * scale)) + 0.5) / scale - 0.5
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
    light, places = np.zeros(y.shape), []
    for row in np.arange(_STEP / 2, side, _STEP):
        for column in np.arange(_STEP / 2, side, _STEP):
            at = np.array([column, row]) + rng.uniform(-3, 3, 2)
            peak = _SIGMA * np.exp(rng.uniform(*np.log(snr)))
            light += peak * (1 + ((x - at[0]) ** 2 + (y - at[1]) ** 2) / alpha**2) ** -3
            places.append((at + 0.5) * scale - 0.5)
    return light, np.array(places)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--model", required=True, metavar="FILE", help="a network that enlarges")
    parser.add_argument("--size", type=int, default=128, help="side of the frames (pixels)")


def main(options: argparse.Namespace) -> int:
    """Run all cases, and write the report."""
    model = asr.load_model(options.model)
    scale = model.spec.scale
    methods: dict[str, dict[str, Any]] = {
        "bicubic": {"model": "bicubic"},
        "direct": {"model": model},
        "crush": {"model": model, "workflow": "crush"},
        "crush, no noise or blur": {"model": model, "workflow": "crush:0,0"},
    }
    rows = []
    for fwhm in _FWHM:
        for name, snr in _SNR.items():
            truth, places = _field(options.size, fwhm, snr, scale)
            n = options.size
            light = truth.reshape(n, scale, n, scale).mean(axis=(1, 3))
            noise = np.random.default_rng(6).normal(0, _SIGMA, light.shape)
            image = CCDData(_SKY + light + noise, unit="adu")
            for method, choice in methods.items():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", AstroSRWarning)  # of mended places
                    result = asr.super_resolve(image, scale=scale, psf=(fwhm, 3.0), **choice)
                row = {"fwhm": fwhm, "stars": name, "method": method}
                rows.append(row | _figures(result.data - _SKY, truth, places, fwhm, scale))
                say(*rows[-1].values())
    text = write_results(
        options.out,
        "crush",
        title="The workflow crush",
        made=made_with(["super-resolve"], models=[Path(options.model)]),
        sections=[
            f"{Path(options.model).name}, {options.size} x {options.size} pixels.",
            figures_table(rows, _COLUMNS),
        ],
        record={"setting": {"size": options.size}, "rows": rows},
    )
    print(text)
    return 0


def _figures(
    light: Array, truth: Array, places: Array, fwhm: float, scale: int
) -> dict[str, float]:
    width = fwhm * scale
    stars = photometric_bias_scatter(light, truth, places, target_fwhm=width)
    threshold = star_peak_threshold(_SIGMA, fwhm, width, scale=scale)
    found = invented_and_completeness(light, truth, threshold=threshold, target_fwhm=width)
    sky = zoom(truth, 1 / scale, order=1) < 0.2 * _SIGMA
    empty = sky.repeat(scale, 0).repeat(scale, 1)
    return {
        "db": asinh_psnr_db(light, truth, sigma=_SIGMA),
        "bias": stars.bias,
        "scatter": stars.scatter,
        "completeness": found.completeness,
        "invented": found.invented * found.detections / (truth.size / scale**2 / 1e6),
        "rms": float((light - truth)[empty].std() / _SIGMA) if empty.any() else float("nan"),
    }
