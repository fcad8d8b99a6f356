"""Sources that the verbs make of noise alone.

``python -m benchmarks.blank --out DIR`` writes blank.md: maxima of results of a sky without any
light, white noise and that of a dithered stack, above the peak of a star that a matched filter
finds at 5 sigma in that noise.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, shift

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRWarning
from astro_sr_plugin.metrics import star_peak_threshold
from benchmarks.tables import markdown_table

__all__ = ["count_peaks", "main", "make_noise"]

_FWHM, _TARGET, _SKY, _SIGMA, _FRAMES = 3.0, 2.0, 500.0, 5.0, 6


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blank", description=__doc__)
    parser.add_argument("--side", type=int, default=3163, help="side of the frame (pixels)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), metavar="DIR")
    options = parser.parse_args(arguments)
    psf = (_FWHM, 3.0)
    runs: dict[str, tuple[Any, dict[str, Any], float, int]] = {
        "denoise": (asr.denoise, {}, _FWHM, 1),
        "deconvolve": (asr.deconvolve, {"psf": psf, "target_fwhm": _TARGET}, _TARGET, 1),
        "super-resolve": (asr.super_resolve, {"psf": psf, "target_fwhm": _FWHM}, _FWHM, 2),
    }
    rows = []
    for kind in ("white", "dithered"):
        image = make_noise(kind, options.side, options.seed)
        width = _FWHM / 2.3548
        filtered = gaussian_filter(image.astype(np.float64), width, mode="wrap").std()
        sigma = float(filtered * 2 * np.sqrt(np.pi) * width)
        for name, (verb, knobs, target, scale) in runs.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstroSRWarning)  # that there are no stars
                result = np.asarray(verb(image, **knobs))
            least = star_peak_threshold(sigma, _FWHM, target, scale=scale)
            rows.append(
                [name, kind, f"{image.size / 1e6:.1f}", str(count_peaks(result, least))]
                + [f"{float((result.max() - _SKY) / least):.2f}"]
            )
            print(*rows[-1], file=sys.stderr)
    head = ["verb", "noise", "Mpx", "false sources", "highest peak / that of 5 sigma"]
    text = "# Noise alone\n\n" + markdown_table(head, rows) + "\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "blank.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
