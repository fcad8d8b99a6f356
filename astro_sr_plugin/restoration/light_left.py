"""How much light of bright stars is left in an image without its stars."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import sep
from astropy.stats import mad_std
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from astro_sr_plugin.data.strips import iter_rows, release
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp
from astro_sr_plugin.measurement.sources.hot_pixels import find_hot_pixels
from astro_sr_plugin.restoration.plane import ROWS, NormalisedPlane

__all__ = ["MOST_LEFT", "LightLeft", "measure_light_left"]

MOST_LEFT = 0.02
"""Part of the light of a star that may be left, or missing, beyond the noise."""
_APERTURE, _SKY = 1.5, (3.0, 5.0)
"""Radius of the aperture, and of the ring that shows the sky, in FWHM."""
_WHOLE, _HALF = 2.5, 0.7
"""Radii in FWHM of the aperture that holds all the light of a star, and of that which holds at
least half of it: 0.5 of a Gaussian profile, 0.6 of a Moffat profile with wide wings."""
_BRIGHT = 50.0
"""Light that was removed, over the noise of such an aperture, from which a star is bright."""
_NOISE = 3.0
"""Standard deviations of noise that are no light of a star."""
_EMPTY = 400
"""Apertures, at places drawn at random, whose scatter is the noise."""
_HOT_REACH = 8
"""Half of the side in pixels of the PSF that hot pixels are sharper than."""


class LightLeft(NamedTuple):
    """What is left of the bright stars of a plane.

    Attributes
    ----------
    parts : ndarray, shape (n,)
        Part of the light of each star that is left, or missing, beyond the noise; 0 or less where
        it is within the noise.
    places : ndarray, shape (n, 2)
        Their x and y in pixels.
    """

    parts: NDArray[np.float64]
    places: NDArray[np.float64]


def measure_light_left(source: NormalisedPlane, starless: NDArray) -> LightLeft:
    """Compare the light at the places of bright stars with that around them.

    Apertures of 1.5 FWHM in radius, with the mean sky of a ring of 3 to 5 FWHM. Stars with a hot
    pixel in their aperture, which stays as recorded, are left out, and so are those near the edges.

    Parameters
    ----------
    source : NormalisedPlane
        The plane with its stars, as measured.
    starless : ndarray, shape (ny, nx)
        The same without them, in image units; may be memory-mapped.

    Returns
    -------
    LightLeft
        Of the stars from which more than 50 times the noise was removed; none in an image smaller
        than the rings.
    """
    fwhm, (ny, nx) = source.measured.psf.moffat.fwhm, source.shape
    margin = math.ceil(_SKY[1] * fwhm) + 1
    sources = source.measured.sources
    stars = _away_from_hot_pixels(source, sources[~sources["extended"]])
    drawn = np.random.default_rng(1).uniform(0, (nx, ny), (_EMPTY, 2))
    places = np.concatenate([np.column_stack([stars["x"], stars["y"]]), drawn])
    inside = np.all((places >= margin) & (places < np.array([nx, ny]) - margin), axis=1)
    if not inside[len(stars) :].any():
        return LightLeft(np.empty(0), np.empty((0, 2)))
    light = np.full((len(places), 4), np.nan)
    for first, last in iter_rows(ny, ROWS):
        here = inside & (places[:, 1] >= first) & (places[:, 1] < last)
        if not here.any():
            continue
        low, high = max(0, first - margin), min(ny, last + margin)
        recorded, bad, _ = source.window(low, high, 0, nx)
        noise = source.noise(low, high, 0, nx) * source.measured.unit
        removed = (source.recorded(low, high) - np.asarray(starless[low:high], np.float64)) / noise
        bad |= ~np.isfinite(removed)
        removed[bad] = 0.0
        left = recorded - removed
        ring = (_SKY[0] * fwhm, _SKY[1] * fwhm)
        seen = np.where(bad, np.float32(0), np.float32(1))
        x, y = places[:, 0], places[:, 1] - low
        # sep refuses a ring without any pixel.
        here[here] = sep.sum_circann(seen, x[here], y[here], *ring)[0] > 0
        light[here] = np.column_stack(
            [
                sep.sum_circle(image, x[here], y[here], radius * fwhm, mask=bad, bkgann=sky)[0]
                for image, radius, sky in (
                    (removed, _APERTURE, None),
                    (left, _APERTURE, ring),
                    (recorded, _HALF, ring),
                    (recorded, _WHOLE, ring),
                )
            ]
        )
        for array in (starless, source.plane):
            release(array)
    scatter = float(mad_std(light[len(stars) :, 1], ignore_nan=True))
    flux, left_over, half, whole = light[: len(stars)].T
    bright = (flux > _BRIGHT * scatter) & (half > whole / 2)
    parts = (np.abs(left_over[bright]) - _NOISE * scatter) / flux[bright]
    return LightLeft(parts, places[: len(stars)][bright])


def _away_from_hot_pixels(source: NormalisedPlane, stars: NDArray) -> NDArray:
    """Return the stars without a hot pixel in their aperture."""
    fwhm = source.measured.psf.moffat.fwhm
    psf = moffat_stamp(MoffatProfile(fwhm, 3.0, 0.0, 0.0), 0.0, 0.0, _HOT_REACH)
    found = find_hot_pixels(source.window, source.shape, psf.astype(np.float32))
    if found is None or not len(stars):
        return stars
    places = np.column_stack([stars["y"], stars["x"]])
    distance, _ = cKDTree(found[0]).query(places, distance_upper_bound=_APERTURE * fwhm + 1)
    return stars[np.isinf(distance)]
