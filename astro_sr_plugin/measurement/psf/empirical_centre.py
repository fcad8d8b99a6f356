"""The centre of a star: a convention that fits of stars and PSF in turn lose sight of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_sr_plugin.measurement.psf.empirical_fit import Model
from astro_sr_plugin.measurement.psf.empirical_stars import StarStamps
from astro_sr_plugin.measurement.psf.fitting import fit_moffat

__all__ = ["centred"]

_RADIUS_IN_FWHM = 2.5
"""Radius of what is fitted, in FWHM, from which the fit starts."""
_LEAST_CONTRAST = 0.1
"""Contrast of the mean over a pixel below which it is not undone."""


def centred(stars: StarStamps, model: Model, radius: int) -> tuple[StarStamps, Model]:
    """Move a PSF so that the Moffat profile that fits it best is in the middle of the grid.

    Stars that are all moved by as much as the PSF look the same, so nothing in them holds its
    centre; that of an aberrated star drifts by up to half of its FWHM. The networks know PSFs
    whose profile is in the middle.

    Parameters
    ----------
    stars : StarStamps
        The stars.
    model : Model
        Their PSF.
    radius : int
        Radius in pixels of what is fitted.

    Returns
    -------
    stars : StarStamps
        At places that follow the PSF.
    model : Model
        The moved PSF. Where it changes over the field, each term is moved by what the stars need
        on average.
    """
    profile = np.tensordot(model.shares.mean(axis=0), model.profiles, 1)
    whole = profile + np.tensordot(model.terms.mean(axis=0), model.residual, 1)
    x, y = _centre(whole, model.oversampling, radius)
    offset = -model.oversampling * np.array([y, x])

    def moved(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(ndimage.shift(image, offset, order=3, mode="nearest"))

    residual = np.stack([moved(image) for image in model.residual])
    residual[0] += moved(profile) - profile
    places = {"x": stars.x + x, "y": stars.y + y}
    return replace(stars, **places), replace(model, residual=residual)


def _centre(image: NDArray[np.float64], oversampling: int, radius: int) -> NDArray[np.float64]:
    """Return the centre of the Moffat profile that fits a PSF best: (x, y) in pixels.

    It is that of the light that falls on the pixels, as in what the networks have seen: the mean
    over a pixel moves the centre of the narrow core of an aberrated star by up to 0.15 pixels.
    """
    sharp = _before_the_pixels(image, oversampling)
    reach = radius * oversampling
    middle = image.shape[0] // 2
    stamp = sharp[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1][None]
    # The noise is that of the sky alone: all nodes count alike.
    sigma, everywhere = float(stamp.max()), np.ones(stamp.shape, bool)
    fit = fit_moffat(stamp, everywhere, sigma=sigma, fwhm=reach / _RADIUS_IN_FWHM, model_error=0.0)
    return (np.array([fit.x[0], fit.y[0]]) - reach) / oversampling


def _before_the_pixels(image: NDArray[np.float64], oversampling: int) -> NDArray[np.float64]:
    """Undo the mean over a pixel, where enough of the contrast is left (Wiener's filter)."""
    pixel = np.sinc(np.fft.fftfreq(image.shape[0], 1 / oversampling))
    transfer = pixel[:, None] * pixel[None]
    filtered = np.fft.fft2(image) * transfer / (transfer**2 + _LEAST_CONTRAST**2)
    return np.asarray(np.fft.ifft2(filtered).real)
