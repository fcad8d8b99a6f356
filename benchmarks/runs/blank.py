"""Sources that the verbs make of noise alone, white or of a dithered stack."""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, shift

from astro_sr_plugin import AstroSRWarning
from astro_sr_plugin.metrics import star_peak_threshold
from benchmarks.arguments import add_options
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.verbs import VERBS
from benchmarks.truth.scene import SCALES, TASKS

__all__ = ["count_peaks", "make_noise"]

_FWHM = 3.0  # of the profile that the verbs are given (pixels)
_TARGET = 2.0  # that deconvolution is asked for (pixels)
_SKY, _SIGMA = 500.0, 5.0  # level and noise (ADU)
_FRAMES = 6  # of the dithered stack
_COLUMNS = {
    "task": ("verb", ""),
    "noise": ("noise", ""),
    "megapixels": ("Mpx", ".1f"),
    "false": ("false sources", ".0f"),
    "highest": ("highest peak / that of 5 sigma", ".2f"),
}


def make_noise(kind: str, side: int, seed: int) -> NDArray[np.float32]:
    """Return a blank sky: ``"white"`` noise, or that of six ``"dithered"`` frames, resampled."""
    rng = np.random.default_rng(seed)
    if kind == "white":
        noise = rng.normal(size=(side, side))
    else:
        noise = np.zeros((side, side))
        for _ in range(_FRAMES):
            frame = rng.normal(size=(side, side))
            noise += shift(frame, rng.uniform(-0.5, 0.5, 2), order=1, mode="wrap")
        noise /= noise.std()
    return np.asarray(_SKY + _SIGMA * noise, dtype=np.float32)


def count_peaks(result: NDArray[np.floating], least: float) -> int:
    """Count the maxima that stand ``least`` or more above the sky."""
    top = (result == maximum_filter(result, size=5)) & (result - _SKY > least)
    return int(top.sum())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--side", type=int, default=3163, help="side of the frame (pixels)")
    add_options(parser, "seed")


def main(options: argparse.Namespace) -> int:
    """Run every verb on both kinds of noise, and write the report."""
    psf = (_FWHM, 3.0)
    rows = []
    for kind in ("white", "dithered"):
        image = make_noise(kind, options.side, options.seed)
        width = _FWHM * gaussian_fwhm_to_sigma
        filtered = gaussian_filter(image.astype(np.float64), width, mode="wrap").std()
        sigma = float(filtered * 2 * np.sqrt(np.pi) * width)
        for task in TASKS:
            target = _TARGET if task == "deconvolve" else _FWHM
            given = {} if task == "denoise" else {"psf": psf, "target_fwhm": target}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstroSRWarning)  # that there are no stars
                result = np.asarray(VERBS[task](image, **given))
            least = star_peak_threshold(sigma, _FWHM, target, scale=SCALES[task])
            row = {
                "task": task,
                "noise": kind,
                "megapixels": image.size / 1e6,
                "false": count_peaks(result, least),
                "highest": float((result.max() - _SKY) / least),
            }
            rows.append(row)
            say(*row.values())
    text = write_results(
        options.out,
        "blank",
        title="Noise alone",
        made=made_with(TASKS),
        sections=[figures_table(rows, _COLUMNS)],
        record={"setting": {"side": options.side, "seed": options.seed}, "rows": rows},
    )
    print(text)
    return 0
