"""Halos and diffraction spikes of bright stars, taken off before a model looks for the stars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, shift

from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp
from astro_sr_plugin.measurement.psf.star_fit import SplinePSF, cut_around, fit_star, light_weight
from astro_sr_plugin.restoration.plane import ExtendedLight, NormalisedPlane

__all__ = ["remove_extended_light"]

_LEAST_LIGHT = 0.2
"""Brightest pixel of a star's halo and spikes, in noise sigma, below which they are neglected."""
_RIM = 12
"""Pixels at the rim of the image of the PSF over which the light fades out."""
_GROWN = 2
"""Pixels around saturated ones that are not fitted."""
_MARGIN = 4
"""Pixels by which the fitted circle exceeds two FWHM and the saturated core."""
_FEWEST_PIXELS = 30
"""Smallest number of usable pixels for the fit of a star, and for the bound of its halo."""
_CLEAR_HALO = 2.0
"""Light of a halo in noise sigma of a pixel from which it is compared with what is recorded."""
_BOUND = 0.35
"""Part of the pixels of a halo that may hold less light than is taken off."""


def remove_extended_light(source: NormalisedPlane) -> NormalisedPlane:
    """Return a plane without halos and spikes; its PSF is then the Moffat profile alone."""
    light = _fit_extended_light(source)
    return replace(source, psf=replace(source.psf, image=None), extended_light=light)


def _fit_extended_light(source: NormalisedPlane) -> ExtendedLight | None:
    """Fit the measured point-spread function to the bright stars of a plane.

    The extended PSF less its core, from one FWHM outwards, is scaled to the flux of each
    star. The flux is fitted to the usable pixels, without the saturated core.

    Parameters
    ----------
    source : NormalisedPlane
        The plane.

    Returns
    -------
    ExtendedLight or None
        None if the PSF is its core alone, or no star is bright enough.
    """
    if source.psf.image is None or source.psf.image is source.psf.core:
        return None
    image, moffat = source.psf.image.astype(np.float64), source.psf.moffat
    if source.psf.core is None:
        core_profile = MoffatProfile(moffat.fwhm, moffat.beta, 0.0, 0.0)
        core = moffat_stamp(core_profile, 0.0, 0.0, image.shape[0] // 2)
    else:
        core = source.psf.core.astype(np.float64)
    beside = _beside_the_core(image, core, moffat.fwhm)
    sources = source.measured.sources
    stars = sources[~sources["extended"]]
    # Fluxes of saturated stars are too small here, but not by so much.
    stars = stars[stars["flux"] * beside.max() > _LEAST_LIGHT * source.sigma]
    stars = stars[np.argsort(np.round(stars["y"]))]
    spline, halo = SplinePSF(image), SplinePSF(beside)
    rows, columns, stamps = [], [], []
    for x, y in zip(stars["x"].tolist(), stars["y"].tolist(), strict=True):
        flux = _fit_flux(source, spline, halo, x, y)
        if flux > 0:
            rows.append(round(y))
            columns.append(round(x))
            stamps.append(flux * shift(beside, (y - round(y), x - round(x)), order=1))
    if not stamps:
        return None
    return ExtendedLight(np.array(rows), np.array(columns), np.array(stamps, dtype=np.float32))


def _beside_the_core(
    image: NDArray[np.float64], core: NDArray[np.float64], fwhm: float
) -> NDArray[np.float64]:
    """Return what a PSF has beside its core."""
    reach = image.shape[0] // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    radius = np.hypot(x, y)
    near = radius < fwhm
    beside = image - core * (image * core)[near].sum() / (core**2)[near].sum()
    # Halos that reach further fade into what is left of them, and leave no hole with an edge.
    rim = np.clip((reach - radius) / _RIM, 0, 1)
    ramp = np.clip(radius / fwhm - 1, 0, 1) * rim
    return np.asarray(beside * ramp**2 * (3 - 2 * ramp))


def _fit_flux(
    source: NormalisedPlane, psf: SplinePSF, halo: SplinePSF, x: float, y: float
) -> float:
    """Fit the flux of a star whose halo is taken off, in image units; 0 if too few pixels are left.

    The sky is constant. No more halo is taken off than is recorded.
    """
    row, column = round(y), round(x)
    place, part = cut_around(row, column, psf.reach, psf.reach, source.shape)
    data, invalid, saturated = source.window(*place)
    noise = source.noise(*place)
    model = psf.moved(y - row, x - column)[part] / noise
    rows, columns = np.indices(data.shape)
    distance = np.hypot(rows + place.y0 - y, columns + place.x0 - x)
    own = saturated & (distance < psf.reach / 2)
    radius = 2 * source.psf.moffat.fwhm + np.sqrt(own.sum() / np.pi) + _MARGIN
    usable = ~(binary_dilation(saturated, iterations=_GROWN) | invalid)
    near = usable & (distance < radius)
    if near.sum() < _FEWEST_PIXELS:
        return 0.0
    fit = fit_star(data[near], light_weight(data[near]), model[near])
    flux = 0.0 if fit is None else float(fit[0][0])
    if not flux > 0:
        return 0.0
    light = flux * halo.moved(y - row, x - column)[part] / noise
    return flux * _recorded_share(data - (flux * model - light), light, usable)


def _recorded_share(
    data: NDArray[np.floating], halo: NDArray[np.floating], usable: NDArray[np.bool_]
) -> float:
    """Return how much of the halo of a star is recorded at most, from 0 to 1.

    Stars may have less of it than the one that it was measured on. Other sources add light to
    what is recorded (``data``, without the core of the star), so that most pixels of the halo have
    to hold it.
    """
    clear = usable & (halo > _CLEAR_HALO)
    if clear.sum() < _FEWEST_PIXELS:
        return 1.0
    return float(np.clip(np.quantile(data[clear] / halo[clear], _BOUND), 0.0, 1.0))
