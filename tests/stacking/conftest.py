"""Frames of a simulated field: stars of known flux, shifted, turned, of any seeing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

SIGMA_PER_FWHM = 1 / 2.3548200450309493


@dataclass(frozen=True)
class Field:
    """Stars at places that frames see shifted and turned about their middle."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    shape: tuple[int, int]

    def places(
        self, shift: tuple[float, float] = (0, 0), angle: float = 0
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cx, cy = (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        u, v = self.x - cx, self.y - cy
        return cos * u - sin * v + cx + shift[0], sin * u + cos * v + cy + shift[1]

    def render(
        self,
        *,
        fwhm: float = 3.0,
        shift: tuple[float, float] = (0, 0),
        angle: float = 0,
        scale: float = 1,
    ) -> NDArray[np.float64]:
        image = np.zeros(self.shape)
        sigma, reach = fwhm * SIGMA_PER_FWHM, int(np.ceil(3 * fwhm)) + 1
        for x, y, flux in zip(*self.places(shift, angle), self.flux, strict=True):
            x0, x1 = max(0, round(x) - reach), min(self.shape[1], round(x) + reach + 1)
            y0, y1 = max(0, round(y) - reach), min(self.shape[0], round(y) + reach + 1)
            if x0 < x1 and y0 < y1:
                v, u = np.mgrid[y0:y1, x0:x1]
                light = np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma**2))
                image[y0:y1, x0:x1] += scale * flux * light / (2 * np.pi * sigma**2)
        return image


@pytest.fixture
def field() -> Field:
    rng = np.random.default_rng(11)
    y, x = (place.ravel() for place in np.mgrid[18:182:8j, 18:202:9j])
    x, y = x + rng.uniform(-6, 6, x.size), y + rng.uniform(-6, 6, y.size)
    return Field(x, y, np.exp(rng.uniform(np.log(1500), np.log(60000), x.size)), (200, 220))


@pytest.fixture
def aperture_flux():
    """What sums the light in apertures, less the median of the image."""

    def measure(image: NDArray, x: NDArray, y: NDArray, radius: float = 6.0) -> NDArray:
        from photutils.aperture import CircularAperture, aperture_photometry

        light = np.nan_to_num(image - np.nanmedian(image))
        apertures = CircularAperture(np.column_stack([x, y]), radius)
        return np.asarray(aperture_photometry(light, apertures)["aperture_sum"])

    return measure
