"""Simulated videos of a planet whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

SIZE, RADIUS = 112, 36


def draw_planet(
    x: float, y: float, radius: float = RADIUS, shape: tuple[int, int] = (SIZE, SIZE)
) -> np.ndarray:
    """A banded disc with a dark limb and some spots, of the mean of 3 x 3 points per pixel."""
    v, u = (np.mgrid[: 3 * shape[0], : 3 * shape[1]] + 0.5) / 3 - 0.5
    u, v = (u - x) / radius, (v - y) / radius
    square = u**2 + v**2
    light = 0.4 + 0.6 * np.sqrt(np.clip(1 - square, 0, 1))
    bands = 1 + 0.15 * np.sin(9 * v + np.sin(4 * u)) + 0.1 * np.sin(13 * u + 5 * v)
    image = 180 * light * bands * (square < 1)
    return image.reshape(shape[0], 3, shape[1], 3).mean((1, 3))


@dataclass
class Simulated:
    """A video, and what is true of each of its frames."""

    truth: np.ndarray
    frames: np.ndarray
    x: np.ndarray
    y: np.ndarray
    blur: np.ndarray


@pytest.fixture(scope="session")
def jupiter() -> Simulated:
    """48 frames with wandering, warp, blur and noise; 20 is black."""
    rng = np.random.default_rng(4)
    middle = (SIZE - 1) / 2
    truth = draw_planet(middle, middle)
    n = 48
    dx, dy = rng.uniform(-5, 5, (2, n))
    blur = 1.4 * np.exp(rng.normal(0, 0.35, n))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frames = np.empty((n, SIZE, SIZE), np.uint8)
    for k in range(n):
        warp = gaussian_filter(rng.normal(size=(2, SIZE, SIZE)), (0, 14, 14), mode="wrap")
        warp *= 0.8 / warp.std()
        places = [rows - dy[k] - warp[1], columns - dx[k] - warp[0]]
        seen = gaussian_filter(map_coordinates(truth, places, order=1), blur[k])
        seen = 12 + rng.uniform(0.9, 1.1) * seen + rng.normal(0, 5, seen.shape)
        frames[k] = np.clip(seen.round(), 0, 255)
    frames[20] = 0
    return Simulated(truth + 12, frames, middle + dx, middle + dy, blur)
