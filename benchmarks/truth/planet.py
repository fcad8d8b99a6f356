"""A simulated planet, and videos of it through turbulent air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

__all__ = ["PlanetVideo", "draw_planet", "draw_terrain", "make_field", "make_video", "observe"]

BRIGHTNESS = 180.0
"""Brightest value of the disc."""
SKY = 16.0
"""Level of the sky in a video."""
_OVERSAMPLING = 3
"""Points per pixel along an axis that are averaged."""


def draw_planet(
    size: int = 240,
    radius: float = 60.0,
    centre: tuple[float, float] | None = None,
    *,
    phase: float | None = None,
    oblateness: float = 0.0,
) -> NDArray[np.float64]:
    """Draw a disc with bands, spots and a dark limb, or a phase without bands.

    Parameters
    ----------
    size : int
        Pixels along a side.
    radius : float
        In pixels.
    centre : (float, float), optional
        x and y; the middle by default.
    phase : float, optional
        Angle between Sun and observer in degrees: 0 is full, 90 half.
    oblateness : float
        Difference of the axes over the longer one.
    """
    middle = (size - 1) / 2
    x, y = (middle, middle) if centre is None else centre
    fine = size * _OVERSAMPLING
    v, u = (np.mgrid[:fine, :fine] + 0.5) / _OVERSAMPLING - 0.5
    u, v = (u - x) / radius, (v - y) / (radius * (1 - oblateness))
    height = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    disc = u**2 + v**2 < 1
    spots = _power_law(fine, 1.3, 1, 1.2 * _OVERSAMPLING)
    if phase is None:
        bands = 1 + 0.12 * np.sin(9 * v + 0.6 * np.sin(5 * u)) + 0.05 * np.sin(23 * v)
        image = (0.35 + 0.65 * height) * bands * (1 + 0.06 * spots) * disc
    else:
        angle = np.deg2rad(phase)
        image = np.clip(u * np.sin(angle) + height * np.cos(angle), 0, None)
        image = image * disc * (1 + 0.03 * spots)
    blocks = image.reshape(size, _OVERSAMPLING, size, _OVERSAMPLING)
    return np.asarray(BRIGHTNESS * blocks.mean((1, 3)))


def draw_terrain(size: int = 240, seed: int = 1) -> NDArray[np.float64]:
    """Draw a surface of mean 100 and scatter 30, whose power falls as the frequency cubed."""
    return 100 + 30 * _power_law(size, 1.5, seed, 0.0)


def _power_law(size: int, exponent: float, seed: int, blur: float) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    k[0, 0] = np.inf
    amplitude = k**-exponent * np.exp(-(np.where(np.isinf(k), 0, k) ** 2) * blur**2)
    values = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * amplitude, (size, size))
    return np.asarray(values / values.std())


def make_field(
    rng: np.random.Generator, size: int, amplitude: float, scale: float = 30.0
) -> NDArray[np.float64]:
    """Make a smooth random displacement, shape (2, size, size), of an RMS per axis in pixels."""
    noise = rng.normal(size=(2, size, size))
    field = gaussian_filter(noise, (0, scale, scale), mode="wrap")
    return np.asarray(amplitude * field / field.std(axis=(1, 2), keepdims=True))


def observe(
    truth: NDArray[np.float64],
    shift: tuple[float, float],
    field: NDArray[np.float64] | None,
    blur: float,
) -> NDArray[np.float64]:
    """Return what is seen of the truth: moved, bent, and blurred by a Gaussian of sigma `blur`."""
    y, x = np.mgrid[: truth.shape[0], : truth.shape[1]].astype(float)
    bent = np.zeros((2, *truth.shape)) if field is None else field
    places = [y - shift[1] - bent[1], x - shift[0] - bent[0]]
    return np.asarray(gaussian_filter(map_coordinates(truth, places, order=3), blur))


@dataclass
class PlanetVideo:
    """A video of 8 bits, the truth with its sky, and the blur (sigma, pixels) of each frame."""

    truth: NDArray[np.float64]
    frames: NDArray[np.uint8]
    blur: NDArray[np.float64]


def make_video(
    frames: int = 256, size: int = 240, radius: float = 80.0, noise: float = 6.0, seed: int = 0
) -> PlanetVideo:
    """Simulate a video: log-normal blur and warp, wandering, transparency, noise, 8 bits."""
    rng = np.random.default_rng(seed)
    truth = draw_planet(size, radius)
    blur = 1.6 * np.exp(rng.normal(0, 0.3, frames))
    values = np.empty((frames, size, size), np.uint8)
    for number in range(frames):
        field = make_field(rng, size, 0.8 * np.exp(rng.normal(0, 0.3)), 24.0)
        shift = tuple(rng.uniform(-5, 5, 2))
        image = observe(truth, shift, field, blur[number]) * rng.uniform(0.95, 1.05) + SKY
        image += rng.normal(0, noise, image.shape)
        values[number] = np.clip(image, 0, 255).round()
    return PlanetVideo(truth + SKY, values, blur)
