"""Videos of planets: disc, ranking, alignment, stacks against PlanetarySystemStacker, speed."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as moved

from astro_sr_plugin.constants import MAD_TO_SIGMA
from benchmarks.truth.planet import (
    SKY,
    PlanetVideo,
    draw_planet,
    draw_terrain,
    make_field,
    make_video,
    observe,
)

DISC_GOALS = {"phase 45": 0.5, "phase 90": 0.5}
"""Largest median error of the centre in pixels; 0.1 for the other discs."""
DISCS: dict[str, dict[str, Any]] = {
    "normal": {},
    "noise 14 of 180": {"noise": 14.0},
    "radius 12": {"radius": 12.0},
    "slope and hot pixels": {"slope": 20.0, "hot": 40},
    "30 % beyond the edge": {"x": 24.0},
    "oblateness 0.065": {"oblateness": 0.065},
    "phase 90": {"phase": 90.0},
    "phase 45": {"phase": 45.0},
}
TRIES = 12
"""Discs of each kind, and frames of each alignment."""
LARGEST_POWER, HALVINGS = 4.0, 12
"""Largest power of the gains of wavelet layers that is tried, and steps of the search."""
GAIN, TIME = 0.5, 1.5
"""Decibels by which the stack has to be better than that of the peer, and the largest ratio of the
time that it takes."""
_ROUNDS = 5
"""Times that each stack of the simulated video is made, all in turn."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--frames", type=int, default=256, help="frames of the simulated video")
    parser.add_argument(
        "--pss", type=Path, metavar="FILE", help="PlanetarySystemStacker of its own environment"
    )
    parser.add_argument(
        "--real", type=Path, nargs="*", default=[], metavar="VIDEO", help="real videos"
    )


def main(options: argparse.Namespace) -> int:
    """Run everything and write the report; return 1 where a goal is missed."""
    from benchmarks.figures.results import made_with, write_results
    from benchmarks.figures.tables import markdown_table

    discs = {name: measure_discs(**case) for name, case in DISCS.items()}
    ranking = {noise: rank_frames(noise) for noise in (3.0, 12.0, 30.0)}
    alignment = {
        "shift alone": measure_alignment(0.0, 1.2, 3.0),
        "warp of 1 px": measure_alignment(1.0, 1.5, 3.0),
        "warp of 1 px, noise 12": measure_alignment(1.0, 1.5, 12.0),
    }
    video = make_video(options.frames)
    stacks = stack_video(video, options.pss, options.out)
    speed = measure_speed()
    real = {path.name: compare_real(path) for path in options.real}
    text = write_results(
        options.out,
        "planetary",
        title="Planets, the Moon and the Sun",
        made=made_with([]),
        sections=[
            f"Disc: error of the centre of {TRIES} discs, pixels",
            markdown_table(
                ["", "found", "median", "worst"],
                [
                    [name, f"{n}/{TRIES}", f"{m:.3f}", f"{w:.3f}"]
                    for name, (n, m, w) in discs.items()
                ],
            ),
            "Ranking: Spearman correlation of the quality with the true sharpness, noise of 180",
            markdown_table(
                ["noise", "correlation"], [[f"{n:g}", f"{r:.3f}"] for n, r in ranking.items()]
            ),
            "Alignment: error of the shift of frames, RMS of the field where there is structure, "
            "and the same without alignment points; pixels",
            markdown_table(
                ["", "frame", "points", "without points"],
                [[name, *(f"{value:.3f}" for value in row)] for name, row in alignment.items()],
            ),
            f"{options.frames} simulated frames of 240 x 240 pixels: PSNR before and after the "
            "best Gaussian Wiener filter, dB; seconds of processors and of the clock, with the "
            f"start of the program, medians of {_ROUNDS} runs in turn",
            markdown_table(
                ["", "raw", "sharpened", "processor s", "s"],
                [
                    [name, f"{a:.2f}", f"{b:.2f}", f"{c:.1f}", f"{s:.1f}"]
                    for name, (a, b, c, s) in stacks.items()
                ],
            ),
            "Ranking of frames of 640 x 480 pixels: "
            f"{speed['planet']:.0f} per second of a processor of a planet, "
            f"{speed['surface']:.0f} of a surface",
            *(
                [
                    "Real videos: RMS of structures of 4 to 12 pixels without the noise, and noise "
                    "of a pixel, over the mean, after the same wavelet sharpening; and structures "
                    "after the sharpening that brings the noise to that of the best frame",
                    markdown_table(
                        ["video", "image", "structures", "noise", "at that noise"],
                        [
                            [name, image, *(f"{value:.5f}" for value in row)]
                            for name, rows in real.items()
                            for image, row in rows.items()
                        ],
                    ),
                ]
                if real
                else []
            ),
        ],
        record={
            "discs": discs,
            "ranking": ranking,
            "alignment": alignment,
            "stacks": stacks,
            "speed": speed,
            "real": real,
        },
    )
    print(text)
    peers = [row for name, row in stacks.items() if name.startswith("PSS")]
    ours = stacks["ours"]
    good = [
        all(median <= DISC_GOALS.get(name, 0.1) for name, (_, median, _) in discs.items()),
        ranking[12.0] >= 0.95,
        alignment["shift alone"][0] <= 0.1,
        max(alignment[name][1] for name in alignment) <= 0.3,
        all(ours[k] >= row[k] + GAIN for row in peers for k in (0, 1)),
        not peers or ours[3] <= TIME * float(np.median([row[3] for row in peers])),
        min(speed.values()) >= 100,
        all(
            rows["stack"][2] > rows[name][2]
            for rows in real.values()
            for name in ("best frame", "mean", "best 20, whole frames")
        ),
    ]
    return 0 if all(good) else 1


def measure_discs(
    *, noise: float = 3.0, slope: float = 0.0, hot: int = 0, x: float | None = None, **planet: Any
) -> tuple[int, float, float]:
    """Return the discs found, and median and largest error of their centres."""
    from astro_sr_plugin.stacking.planetary.disc import find_disc

    rng = np.random.default_rng(1)
    size = 120 if planet.get("radius", 60) < 30 else 240
    errors = []
    for _ in range(TRIES):
        middle = (size - 1) / 2
        centre = (
            (middle if x is None else x) + rng.uniform(-3, 3),
            middle + rng.uniform(-3, 3),
        )
        image = observe(draw_planet(size, centre=centre, **planet), (0, 0), None, 2.0)
        image += rng.normal(0, noise, image.shape) + np.linspace(0, slope, size)
        image[tuple(rng.integers(0, size, (2, hot)))] = 255
        disc = find_disc(image.astype(np.float32))
        if disc.found:
            errors.append(float(np.hypot(disc.x - centre[0], disc.y - centre[1])))
    return len(errors), float(np.median(errors or [np.inf])), max(errors, default=np.inf)


def rank_frames(noise: float, frames: int = 480) -> float:
    """Return the rank correlation of quality and sharpness, transparency changing by 10 %."""
    from scipy.stats import spearmanr

    import astro_sr_plugin as asr
    from astro_sr_plugin.stacking.planetary.survey import survey

    rng = np.random.default_rng(2)
    truth = draw_planet()
    blur = 1.6 * np.exp(rng.normal(0, 0.3, frames))
    values = []
    for sigma in blur:
        image = observe(truth, tuple(rng.uniform(-5, 5, 2)), None, sigma) * rng.uniform(0.9, 1.1)
        image += SKY + rng.normal(0, noise, image.shape)
        values.append(np.clip(image, 0, 255).round().astype(np.uint8))
    records = survey(asr.open_video(np.array(values)))
    return float(spearmanr([record.quality for record in records], -blur)[0])


def measure_alignment(warp: float, blur: float, noise: float) -> tuple[float, float, float]:
    """Return the errors of the shift of the frame, of the field, and of the shift as a field."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    from astro_sr_plugin.stacking.planetary.alignment import Reference

    rng = np.random.default_rng(3)
    truth = draw_terrain()
    size = len(truth)
    reference = Reference(gaussian_filter(truth, 1.2).astype(np.float32))
    inner = np.s_[24:-24, 24:-24]
    y, x = np.mgrid[:size, :size].astype(float)
    whole, local, without = [], [], []
    for _ in range(TRIES):
        shift = rng.uniform(-6, 6, 2)
        field = make_field(rng, size, warp) if warp else np.zeros((2, size, size))
        image = observe(truth, tuple(shift), field, blur) + rng.normal(0, noise, truth.shape)
        found = reference.find_shift(image.astype(np.float32))
        # The place p in the frame of a point x of the truth: p - shift - field(p) = x.
        px, py = x + shift[0], y + shift[1]
        for _ in range(4):
            bent = [map_coordinates(part, [py, px], order=1, mode="nearest") for part in field]
            px, py = x + shift[0] + bent[0], y + shift[1] + bent[1]
        qx, qy = reference.places(found)
        whole.append(np.hypot(found.x - shift[0], found.y - shift[1]))
        local.append(np.sqrt(np.mean(np.hypot(qx - px, qy - py)[inner] ** 2)))
        rest = np.hypot(x + found.x - px, y + found.y - py)[inner]
        without.append(np.sqrt(np.mean(rest**2)))
    return float(np.median(whole)), float(np.median(local)), float(np.median(without))


def stack_video(
    video: PlanetVideo, pss: Path | None, out: Path
) -> dict[str, tuple[float, float, float, float]]:
    """Return PSNR raw and sharpened, processor and wall seconds of each stack; draw them."""
    import astro_sr_plugin as asr
    from benchmarks.peers.planetary_system_stacker import stack_by_pss, write_ser

    rows: dict[str, tuple[float, float, float, float]] = {}
    best = video.frames[int(np.argmin(video.blur))]
    rows["best frame"] = (*score(best, video.truth), 0.0, 0.0)
    rows["plain mean"] = (*score(video.frames.mean(0), video.truth), 0.0, 0.0)
    recipes = {
        "best 20, whole frames": ["--keep", "20", "--weights", "none", "--points", "off"],
        "best 20 %": ["--keep", "20%"],
        "ours": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.ser"
        write_ser(path, video.frames)
        jobs: dict[str, Callable[[], tuple[NDArray, float]]] = {
            name: partial(_stack_by_command, path, words) for name, words in recipes.items()
        }
        if pss is not None:
            for percent in (10, 20, 40):
                jobs[f"PSS {percent} %"] = partial(stack_by_pss, pss, video.frames, percent)
        images: dict[str, NDArray] = {}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
        for _ in range(_ROUNDS):
            for name, job in jobs.items():
                before = _processor_seconds()
                images[name], seconds = job()
                times[name].append((_processor_seconds() - before, seconds))
    for name, image in images.items():
        used, seconds = np.median(times[name], axis=0)
        rows[name] = (*score(image, video.truth), float(used), float(seconds))
    ours = images["ours"]
    draw_row(out / "planetary.jpg", [best, video.frames.mean(0), ours, asr.sharpen(ours)])
    return rows


def _stack_by_command(path: Path, words: list[str]) -> tuple[NDArray, float]:
    """Stack a video by the command line; return the stack and the seconds of the clock."""
    import astro_sr_plugin as asr

    # Byte code is kept, as in an installed program.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    output = path.with_name("stack.fits")
    command = [sys.executable, "-m", "astro_sr_plugin", "planetary", str(path), "-o", str(output)]
    start = time.perf_counter()
    subprocess.run(
        [*command, "--overwrite", *words], check=True, capture_output=True, env=environment
    )
    seconds = time.perf_counter() - start
    return np.asarray(asr.read_image(output).data), seconds


def _processor_seconds() -> float:
    """Return the seconds that processors spent on finished programs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def draw_row(path: Path, images: list[NDArray]) -> None:
    """Draw images side by side, at twice their size and with a common scale of brightness."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    white = np.nanpercentile(images[-2], 99.9)
    parts = [
        np.clip((np.nan_to_num(one) - SKY) / (white - SKY), 0, 1)[25:-25, 25:-25] for one in images
    ]
    row = np.repeat(np.repeat(np.hstack(parts), 2, 0), 2, 1) ** 0.8
    Image.fromarray((255 * row).astype(np.uint8)).save(path, quality=95)


def score(image: NDArray, truth: NDArray[np.float64]) -> tuple[float, float]:
    """Return the PSNR of an image, and that after the best of 49 Wiener filters, in dB.

    The image is moved onto the truth and fitted to it by a scale and an offset.
    """
    import astro_sr_plugin as asr
    from astro_sr_plugin.stacking.planetary.alignment import Reference

    values = np.nan_to_num(np.asarray(image, float), nan=SKY)
    low = [max(0, have - want) for have, want in zip(truth.shape, values.shape, strict=True)]
    values = np.pad(values, [(0, side) for side in low], mode="edge")
    reference = Reference(truth.astype(np.float32))
    found = reference.find_shift(values.astype(np.float32), points=False)
    values = moved(values, (-found.y, -found.x), order=3, mode="nearest")
    sharpened = [
        asr.sharpen(values, "wiener", psf=fwhm, noise_to_signal=ratio)
        for fwhm in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)
        for ratio in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    ]
    return _psnr(values, truth), max(_psnr(one, truth) for one in sharpened)


def _psnr(image: NDArray, truth: NDArray[np.float64]) -> float:
    inner = np.s_[25:-25, 25:-25]
    a, b = image[inner].ravel(), truth[inner].ravel()
    fit = np.polyval(np.polyfit(a, b, 1), a)
    return float(10 * np.log10(255**2 / np.mean((fit - b) ** 2)))


def measure_speed(frames: int = 200) -> dict[str, float]:
    """Return the frames of 640 x 480 pixels that are ranked per second of a processor."""
    import astro_sr_plugin as asr
    from astro_sr_plugin.stacking.planetary.survey import survey

    rng = np.random.default_rng(4)
    planet = np.pad(observe(draw_planet(), (0, 0), None, 2.0), ((120, 120), (200, 200)))
    terrain = draw_terrain(640)[:480]
    found = {}
    for name, image in (("planet", planet), ("surface", terrain)):
        noisy = [image + rng.normal(10, 3, image.shape) for _ in range(10)]
        cube = np.clip(noisy, 0, 255).astype(np.uint8)[np.arange(frames) % 10]
        start = time.process_time()
        survey(asr.open_video(cube))
        found[name] = frames / (time.process_time() - start)
    return found


def compare_real(path: Path) -> dict[str, tuple[float, float, float]]:
    """Measure best frame, plain mean, the mean of the best 20 whole frames, and stack.

    Returns
    -------
    dict of str to (float, float, float)
        Structures and noise over the brightness, after one sharpening; structures after the
        sharpening that gives the noise of the best frame.
    """
    import astro_sr_plugin as asr
    from astro_sr_plugin.stacking.planetary.filters import luminance

    video = asr.open_video(path)
    result = asr.stack_planetary(video)
    old = asr.stack_planetary(video, keep=20, weights="none", points="off")
    best = int(result.reference)
    _, frame = next(video.frames([best]))
    mean = np.zeros(video.shape[-2:])
    for _, one in video.frames():
        mean += luminance(one) / len(video)
    stack = luminance(np.nan_to_num(result.image.data))
    disc_x, disc_y, radius = (result.table[f"disc_{name}"][best] for name in ("x", "y", "radius"))
    inside = None
    if np.isfinite(radius):
        y, x = np.ogrid[: stack.shape[0], : stack.shape[1]]
        inside = np.hypot(x - disc_x, y - disc_y) < 0.8 * radius
    images: dict[str, NDArray] = {
        "best frame": luminance(frame),
        "mean": mean,
        "best 20, whole frames": luminance(np.nan_to_num(old.image.data)),
        "stack": stack,
    }
    rows = {name: measure_sharpened(plane, inside, 1.0) for name, plane in images.items()}
    noise = rows["best frame"][1]
    return {
        name: (*rows[name], sharpen_to_noise(plane, inside, noise))
        for name, plane in images.items()
    }


def measure_sharpened(
    plane: NDArray, inside: NDArray[np.bool_] | None, power: float
) -> tuple[float, float]:
    """Return structures and noise after wavelet layers, whose gains are raised to a power."""
    import astro_sr_plugin as asr
    from astro_sr_plugin.stacking.planetary.sharpening import GAINS
    from astro_sr_plugin.stacking.planetary.survey import measure_quality

    gains = [gain**power for gain in GAINS]
    sharp = asr.sharpen(np.asarray(plane, np.float32), "wavelet", gains=gains, nsigma=0)
    brightness, quality = measure_quality(sharp, inside, 0.0)
    second = sharp[2:, 2:] - 2 * sharp[1:-1, 1:-1] + sharp[:-2, :-2]
    part = second if inside is None else second[inside[1:-1, 1:-1]]
    noise = MAD_TO_SIGMA * np.median(np.abs(part)) / np.sqrt(6)
    return float(np.sqrt(quality)), float(noise / brightness)


def sharpen_to_noise(plane: NDArray, inside: NDArray[np.bool_] | None, noise: float) -> float:
    """Return structures after the sharpening that gives this noise."""
    low, high = 0.0, LARGEST_POWER
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if measure_sharpened(plane, inside, middle)[1] < noise:
            low = middle
        else:
            high = middle
    return measure_sharpened(plane, inside, low)[0]
