"""The noise of the sky, white or correlated, separated from stars, gradients and structure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.sky.background import Background, measure_background
from astro_sr_plugin.measurement.sky.coarse import ROUNDING, find_steps
from astro_sr_plugin.measurement.sky.patches import (
    PATCH,
    cut_patches,
    find_quietest,
    flatten_patches,
)
from astro_sr_plugin.measurement.sky.separation import REACH, separate_noise
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import (
    check_plane,
    cut_window,
    spread_windows,
)

__all__ = ["Noise", "known_correlation", "measure_noise"]

_WINDOW = 20 * PATCH
"""Side in pixels of the windows that are cut into patches."""
_WINDOW_COUNT = 16
"""Largest number of windows."""
_CONTRADICTION = 0.15
"""Difference of correlations, with full confidence, beyond which a known one is not that of the
image."""
_NEAR = 4
"""Distance in pixels beyond which interpolation, debayering and drizzle do not correlate pixels."""
_STRUCTURED = 0.012
"""Mean correlation at that distance from which structure is separated from the noise."""
_ENOUGH_PIXELS = 8000
"""Number of pixels of sky from which the amount of structure can be estimated."""
_COARSE_SCATTER, _COARSE_EXCESS = 0.6, 1.5
"""Patches of a coarse image with more scatter than this, in steps and in medians of all, hold
light."""
_POISSON, _PHOTONS = (0.7, 1.4), (0.002, 3.0)
"""Photon counts: limits of the variance over the mean, in steps, and of the mean of the sky in
photons per pixel."""


@dataclass(frozen=True)
class Noise:
    """Noise of the sky in one plane.

    Attributes
    ----------
    sigma : float
        Standard deviation of the noise of one pixel, in image units; NaN if it cannot be
        measured, 0 for a plane without noise.
    correlation_x, correlation_y : float
        Correlation coefficient (-1..1) of the noise of horizontal and of vertical neighbours.
        0 is white noise; frames registered by interpolation have 0.1 to 0.6.
    correlated_sigma_ratio : float
        Standard deviation of the noise of 4 x 4 block sums over that of white noise of the same
        `sigma`: 1 for white noise, 2 to 3 for interpolated frames. Multiply the error of a flux
        summed over several pixels, computed for white noise, by it.
    n_patches : int
        Number of 24 x 24 pixel patches that the figures come from.
    confidence : float
        0..1: how much the figures can be relied on. It falls with few patches and with the fraction
        of the scatter that is ascribed to structure in the image. Below 0.3, `sigma` may be off by
        a factor of 2.
    step : float
        Step between the values of the image in image units, where the noise is no larger than 1.5
        steps; else 0.
    counts : bool
        Whether a step is one photon: the sky has the mean and the variance of photon counts.
    """

    sigma: float
    correlation_x: float
    correlation_y: float
    correlated_sigma_ratio: float
    n_patches: int
    confidence: float
    step: float = 0.0
    counts: bool = False

    @property
    def correlation(self) -> float:
        """Mean of `correlation_x` and `correlation_y`."""
        return (self.correlation_x + self.correlation_y) / 2

    @property
    def detection_sigma(self) -> float:
        """Noise of a pixel in faint sources, which are measured against it.

        At least that of rounding, and where photons are counted that of a single photon.
        """
        return max(self.sigma, self.step if self.counts else ROUNDING * self.step)


def measure_noise(
    plane: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    background: Background | None = None,
    window: int = _WINDOW,
    most_windows: int = _WINDOW_COUNT,
) -> Noise:
    """Measure the standard deviation and the correlation of the noise of the sky.

    Small patches without detected sources are freed of a fitted quadratic surface; those of the
    least scatter that agree with each other are averaged. Their two-dimensional autocovariance is
    corrected for what the fit has taken away, and for the light of sources too faint to detect,
    which reaches farther than the noise. Differences of neighbours alone, the usual estimate,
    would be too small on interpolated frames.

    Where the values have steps as large as the noise, `sigma` is the root mean square of the sky
    about its mean, and at least that of rounding, 1/sqrt(12) steps; of photon counts it is that of
    the counts, however few they are.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units; not-finite pixels are left out.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    background : Background, optional
        Measured sky of the same plane; measured here if not given.
    window : int
        Side in pixels of the windows that are looked at.
    most_windows : int
        Largest number of windows.

    Returns
    -------
    Noise
        The standard deviation in image units, and the correlations.

    Raises
    ------
    InputError
        If the plane is unusable or has no usable pixel.
    """
    data, excluded = check_plane(plane, mask)
    if background is None:
        background = measure_background(data, mask=excluded)
    steps = background.steps or find_steps(data, excluded)
    step = steps.size if steps.coarse else 0.0
    collected = [
        cut_patches(data, excluded, part, background, step)
        for part in spread_windows(data.shape, window, most_windows)
    ]
    values = np.concatenate([patches for patches, _, _ in collected])
    weights = np.concatenate([used for _, used, _ in collected])
    sizes = np.concatenate([size for _, _, size in collected])
    if not len(values):
        return _fallback(data, excluded, background, step)
    for coverage in (0.6, 0.3):
        enough = weights.mean(axis=(1, 2)) >= coverage
        if enough.sum() >= 30:
            break
    if not enough.any():
        return _fallback(data, excluded, background, step)
    residuals, weights, scatter, degrees = flatten_patches(values[enough], weights[enough], step)
    if step > 0:
        even = scatter <= max(_COARSE_SCATTER * step, _COARSE_EXCESS * float(np.median(scatter)))
        return _summarise_coarse(residuals[even], weights[even], step, background.level)
    textured = scatter > 0
    if textured.mean() < 0.05:
        return Noise(0.0, 0.0, 0.0, 1.0, len(scatter), 0.5)
    chosen = np.flatnonzero(textured)
    chosen = chosen[find_quietest(scatter[chosen], degrees[chosen])]
    # Structure in the image is at least as wide as the sharpest sources.
    sharpest = float(np.percentile(sizes, 20)) if sizes.size >= 5 else None
    return _summarise(residuals[chosen], weights[chosen], sharpest)


def known_correlation(noise: Noise, ratio: float, neighbours: float) -> Noise:
    """Put the correlation that is known of an image in place of the measured one.

    Parameters
    ----------
    noise : Noise
        As measured.
    ratio : float
        Noise of large areas over what follows from that of single pixels.
    neighbours : float
        Correlation of neighbouring pixels.

    Returns
    -------
    Noise
        The same if it was measured well and contradicts: the image was changed since.
    """
    if abs(neighbours - noise.correlation) > _CONTRADICTION / max(noise.confidence, 0.1):
        return noise
    # Along an axis, what is not correlated with the nearest pixel is so with the second one.
    second = (ratio - 1) / 2 - neighbours
    return replace(
        noise,
        correlation_x=neighbours,
        correlation_y=neighbours,
        correlated_sigma_ratio=max(1 + 1.5 * neighbours + second, 0.2),
    )


def _summarise(
    residuals: NDArray[np.float32], weights: NDArray[np.bool_], sharpest: float | None
) -> Noise:
    measured = _autocovariance(residuals, weights)
    side, coverage = residuals.shape[1], float(weights.mean())
    noise, structure = separate_noise(measured, side, coverage, structured=False)
    # Noise is not correlated at that distance; what is found there is light. Where stars give the
    # least width of light, the fit separates narrower light too.
    seen = sharpest is not None or _ring(noise) > _STRUCTURED * noise[REACH, REACH]
    if seen:
        separated, structure = separate_noise(measured, side, coverage, sharpest)
        # Few pixels show that there may be structure, but not how much.
        if weights.sum() > _ENOUGH_PIXELS and separated[REACH, REACH] > 0:
            noise = separated
    return _describe(noise, len(residuals), structure)


def _summarise_coarse(
    residuals: NDArray[np.float32], weights: NDArray[np.bool_], step: float, level: float
) -> Noise:
    """Sum up the noise of an image with coarse steps, whose sky has the given level."""
    measured = _autocovariance(residuals, weights)
    side, coverage = residuals.shape[1], float(weights.mean())
    noise, _ = separate_noise(measured, side, coverage, structured=False)
    described = _describe(noise, len(residuals), 0.0)
    photons = level / step
    counting = _PHOTONS[0] < photons < _PHOTONS[1]
    if counting and _POISSON[0] < described.sigma**2 / (photons * step**2) < _POISSON[1]:
        return replace(described, step=step, counts=True)
    sigma = ROUNDING * step
    # Less scatter than that depends only on where in the step the sky lies.
    if described.sigma < sigma:
        return Noise(sigma, 0.0, 0.0, 1.0, len(residuals), 0.3, step)
    return replace(described, step=step)


def _describe(noise: NDArray[np.float64], n_patches: int, structure: float) -> Noise:
    """Summarise an autocovariance; `structure` is the fraction of light in the variance."""
    variance = float(noise[REACH, REACH])
    if not variance > 0:
        return Noise(0.0, 0.0, 0.0, 1.0, n_patches, 0.0)
    rho = np.clip(noise / variance, -1, 1)
    triangle = np.maximum(0, 4 - np.abs(np.arange(-REACH, REACH + 1))) / 4
    ratio = float(np.sqrt(max(float(triangle @ rho @ triangle), 0.05)))
    enough = min(1.0, np.sqrt(n_patches / 50))
    return Noise(
        sigma=float(np.sqrt(variance)),
        correlation_x=float(rho[REACH, REACH + 1]),
        correlation_y=float(rho[REACH + 1, REACH]),
        correlated_sigma_ratio=ratio,
        n_patches=n_patches,
        confidence=float(enough * (1 - 0.8 * structure)),
    )


def _ring(covariance: NDArray[np.float64]) -> float:
    """Mean covariance at a lag of `_NEAR` pixels along x or y."""
    near = covariance[REACH - _NEAR : REACH + _NEAR + 1, REACH - _NEAR : REACH + _NEAR + 1]
    return float(np.concatenate([near[0], near[-1], near[1:-1, 0], near[1:-1, -1]]).mean())


def _autocovariance(
    residuals: NDArray[np.float32], weights: NDArray[np.bool_], most: int = 1500
) -> NDArray[np.float64]:
    """Average autocovariance at lags up to `REACH`; shape (17, 17), lag 0 in the middle."""
    step = -(-len(residuals) // most)
    products = _autocovariance_of(residuals[::step])
    return products / np.maximum(_autocovariance_of(weights[::step]), 1)


def _autocovariance_of(patches: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sum over the patches of the products of pixels at each lag; shape (17, 17)."""
    padded = patches.shape[1] + REACH
    padded += padded % 2
    spectra = np.fft.rfft2(patches.astype(np.float32), (padded, padded))
    power = (spectra.real**2 + spectra.imag**2).sum(axis=0)
    lags = np.arange(-REACH, REACH + 1)
    result: NDArray[np.float64] = np.fft.irfft2(power, (padded, padded))[np.ix_(lags, lags)]
    return result


def _fallback(
    data: NDArray[np.generic], excluded: UnusablePixels, background: Background, step: float
) -> Noise:
    """Estimate from differences of neighbours, where there is no patch of sky to measure."""
    window = max(spread_windows(data.shape, _WINDOW, 1), key=lambda w: w.shape)
    values, bad = cut_window(data, excluded, window)
    differences = np.concatenate(
        [
            (values[:, 1:] - values[:, :-1])[~(bad[:, 1:] | bad[:, :-1])],
            (values[1:] - values[:-1])[~(bad[1:] | bad[:-1])],
        ]
    )
    if not differences.size:
        return Noise(float("nan"), 0.0, 0.0, 1.0, 0, 0.0)
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(differences))) / np.sqrt(2)
    if background.rms > 0:
        sigma = min(float(sigma), background.rms)
    return Noise(max(float(sigma), ROUNDING * step), 0.0, 0.0, 1.0, 0, 0.1, step)
