"""The blur of an image of a planet or the Moon, and its removal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.measurement.convolution import convolve, transform_centred

__all__ = ["fit_fwhm", "gaussian_psf", "richardson_lucy", "wiener"]

_RADIUS = 4.0
"""Radius of a Gaussian PSF in standard deviations."""
_FREQUENCIES = (0.03, 0.45)
"""Cycles per pixel between which the spectrum is compared with that of a Gaussian blur."""
_NOISE_FREQUENCY = 0.46
"""Cycles per pixel above which a blurred image has nothing but noise."""
_SIGNAL = 4.0
"""Power over that of the noise from which a frequency is used."""
_BINS = 40
"""Rings of the spectrum."""
_FEWEST_BINS = 6
"""Rings that a fit of three parameters needs."""


def gaussian_psf(fwhm: float) -> NDArray[np.float64]:
    """Return a Gaussian of sum 1 and odd side; `fwhm` in pixels."""
    sigma = fwhm / FWHM_PER_SIGMA
    radius = max(1, int(np.ceil(_RADIUS * sigma)))
    profile = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    psf: NDArray[np.float64] = np.outer(profile, profile) / profile.sum() ** 2
    return psf


def fit_fwhm(plane: NDArray[np.floating]) -> float | None:
    """Fit the width of the blur to the spectrum of an image.

    The power of an image of edges and terrain falls as a power of the frequency, and a Gaussian
    blur of standard deviation s multiplies it by exp(-4 pi^2 s^2 k^2). Both are fitted together.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Finite values.

    Returns
    -------
    float or None
        FWHM in pixels; None where the image has too little structure, or shows no blur.
    """
    window = np.outer(np.hanning(plane.shape[0]), np.hanning(plane.shape[1]))
    power = np.square(np.abs(rfft2((plane - plane.mean()) * window)))
    k = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.rfftfreq(plane.shape[1]))
    high = power[(k > _NOISE_FREQUENCY) & (k <= 0.5)]
    noise = float(np.median(high)) / np.log(2) if high.size else 0.0
    edges = np.linspace(*_FREQUENCIES, _BINS + 1)
    ring = np.digitize(k.ravel(), edges) - 1
    inside = (ring >= 0) & (ring < _BINS)
    total = np.bincount(ring[inside], power.ravel()[inside], _BINS)
    number = np.bincount(ring[inside], minlength=_BINS)
    mean = total / np.maximum(number, 1) - noise
    centre = (edges[1:] + edges[:-1]) / 2
    # Up to the first ring that the noise hides: the ones above it are noise too.
    weak = np.flatnonzero(~((mean > _SIGNAL * noise) & (number > 0)))
    last = weak[0] if weak.size else _BINS
    if last < _FEWEST_BINS:
        return None
    used = np.s_[:last]
    terms = np.stack([np.ones(last), np.log(centre[used]), centre[used] ** 2], axis=1)
    solution = np.linalg.lstsq(terms, np.log(mean[used]), rcond=None)[0]
    variance = -solution[2] / (4 * np.pi**2)
    if not variance > 0:
        return None
    return float(FWHM_PER_SIGMA * np.sqrt(variance))


def richardson_lucy(
    plane: NDArray[np.floating], psf: NDArray[np.floating], iterations: int
) -> NDArray[np.floating]:
    """Deconvolve by the method of Richardson (1972) and Lucy (1974).

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Finite values; negative ones are shifted above zero for the work, and back.
    psf : ndarray, odd shape
        Of sum 1.
    iterations : int
        More sharpen more, and raise the noise.

    Returns
    -------
    ndarray, shape (ny, nx)
    """
    padded, inner = _padded(plane, psf)
    shift = min(0.0, float(padded.min()))
    observed = padded - shift
    tiny = max(float(observed.mean()), 1.0) * np.finfo(np.float32).eps
    estimate = np.maximum(observed, tiny)
    mirrored = psf[::-1, ::-1]
    for _ in range(iterations):
        model = np.maximum(convolve(estimate, psf), tiny)
        estimate = estimate * np.maximum(convolve(observed / model, mirrored), 0)
    return (estimate + shift)[inner].astype(plane.dtype)


def wiener(
    plane: NDArray[np.floating], psf: NDArray[np.floating], noise_to_signal: float
) -> NDArray[np.floating]:
    """Deconvolve by a Wiener filter with one ratio of noise to signal for all frequencies.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Finite values.
    psf : ndarray, odd shape
        Of sum 1.
    noise_to_signal : float
        Ratio of the powers, above 0; less sharpens more.

    Returns
    -------
    ndarray, shape (ny, nx)
        The mean is kept.
    """
    padded, inner = _padded(plane, psf)
    ny, nx = (next_fast_len(side, real=True) for side in padded.shape)
    transfer = transform_centred(psf.astype(np.float64), (ny, nx))
    level = float(padded.mean())
    gain = np.conj(transfer) * (1 + noise_to_signal) / (np.abs(transfer) ** 2 + noise_to_signal)
    result = irfft2(rfft2(padded - level, (ny, nx)) * gain, (ny, nx)) + level
    return np.asarray(result[inner], plane.dtype)


def _padded(
    plane: NDArray[np.floating], psf: NDArray[np.floating]
) -> tuple[NDArray[np.floating], tuple[slice, slice]]:
    """Extend a plane by its mirror image, so that edges do not ring."""
    pad = [min(side, n) for side, n in zip(psf.shape, plane.shape, strict=True)]
    padded = np.pad(plane, [(p, p) for p in pad], mode="symmetric")
    (top, left), (ny, nx) = pad, plane.shape
    return padded, (slice(top, top + ny), slice(left, left + nx))
