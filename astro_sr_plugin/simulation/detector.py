"""What the camera and the registration of its frames do: noise, correlation, saturation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Registrations", "add_noise", "count_photons", "make_registrations", "saturate"]

_LEAST_VARIANCE = 0.1
"""Least variance of a pixel over that of the sky, in the darkest clouds: the read noise."""
_MOST_FRAMES = 24
"""Frames of a stack at most."""


@dataclass(frozen=True)
class Registrations:
    """How registering (or demosaicing) frames blurs the signal and correlates the noise.

    Attributes
    ----------
    signal : Tensor
        Transfer functions of the signal on the fine grid, complex, shape ``(B, n, n // 2 + 1)``.
    noise : Tensor
        Amplitudes of the noise spectrum on the detector grid, for noise of standard deviation 1.
    variance : Tensor
        Shape ``(B,)``: second moment that the registration adds to the PSF along each axis, in
        square pixels.
    correlation : Tensor
        Shape ``(B,)``: correlation of the noise of neighbouring pixels, mean of x and y.
    """

    signal: Tensor
    noise: Tensor
    variance: Tensor
    correlation: Tensor


def _interpolation_taps(linear: Tensor, shift: Tensor) -> Tensor:
    """Weights of the pixels at -1 to 2 for linear or Keys cubic (a = -0.5) interpolation.

    Both of one shape; the weights stand in a new last axis.
    """
    s = shift
    cubic = torch.stack(
        [
            -0.5 * s + s**2 - 0.5 * s**3,
            1 - 2.5 * s**2 + 1.5 * s**3,
            0.5 * s + 2 * s**2 - 1.5 * s**3,
            -0.5 * s**2 + 0.5 * s**3,
        ],
        dim=-1,
    )
    two = torch.stack([torch.zeros_like(s), 1 - s, s, torch.zeros_like(s)], dim=-1)
    return torch.where(linear[..., None], two, cubic)


def _axis_transfer(weights: Tensor, shift: Tensor, f: Tensor) -> Tensor:
    """Transfer function along one axis of each interpolation, about the place asked for."""
    place = torch.arange(-1, 3, device=shift.device)
    phase = -2 * math.pi * (place - shift[..., None])[..., None] * f
    return (torch.polar(torch.ones_like(phase), phase) * weights[..., None]).sum(-2)


def make_registrations(
    count: int, size: int, oversample: int, rng: torch.Generator
) -> Registrations:
    """Draw ways of making a stack: registered dithered frames, or a Bayer matrix.

    Parameters
    ----------
    count : int
        How many, at least 1.
    size : int
        Side of the patch in detector pixels.
    oversample : int
        Fine pixels per detector pixel.
    rng : torch.Generator
        Source of randomness.

    Notes
    -----
    The noise of the mean of registered frames has the mean power of the frames' interpolation
    kernels; the signal is blurred by their mean transfer.
    """
    device = rng.device
    n = size * oversample
    fy_fine = torch.fft.fftfreq(n, device=device) * oversample
    fx_fine = torch.fft.rfftfreq(n, device=device) * oversample
    fy, fx = torch.fft.fftfreq(size, device=device), torch.fft.rfftfreq(size, device=device)

    def box(y: Tensor, x: Tensor) -> Tensor:
        return _half_cosine(y)[:, None] * _half_cosine(x)[None, :]

    def cross(y: Tensor, x: Tensor) -> Tensor:
        return _cross(y[:, None], x[None, :])

    pick = torch.rand(count, generator=rng, device=device)
    # Bayer, red or blue: bilinear kernel; green: the cross.
    colour, green = (pick < 0.2)[:, None, None], ((pick >= 0.2) & (pick < 0.35))[:, None, None]
    one = torch.ones(1, device=device)
    signal = torch.where(colour, box(fy_fine, fx_fine), one)
    signal = torch.where(green, cross(fy_fine, fx_fine), signal)
    power = torch.where(colour, box(fy, fx) ** 2, one)
    power = torch.where(green, cross(fy, fx) ** 2, power)
    variance = 0.5 * colour[:, 0, 0] + 0.25 * green[:, 0, 0]

    dithered = pick > 0.15
    linear = (torch.rand(count, generator=rng, device=device) < 0.5)[:, None, None]
    frames = torch.randint(1, _MOST_FRAMES + 1, (count,), generator=rng, device=device)
    shift = torch.rand(count, _MOST_FRAMES, 2, generator=rng, device=device)
    taken = torch.arange(_MOST_FRAMES, device=device) < frames[:, None]
    share = taken / frames[:, None]
    weights = _interpolation_taps(linear.expand_as(shift), shift)

    def axis(which: int, f: Tensor) -> Tensor:
        return _axis_transfer(weights[:, :, which], shift[:, :, which], f)

    mean_signal = (axis(0, fy_fine) * share[..., None]).mT @ axis(1, fx_fine)
    mean_power = (axis(0, fy).abs() ** 2 * share[..., None]).mT @ axis(1, fx).abs() ** 2
    signal = torch.where(dithered[:, None, None], signal * mean_signal, signal)
    power = torch.where(dithered[:, None, None], power * mean_power, power)
    # The mean of both axes of the second moment of the two weights.
    spread = ((shift * (1 - shift)).mean(2) * share).sum(1)
    variance = variance + spread * (linear[:, 0, 0] & dithered)

    weight = torch.full_like(power, 2.0)
    weight[..., 0] = 1.0
    if size % 2 == 0:
        weight[..., -1] = 1.0
    total = (weight * power).sum((1, 2))
    lag_x = (weight * power * torch.cos(2 * math.pi * fx)[None, :]).sum((1, 2)) / total
    lag_y = (weight * power * torch.cos(2 * math.pi * fy)[:, None]).sum((1, 2)) / total
    amplitude = torch.sqrt(power * (size**2 / total)[:, None, None])
    return Registrations(signal, amplitude, variance, (lag_x + lag_y) / 2)


def _half_cosine(f: Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.cos(2 * math.pi * f)


def _cross(fy: Tensor, fx: Tensor) -> Tensor:
    return 0.5 + 0.25 * (torch.cos(2 * math.pi * fy) + torch.cos(2 * math.pi * fx))


def add_noise(
    image: Tensor,
    gain: Tensor,
    amplitude: Tensor | None,
    rng: torch.Generator,
    white: Tensor | None = None,
) -> Tensor:
    """Add Poisson-Gaussian noise whose sky level is 1 per pixel.

    Parameters
    ----------
    image : Tensor
        Noise-free images in sky sigma, shape ``(B, H, W)``, background 0.
    gain : Tensor
        Shape ``(B,)``: the variance is ``1 + image / gain``, where the image is dark too.
    amplitude : Tensor or None
        Amplitude of the noise spectrum, ``(B, H, W // 2 + 1)``; None for white noise.
    rng : torch.Generator
        Source of randomness.
    white : Tensor, optional
        White noise of standard deviation 1 in place of new one, of the shape of the images.
    """
    noise = torch.randn(image.shape, generator=rng, device=image.device) if white is None else white
    noise = noise * torch.sqrt((1 + image / gain[:, None, None]).clamp_min(_LEAST_VARIANCE))
    if amplitude is not None:
        noise = torch.fft.irfft2(torch.fft.rfft2(noise) * amplitude, s=image.shape[-2:])
    return image + noise


def count_photons(image: Tensor, electrons: Tensor, rng: torch.Generator) -> Tensor:
    """Count photons where the sky is a few electrons a pixel; its noise is again 1.

    Parameters
    ----------
    image : Tensor
        Noise-free images in sky sigma, shape ``(B, H, W)``, background 0.
    electrons : Tensor
        Shape ``(B,)``: electrons per pixel of the sky, whose square root is the gain of
        `add_noise`.
    rng : torch.Generator
        Source of randomness.
    """
    unit = electrons.sqrt()[:, None, None]
    mean = (image * unit + electrons[:, None, None]).clamp_min(0)
    return (torch.poisson(mean, generator=rng) - electrons[:, None, None]) / unit


def saturate(image: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Cut images at ``level`` (shape ``(B,)``); return them and the mask of saturated pixels."""
    limit = level[:, None, None]
    return torch.minimum(image, limit), image >= limit
