"""Point-spread functions, as real images on the fine grid and as transfer functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.simulation.scene import OVERSAMPLE

__all__ = [
    "PSF_RADIUS",
    "add_spikes",
    "add_wide_wings",
    "gaussian_transfer",
    "make_moffat",
    "moffat_stamps",
    "pixel_transfer",
    "to_transfer",
]

PSF_RADIUS = 32
"""Detector pixels on each side of the middle of an effective PSF."""

_SUBSAMPLES = 3
"""Samples per pixel along each axis that integrate a profile over the pixel."""


def _wrapped(n: int, device: torch.device) -> Tensor:
    """Distance from the origin along one axis of the torus, in detector pixels."""
    return torch.fft.fftfreq(n, d=1 / n, device=device) / OVERSAMPLE


def make_moffat(n: int, fwhm: Tensor, beta: Tensor, ellipticity: Tensor, theta: Tensor) -> Tensor:
    """Render Moffat profiles centred on the origin of the fine torus.

    Parameters
    ----------
    n : int
        Side of the fine grid.
    fwhm, beta, ellipticity, theta : Tensor
        Shape ``(B,)``: geometric-mean full width at half maximum in detector pixels, Moffat
        exponent, ``1 - minor/major``, and the angle of the major axis from +x in radians.

    Returns
    -------
    Tensor
        Shape ``(B, n, n)``, each of sum 1.

    Notes
    -----
    Moffat (1969), A&A 3, 455: ``(1 + (r/alpha)**2)**-beta``.
    """
    image = _profile(_wrapped(n, fwhm.device), fwhm, beta, ellipticity, theta)
    return image / image.sum((-2, -1), keepdim=True)


def _profile(
    grid: Tensor, fwhm: Tensor, beta: Tensor, ellipticity: Tensor, theta: Tensor
) -> Tensor:
    """Moffat profiles of peak 1 at the places of a grid along both axes."""
    dx, dy = grid[None, None, :], grid[None, :, None]
    cos, sin = torch.cos(theta)[:, None, None], torch.sin(theta)[:, None, None]
    q = (1 - ellipticity)[:, None, None].sqrt()
    major = (dx * cos + dy * sin) * q
    minor = (dy * cos - dx * sin) / q
    beta = beta[:, None, None]
    alpha = fwhm[:, None, None] / (2 * torch.sqrt(2 ** (1 / beta) - 1))
    return torch.exp(-beta * torch.log1p((major**2 + minor**2) / alpha**2))


def moffat_stamps(fwhm: Tensor, beta: Tensor, ellipticity: Tensor, theta: Tensor) -> Tensor:
    """Moffat profiles integrated over the detector pixel: ``(B, 2R + 1, 2R + 1)``, sum 1.

    The parameters are those of `make_moffat`, R is `PSF_RADIUS`.
    """
    side = 2 * PSF_RADIUS + 1
    place = (torch.arange(side * _SUBSAMPLES, device=fwhm.device) + 0.5) / _SUBSAMPLES - 0.5
    fine = _profile(place - PSF_RADIUS, fwhm, beta, ellipticity, theta)
    image = torch.nn.functional.avg_pool2d(fine[:, None], _SUBSAMPLES)[:, 0]
    return image / image.sum((-2, -1), keepdim=True)


def add_wide_wings(psf: Tensor, share: Tensor, fwhm: Tensor, beta: Tensor) -> Tensor:
    """Mix a wide round Moffat profile into PSFs, keeping their sum.

    Parameters
    ----------
    psf : Tensor
        Shape ``(B, n, n)``, sum 1, centred on the origin.
    share : Tensor
        Shape ``(B,)``: fraction of the light that goes into the wings.
    fwhm, beta : Tensor
        Shape ``(B,)``: their profile, as of `make_moffat`.
    """
    round_ = torch.zeros_like(fwhm)
    wings = make_moffat(psf.shape[-1], fwhm, beta, round_, round_)
    return psf + share[:, None, None] * (wings - psf)


def add_spikes(psf: Tensor, strength: Tensor, arms: int, angle: Tensor, width: Tensor) -> Tensor:
    """Mix diffraction spikes into PSFs, keeping their sum.

    Parameters
    ----------
    psf : Tensor
        Shape ``(B, n, n)``, sum 1, centred on the origin.
    strength : Tensor
        Shape ``(B,)``: fraction of the light that goes into the spikes.
    arms : int
        4 for a cross of two vanes, 6 for three.
    angle, width : Tensor
        Shape ``(B,)``: angle of the first arm in radians, thickness (sigma) in detector pixels.
    """
    grid = _wrapped(psf.shape[-1], psf.device)
    dx, dy = grid[None, None, :], grid[None, :, None]
    spikes = torch.zeros_like(psf)
    for arm in range(arms // 2):
        phi = (angle + math.pi * arm / (arms // 2))[:, None, None]
        along = dx * torch.cos(phi) + dy * torch.sin(phi)
        across = dy * torch.cos(phi) - dx * torch.sin(phi)
        spikes += torch.exp(-0.5 * (across / width[:, None, None]) ** 2) / (1 + (along / 3) ** 2)
    spikes /= spikes.sum((-2, -1), keepdim=True)
    weight = strength[:, None, None]
    return (1 - weight) * psf + weight * spikes


def to_transfer(psf: Tensor) -> Tensor:
    """Transfer function of origin-centred PSFs, ``(B, n, n)`` to complex ``(B, n, n // 2 + 1)``."""
    return torch.fft.rfft2(psf)


def _frequencies(n: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Frequencies of the fine grid in cycles per detector pixel."""
    fy = torch.fft.fftfreq(n, device=device)[:, None] * OVERSAMPLE
    fx = torch.fft.rfftfreq(n, device=device)[None, :] * OVERSAMPLE
    return fy, fx


def pixel_transfer(n: int, device: torch.device) -> Tensor:
    """Transfer function of the square detector pixel, shape ``(n, n // 2 + 1)``."""
    fy, fx = _frequencies(n, device)
    return torch.sinc(fy) * torch.sinc(fx)


def gaussian_transfer(n: int, fwhm: Tensor) -> Tensor:
    """Transfer functions of Gaussians of ``fwhm`` detector pixels, shape ``(B, n, n // 2 + 1)``."""
    fy, fx = _frequencies(n, fwhm.device)
    sigma = (fwhm / FWHM_PER_SIGMA)[:, None, None]
    return torch.exp(-2 * math.pi**2 * sigma**2 * (fy**2 + fx**2))
