"""The extended PSF: the halo and the diffraction spikes of stars beyond their cores."""

from __future__ import annotations

import numpy as np

from astro_sr_plugin.measurement.psf.diffraction import measure_spikes
from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF, ExtendedPart
from astro_sr_plugin.measurement.psf.halo import measure_halo, scale_seeing
from astro_sr_plugin.measurement.psf.residuals import StarResidual, subtract_stars
from astro_sr_plugin.measurement.sky.windows import cut_window, spread_windows
from astro_sr_plugin.measurement.sources.candidates import CandidateFinder, Candidates

__all__ = ["measure_extended_part"]

# The constants were set on simulated stars with halos and spikes, and on real stacks.
_WINDOW, _WINDOW_COUNT = 1024, 4
"""Side in pixels, and largest number, of the windows in which stars are looked for."""
_LARGEST_FWHM = 12.0
"""FWHM in pixels above which a stamp holds too little beside the core."""
_BRIGHT = 15000.0
"""Flux in noise sigma of a pixel from which a star counts for spikes."""
_LEAST_LIGHT = 0.008
"""Flux beside the core, relative to that of the star, below which it is neglected."""


def measure_extended_part(
    finder: CandidateFinder, core: EmpiricalPSF, sigma: float, known: Candidates | None
) -> ExtendedPart | None:
    """Measure what stars have beside their cores, pixel by pixel, out to 32 pixels.

    1. The core is fitted to each star outside its saturated pixels, and subtracted.
    2. The residuals in rings about the stars are fitted by a part proportional to the flux, which
       is the halo, and a constant, which is the sky and its faint stars.
    3. Where the halo is not significant ring by ring, the halo of Kolmogorov turbulence is fitted
       instead, with one scale for all stars.
    4. The weighted median of the residuals of the brightest isolated stars, relative to their flux,
       gives the diffraction spikes: the pixels that are significant, and the means along rays that
       are.

    Parameters
    ----------
    finder : CandidateFinder
        The plane, its sky and its saturation.
    core : EmpiricalPSF
        The cores of its stars: their Moffat profile.
    sigma : float
        Noise of a pixel.
    known : Candidates or None
        What is known to be a star, beside the saturated ones.

    Returns
    -------
    ExtendedPart or None
        None if the core describes the stars, or they are too few to know better.
    """
    psf = core.moffat
    if not (np.isfinite(psf.fwhm) and sigma > 0) or psf.fwhm > _LARGEST_FWHM:
        return None
    places = np.empty((0, 2)) if known is None else np.stack([known.x, known.y], axis=1)
    stars: list[StarResidual] = []
    for window in spread_windows(finder.shape, _WINDOW, _WINDOW_COUNT):
        values, bad = cut_window(finder.data, finder.excluded, window)
        full = np.inf if finder.saturation is None else 0.9 * finder.saturation
        saturated = values >= full
        values = (values - finder.background.level_at(*window)) / np.float32(sigma)
        stars += subtract_stars(values, bad, saturated, core, window, places)
    halo, beyond = measure_halo(stars, psf)
    if not halo.any():
        halo, beyond = scale_seeing(stars, psf)
    excess = halo + measure_spikes([star for star in stars if star.flux > _BRIGHT], halo, psf)
    if np.abs(excess).sum() < _LEAST_LIGHT:
        return None
    return ExtendedPart(excess, beyond)
