"""Flux consistency of sources: scale each to the flux that the data have there."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.models.filters import (
    FILTER_RADIUS,
    filter_spectra,
    gaussian_kernel,
    highest_around,
)
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.models.varying import prepare_filters

__all__ = ["FLUX_RADIUS", "FluxStep"]

FLUX_RADIUS = 16
"""Input pixels around a pixel of the result on which its factor depends."""

_GRID = 128
"""Side in input pixels of the grid on which kernels are made; above twice the filters' radius."""
_WIDE = 16.0
"""FWHM in input pixels of the aperture for light beyond the reconvolution kernel."""
_CAUTION = 4.0
"""Noise sigma of an aperture that light must exceed to be corrected in full."""
_MAX_FACTOR = 1.4
"""Largest factor, and the inverse of the least: the network is rarely off by more, and what is may
not be a star."""
_SATURATION_REACH = 12
"""Input pixels around a saturated one that are not corrected: its aperture misses light."""
_MIN_POWER = 1e-5
"""Power of the target's transfer that limits the division by it."""


class FluxStep:
    """Compare the reconvolved result with the data, and scale its sources.

    One Richardson-Lucy step in apertures as wide as the stars: the result is reconvolved (with the
    PSF of the input over the target PSF), both images are smoothed by a Gaussian of the FWHM of the
    stars, and their ratio multiplies the result where its light is well above the noise. Empty sky
    stays as it is.

    Parameters
    ----------
    conditions : Conditions
        What was measured on the plane.
    scale : int
        Output pixels per input pixel.
    keep_psf : bool
        Whether the target is the PSF of the input.
    device : str
        Where the tensors live.

    References
    ----------
    Richardson (1972), JOSA 62, 55; Lucy (1974), AJ 79, 745.
    """

    def __init__(self, conditions: Conditions, scale: int, keep_psf: bool, device: str) -> None:
        self.scale = scale
        width = max(conditions.fwhm, 1.0)
        aperture = gaussian_kernel(width, FILTER_RADIUS, device)
        wide = gaussian_kernel(_WIDE, FILTER_RADIUS, device)
        self.kernels = torch.stack([aperture, wide])
        """Gaussians for the observed image, ``(2, 2R + 1, 2R + 1)``."""
        nodes = None if keep_psf else conditions.nodes
        reconvolve = aperture[None]
        if not keep_psf:
            images = conditions.psf[None] if nodes is None else np.concatenate(nodes.images)
            target = conditions.target_fwhm / scale
            psfs = torch.from_numpy(images).to(device)
            reconvolve = torch.stack(
                [_reconvolution_kernel(psf, target, scale, aperture) for psf in psfs]
            )
        r, k = reconvolve.shape[-1] // 2, FLUX_RADIUS
        near = reconvolve[:, None, r - k : r + k + 1, r - k : r + k + 1]
        self._reconvolve = prepare_filters([near], nodes)
        noise = 1 / (math.sqrt(4 * math.pi) * width / FWHM_PER_SIGMA)
        self._floor = _CAUTION * noise * (1 + 3 * max(0.0, conditions.noise_correlation))

    def correct(
        self, result: Tensor, smooth: Tensor, mask: Tensor, origin: tuple[int, int] = (0, 0)
    ) -> Tensor:
        """Scale the sources of a result.

        Parameters
        ----------
        result : Tensor
            Shape ``(1, 1, scale * H, scale * W)``, in noise sigma.
        smooth : Tensor
            Shape ``(1, 2, H, W)``: the observed image under `kernels`.
        mask : Tensor
            Shape ``(1, 1, H, W)``, 1 where a pixel is saturated or filled in, -1 where it is the
            mirror image of another.
        origin : tuple of int
            Row and column of the frame of the first pixel.

        Returns
        -------
        Tensor
            Shape of ``result``. The outermost `FLUX_RADIUS` input pixels are not valid.
        """
        model = functional.avg_pool2d(result, self.scale) if self.scale > 1 else result
        # The light beyond the kernel is taken from the wide aperture of the data.
        far = 1 - self._reconvolve.sums((model.shape[-2], model.shape[-1]), origin)
        model = self._reconvolve(model, origin) + far * smooth[:, 1:]
        model, light = model.clamp_min(0.0), smooth[:, :1].clamp_min(0.0)
        ratio = (light + self._floor) / (model + self._floor)
        ratio = ratio.clamp(1 / _MAX_FACTOR, _MAX_FACTOR)
        weight = model**2 / (model**2 + self._floor**2)
        if bool(mask.any()):
            near = highest_around(mask.abs(), 2 * _SATURATION_REACH + 1)
            weight = weight * (1 - near)
        factor = 1 + weight * (ratio - 1)
        if self.scale > 1:
            factor = functional.interpolate(
                factor, scale_factor=self.scale, mode="bilinear", align_corners=False
            )
        return torch.where(result > 0, result * factor, result)


def _reconvolution_kernel(psf: Tensor, target_fwhm: float, scale: int, aperture: Tensor) -> Tensor:
    """Kernel from the result, averaged to input pixels, to the observed image in apertures."""
    spectra = filter_spectra(torch.stack([_framed(psf), aperture]), (_GRID, _GRID))
    fy = torch.fft.fftfreq(_GRID, device=psf.device)[:, None]
    fx = torch.fft.rfftfreq(_GRID, device=psf.device)[None, :]
    sigma = target_fwhm / FWHM_PER_SIGMA
    target = torch.exp(-2 * math.pi**2 * sigma**2 * (fy**2 + fx**2))
    # A pixel of the input is the mean of the output pixels on it.
    for frequency in (fy, fx):
        target = target * torch.sinc(frequency) / torch.sinc(frequency / scale)
    ratio = spectra[0] * spectra[1] * target / (target**2 + _MIN_POWER)
    kernel = torch.fft.fftshift(torch.fft.irfft2(ratio, s=(_GRID, _GRID)))
    c, r = _GRID // 2, FILTER_RADIUS
    return kernel[c - r : c + r + 1, c - r : c + r + 1]


def _framed(psf: Tensor) -> Tensor:
    """Bring a PSF of odd sides to the size of the filters."""
    side = 2 * FILTER_RADIUS + 1
    rows, columns = psf.shape
    top, left = (side - rows) // 2, (side - columns) // 2
    return functional.pad(psf, (left, side - columns - left, top, side - rows - top))
