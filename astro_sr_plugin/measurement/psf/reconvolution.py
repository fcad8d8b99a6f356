"""Reconvolve a result: bring it back to the PSF and the pixel grid of its input."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.nddata import block_reduce
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter

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
        self._transfers: dict[tuple[int, int], NDArray[np.complex128]] = {}

    def __call__(self, piece: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return a piece at the PSF of the input, shape (ny, nx) of its pixels, same precision.

        The outermost `REACH` pixels are wrong: the Fourier transform is periodic.
        """
        shape, s = (piece.shape[0], piece.shape[1]), self._scale
        if self._target is None:
            return np.asarray(block_reduce(piece, s, np.mean)) if s > 1 else piece
        if shape not in self._transfers:
            self._transfers[shape] = self.transfer(shape)
        spectrum = fft.rfft2(piece)
        spectrum *= self._transfers[shape]
        result: NDArray[np.floating] = fft.irfft2(spectrum, s=shape)
        return result.reshape(shape[0] // s, s, shape[1] // s, s).mean(axis=(1, 3))

    def transfer(self, shape: tuple[int, int]) -> NDArray[np.complex128]:
        """Return the kernel's transfer on the frequencies of `scipy.fft.rfft2` for a piece."""
        s, target = self._scale, self._target or 0.0
        fy, fx = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])[None, :]
        sigma = target * gaussian_fwhm_to_sigma
        result = np.exp(-2.0 * (np.pi * sigma) ** 2 * (fy**2 + fx**2))
        for f in (fy, fx):
            # The mean over the s pixels that make one of the input.
            result = result * sum(np.cos(2 * np.pi * f * (i - (s - 1) / 2)) for i in range(s)) / s
        optics = self._optics(shape)
        transfer: NDArray[np.complex128] = optics * result / (result**2 + _REGULARISATION**2)
        # What is sharper than the result at some frequencies does not sharpen it there.
        return transfer / np.maximum(1.0, np.abs(transfer))

    def _optics(self, shape: tuple[int, int]) -> NDArray[np.complex128]:
        """Return the transfer of the input's PSF on the output's frequencies; finer ones are 0."""
        ny, nx = (n // self._scale for n in shape)
        # Of a PSF that is larger than the piece, the middle counts.
        psf = self._psf[
            tuple(
                slice(max(0, side // 2 - (n - 1) // 2), side // 2 + (n - 1) // 2 + 1)
                for side, n in zip(self._psf.shape, (ny, nx), strict=True)
            )
        ]
        height, width = psf.shape
        stamp = np.zeros((ny, nx))
        stamp[:height, :width] = psf
        coarse = fft.rfft2(np.roll(stamp, (-(height // 2), -(width // 2)), (0, 1)))
        if self._scale == 1:
            return np.asarray(coarse)
        fine = np.zeros((shape[0], shape[1] // 2 + 1), dtype=complex)
        hy, hx = (ny + 1) // 2, (nx + 1) // 2
        fine[:hy, :hx], fine[-hy + 1 :, :hx] = coarse[:hy, :hx], coarse[-hy + 1 :, :hx]
        return fine


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
