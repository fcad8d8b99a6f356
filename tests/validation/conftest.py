"""Gaussian stars on a grid, which the tests of this folder share."""

from __future__ import annotations

import numpy as np

SIZE = 320
FWHM, TARGET = 3.6, 2.0
NOISE = 10.0


def stars(places, fwhm: float, size: int = SIZE, scale: int = 1) -> np.ndarray:
    """Render Gaussian stars ``(x, y, flux)`` integrated over the pixel; surface brightness kept."""
    from scipy.special import erf

    sigma = fwhm / 2.3548 * scale
    edges = np.arange(size * scale + 1) - 0.5
    image = np.zeros((size * scale, size * scale))
    for x, y, flux in places:
        parts = []
        for centre in (y, x):
            there = (centre + 0.5) * scale - 0.5
            parts.append(np.diff(0.5 * erf((edges - there) / (sigma * np.sqrt(2)))))
        image += flux * scale**2 * np.outer(*parts)
    return image


def field(seed: int = 1):
    rng = np.random.default_rng(seed)
    grid = np.arange(30, SIZE - 30, 26.0)
    return [
        (x + rng.uniform(-3, 3), y + rng.uniform(-3, 3), float(np.exp(rng.uniform(7, 10.5))))
        for x in grid
        for y in grid
    ]
