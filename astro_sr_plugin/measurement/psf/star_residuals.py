"""What a PSF leaves of the stars that it was measured on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF
from astro_sr_plugin.measurement.psf.empirical_stars import (
    PSF_ERROR,
    FinePSF,
    cut_star_stamps,
    fit_stars,
)
from astro_sr_plugin.measurement.sources.candidates import Candidates

__all__ = ["profile_only", "stack_residuals"]

_MOST_STARS = 60
"""Largest number of stars, the brightest first."""
_STEPS = 5
"""Steps of the fit of each star."""


def profile_only(psf: EmpiricalPSF) -> EmpiricalPSF:
    """Return the Moffat profile of a PSF, over the field, without what stars have beside it."""
    return replace(psf, residual=None, extended=None, wings=1.0)


def stack_residuals(stars: Candidates, psf: EmpiricalPSF, *, radius: int) -> NDArray[np.float64]:
    """Average what a PSF leaves of stars.

    Flux, place and sky of each star are fitted.

    Parameters
    ----------
    stars : Candidates
        The stars; the 60 brightest are used.
    psf : EmpiricalPSF
        The PSF.
    radius : int
        Pixels of the average on each side of the middle one.

    Returns
    -------
    ndarray, shape (2 * radius + 1, 2 * radius + 1)
        Residual in units of the peak of the PSF; NaN where no star has a usable pixel.
    """
    stars = stars.select(np.argsort(-stars.snr)[:_MOST_STARS])
    stamps = cut_star_stamps(stars, radius, curved_sky=False)
    places = [*zip(stars.x, stars.y, strict=True)] if psf.varies else [psf.centre]
    fine = [
        FinePSF(psf.image(x, y, radius=radius + 1, oversampling=psf.oversampling), psf.oversampling)
        for x, y in places
    ]
    fitted, _ = fit_stars(stamps, fine, radius=radius, psf_error=PSF_ERROR, steps=_STEPS)
    total = np.zeros(fitted.values.shape[1:])
    flux = np.zeros_like(total)
    for k in np.flatnonzero(fitted.flux > 0).tolist():
        light = fine[min(k, len(fine) - 1)].at(fitted.x[k], fitted.y[k], radius)
        sky = np.tensordot(fitted.sky[k], fitted.sky_terms, 1)
        good = fitted.usable[k]
        total[good] += (fitted.values[k] - sky - fitted.flux[k] * light)[good]
        flux[good] += fitted.flux[k]
    peak = float(np.mean([one.at(0.0, 0.0, 0).max() for one in fine]))
    return np.divide(total, flux * peak, out=np.full_like(total, np.nan), where=flux > 0)
