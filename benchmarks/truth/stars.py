"""Stars of a scene: how bright they are, and how many there are of each brightness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.truth.rendering import Content

__all__ = ["SLOPE", "draw_stars", "flux_of_snr"]

SLOPE = 0.7
"""The number of stars brighter than a flux F is proportional to ``F**-SLOPE``; 1.5 would be that of
stars that fill space evenly, and our Galaxy has fewer faint ones."""

FWHM_PER_SIGMA = 2.355
"""FWHM of a Gaussian over its standard deviation, rounded as in all scenes since version 1."""


def flux_of_snr(snr: ArrayLike, sigma: ArrayLike, fwhm: Any) -> NDArray[np.float64]:
    """Return the flux of stars of a signal-to-noise ratio under a matched filter.

    That of a Gaussian star of this FWHM (pixels) in white noise of `sigma` per pixel:
    ``snr * sigma * sqrt(4 pi) * fwhm / 2.355``.
    """
    return np.asarray(snr) * sigma * np.sqrt(4 * np.pi) * fwhm / FWHM_PER_SIGMA


def draw_stars(
    rng: np.random.Generator,
    count: int,
    size: int,
    *,
    sigma: float,
    fwhm: float,
    snr: tuple[float, float],
    margin: float,
) -> Content:
    """Return stars all over a frame, their numbers falling as ``SNR**-SLOPE``.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of places and fluxes.
    count : int
        Number of stars.
    size : int
        Side of the frame (pixels).
    sigma : float
        Noise of a pixel of the sky (ADU).
    fwhm : float
        FWHM of the optics (pixels).
    snr : (float, float)
        Least and greatest signal-to-noise ratio.
    margin : float
        Least distance from the edges (pixels); negative: stars outside the frame too.
    """
    x, y = rng.uniform(margin, size - 1 - margin, size=(2, count))
    low, high = snr[0] ** -SLOPE, snr[1] ** -SLOPE
    level = (low + rng.uniform(size=count) * (high - low)) ** (-1 / SLOPE)
    return Content(x, y, flux_of_snr(level, sigma, fwhm))
