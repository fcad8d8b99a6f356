"""Classical rivals at their best: given the true PSF and noise, and stopped by the truth.

All work on one plane less its true background, in ADU, and return the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

__all__ = [
    "anscombe",
    "bm3d_denoise",
    "inverse_anscombe",
    "resize",
    "richardson_lucy",
    "wiener",
]

Array = NDArray[np.float64]

_STOPS = (1, 2, 3, 4, 6, 8, 11, 15, 20, 27, 36, 48, 64, 85, 110, 140, 180, 240, 320)
_PAD = 32


def resize(image: Array, method: str, factor: int = 2) -> Array:
    """Enlarge a plane by "bicubic" (Keys, a = -0.5) or "lanczos" (3 lobes) interpolation."""
    chosen = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[method]
    ny, nx = image.shape
    plane = Image.fromarray(image.astype(np.float32))
    return np.asarray(plane.resize((factor * nx, factor * ny), chosen), dtype=np.float64)


def anscombe(image: Array, poisson: float, sigma: float) -> Array:
    """Return the generalised Anscombe transform: noise of 1 at every level.

    The variance of the image is ``poisson * image + sigma**2`` (Starck, Murtagh & Bijaoui 1998).
    """
    inside = poisson * image + 0.375 * poisson**2 + sigma**2
    return 2.0 / poisson * np.sqrt(np.clip(inside, 0.0, None))


def inverse_anscombe(transformed: Array, poisson: float, sigma: float) -> Array:
    """Return the asymptotically unbiased inverse of `anscombe`."""
    half = transformed * poisson / 2.0
    return half**2 / poisson - 0.125 * poisson - sigma**2 / poisson


def bm3d_denoise(
    image: Array, clean: Array, poisson: float, sigma: float, *, correlated: bool
) -> Array:
    """Denoise by BM3D between Anscombe transforms, with the true noise.

    Parameters
    ----------
    image, clean : numpy.ndarray
        The observation and its noise-free truth, from which the noise spectrum is taken.
    poisson, sigma : float
        The true noise model.
    correlated : bool
        Try the true noise spectrum and larger levels of white noise too, and keep what is nearest
        to the truth.

    Returns
    -------
    numpy.ndarray
        The denoised plane.

    Raises
    ------
    ImportError
        If the `bm3d` package (non-commercial licence) is not installed.
    """
    from bm3d import bm3d  # type: ignore[import-untyped]

    stable = anscombe(image, poisson, sigma)
    results = [bm3d(stable, sigma_psd=1.0)]
    if correlated:
        noise = stable - anscombe(clean, poisson, sigma)
        spectrum = np.abs(fft.fft2(noise)) ** 2
        spectrum = ndimage.gaussian_filter(spectrum, 6.0, mode="wrap")
        with _trapz():
            results.append(bm3d(stable, sigma_psd=spectrum))
        results.extend(bm3d(stable, sigma_psd=level) for level in (1.6,))
    planes = [inverse_anscombe(np.asarray(r).squeeze(), poisson, sigma) for r in results]
    return min(planes, key=lambda plane: _error(plane, clean, sigma))


def richardson_lucy(
    image: Array,
    background: Array,
    psf: Array,
    target_fwhm: float,
    score: Callable[[Array], float],
    *,
    factor: int = 1,
) -> Array:
    """Deconvolve by Richardson & Lucy, returning the best iterate by the truth.

    Both the estimate and the estimate smoothed to the target PSF are tried, with the background
    in the model and with it subtracted first.

    Parameters
    ----------
    image, background : numpy.ndarray
        The observation less its background, and the background, of one plane.
    psf : numpy.ndarray
        The true PSF on the output's grid, sum 1, odd side.
    target_fwhm : float
        FWHM of the truth in output pixels.
    score : callable
        Distance of a plane of the output from the truth.
    factor : int
        2: the estimate is on a grid twice as fine, whose 2 x 2 means are observed; 4 alike.

    Returns
    -------
    numpy.ndarray
        The best plane, less the background.
    """
    best, least = image, np.inf
    smooth = target_fwhm * gaussian_fwhm_to_sigma
    for offset in (np.zeros_like(background), background):
        observed = np.pad(np.clip(image + offset, 1e-3 * np.std(image), None), _PAD, mode="reflect")
        floor = np.pad(offset, _PAD, mode="reflect")
        blur, adjoint = _convolutions(psf, observed.shape[0] * factor)
        estimate = np.clip(np.pad(image, _PAD, mode="reflect"), np.std(image) * 1e-2, None)
        estimate = estimate.repeat(factor, axis=0).repeat(factor, axis=1)
        crop = (slice(_PAD * factor, -_PAD * factor),) * 2
        worse, least_here = 0, np.inf
        for step in range(1, _STOPS[-1] + 1):
            model = _bin(blur(estimate), factor) + floor
            ratio = observed / np.clip(model, 1e-6, None)
            estimate *= adjoint(ratio.repeat(factor, axis=0).repeat(factor, axis=1))
            np.clip(estimate, 1e-12, None, out=estimate)
            if step not in _STOPS:
                continue
            tries = (estimate[crop], ndimage.gaussian_filter(estimate, smooth)[crop])
            errors = [score(plane) for plane in tries]
            worse = 0 if min(errors) < least_here else worse + 1
            least_here = min(least_here, *errors)
            if min(errors) < least:
                least = min(errors)
                best = tries[int(np.argmin(errors))].copy()
            if worse == 3:
                break
    return best


def wiener(
    image: Array,
    clean: Array,
    truth: Array,
    psf: Array,
    target_fwhm: float,
    score: Callable[[Array], float],
) -> Array:
    """Return the best Wiener filter to the target PSF with the true signal and noise spectra.

    The spectra are radial averages of those of the truth and of the true noise. As that filter
    serves the brightest stars and leaves noise in the sky, weaker signals down to 1e-5 are tried
    too, and the result nearest to the truth by `score` is returned.
    """
    pad = [np.pad(plane, _PAD, mode="reflect") for plane in (image, image - clean, truth)]
    n = pad[0].shape[0]
    k = np.hypot(fft.fftfreq(n)[:, None], fft.rfftfreq(n)[None, :])
    ring = np.round(k * n).astype(int)
    count = np.bincount(ring.ravel())

    def spectrum(plane: Array) -> Array:
        power = np.abs(fft.rfft2(plane)) ** 2
        return (np.bincount(ring.ravel(), power.ravel()) / count)[ring]

    noise, signal = spectrum(pad[1]), spectrum(pad[2])
    optics = _transfer(psf, n)
    target = np.exp(-2.0 * (np.pi * k * target_fwhm * gaussian_fwhm_to_sigma) ** 2)
    observed = fft.rfft2(pad[0])
    planes = []
    for weaker in np.logspace(0, -5, 11):
        true = weaker * signal
        gain = np.conj(optics) * target * true
        gain /= np.abs(optics) ** 2 * true + noise * target**2 + 1e-30 * signal.max()
        planes.append(fft.irfft2(observed * gain, s=(n, n))[_PAD:-_PAD, _PAD:-_PAD])
    return min(planes, key=score)


@contextmanager
def _trapz() -> Iterator[None]:
    """Give NumPy back the old name of trapezoid that the bm3d package still calls."""
    missing = not hasattr(np, "trapz")
    if missing:
        np.trapz = np.trapezoid  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if missing:
            del np.trapz  # type: ignore[attr-defined]


def _error(plane: Array, truth: Array, sigma: float) -> float:
    difference = np.arcsinh(plane / (3 * sigma)) - np.arcsinh(truth / (3 * sigma))
    return float(np.mean(difference**2))


def _transfer(psf: Array, n: int) -> NDArray[np.complex128]:
    kernel = np.zeros((n, n))
    side, half = psf.shape[0], psf.shape[0] // 2
    kernel[:side, :side] = psf
    return np.asarray(fft.rfft2(np.roll(kernel, (-half, -half), axis=(0, 1))))


def _convolutions(psf: Array, n: int) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    transfer = _transfer(psf, n)

    def apply(plane: Array, factor: NDArray[Any]) -> Array:
        return np.asarray(fft.irfft2(fft.rfft2(plane) * factor, s=(n, n)))

    return lambda plane: apply(plane, transfer), lambda plane: apply(plane, np.conj(transfer))


def _bin(plane: Array, factor: int) -> Array:
    if factor == 1:
        return plane
    n = plane.shape[0] // factor
    return plane.reshape(n, factor, n, factor).mean(axis=(1, 3))
