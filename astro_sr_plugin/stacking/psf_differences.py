"""By what the PSFs of frames differ, so that frames of unlike seeing make one sharp image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF
from astro_sr_plugin.measurement.sky.pixels import open_plane
from astro_sr_plugin.stacking.bands import Light, StackSettings
from astro_sr_plugin.stacking.measuring import read_calibrated

__all__ = ["measure_light", "psf_difference", "sharp_fwhm"]

_SHARP = 25.0
"""Percentile of the FWHM of the frames to which the image belongs: of sharp frames, not of the one
that is sharpest by chance."""
_SIGNIFICANT = 0.06
"""Relative difference of two FWHM below which PSFs are the same: some errors of a FWHM."""
_RADIUS = 8
"""Radius in pixels of the frame of the images of the PSFs."""
_REACH = 4
"""Radius in fine pixels of a difference."""
_REGULARISATION = 0.03
"""Transfer of the sharper PSF below which the difference is that of Gaussians."""


def sharp_fwhm(lights: list[Light]) -> float:
    """Return the FWHM of the sharp frames in pixels; NaN if it is not known."""
    known = [light.fwhm for light in lights if np.isfinite(light.fwhm)]
    return float(np.percentile(known, _SHARP)) if known else float("nan")


def measure_light(lights: list[Light], settings: StackSettings, number: int) -> EmpiricalPSF | None:
    """Measure the PSF of a frame.

    Returns
    -------
    EmpiricalPSF or None
        Of its first plane; None for a mosaic, and where no star can be measured.
    """
    light = lights[number]
    if settings.cfa is not None:
        return None
    values = read_calibrated(light.frame, light.masters)
    values.reshape(*values.shape[:-2], -1)[..., light.excluded] = np.nan
    plane = values if values.ndim == 2 else values[len(values) // 2]
    psf = MeasuredPlane(open_plane(plane)).empirical_psf
    return psf if np.isfinite(psf.moffat.fwhm) else None


def psf_difference(
    own: tuple[float, EmpiricalPSF | None],
    sharp: tuple[float, EmpiricalPSF | None],
    jacobian: NDArray[np.float64],
    scale: int,
) -> NDArray[np.float64] | None:
    """Find what the PSF of a frame has beside that of the sharp ones.

    Parameters
    ----------
    own, sharp : (float, EmpiricalPSF or None)
        FWHM in pixels, and the PSF where it is measured, of the frame and of a sharp one.
    jacobian : ndarray, shape (2, 2)
        Fine pixels (x, y) per pixel (x, y) of the frame.
    scale : int
        Fine pixels per pixel of the reference.

    Returns
    -------
    ndarray, shape (9, 9), or None
        On the fine grid, sum 1: the ratio of both PSFs in Fourier space, where the sharp one has
        light, and that of Gaussians of their FWHM elsewhere. None where the frame is as sharp.
    """
    size = float(np.sqrt(abs(np.linalg.det(jacobian)))) / scale
    width = own[0] * size
    if not width > (1 + _SIGNIFICANT) * sharp[0]:
        return None
    sigma = scale * np.sqrt(width**2 - sharp[0] ** 2) / FWHM_PER_SIGMA
    side = 2 * _RADIUS * scale + 1
    fy, fx = fft.fftfreq(side)[:, None], fft.rfftfreq(side)
    ratio = np.exp(-2 * (np.pi * sigma) ** 2 * (fy**2 + fx**2)).astype(complex)
    turned = np.abs(jacobian / scale - np.eye(2)).max() > _SIGNIFICANT
    if own[1] is not None and sharp[1] is not None and not turned:
        wide, narrow = (fft.rfft2(fft.ifftshift(_image(psf, scale))) for psf in (own[1], sharp[1]))
        squared = np.abs(narrow) ** 2
        share = _REGULARISATION**2
        ratio = (np.conj(narrow) * wide + share * ratio) / (squared + share)
    image = fft.fftshift(fft.irfft2(ratio, s=(side, side)))
    middle = side // 2
    part = np.s_[middle - _REACH : middle + _REACH + 1]
    found: NDArray[np.float64] = image[part, part]
    return found / found.sum()


def _image(psf: EmpiricalPSF, scale: int) -> NDArray[np.float64]:
    """Render the PSF in the middle of the frame on the fine grid; sum 1."""
    if psf.oversampling % scale:
        psf = replace(psf, residual=None)
    image = psf.image(*psf.centre, radius=_RADIUS, oversampling=scale)
    return np.asarray(image / image.sum())
