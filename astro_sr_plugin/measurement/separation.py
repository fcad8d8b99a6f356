"""Tells correlated noise from structure in the image by the shape of the autocovariance.

Noise that interpolation, debayering or drizzle has correlated ends within a few pixels, with
shapes that are known; structure has gone through the point-spread function and is smooth. Both
are sums of non-negative terms, so that a non-negative least-squares fit separates them. The fit
is made on the power spectrum, where structure has the low frequencies and only noise the high.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift
from scipy.optimize import nnls
from scipy.signal import fftconvolve

__all__ = ["REACH", "make_structure_terms", "separate_noise"]

# Largest lag of the autocovariance in pixels.
REACH = 8
# Gaussian width of the narrowest structure in pixels where no star tells it: a FWHM of 2.8.
_NARROWEST = 1.2
_WIDENING = np.array([1.0, 1.4, 2.0, 2.8, 4.2, 6.5])

Covariance = NDArray[np.float64]


def separate_noise(
    covariance: Covariance, structure_terms: NDArray[np.float64]
) -> tuple[Covariance, float]:
    """Split an autocovariance into that of the noise and that of structure.

    Parameters
    ----------
    covariance : numpy.ndarray, shape (17, 17)
        Autocovariance at lags -8..8 in y and x, lag 0 in the middle.
    structure_terms : numpy.ndarray, shape (n, 17, 17)
        As made by `make_structure_terms`.

    Returns
    -------
    noise : numpy.ndarray, shape (17, 17)
        The part of the noise.
    share : float
        Share 0..1 of the variance at lag 0 that belongs to structure.
    """
    noise_terms = _noise_terms()
    terms = np.concatenate([noise_terms, structure_terms])
    power = _spectrum(covariance[None])[0].ravel()
    weights = 1 / np.maximum(power, 0.02 * max(float(np.median(power)), 1e-300))
    design = _spectrum(terms).reshape(len(terms), -1)
    shares, _ = nnls((design * weights).T, power * weights)
    noise: Covariance = np.tensordot(shares[: len(noise_terms)], noise_terms, axes=1)
    total = float(shares.sum())
    structure = float(shares[len(noise_terms) :].sum()) / total if total > 0 else 0.0
    return noise, structure


def _spectrum(covariances: NDArray[np.float64]) -> NDArray[np.float64]:
    taper = np.cos(np.pi * np.arange(-REACH, REACH + 1) / (2 * REACH + 2))
    tapered = covariances * np.outer(taper, taper)
    moved = np.fft.ifftshift(tapered, axes=(-2, -1))
    result: NDArray[np.float64] = np.fft.fft2(moved).real
    return result


def make_structure_terms(fwhm: float | None) -> NDArray[np.float64]:
    """Make autocovariances of structure that is at least as wide as a point source.

    Parameters
    ----------
    fwhm : float or None
        Width of the sharpest sources in pixels; None if there are none.

    Returns
    -------
    numpy.ndarray, shape (7, 17, 17)
        Gaussians of growing width, and a constant; each is 1 at lag 0.
    """
    narrowest = _NARROWEST if fwhm is None else max(0.95 * fwhm / 2.3548, 0.8)
    lag = np.arange(-REACH, REACH + 1)
    squared = lag[:, None] ** 2 + lag**2
    terms = [np.exp(-squared / (4 * width**2)) for width in narrowest * _WIDENING]
    return np.stack([*terms, np.ones_like(terms[0])])


@cache
def _noise_terms() -> NDArray[np.float64]:
    """Autocovariances of white noise after the usual steps, each 1 at lag 0."""
    white = np.array([[1.0]])
    red_or_blue = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    green = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]])
    axis = np.arange(-3, 4)
    drop = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 0.8**2))
    # Shifts by fractions of a pixel, separable; frames of a stack have different ones.
    lines = [_of_kernel(np.array([[1 - part, part]]))[REACH] for part in (0.0, 0.2, 0.5)]
    shifts = [np.outer(along_y, along_x) for along_y in lines for along_x in lines]
    shifts += [_dithered(order) for order in (1, 3)]
    terms = [
        _normalised(fftconvolve(_of_kernel(kernel), moved, mode="same"))
        for kernel in (white, red_or_blue, green)
        for moved in shifts
    ]
    terms.append(_of_kernel(drop))
    terms.append(_of_kernel(np.outer([1, 2, 1], [1, 2, 1])))
    return np.stack(terms)


def _of_kernel(kernel: NDArray[np.float64]) -> Covariance:
    """Autocovariance of white noise convolved with a kernel."""
    full = fftconvolve(kernel, kernel[::-1, ::-1])
    result = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    half_y, half_x = full.shape[0] // 2, full.shape[1] // 2
    result[REACH - half_y : REACH + half_y + 1, REACH - half_x : REACH + half_x + 1] = full
    return _normalised(result)


def _dithered(order: int) -> Covariance:
    """Mean over many sub-pixel shifts of noise interpolated by splines of an order."""
    impulse = np.zeros(33)
    impulse[16] = 1
    line = np.zeros(4 * REACH + 1)
    for part in np.linspace(-0.45, 0.45, 10):
        kernel = shift(impulse, part, order=order)
        line += np.correlate(kernel, kernel, "full")[32 - 2 * REACH : 33 + 2 * REACH]
    line = line[REACH : 3 * REACH + 1]
    return _normalised(np.outer(line, line))


def _normalised(covariance: Covariance) -> Covariance:
    return covariance / covariance[REACH, REACH]
