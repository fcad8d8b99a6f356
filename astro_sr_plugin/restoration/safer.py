"""The safer estimate of a guard: Richardson-Lucy iterations, which need no training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.measurement.psf.reconvolution import Reconvolution
from astro_sr_plugin.restoration.plane import enlarge

__all__ = ["richardson_lucy"]

_PEDESTAL = 3.0
"""Light of the sky in the model, in noise sigma: the noise is positive on it."""
_LEAST = 0.1
"""Least value that the iterations begin with, in noise sigma."""
_WIDE = 1.0
"""Sigma of the Gaussian that follows clouds below the sky, in FWHM of the target."""
_FLOOR = 1e-3
"""Least value that is divided by, in noise sigma."""


def richardson_lucy(
    observed: NDArray[np.float32],
    psf: NDArray[np.float32],
    target_fwhm: float,
    scale: int,
    sky: float = 0.0,
    *,
    iterations: int = 40,
) -> NDArray[np.float32]:
    """Deconvolve an image by Richardson-Lucy, and smooth the result to a Gaussian PSF.

    The light stands on the sky, and on clouds that are darker than it: no star has a dark ring. The
    estimate is smoothed to the target at the end.

    Parameters
    ----------
    observed : ndarray of float32, shape (ny, nx)
        Image in noise sigma, sky at 0. Its outermost pixels come out wrong: the Fourier transform
        is periodic.
    psf : ndarray of float32
        PSF on its pixels, odd sides, centred.
    target_fwhm : float
        FWHM of the Gaussian PSF of the result, in its pixels.
    scale : int
        Output pixels per input pixel along an axis.
    sky : float
        Sky in noise sigma; below 0 among so many stars that the measured one is too high.
    iterations : int
        Number of accelerated iterations.

    Returns
    -------
    ndarray of float32, shape (scale * ny, scale * nx)
        The estimate in noise sigma.

    References
    ----------
    Richardson (1972), JOSA 62, 55; Lucy (1974), AJ 79, 745. Acceleration: Wang & Miller (2014),
    IEEE Trans. Image Processing 23, 848.
    """
    ny, nx = observed.shape
    fine = (ny * scale, nx * scale)
    transfer = Reconvolution(psf, 0.0, scale).transfer(fine).astype(np.complex64)
    ground = np.minimum(gaussian_filter(observed, _WIDE * target_fwhm / scale), sky)
    light = observed - ground
    image = np.maximum(light + _PEDESTAL, _FLOOR)
    estimate = enlarge(np.maximum(light, _LEAST), scale)
    guess = estimate
    for k in range(iterations):
        blurred = fft.irfft2(fft.rfft2(guess) * transfer, s=fine)
        model = blurred.reshape(ny, scale, nx, scale).mean(axis=(1, 3)) + _PEDESTAL
        ratio = enlarge(image / np.maximum(model, _FLOOR), scale)
        factor = fft.irfft2(fft.rfft2(ratio) * transfer.conj(), s=fine)
        last, estimate = estimate, guess * np.maximum(factor, 0.0)
        # The same at every place of every image, so that tiles do not matter.
        guess = np.maximum(estimate + k / (k + 3) * (estimate - last), 0.0)
    smooth = gaussian_filter(estimate, target_fwhm / FWHM_PER_SIGMA)
    return np.asarray(smooth + enlarge(ground, scale), np.float32)
