"""The image of a star through a turbulent atmosphere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fftfreq, irfft2, rfftfreq

__all__ = ["kolmogorov_stamp"]

_OVERSAMPLE = 3
"""Samples per pixel along each axis on which the transfer function is transformed."""


def kolmogorov_stamp(fwhm: float, radius: int) -> NDArray[np.float64]:
    """Render the long exposure of a star through Kolmogorov turbulence, integrated over the pixel.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum in pixels, without the pixel; at least 1.
    radius : int
        The stamp has ``2 * radius + 1`` pixels a side, the star in the middle one.

    Returns
    -------
    numpy.ndarray
        Surface brightness of a star whose light out to infinity is 1.

    Notes
    -----
    The transfer function is ``exp(-3.44 (lambda f / r0)**(5/3))``, and the FWHM
    ``0.976 lambda / r0`` (Fried 1966, JOSA 56, 1372).
    """
    side = 2 * (2 * radius + 1) * _OVERSAMPLE
    fy, fx = fftfreq(side, 1 / _OVERSAMPLE)[:, None], rfftfreq(side, 1 / _OVERSAMPLE)[None, :]
    transfer = np.exp(-3.4388 * (np.hypot(fx, fy) * fwhm / 0.9758) ** (5 / 3))
    image = irfft2(transfer * np.sinc(fy) * np.sinc(fx), s=(side, side)) * _OVERSAMPLE**2
    offsets = np.arange(-radius, radius + 1) * _OVERSAMPLE
    stamp: NDArray[np.float64] = image[np.ix_(offsets, offsets)]
    return stamp
