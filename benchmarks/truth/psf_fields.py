"""Stars through real optics on empty sky, each the same image at another place of a pixel."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import galsim
import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.optics import OPTICS
from benchmarks.truth.rendering import moffat

__all__ = ["KINDS", "StarField", "make_star_field", "make_stars"]

Array = NDArray[np.float64]

KINDS = ("moffat", "coma", "astigmatism", "defocus-ring", "undersampled-lens", "field-coma")
"""Optics: a Moffat profile, and some of `OPTICS`."""
_STEPS, _RADIUS = 8, 40
"""Places of a star per pixel, and radius of its image in pixels."""
_WIDTHS = {"moffat": 3.0, "undersampled-lens": 1.7}
"""Half-light width in pixels; 3.5 of the others."""
_LEVELS = 9
"""PSFs along each side of a field that changes."""


@dataclass(frozen=True, eq=False)
class StarField:
    """Image in noise of the sky, and the places of its stars."""

    image: Array
    x: Array
    y: Array


class _Images:
    """Images of a star, every eighth of a pixel."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._known: dict[tuple[int, int], Array] = {}

    def at(self, u: float, v: float) -> Array:
        """Return the image at a place of the field, -1 to 1."""
        cell = (0, 0)
        if self._kind != "moffat" and OPTICS[self._kind].varies:
            cell = round((u + 1) / 2 * (_LEVELS - 1)), round((v + 1) / 2 * (_LEVELS - 1))
            u, v = (2 * k / (_LEVELS - 1) - 1 for k in cell)
        if cell not in self._known:
            self._known[cell] = self._draw(u, v)
        return self._known[cell]

    def _draw(self, u: float, v: float) -> Array:
        width = _WIDTHS.get(self._kind, 3.5)
        if self._kind == "moffat":
            psf: galsim.GSObject = moffat(width, 3.3)
        else:
            optics = OPTICS[self._kind]
            psf = optics.psf((u, v), np.random.default_rng(5))
            psf = psf.dilate(0.62 * width / psf.calculateHLR(size=256, scale=0.08))
        side = 2 * _RADIUS * _STEPS + 1
        image = galsim.ImageD(side, side)
        recorded = galsim.Convolve([psf, galsim.Pixel(1.0)])
        recorded.drawImage(image, scale=1 / _STEPS, method="no_pixel")
        return np.asarray(image.array * _STEPS**2)


@functools.cache
def _images(kind: str) -> _Images:
    return _Images(kind)


def make_star_field(kind: str, count: int, seed: int, *, size: int = 400) -> StarField:
    """Simulate stars of fluxes of 500 to 30 000 noises."""
    rng = np.random.default_rng([seed, count])
    images, image = _images(kind), np.zeros((size + 80, size + 80))
    x, y = np.rint(rng.uniform(14, size - 15, (2, count)) * _STEPS) / _STEPS
    for x0, y0, flux in zip(x, y, np.exp(rng.uniform(6.2, 10.3, count)), strict=True):
        row, column = round(y0), round(x0)
        star = images.at(2 * x0 / size - 1, 2 * y0 / size - 1)
        stamp = _cut(star, x0 - column, y0 - row, _RADIUS - 1)
        image[row + 1 : row + 80, column + 1 : column + 80] += flux * stamp
    image = image[40:-40, 40:-40]
    noise = np.sqrt(1 + image / 10)
    return StarField(image + rng.normal(size=image.shape) * noise, x, y)


def make_stars(kind: str, u: float, v: float, radius: int, seed: int = 1) -> Array:
    """Give six stars of flux 1 without noise, at random places of a pixel: (6, side, side)."""
    offsets = np.rint(np.random.default_rng(seed).uniform(-4, 4, (6, 2))) / _STEPS
    star = _images(kind).at(u, v)
    return np.stack([_cut(star, dx, dy, radius) for dx, dy in offsets])


def _cut(star: Array, dx: float, dy: float, radius: int) -> Array:
    grid = np.arange(-radius, radius + 1) * _STEPS + len(star) // 2
    return star[np.ix_(grid - round(dy * _STEPS), grid - round(dx * _STEPS))]
