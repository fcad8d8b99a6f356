"""The extended PSF: the halo and the diffraction spikes of stars beyond their Moffat cores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sr_plugin.measurement.psf.diffraction import measure_spikes
from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.psf.halo import measure_halo, scale_seeing
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import moffat_stamp
from astro_sr_plugin.measurement.psf.residuals import FEWEST_STARS, StarResidual, subtract_stars
from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.measurement.sky.windows import check_plane, cut_window, spread_windows

__all__ = ["measure_extended_psf"]

# The constants were set on simulated stars with halos and spikes, and on real stacks.
_WINDOW, _WINDOW_COUNT = 1024, 4
"""Side in pixels, and largest number, of the windows in which stars are looked for."""
_LARGEST_FWHM = 12.0
"""FWHM in pixels above which a stamp holds too little beside the core."""
_LEAST_FLUX, _BRIGHT = 500.0, 15000.0
"""Flux in noise sigma of a pixel from which a star counts for a halo ring by ring, and for
spikes."""
_LEAST_LIGHT = 0.008
"""Flux beside the Moffat profile, relative to that of the star, below which it is neglected."""


def measure_extended_psf(
    plane: ArrayLike,
    psf: PSFMeasurement | PSFField,
    *,
    background: Background,
    sigma: float,
    mask: ArrayLike | None = None,
    saturation: float | None = None,
) -> NDArray[np.float32] | None:
    """Measure the PSF pixel by pixel, out to 32 pixels from the core.

    1. The measured Moffat profile is fitted to each star outside its saturated core, and
       subtracted.
    2. The residuals in rings about the stars are fitted by a part proportional to the flux, which
       is the halo, and a constant, which is the sky and its faint stars.
    3. Where the halo is not significant ring by ring, the halo of Kolmogorov turbulence is fitted
       instead, with one scale for all stars.
    4. The weighted median of the residuals of the brightest isolated stars, relative to their flux,
       gives the diffraction spikes: the pixels that are significant, and the means along rays that
       are.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units.
    psf : PSFMeasurement or PSFField
        The profile, from `measure_psf`; or over the field, from `measure_psf_field`: then the image
        is that of its mean.
    background : Background
        Measured sky of the plane.
    sigma : float
        Noise of a pixel in image units.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    saturation : float, optional
        Pixels from this value up are saturated.

    Returns
    -------
    numpy.ndarray of float32, shape (65, 65), or None
        The PSF, centred, not negative. Its sum is the fraction of a star's flux within it; the
        rest lies beyond, where the halo is extrapolated as ``r**-3``. None if fewer than 4 stars
        are bright enough, or the Moffat profile alone describes them.
    """
    data, excluded = check_plane(plane, mask)
    field, psf = (psf, psf.mean()) if isinstance(psf, PSFField) else (None, psf)
    if not (np.isfinite(psf.fwhm) and sigma > 0) or psf.fwhm > _LARGEST_FWHM:
        return None
    stars: list[StarResidual] = []
    for window in spread_windows(data.shape, _WINDOW, _WINDOW_COUNT):
        values, bad = cut_window(data, excluded, window)
        saturated = np.zeros_like(bad) if saturation is None else values >= 0.9 * saturation
        values = (values - background.level_at(*window)) / np.float32(sigma)
        here = (lambda x, y, w=window: field.psf_at(x + w.x0, y + w.y0)) if field else None
        stars += subtract_stars(values, bad, saturated, psf, here)
    if len(stars) < FEWEST_STARS:
        return None
    bright = [star for star in stars if star.flux > _LEAST_FLUX]
    halo, beyond = measure_halo(bright, psf)
    if not halo.any():
        halo, beyond = scale_seeing(stars, psf)
    excess = halo + measure_spikes([s for s in bright if s.flux > _BRIGHT], halo, psf)
    if np.abs(excess).sum() < _LEAST_LIGHT:
        return None
    moffat = moffat_stamp(psf, 0.0, 0.0)
    image = np.maximum(moffat + excess, 0.0)
    beyond = max(0.0, float(beyond + 1 - moffat.sum()))
    return (image / (image.sum() + beyond)).astype(np.float32)
