"""Noise, outliers, star cores and photometry of stacks of simulated frames, and the time they take.

Rejection is tried on values of known noise: the loss of the clean mean against theory, and the bias
when one frame, or a tenth of them, is 10 sigma too high.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from photutils.aperture import CircularAperture, aperture_photometry

import astro_sr_plugin as asr
from astro_sr_plugin.stacking.combination import combine_values
from astro_sr_plugin.stacking.rejection import METHODS, reject
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.truth.frames import FrameField

NUMBERS = (5, 10, 20, 50)
"""Numbers of frames."""
_SCATTER_METHODS = tuple(name for name in METHODS if name not in ("percentile", "none"))
_SKY, _NOISE = 200.0, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--size", type=int, default=512, help="side of the frames (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers (%(default)s)")
    parser.add_argument("--siril", metavar="ROOT", help="Debian root with siril-cli >= 1.4")
    parser.add_argument(
        "--series", metavar="FOLDER", nargs="*", default=[], help="folders with real series"
    )
    parser.add_argument(
        "--super-resolve",
        metavar="FOLDER",
        nargs="*",
        default=[],
        help="folders with real series that are super-resolved too: minutes each",
    )
    parser.add_argument("--pictures", metavar="FOLDER", help="where pictures of their stacks go")


def main(options: argparse.Namespace) -> int:
    """Measure all, and write the report."""
    rejection = [
        _reject_values(method, number, options.seed)
        for method in _SCATTER_METHODS
        for number in NUMBERS
    ]
    for row in rejection:
        say(*row.items())
    field = FrameField(options.size, options.seed)
    stacks = [_stack_equal(field, number, options.seed) for number in NUMBERS[:3]]
    stacks += [_stack_moved(field, 12, options.seed), _stack_seeing(field, 12, options.seed)]
    for row in stacks:
        say(*row.items())
    real = _stack_real(options)
    columns = {
        "method": ("method", ""),
        "frames": ("frames", "d"),
        "loss": ("noise over theory - 1", ".1%"),
        "one": ("bias, one frame (sigma)", ".2f"),
        "tenth": ("bias, a tenth", ".2f"),
        "speed": ("Mpx/s", ".0f"),
    }
    figures = {
        "case": ("stack", ""),
        "frames": ("frames", "d"),
        "noise": ("noise over theory", ".3f"),
        "uncertainty": ("over uncertainty", ".3f"),
        "slope": ("photometry, slope", ".4f"),
        "scatter": ("scatter", ".4f"),
        "core": ("core flux", ".4f"),
        "trail": ("trail left (sigma)", ".2f"),
        "seconds": ("s", ".1f"),
    }
    compared = {
        "series": ("series", ""),
        "program": ("stacked by", ""),
        "frames": ("frames", ""),
        "noise_ratio": ("noise over ours", ".3f"),
        "flux": ("flux over ours", ".3f"),
        "fwhm": ("FWHM (px)", ".2f"),
        "scatter": ("scatter (mag)", ".4f"),
        "stars": ("stars", "d"),
        "seconds": ("s", ".1f"),
        "cpu": ("s of processors", ".1f"),
    }
    setting = {"size": options.size, "seed": options.seed}
    text = write_results(
        options.out,
        "stacking",
        title="Stacking",
        made=made_with([]),
        sections=[
            "Bias in standard deviations of the mean, with 10 sigma in one frame or in a tenth.",
            figures_table(rejection, columns),
            f"Frames of {options.size} x {options.size} pixels, FWHM 3, default settings.",
            figures_table(stacks, figures),
            "Real series, default settings of both programs.",
            figures_table(real, compared),
        ],
        record={"setting": setting, "rejection": rejection, "stacks": stacks, "real": real},
    )
    print(text)
    return 0


def _stack_real(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare real series with Siril, where both are given."""
    from benchmarks.peers.siril import Siril
    from benchmarks.real.stacks import compare_series

    if not options.siril:
        return []
    rows = []
    pictures = None if options.pictures is None else Path(options.pictures)
    with tempfile.TemporaryDirectory() as folder:
        siril = Siril(Path(options.siril), Path(folder).resolve())
        siril.version()
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
        for series in dict.fromkeys([*options.series, *options.super_resolve]):
            files = sorted(path for path in Path(series).iterdir() if path.is_file())
            finer = series in options.super_resolve
            rows += compare_series(Path(series).name, files, siril, pictures, super_resolve=finer)
    for row in rows:
        say(*row.items())
    return rows


def _reject_values(method: Any, number: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(number, 300, 300)).astype(np.float32)
    one, tenth = values.copy(), values.copy()
    one[0] += 10
    tenth[: max(1, number // 10)] += 10
    sigma = np.ones((1, 1, 1), np.float32)
    start = time.perf_counter()
    means = []
    for case in (values, one, tenth):
        low, high = reject(case, method, sigma=sigma)
        means.append(combine_values(case, low, high, variance=sigma).data * np.sqrt(number))
    seconds = time.perf_counter() - start
    return {
        "method": method,
        "frames": number,
        "loss": float(means[0].std() - 1),
        "one": float(means[1].mean()),
        "tenth": float(means[2].mean()),
        "speed": 3 * values.size / seconds / 1e6,
    }


def _stack_equal(field: FrameField, number: int, seed: int) -> dict[str, Any]:
    """Frames without dithers: the noise is that of theory."""
    rng = np.random.default_rng(seed)
    clean = field.render() + _SKY
    frames = [clean + rng.normal(0, _NOISE, clean.shape) for _ in range(number)]
    start = time.perf_counter()
    result = asr.stack(frames, align=False)
    row = _figures(field, result, clean, number, time.perf_counter() - start)
    return {"case": "aligned", **row}


def _stack_moved(field: FrameField, number: int, seed: int) -> dict[str, Any]:
    """Frames with dithers, turns, transparencies, hot pixels, cosmic rays and a satellite."""
    rng = np.random.default_rng(seed)
    frames = []
    y, x = np.mgrid[: field.size, : field.size]
    hot = rng.integers(0, field.size, (2, field.size))
    for k in range(number):
        moved = {"shift": rng.uniform(-8, 8, 2), "angle": rng.uniform(-1, 1)} if k else {}
        scale = rng.uniform(0.7, 1.1) if k else 1.0
        frame = scale * field.render(**moved) + _SKY + rng.normal(0, _NOISE, y.shape)
        frame[tuple(hot)] += 1000
        frame[tuple(rng.integers(0, field.size, (2, field.size // 4)))] += 500
        frames.append(frame)
    across = np.abs(x - 0.7 * y - 60)
    frames[4] += 60 * np.exp(-(across**2) / 4)
    start = time.perf_counter()
    result = asr.stack(frames, reference=0)
    row = _figures(field, result, field.render() + _SKY, number, time.perf_counter() - start)
    transform = result.table["shift_x"][4], result.table["shift_y"][4]
    near = np.abs(x - transform[0] - 0.7 * (y - transform[1]) - 60) < 4
    clean = field.render()
    residual = (result.image.data - clean - _SKY) / result.image.uncertainty.array
    inside = near & (result.n_used > number // 2) & (clean < 1)
    return {"case": "moved, with faults", **row, "trail": float(residual[inside].mean())}


def _stack_seeing(field: FrameField, number: int, seed: int) -> dict[str, Any]:
    """FWHM from 2 to 5 pixels."""
    rng = np.random.default_rng(seed)
    clean = [field.render(fwhm=fwhm) for fwhm in np.linspace(2, 5, number)]
    frames = [frame + _SKY + rng.normal(0, _NOISE, frame.shape) for frame in clean]
    start = time.perf_counter()
    result = asr.stack(frames, align=False, weights="none")
    seconds = time.perf_counter() - start
    mean = np.mean(clean, axis=0)
    row = _figures(field, result, mean + _SKY, number, seconds)
    bright = field.inside(20) & (field.flux > 8000)
    core, truth = (_photometry(image, field, 2.5)[bright] for image in (result.image.data, mean))
    return {"case": "FWHM 2 to 5 px", **row, "core": float(np.median(core / truth))}


def _figures(
    field: FrameField, result: Any, clean: NDArray, number: int, seconds: float
) -> dict[str, Any]:
    empty = (clean - _SKY < 1) & (result.n_used == number)
    error = result.image.uncertainty.array
    residual = result.image.data - clean
    bright = field.inside(20) & (field.flux > 3000)
    found, truth = (
        _photometry(image, field, 6.0)[bright] for image in (result.image.data, clean - _SKY)
    )
    slope = float(np.sum(found * truth) / np.sum(truth**2))
    return {
        "frames": number,
        "noise": float(residual[empty].std() / _NOISE * np.sqrt(number)),
        "uncertainty": float(residual[empty].std() / np.mean(error[empty])),
        "slope": slope,
        "scatter": float(1.4826 * np.median(np.abs(found / truth - slope))),
        "seconds": seconds,
    }


def _photometry(image: NDArray, field: FrameField, radius: float) -> NDArray[np.float64]:
    light = np.nan_to_num(image - np.nanmedian(image))
    apertures = CircularAperture(np.column_stack([field.x, field.y]), radius)
    return np.asarray(aperture_photometry(light, apertures)["aperture_sum"])
