"""What spoils an image: faults of cameras and programs, added to a finished scene."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.truth.camera import FINE
from benchmarks.truth.hard_skies import DROP, FULL_WELL
from benchmarks.truth.scene import Scene
from benchmarks.truth.star_fields import CAMERA, SKY, UNIT

__all__ = [
    "amplifier_glow",
    "blooming",
    "drizzle_noise",
    "eight_bit_stretch",
    "horizon_glow",
    "hot_pixels",
    "walking_noise",
]

Array = NDArray[np.float64]
Rng = np.random.Generator

_FRAMES = 25  # of the drizzled stack


def drizzle_noise(scene: Scene, rng: Rng) -> Scene:
    """Give the scene the noise of dithered frames drizzled to pixels half as wide."""
    size = scene.observed.shape[0]
    step = 2 * FINE  # fine points in a pixel of the camera
    drop = round(DROP * step)
    side = (size + 16) * FINE
    total, weight = np.zeros((side, side)), np.zeros((side, side))
    grid = np.zeros((step, step))
    grid[:drop, :drop] = 1.0
    for _ in range(_FRAMES):
        frame = rng.standard_normal((side // step, side // step))
        shift = rng.integers(0, 4 * FINE, 2)
        total += np.roll(np.kron(frame, grid), shift, (0, 1))
        weight += np.roll(np.kron(np.ones_like(frame), grid), shift, (0, 1))
    shape = (side // FINE, FINE) * 2
    noise = total.reshape(shape).sum(axis=(1, 3)) / weight.reshape(shape).sum(axis=(1, 3))
    noise = noise[8 : 8 + size, 8 : 8 + size] / noise.std()
    growth = np.maximum(scene.truth_denoise / scene.background, 0.1)
    observed = scene.truth_denoise + noise * scene.sigma * np.sqrt(growth)
    return replace(scene, observed=observed.astype(np.float32), correlated=True)


def hot_pixels(scene: Scene, rng: Rng) -> Scene:
    """Add hot pixels and the tracks of cosmic rays, in places free of bright stars."""
    observed = scene.observed.copy()
    size = observed.shape[0]
    clear = scene.truth_denoise - scene.background < 2 * scene.sigma
    for _ in range(round(40 * (size / 256) ** 2)):
        x, y = rng.integers(6, size - 6, 2)
        if clear[y, x]:
            observed[y, x] += scene.sigma * np.exp(rng.uniform(np.log(20), np.log(2000)))
    for _ in range(6):
        x, y = rng.integers(12, size - 12, 2)
        angle, level = rng.uniform(0, np.pi), rng.uniform(40, 400)
        for t in range(rng.integers(3, 8)):
            row, column = round(y + t * np.sin(angle)), round(x + t * np.cos(angle))
            observed[row, column] += level * scene.sigma
    return replace(scene, observed=observed)


def walking_noise(scene: Scene, rng: Rng) -> Scene:
    """Add the streaks that a drifting fixed pattern leaves in a stack."""
    size = scene.observed.shape[0]
    pattern = rng.standard_normal((size, size))
    streak = np.zeros((25, 25))
    for t in np.linspace(-11, 11, 45):
        streak[round(12 + 0.5 * t), round(12 + 0.87 * t)] = 1.0
    walking = ndimage.convolve(pattern, streak, mode="wrap")
    walking *= 0.8 * scene.sigma / walking.std()
    return replace(scene, observed=(scene.observed + walking).astype(np.float32), correlated=True)


def amplifier_glow(scene: Scene, rng: Rng) -> Scene:
    """Add the glow of an amplifier at a corner, with its shot noise."""
    size = scene.observed.shape[0]

    def light(scale: int) -> Array:
        y, x = (np.mgrid[: scale * size, : scale * size] + 0.5) / scale / size
        reach = np.hypot(1 - x, 1 - y)
        return 1.5 * SKY * np.exp(-reach / 0.12) + 0.8 * SKY * np.exp(-y / 0.03)

    noise = rng.standard_normal((size, size)) * np.sqrt(light(1) / CAMERA.gain)
    return _with_background(scene, light, noise)


def horizon_glow(scene: Scene, rng: Rng) -> Scene:
    """Add a steep glow over a horizon to the gradient of the plan."""
    size = scene.observed.shape[0]

    def light(scale: int) -> Array:
        y, x = (np.mgrid[: scale * size, : scale * size] + 0.5) / scale / size
        return 4.0 * SKY * np.exp(-(x + 0.6 * y) / 0.25)

    noise = rng.standard_normal((size, size)) * np.sqrt(light(1) / CAMERA.gain)
    return _with_background(scene, light, noise)


def _with_background(scene: Scene, light: Callable[[int], Array], noise: Array) -> Scene:
    single, double = light(1), light(2)
    added = {
        "observed": single + noise,
        "truth_denoise": single,
        "truth_deconvolve": single,
        "truth_x2": double,
        "background": single,
        "background_x2": double,
    }
    changed: dict[str, Any] = {
        name: (getattr(scene, name) + extra).astype(np.float32) for name, extra in added.items()
    }
    return replace(scene, **changed)


def eight_bit_stretch(scene: Scene, rng: Rng) -> Scene:
    """Keep what a picture of 8 bits, stretched and later unstretched, keeps."""
    black, white = SKY - 5 * UNIT, float(scene.observed.max())
    soft = 4 * UNIT
    top = np.arcsinh((white - black) / soft)
    tone = np.arcsinh(np.clip(scene.observed - black, 0, None) / soft) / top
    levels = np.rint(255 * tone) / 255
    return replace(scene, observed=(black + soft * np.sinh(levels * top)).astype(np.float32))


def blooming(scene: Scene, rng: Rng) -> Scene:
    """Let the light beyond the full well run along the columns."""
    observed = scene.observed.copy()
    full = np.float32(FULL_WELL.full_well or 0.0)
    beyond = np.clip(scene.truth_denoise - full, 0, None)
    for x in np.flatnonzero(beyond.sum(axis=0)):
        rows = np.flatnonzero(beyond[:, x])
        for part in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1):
            reach = round(float(beyond[part, x].sum() / full / 2))
            observed[max(0, part[0] - reach) : part[-1] + reach + 1, x] = full
    saturated = observed >= full
    away = ndimage.distance_transform_edt(~saturated)
    return replace(scene, observed=observed, excluded=away <= 2 * scene.fwhm)
