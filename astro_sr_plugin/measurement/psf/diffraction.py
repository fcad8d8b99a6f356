"""Diffraction spikes of stars, from the residuals of the brightest."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS
from astro_sr_plugin.measurement.psf.residuals import (
    ANGLE,
    DISTANCE,
    MEDIAN_ERROR,
    SKY_ERROR,
    StarResidual,
)
from astro_sr_plugin.measurement.statistics import weighted_median

__all__ = ["measure_spikes"]

_FEWEST_FOR_SPIKES = 3
"""Smallest number of stars for spikes, and of stars with data in a pixel."""
_NEIGHBOUR_FLUX = 0.02
"""Flux of neighbours, relative to the star, above which it does not count as isolated."""
_STRUCTURED = 6.0
"""Radius in FWHM within which the PSF has structure in all directions, such as Airy rings."""
_RAYS = 256
"""Number of directions in which spikes are looked for."""
_ALONG = 2.0
"""Width in pixels of the Gaussian that averages along a ray."""


def measure_spikes(
    stars: list[StarResidual], halo: NDArray[np.float64], psf: PSFMeasurement
) -> NDArray[np.float64]:
    """Measure the diffraction spikes of a star of flux 1 from the brightest isolated stars."""
    stars = _isolated(stars, psf)
    if len(stars) < _FEWEST_FOR_SPIKES:
        return np.zeros_like(halo)
    # At the rim, nebulosity under the star is as likely as its own light.
    rim = np.abs(DISTANCE - STAMP_RADIUS + 2) <= 2
    values = np.stack([star.values - halo for star in stars])
    weights = np.stack([star.weight for star in stars])
    for own, weight in zip(values, weights, strict=True):
        clear = rim & (weight > 0)
        own -= np.median(own[clear]) if clear.any() else 0.0
    median, error = _median_and_error(values, weights)
    # Faint neighbours leave a fraction of a sigma under every star, however many there are.
    flux = np.array([star.flux for star in stars])[:, None, None]
    with np.errstate(invalid="ignore"):
        sky_error = SKY_ERROR / ((weights * flux).sum(axis=0) / weights.sum(axis=0))
        scatter = _scatter_in_rings(median, beyond=_STRUCTURED * psf.fwhm)
        strength = np.abs(median) / np.hypot(np.maximum(error, scatter), sky_error)
    strength[(weights > 0).sum(axis=0) < _FEWEST_FOR_SPIKES] = 0.0
    fade = np.clip((DISTANCE / STAMP_RADIUS - 0.9) / 0.1, 0, 1)
    trust = np.clip((strength - 2) / 2, 0, 1)
    rays = _measure_rays(median, error)
    return (trust * median + (1 - trust) * rays) * (0.5 + 0.5 * np.cos(np.pi * fade))


def _scatter_in_rings(image: NDArray[np.float64], *, beyond: float) -> NDArray[np.float64]:
    """Scatter of the pixels of each ring, which contains that of a nebula."""
    ring = np.round(DISTANCE).astype(int)
    scatter = np.zeros(ring.max() + 1)
    for number in range(math.ceil(beyond), len(scatter)):
        values = image[ring == number]
        scatter[number] = MAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))
    return np.asarray(scatter[ring])


def _measure_rays(image: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure the light along rays that exceeds the median of the rings.

    A mean along a ray is significant at fainter light than a single pixel. The median of the ring
    removes the light of faint neighbours, which is the same in all directions.
    """
    radii = np.arange(0, STAMP_RADIUS + 1)
    angles = np.linspace(0, 2 * np.pi, _RAYS, endpoint=False)
    polar = STAMP_RADIUS + np.stack(
        [np.outer(radii, np.sin(angles)), np.outer(radii, np.cos(angles))]
    )
    known = np.isfinite(error)
    light, variance, weight = (
        map_coordinates(part, polar, order=1, mode="nearest")
        for part in (
            np.where(known, image, 0.0),
            np.where(known, error, 0.0) ** 2,
            known.astype(float),
        )
    )
    clear = weight > 0.99
    ring = np.array(
        [np.median(row[c]) if c.any() else 0.0 for row, c in zip(light, clear, strict=True)]
    )
    weight = np.where(clear, 1.0, 0.0)
    total = np.maximum(gaussian_filter1d(weight, _ALONG, axis=0), 1e-6)
    ray = gaussian_filter1d((light - ring[:, None]) * weight, _ALONG, axis=0) / total
    ray_error = gaussian_filter1d(variance * weight, _ALONG, axis=0) / total
    ray_error = np.sqrt(ray_error / (2 * np.sqrt(np.pi) * _ALONG))
    # Nebulosity scatters more than noise.
    scatter = MAD_TO_SIGMA * np.median(np.abs(ray), axis=1, keepdims=True)
    ray *= np.clip((ray / np.maximum(np.maximum(ray_error, scatter), 1e-30) - 3) / 2, 0, 1)
    places = np.stack([DISTANCE, ANGLE % (2 * np.pi) * _RAYS / (2 * np.pi)])
    found: NDArray[np.float64] = map_coordinates(
        np.hstack([ray, ray[:, :1]]), places, order=1, mode="nearest"
    )
    return np.where(DISTANCE > _ALONG, found, 0.0)


def _isolated(stars: list[StarResidual], psf: PSFMeasurement) -> list[StarResidual]:
    """Leave out stars with more light around them than the others have: neighbours, a galaxy."""
    radius = DISTANCE / psf.fwhm
    kept = np.ones(len(stars), dtype=bool)
    for low, high in ((1.2, 2.5), (2.5, 5.0)):
        ring = (radius >= low) & (radius < high)
        light, noise = np.full(len(stars), np.nan), np.zeros(len(stars))
        for k, star in enumerate(stars):
            here = ring & (star.weight > 0)
            if here.sum() > 0.4 * ring.sum():
                light[k] = star.values[here].mean() * ring.sum()
                noise[k] = ring.sum() / star.flux / np.sqrt(here.sum())
        if not np.isfinite(light).any():
            return []
        with np.errstate(invalid="ignore"):
            kept &= light - np.nanpercentile(light, 25) < 3 * noise + _NEIGHBOUR_FLUX
    alone = [star for star, good in zip(stars, kept, strict=True) if good]
    return alone if len(alone) * 2 >= len(stars) else []


def _median_and_error(
    values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted median along the first axis, and its error."""
    median = weighted_median(values, weights)
    spread = MAD_TO_SIGMA * weighted_median(np.abs(values - median), weights)
    total = weights.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = total**2 / (weights**2).sum(axis=0)
        error = MEDIAN_ERROR * np.maximum(spread / np.sqrt(effective), 1 / np.sqrt(total))
    return median, np.where(np.isfinite(error), error, np.inf)
