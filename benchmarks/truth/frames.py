"""Frames of a field of stars, shifted and turned, with any seeing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameField"]

_SPACING = 32
"""Mean distance of stars in pixels."""
_FLUXES = (1500.0, 60000.0)
"""Least and largest flux."""


class FrameField:
    """Gaussian stars on a jittered grid.

    Parameters
    ----------
    size : int
        Side of the frames in pixels.
    seed : int
        Of places and fluxes.
    """

    def __init__(self, size: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.size = size
        grid = np.arange(_SPACING / 2, size, _SPACING)
        y, x = (place.ravel() for place in np.meshgrid(grid, grid, indexing="ij"))
        self.x = x + rng.uniform(-8, 8, x.size)
        self.y = y + rng.uniform(-8, 8, x.size)
        self.flux: NDArray[np.float64] = np.exp(rng.uniform(*np.log(_FLUXES), x.size))

    def inside(self, margin: float) -> NDArray[np.bool_]:
        """Whether stars are farther than a margin from the edges."""
        low, high = margin, self.size - margin
        return (self.x > low) & (self.x < high) & (self.y > low) & (self.y < high)

    def render(
        self, *, fwhm: float = 3.0, shift: Sequence[float] = (0.0, 0.0), angle: float = 0.0
    ) -> NDArray[np.float64]:
        """Return a frame without sky and noise; `angle` in degrees about its middle."""
        middle = (self.size - 1) / 2
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        u, v = self.x - middle, self.y - middle
        xs, ys = cos * u - sin * v + middle + shift[0], sin * u + cos * v + middle + shift[1]
        sigma, reach = fwhm / 2.3548, int(3 * fwhm) + 2
        image = np.zeros((self.size, self.size))
        for x, y, flux in zip(xs, ys, self.flux, strict=True):
            x0, x1 = max(0, round(x) - reach), min(self.size, round(x) + reach + 1)
            y0, y1 = max(0, round(y) - reach), min(self.size, round(y) + reach + 1)
            if x0 < x1 and y0 < y1:
                row, column = np.mgrid[y0:y1, x0:x1]
                square = (column - x) ** 2 + (row - y) ** 2
                light = np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2)
                image[y0:y1, x0:x1] += flux * light
        return image
