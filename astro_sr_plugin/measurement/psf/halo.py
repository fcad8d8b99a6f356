"""The halo of stars, measured in rings, or scaled from that of turbulence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS, moffat_stamp
from astro_sr_plugin.measurement.psf.residuals import (
    DISTANCE,
    FEWEST_STARS,
    MEDIAN_ERROR,
    SKY_ERROR,
    StarResidual,
)
from astro_sr_plugin.measurement.psf.seeing import kolmogorov_stamp
from astro_sr_plugin.measurement.statistics import shrink

__all__ = ["measure_halo", "scale_seeing"]

_FEWEST_RINGS = 3
"""Smallest number of rings in which a star is compared with the halo of turbulence."""
_LEAST_CHI2 = 25.0
"""Chi-squared of all rings together from which a halo is significant (5 sigma)."""
_FEWEST_FOR_HALO = 8
"""Smallest number of stars for a halo ring by ring."""
_BRIGHT = 500.0
"""Flux in noise sigma of a pixel from which a star counts for it, unless these are too few."""
_CONTRADICTION = 2.5
"""Difference of a halo with and without the brightest star, in units of the error of the latter,
from which that star has a neighbour or a galaxy."""
_DARKEST = 2.0
"""Errors by which a halo may be brighter than the brightest star shows it."""
_FADING = 2.0
"""Radius in FWHM from which the profile of a halo may only fall outwards."""
_OUTER_RINGS = 2
"""Number of rings that give the level of the halo beyond them."""
_DIFFRACTION, _TURBULENCE = 3.0, 4.0
"""Powers of the distance with which halos fall: of the edges of the pupil, and of the air beyond a
Moffat profile of its core. No halo falls more steeply than that of the air."""
_OUTSIDE_SQUARE = {_DIFFRACTION: 4 * math.sqrt(2), _TURBULENCE: 1 + math.pi / 2}
"""Integral of ``r**-power`` over all that lies outside a square of half side 1."""
_SEEING_WIDTH = 1.01
"""FWHM of a Kolmogorov profile over that of the Moffat profile that is fitted to it."""
_SEEING_CORE = (0.0, 0.09, 0.175, 0.205, 0.235), (0.0, 0.0, 1.0, 1.0, 0.0)
"""1/beta of a core, and the fraction of the halo of turbulence that goes with it.

A Moffat profile fitted to the core of a Kolmogorov profile has 0.175; less, and the optics have
their part in the width; more, and the Moffat profile has wings of its own.
"""
_SEEING_ERROR = 0.35
"""1-sigma error of that fraction."""
_FEWEST_FOR_CORE = 15
"""Smallest number of measured stars from which the core predicts the halo of turbulence."""
_RINGS = (0.8, 1.2, 1.6, 2.1, 2.7, 3.5, 4.5, 6.0, 8.0, 10.5)
"""Radii in FWHM between which the rings lie."""
_ROUNDS = 8
"""Rounds of a robust fit."""


def measure_halo(
    stars: list[StarResidual], psf: PSFMeasurement
) -> tuple[NDArray[np.float64], float]:
    """Measure the halo of a star of flux 1 from rings about all stars.

    Returns its image and its flux beyond the stamp; zero if it is not significant.
    """
    radius = DISTANCE
    bright = [star for star in stars if star.flux > _BRIGHT]
    if len(bright) >= _FEWEST_FOR_HALO:
        stars = bright
    if len(stars) < _FEWEST_FOR_HALO:
        return np.zeros_like(radius), 0.0
    flux = np.array([star.flux for star in stars])
    brightest = int(flux.argmax())
    places, levels, chi2, excesses = [0.0], [0.0], [], []
    slopes: list[tuple[float, float]] = []
    for low, ring in _rings(radius, psf):
        light, noise = np.array([_light_in(ring, star) for star in stars]).T
        slope, error, spread = _without_leverage(flux, light, noise)
        places.append(float(radius[ring].mean()))
        chi2.append((slope / error) ** 2)
        excesses.append(1 - spread**-2)
        if low < _FADING:
            levels.append(float(shrink(slope, error)))
        else:
            # Neighbours, galaxies and nebulae add light, and take none away.
            most = light[brightest] + _DARKEST * np.hypot(noise[brightest], SKY_ERROR)
            slope = min(slope, float(most) / flux[brightest])
            expected = max(0.0, levels[-1]) * (places[-2] / places[-1]) ** _TURBULENCE
            # A halo falls outwards; a rise is the light of a nebula.
            levels.append(min(float(shrink(slope, error, expected)), max(0.0, levels[-1])))
        slopes.append((slope, error))
    # Scatter beyond the noise comes from the nebula or the neighbours under a star, the same in all
    # its rings: the rings are correlated then, and count as one in the limit, which is as much
    # higher, since bright stars lie where nebulae and clusters are bright.
    correlated = 1 + float(np.mean(excesses)) * (len(excesses) - 1) if excesses else 1.0
    if sum(chi2) < _LEAST_CHI2 * correlated**2:
        return np.zeros_like(radius), 0.0
    outside, beyond = _outer_halo(places[1:], slopes, levels[-1], radius)
    return np.where(radius > places[-1], outside, np.interp(radius, places, levels)), beyond


def scale_seeing(
    stars: list[StarResidual], psf: PSFMeasurement
) -> tuple[NDArray[np.float64], float]:
    """Scale the halo of Kolmogorov turbulence to the stars; return it and its flux beyond.

    One scale for all stars and rings is significant where single rings are lost in the noise. It
    is averaged with the scale that the measured beta of the core predicts.
    """
    radius = DISTANCE
    near = radius <= 1.5 * psf.fwhm + 2
    moffat = moffat_stamp(replace(psf, ellipticity=0.0), 0.0, 0.0)
    halo = kolmogorov_stamp(_SEEING_WIDTH * psf.fwhm, STAMP_RADIUS)
    core_flux = (halo * moffat)[near].sum() / (moffat**2)[near].sum()
    beyond = float(1 - halo.sum() - core_flux * (1 - moffat.sum()))
    halo -= core_flux * moffat
    rings = list(_rings(radius, psf))
    expected_rings = np.array([halo[ring].mean() for _, ring in rings])
    scales, errors = [], []
    for star in stars:
        light, noise = np.array([_light_in(ring, star) for _, ring in rings]).T
        good = np.isfinite(noise)
        if good.sum() < _FEWEST_RINGS:
            continue
        model = expected_rings[good] * star.flux
        # The sky under a star is one unknown of all its rings.
        inverse = np.linalg.inv(np.diag(noise[good] ** 2) + SKY_ERROR**2)
        weight = model @ inverse @ model
        scales.append(model @ inverse @ light[good] / weight)
        errors.append(weight**-0.5)
    enough = psf.n_stars >= _FEWEST_FOR_CORE
    expected = float(np.interp(1 / psf.beta, *_SEEING_CORE)) if enough else 0.0
    scale, error = 0.0, np.inf
    if len(scales) >= FEWEST_STARS:
        scale, error = _robust_mean(np.array(scales), np.array(errors))
    if expected > 0:
        trust = 1 / (1 + (error / _SEEING_ERROR) ** 2)
        scale = max(0.0, trust * scale + (1 - trust) * expected)
    else:
        scale = 0.0 if scale < 2 * error else float(shrink(scale, error))
    return halo * scale, beyond * scale


def _outer_halo(
    places: list[float],
    slopes: list[tuple[float, float]],
    level: float,
    radius: NDArray[np.float64],
) -> tuple[NDArray[np.float64], float]:
    """Extrapolate a halo beyond the last ring; return its image and its flux beyond the stamp.

    Diffraction falls with the third power of the distance; the last rings give its strength. Where
    that is lost in the noise, the halo falls from its ``level`` in the last ring as that of the
    air does.
    """
    power, strength = _DIFFRACTION, _outer_strength(np.array(places), np.array(slopes))
    if strength == 0:
        power, strength = _TURBULENCE, max(0.0, level) * places[-1] ** _TURBULENCE
    outside = strength * np.maximum(radius, places[-1]) ** -power
    return outside, strength * _OUTSIDE_SQUARE[power] * STAMP_RADIUS ** (2 - power)


def _outer_strength(places: NDArray[np.float64], slopes: NDArray[np.float64]) -> float:
    """Return the brightness of diffraction at a distance of 1 that the last rings show."""
    strengths, errors = slopes[-_OUTER_RINGS:].T * places[-_OUTER_RINGS:] ** _DIFFRACTION
    weight = float((errors**-2).sum())
    if not weight > 0:
        return 0.0
    strength = float((errors**-2 * strengths).sum()) / weight
    # A disc with an end, such as a reflection, is not extrapolated.
    strength = min(strength, float((strengths + errors).min()))
    return float(shrink(max(0.0, strength), weight**-0.5))


def _rings(
    radius: NDArray[np.float64], psf: PSFMeasurement
) -> Iterator[tuple[float, NDArray[np.bool_]]]:
    """Yield the inner radius in FWHM, and the pixels, of the rings that the stamp holds.

    Rings of stars narrower than a pixel may lie between its pixels.
    """
    for low, high in itertools.pairwise(_RINGS):
        ring = (radius >= low * psf.fwhm) & (radius < high * psf.fwhm)
        if high * psf.fwhm <= STAMP_RADIUS + 1 and ring.any():
            yield low, ring


def _light_in(ring: NDArray[np.bool_], star: StarResidual) -> tuple[float, float]:
    """Median residual of a star in a ring, in noise sigma of a pixel, and its error."""
    here = ring & (star.weight > 0)
    if here.sum() <= 0.3 * ring.sum():
        return 0.0, np.inf
    light = float(np.median(star.values[here])) * star.flux
    return light, MEDIAN_ERROR * star.flux / float(np.sqrt(star.weight[here].sum()))


def _robust_mean(values: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Weighted mean in which outliers have little weight, and its error."""
    weight = robust = errors**-2
    for _ in range(_ROUNDS):
        mean = (robust * values).sum() / robust.sum()
        deviation = (values - mean) / errors
        spread = max(1.0, MAD_TO_SIGMA * float(np.median(np.abs(deviation))))
        robust = weight / (1 + (deviation / (2 * spread)) ** 2)
    return float(mean), float(spread / np.sqrt(robust.sum()))


def _without_leverage(
    flux: NDArray[np.float64], light: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Fit as `_proportional_part`, without the brightest star if the others contradict it."""
    fit = _proportional_part(flux, light, noise)
    others = flux < flux.max()
    rest = _proportional_part(flux[others], light[others], noise[others])
    return rest if abs(fit[0] - rest[0]) > _CONTRADICTION * rest[1] else fit


def _proportional_part(
    flux: NDArray[np.float64], light: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Fit ``light = slope * flux + sky`` robustly; return slope, error, scatter over noise."""
    variance = noise**2 + SKY_ERROR**2
    weight = np.where(np.isfinite(variance), 1 / variance, 0.0)
    if (weight > 0).sum() < FEWEST_STARS:
        return 0.0, np.inf, 1.0
    basis = np.stack([flux, np.ones_like(flux)])
    robust = weight
    for _ in range(_ROUNDS):
        normal = (basis * robust) @ basis.T
        normal[1, 1] += 1.0  # the sky is known to about one sigma
        slope, sky = np.linalg.solve(normal, basis @ (robust * light))
        deviation = (light - slope * flux - sky) * np.sqrt(weight)
        spread = max(1.0, MAD_TO_SIGMA * float(np.median(np.abs(deviation[weight > 0]))))
        robust = weight / (1 + (deviation / (2 * spread)) ** 2)
    error = spread * np.sqrt(np.linalg.inv((basis * robust) @ basis.T + np.diag([0, 1.0]))[0, 0])
    return float(slope), float(error), spread
