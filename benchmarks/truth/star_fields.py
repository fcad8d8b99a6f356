"""Star fields as the camera of the hard cases and of the star removal sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.camera import Camera
from benchmarks.truth.rendering import Content
from benchmarks.truth.stars import draw_stars

__all__ = ["CAMERA", "SKY", "UNIT", "add_stars", "star_content"]

CAMERA = Camera(1.2, 5.0)
"""Gain (electrons per ADU) and readout noise (electrons)."""
SKY = 450.0
"""Background (ADU)."""
UNIT = CAMERA.sigma(SKY)
"""Noise of a pixel of the sky (ADU)."""


def star_content(
    size: int,
    rng: np.random.Generator,
    fwhm: float,
    *,
    snr: tuple[float, float] = (5.0, 1500.0),
    count: int = 100,
    unit: float = UNIT,
) -> Content:
    """Return stars, `count` on 256 x 256 pixels, at least 12, with noise `unit` of the sky."""
    number = max(12, round(count * (size / 256) ** 2))
    return draw_stars(rng, number, size, sigma=unit, fwhm=fwhm, snr=snr, margin=4.0)


def add_stars(content: Content, places: NDArray[np.float64], flux: NDArray[np.float64]) -> Content:
    """Add stars at places (x, y) of shape (n, 2)."""
    return replace(
        content,
        x=np.concatenate([content.x, places[:, 0]]),
        y=np.concatenate([content.y, places[:, 1]]),
        flux=np.concatenate([content.flux, flux]),
    )
