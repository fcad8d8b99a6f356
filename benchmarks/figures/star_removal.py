"""What is left of stars, and what is lost of the sky, in a starless image."""

from __future__ import annotations

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy import ndimage

import astro_sr_plugin as asr
from benchmarks.figures.ridge import ridge
from benchmarks.truth.star_removal import FWHM, SPIKE_ANGLE, Starry

__all__ = ["BRIGHT_SNR", "measure_removal"]

Array = NDArray[np.float64]

BRIGHT_SNR = 50.0
"""Least signal-to-noise ratio of the stars whose residual is measured."""


def measure_removal(starry: Starry, result: NDArray[np.floating]) -> dict[str, float]:
    """Compare a starless image with the truth.

    Parameters
    ----------
    starry : Starry
        From `make_starry`.
    result : numpy.ndarray
        The image without stars, background included.

    Returns
    -------
    dict
        ``residual``, ``residual_90``: light left within 1.5 FWHM of unsaturated stars of SNR 50 or
        more, over their flux: median, and the absolute value that 90 of 100 are below. The noise is
        that of the place without the star. ``level``: median error within 1 FWHM of all stars in
        noise sigma, absolute value of the median over the stars; ``level_each``: median over the
        stars of the absolute value. ``rms``: root mean square error at all places that the star
        mask covers, seen through a Gaussian of 1 FWHM, in noise sigma. ``far``: the same where
        there are no stars, that of the noise that stays. ``galaxy_least``,
        ``galaxy_most``: light kept within twice the half-light radius of galaxies free of stars.
        ``knots``: contrast of the finest structure of what is no star over that of the truth.
        ``halo``, ``spike``: light left around bright stars over what was there.
    """
    scene = starry.scene
    sigma = float(scene.sigma)
    image = np.asarray(result, float)
    light = np.maximum(starry.starless - scene.background, 0.0)
    noise = np.sqrt(sigma**2 + float(scene.poisson) * light)
    error = (image - starry.starless) / noise
    level, left = [], []
    rows, columns = np.indices(image.shape)
    for x, y, flux, snr in zip(scene.x, scene.y, scene.flux, scene.snr, strict=True):
        if not 8 <= min(x, y) <= max(x, y) <= len(image) - 9:
            continue
        away = np.hypot(columns - x, rows - y)
        level.append(np.median(error[away < FWHM]))
        here = round(y), round(x)
        if snr * sigma > BRIGHT_SNR * noise[here] and not scene.excluded[here]:
            near = away < 1.5 * FWHM
            left.append((image - starry.starless)[near].sum() / flux)
    stars = asr.star_mask(scene.observed)
    smooth = ndimage.gaussian_filter(error, FWHM * gaussian_fwhm_to_sigma)
    figures = {
        "residual": float(np.median(left)),
        "residual_90": float(np.percentile(np.abs(left), 90)),
        "level": float(abs(np.median(level))),
        "level_each": float(np.median(np.abs(level))),
        "rms": float(np.sqrt(np.mean(smooth[stars] ** 2))),
        "far": float(np.sqrt(np.mean(smooth[~stars] ** 2))),
        "knots": _knots(starry, image, stars),
    }
    kept = _galaxies_kept(starry, image)
    figures |= {"galaxy_least": min(kept), "galaxy_most": max(kept)} if kept else {}
    return figures | (_extended_light(starry, image) if starry.bright else {})


def _knots(starry: Starry, image: Array, stars: NDArray[np.bool_]) -> float:
    """Return the slope of the fine structure of an image on that of the truth."""

    def fine(plane: Array) -> Array:
        near, far = (
            ndimage.gaussian_filter(plane, width) for width in (FWHM * gaussian_fwhm_to_sigma, FWHM)
        )
        return np.asarray(near - far)

    truth = fine(starry.starless)
    crowded = ndimage.maximum_filter(
        starry.scene.truth_denoise - starry.starless > starry.scene.sigma, size=9
    )
    crests = (np.abs(truth) > np.percentile(np.abs(truth), 95)) & ~crowded
    return float((fine(image) * truth)[crests].sum() / (truth[crests] ** 2).sum())


def _galaxies_kept(starry: Starry, image: Array) -> list[float]:
    scene, kept = starry.scene, []
    rows, columns = np.indices(image.shape)
    light = scene.truth_denoise - starry.starless
    for galaxy in starry.galaxies:
        inside = np.hypot(columns - galaxy.x, rows - galaxy.y) < 2 * galaxy.reach / 10 + FWHM
        true = (starry.starless - scene.background)[inside].sum()
        if light[inside].sum() < 0.05 * true:
            kept.append(float((image - scene.background)[inside].sum() / true))
    return kept


def _extended_light(starry: Starry, image: Array) -> dict[str, float]:
    """Return what is left of halos (3 to 9 FWHM) and spikes over what was there, the largest."""
    scene = starry.scene
    left, light = image - starry.starless, scene.truth_denoise - starry.starless
    rows, columns = np.indices(image.shape)
    halos, spikes = [], []
    for x, y in starry.bright:
        away = np.hypot(columns - x, rows - y)
        ring = (away > 3 * FWHM) & (away < 9 * FWHM)
        halos.append(abs(left[ring].sum() / light[ring].sum()))
        there, was = 0.0, 0.0
        for turn in range(4):
            angle = SPIKE_ANGLE + turn * np.pi / 2
            direction = np.array([np.cos(angle), np.sin(angle)])
            ends = [np.array([x, y]) + r * FWHM * direction for r in (4, 12)]
            there += ridge(left, *ends, 2)[0].sum()
            was += ridge(light, *ends, 2)[0].sum()
        spikes.append(abs(there / was))
    return {"halo": float(max(halos)), "spike": float(max(spikes))}
