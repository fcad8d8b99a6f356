"""What an estimator of the PSF finds: the truth, drawn to a Moffat profile where stars are few."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from astro_sr_plugin.simulation.optics import PSF_RADIUS, moffat_stamps

__all__ = ["Wings", "effective_psf", "estimate_psf", "shrunk_psf"]

_SNR_UNIT = 1.505
"""Flux of a star over its SNR, noise and FWHM: ``sqrt(4 pi) / 2.355`` of a Gaussian profile under
a matched filter."""
_SMOOTH = 0.3
"""Width (sigma) over the FWHM of the least detail that the estimator looks for."""
_LEAST_SMOOTH = 0.45
"""Least such width in pixels."""
_PRIOR = 0.25
"""Standard deviation that the estimator expects of the PSF about its Moffat profile, over the
latter."""
_PRIOR_FLOOR = 0.003
"""The same far out, over the peak."""
_REACH = (5.0, 7.0)
"""Radii in FWHM between which the estimate becomes the Moffat profile."""
_GRID = 128
"""Side in pixels of the grid that noise is smoothed on; above twice `PSF_RADIUS`."""


@dataclass(frozen=True)
class Wings:
    """Round wide Moffat profiles that take a part of the light: each of shape ``(B,)``."""

    share: Tensor
    fwhm: Tensor
    beta: Tensor


def effective_psf(optics: Tensor, n: int) -> Tensor:
    """Return PSFs as detector pixels record them.

    Parameters
    ----------
    optics : Tensor
        Transfer functions on the fine grid, pixel included, ``(B, n, n // 2 + 1)``.
    n : int
        Side of the fine torus; two samples per detector pixel.

    Returns
    -------
    Tensor
        Shape ``(B, 2R + 1, 2R + 1)`` with ``R = PSF_RADIUS``, centred, sum 1; 0 beyond a torus that
        is smaller.
    """
    whole = torch.fft.irfft2(optics, s=(n, n))[:, ::2, ::2]
    reach = min(PSF_RADIUS, (n // 2 - 1) // 2)
    cut = torch.roll(whole, (reach, reach), (1, 2))[:, : 2 * reach + 1, : 2 * reach + 1]
    cut = torch.nn.functional.pad(cut, (PSF_RADIUS - reach,) * 4)
    return cut / cut.sum((1, 2), keepdim=True)


def shrunk_psf(
    truth: Tensor, profile: Tensor, noise: Tensor, fwhm: Tensor, sharp: Tensor
) -> Tensor:
    """Combine a PSF with a profile as ridge regression does, pixel by pixel.

    Parameters
    ----------
    truth, profile, noise : Tensor
        Shape ``(B, 2R + 1, 2R + 1)``: the PSF, the fitted profile, and noise of standard deviation
        1 that is as smooth as the estimate.
    fwhm : Tensor
        Shape ``(B,)``, in pixels.
    sharp : Tensor
        Shape ``(B,)``: standard deviation of that noise, in parts of the flux per pixel.
    """
    expected = _PRIOR * profile + _PRIOR_FLOOR * profile.amax((1, 2), keepdim=True)
    weight = expected**2 / (expected**2 + sharp[:, None, None] ** 2)
    place = torch.arange(-PSF_RADIUS, PSF_RADIUS + 1, device=truth.device)
    radius = torch.sqrt(place[:, None] ** 2 + place[None, :] ** 2)[None] / fwhm[:, None, None]
    near = ((_REACH[1] - radius) / (_REACH[1] - _REACH[0])).clamp(0, 1)
    return profile + near * weight * (truth + sharp[:, None, None] * noise - profile)


def _smooth_noise(width: Tensor, rng: torch.Generator) -> Tensor:
    """Return noise of standard deviation 1, smoothed by a Gaussian of ``width`` (sigma, pixels)."""
    device = width.device
    fy = torch.fft.fftfreq(_GRID, device=device)[:, None]
    fx = torch.fft.rfftfreq(_GRID, device=device)[None, :]
    transfer = torch.exp(-2 * math.pi**2 * width[:, None, None] ** 2 * (fy**2 + fx**2))
    white = torch.randn(len(width), _GRID, _GRID, generator=rng, device=device)
    side = 2 * PSF_RADIUS + 1
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * transfer, s=(_GRID, _GRID))
    return noise[:, :side, :side] / noise.std((1, 2), keepdim=True)


def estimate_psf(
    truth: Tensor,
    fitted: tuple[Tensor, Tensor, Tensor, Tensor],
    found: tuple[Tensor, Tensor, Tensor, Tensor],
    wings: Wings,
    snr: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Return the PSF that an estimator finds.

    Parameters
    ----------
    truth : Tensor
        Shape ``(B, 2R + 1, 2R + 1)``, from `effective_psf`.
    fitted, found : tuple of Tensor
        FWHM, beta, ellipticity and theta, each ``(B,)``, of the Moffat profile that fits the truth,
        and of the one that is found with errors. What both differ by stays in the estimate: it is
        that of stars that differ among each other.
    wings : Wings
        Light beyond that profile.
    snr : Tensor
        Shape ``(B,)``: SNR of all stars together, the root of the sum of squares.
    rng : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor
        Of the shape of ``truth``, sum 1, nowhere negative.

    Notes
    -----
    A star of flux F gives the PSF at a pixel to 1 / F of the noise; all give it to the root of the
    sum of the squares, and the smoothness of the estimate averages over ``4 pi width**2`` pixels.
    """
    round_ = torch.zeros_like(snr)
    halo = moffat_stamps(wings.fwhm, wings.beta, round_, round_)
    share = wings.share[:, None, None]
    profile, wrong = (moffat_stamps(*numbers) for numbers in (fitted, found))
    width = (_SMOOTH * fitted[0]).clamp_min(_LEAST_SMOOTH)
    flux = snr * _SNR_UNIT * fitted[0]
    sharp = 1 / (flux * 2 * math.sqrt(math.pi) * width)
    base = profile + share * (halo - profile)
    noise = _smooth_noise(width, rng)
    estimate = shrunk_psf(truth, base, noise, fitted[0], sharp) + (1 - share) * (wrong - profile)
    estimate = estimate.clamp_min(0)
    return estimate / estimate.sum((1, 2), keepdim=True)
