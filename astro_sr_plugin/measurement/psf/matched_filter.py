"""The matched filter of a plane: the flux of a star at every pixel, and its noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.measurement.convolution import convolve
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.consistency import PSF_ERROR

__all__ = [
    "SMOOTHING",
    "MatchedFilter",
    "correlate",
    "flux_noise",
    "photon_variance",
    "residual_variance",
]

SMOOTHING = 2.5
"""Sigma, in FWHM, of the Gaussian that gives the light around a source."""
_PHOTON_VARIANCE = 0.05
"""Variance in sigma squared that one sigma of light adds, where the gain is not known: that of a
pixel with a noise of 20 electrons, that is a sky of 400."""


class MatchedFilter:
    """The filter that gives the flux of a star from a noise-normalised plane, and its noise.

    Parameters
    ----------
    psf : ndarray
        PSF of the plane on its pixels, odd sides, centred.
    fwhm : float
        Its FWHM in pixels.
    correlation : float
        Correlation coefficient of the noise of neighbouring pixels.
    smooth : callable, optional
        What was done to the plane before it is filtered; by default nothing.
    """

    def __init__(
        self,
        psf: NDArray[np.floating],
        fwhm: float,
        correlation: float,
        smooth: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    ) -> None:
        self.kernel: NDArray[np.float64] = np.asarray(psf / np.sum(psf**2), dtype=np.float64)
        # On the plane as it is recorded, whose noise is known.
        self._recorded = self.kernel if smooth is None else smooth(self.kernel)
        self._fwhm, self._correlation = fwhm, correlation

    @cached_property
    def noise(self) -> float:
        """1-sigma error of the flux of a faint star, with the correlation of the noise."""
        kernel, c = self._recorded, max(0.0, self._correlation)
        total = float(np.sum(kernel**2))
        for dy, dx, weight in ((0, 1, c), (1, 0, c), (1, 1, c * c), (1, -1, c * c)):
            shifted = np.roll(kernel, (dy, dx), (0, 1))
            total += 2.0 * weight * float(np.sum(kernel * shifted))
        return float(np.sqrt(total))

    @cached_property
    def local_kernel(self) -> NDArray[np.float64]:
        """The filter less the mean light around the star."""
        radius = self.kernel.shape[0] // 2
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        wide = np.exp(-0.5 * (x**2 + y**2) / (SMOOTHING * self._fwhm) ** 2)
        return np.asarray(self.kernel - self.kernel.sum() * wide / wide.sum())


def correlate(image: NDArray[np.floating], kernel: NDArray[np.floating]) -> NDArray[np.floating]:
    """Correlate with a kernel of odd sides, an image mirrored at its edges."""
    radius = kernel.shape[0] // 2
    padded = np.pad(image, radius, mode="symmetric")
    return np.asarray(convolve(padded, kernel[::-1, ::-1], mode="valid"))


def photon_variance(plane: MeasuredPlane) -> float:
    """Return the variance in sigma squared that one noise sigma of light adds."""
    if plane.gain is None:
        return _PHOTON_VARIANCE
    return 1.0 / (plane.gain * plane.unit * plane.sigma)


def residual_variance(light: NDArray[np.floating], photons: float) -> NDArray[np.floating]:
    """Return the variance of input less reconvolved result, in sigma squared of the noise.

    Parameters
    ----------
    light : ndarray
        The reconvolved result in noise sigma, sky at 0.
    photons : float
        As `photon_variance` gives it.
    """
    bright = np.maximum(light, 0.0)
    return np.asarray(1.0 + photons * bright + (PSF_ERROR * bright) ** 2)


def flux_noise(variance: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the noise of the flux of a star at every pixel, over that of a faint one.

    The variance is that of the residual, correlated with the PSF.
    """
    return np.asarray(np.sqrt(np.maximum(variance, 1.0)))
