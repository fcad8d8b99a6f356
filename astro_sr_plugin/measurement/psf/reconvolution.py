"""Reconvolve a result: bring it back to the PSF and the pixel grid of its input."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from typing import Any

import numpy as np
from astropy.nddata import block_reduce
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.measurement.convolution import MOST_SIZES, transform_centred
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, StarProfile, diffraction_wing

__all__ = ["REACH", "Reconvolution", "lacking_width", "smooth_stamp"]

REACH = 64
"""Pixels of the input along each edge of a piece that are wrong after `Reconvolution`: the reach of
the kernel, beyond which a PSF has some 0.1 % of its light."""

_REGULARISATION = 1e-3
"""Transfer of the result's PSF, relative to that at frequency 0, below which a frequency is
suppressed instead of divided by it."""
_TRUNCATED = 4.0
"""Radius in standard deviations of the Gaussian that smooths a stamp."""


def lacking_width(moffat: MoffatProfile, wanted_fwhm: float) -> float:
    """Return the Gaussian width in pixels that undersampled stars lack to a wanted FWHM, or 0."""
    observed = StarProfile(moffat.fwhm, moffat.beta).observed
    return float(np.sqrt(max(wanted_fwhm**2 - observed**2, 0.0))) * gaussian_fwhm_to_sigma


def smooth_stamp(stamp: NDArray[Any], width: float) -> NDArray[Any]:
    """Smooth what falls to 0 within an array, by a Gaussian of a width in pixels; it grows."""
    if not width:
        return stamp
    wider = np.pad(stamp, int(np.ceil(_TRUNCATED * width)))
    return np.asarray(gaussian_filter(wider, width, truncate=_TRUNCATED))


class Reconvolution:
    """Bring pieces of a result to the PSF and the pixels of the input.

    Parameters
    ----------
    psf : ndarray
        PSF of the input on its pixels, odd sides, centred. The light that its sum lacks to 1 falls
        off around it with the third power of the distance.
    target_fwhm : float or None
        FWHM of the Gaussian PSF of the result in its pixels; None if it has that of the input.
    scale : int
        Output pixels per input pixel along an axis.

    Notes
    -----
    The kernel is the PSF of the input over that of the result, in Fourier space. A result on finer
    pixels is averaged to those of the input afterwards.
    """

    def __init__(self, psf: NDArray[np.floating], target_fwhm: float | None, scale: int) -> None:
        self._psf, self._target, self._scale = _extended(psf), target_fwhm, scale
        # Of a copy, so that the transfers go with this object: it is not kept by what it keeps.
        self._transfer = lru_cache(MOST_SIZES)(copy(self)._averaged)

    def __call__(self, piece: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a piece at the PSF of the input, shape (ny, nx) of its pixels, same precision.

        The outermost `REACH` pixels are wrong: the Fourier transform is periodic.
        """
        s = self._scale
        ny, nx = (side // s for side in piece.shape)
        if self._target is None:
            return np.asarray(block_reduce(piece, s, np.mean)) if s > 1 else piece
        # Only what the pixels of the input can hold is left.
        low = fft.rfft(piece, axis=1)[:, : nx // 2 + 1]
        spectrum = _low_rows(fft.fft(low, axis=0, overwrite_x=True), ny)
        spectrum *= self._transfer((ny * s, nx * s))
        result: NDArray[np.floating] = fft.irfft2(spectrum, s=(ny, nx))
        return result

    def _averaged(self, shape: tuple[int, int]) -> NDArray[np.complex128]:
        """Return the kernel's transfer to the means of the pixels of the input."""
        s, result = self._scale, self._low(shape)
        if s > 1:
            for axis, frequencies in enumerate(self._frequencies(shape)):
                # The first pixels of the two grids lie at the same places.
                mean = sum(np.exp(2j * np.pi * frequencies * i) for i in range(s)) / s**2
                result = result * np.expand_dims(mean, 1 - axis)
        return result

    def transfer(self, shape: tuple[int, int]) -> NDArray[np.complex128]:
        """Return the kernel's transfer on the frequencies of `scipy.fft.rfft2` for a piece."""
        low = self._low(shape)
        if self._scale == 1:
            return low
        fine = np.zeros((shape[0], shape[1] // 2 + 1), dtype=complex)
        hy, hx = ((n // self._scale + 1) // 2 for n in shape)
        fine[:hy, :hx], fine[-hy + 1 :, :hx] = low[:hy, :hx], low[-hy + 1 :, :hx]
        return fine

    def _frequencies(
        self, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Frequencies of a piece that the pixels of the input can hold, per output pixel."""
        ny, nx = (n // self._scale for n in shape)
        return _low_rows(fft.fftfreq(shape[0]), ny), fft.rfftfreq(shape[1])[: nx // 2 + 1]

    def _low(self, shape: tuple[int, int]) -> NDArray[np.complex128]:
        """Return the kernel's transfer on these frequencies; it has no finer ones."""
        s, target = self._scale, self._target or 0.0
        rows, columns = self._frequencies(shape)
        fy, fx = rows[:, None], columns[None, :]
        sigma = target * gaussian_fwhm_to_sigma
        result = np.exp(-2.0 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
        for f in (fy, fx):
            # The mean over the s pixels that make one of the input.
            result = result * sum(np.cos(2 * np.pi * f * (i - (s - 1) / 2)) for i in range(s)) / s
        optics = self._optics(shape[0] // s, shape[1] // s)
        transfer: NDArray[np.complex128] = optics * result / (result**2 + _REGULARISATION**2)
        # What is sharper than the result at some frequencies does not sharpen it there.
        return transfer / np.maximum(1.0, np.abs(transfer))

    def _optics(self, ny: int, nx: int) -> NDArray[np.complex128]:
        """Return the transfer of the input's PSF on the frequencies of its pixels."""
        optics = transform_centred(self._psf.astype(np.float64), (ny, nx))
        if self._scale > 1:
            # Of the highest frequency of even sides, the finer pixels would need both signs.
            if ny % 2 == 0:
                optics[ny // 2] = 0.0
            if nx % 2 == 0:
                optics[:, nx // 2] = 0.0
        return optics


def _low_rows(spectrum: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the rows of a spectrum that as many rows of an image can hold."""
    if count == len(spectrum):
        return spectrum
    first = (count + 1) // 2
    return np.concatenate([spectrum[:first], spectrum[first - count :]])


def _extended(psf: NDArray[np.floating]) -> NDArray[np.floating]:
    """Enlarge a square PSF to `REACH`: beyond it, light falls with the third power of distance."""
    half, rest = psf.shape[0] // 2, 1.0 - float(psf.sum())
    if half >= REACH or rest <= 0:
        return psf
    # Of the light beyond a square, that beyond one of twice its side is a half.
    wide = rest * (1.0 - half / REACH) * diffraction_wing(REACH, half)
    inner = slice(REACH - half, REACH + half + 1)
    wide[inner, inner] = psf
    return wide
