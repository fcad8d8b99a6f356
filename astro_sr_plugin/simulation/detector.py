"""What the camera and the registration of its frames do: noise, correlation, saturation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Registration", "add_noise", "count_photons", "make_registration", "saturate"]

_LEAST_VARIANCE = 0.1
"""Least variance of a pixel over that of the sky, in the darkest clouds: the read noise."""


@dataclass(frozen=True)
class Registration:
    """How registering (or demosaicing) frames blurs the signal and correlates the noise.

    Attributes
    ----------
    signal : Tensor
        Transfer function of the signal on the fine grid, complex, shape ``(n, n // 2 + 1)``.
    noise : Tensor
        Amplitude of the noise spectrum on the detector grid, for noise of standard deviation 1.
    variance : float
        Second moment that the registration adds to the PSF along each axis, in square pixels.
    correlation : float
        Correlation of the noise of neighbouring pixels, mean of x and y.
    """

    signal: Tensor
    noise: Tensor
    variance: float
    correlation: float


def _interpolation_taps(order: str, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and weights of linear or Keys cubic (a = -0.5) interpolation at ``shift``."""
    if order == "linear":
        position = torch.tensor([0.0, 1.0], device=shift.device)
        weight = torch.stack([1 - shift, shift])
    else:
        position = torch.tensor([-1.0, 0.0, 1.0, 2.0], device=shift.device)
        s = shift
        weight = torch.stack(
            [
                -0.5 * s + s**2 - 0.5 * s**3,
                1 - 2.5 * s**2 + 1.5 * s**3,
                0.5 * s + 2 * s**2 - 1.5 * s**3,
                -0.5 * s**2 + 0.5 * s**3,
            ]
        )
    return position, weight


def _axis_transfer(position: Tensor, weight: Tensor, shift: Tensor, f: Tensor) -> Tensor:
    phase = -2 * math.pi * f[:, None] * (position - shift)[None, :]
    return (torch.polar(torch.ones_like(phase), phase) * weight[None, :]).sum(1)


def make_registration(size: int, oversample: int, rng: torch.Generator) -> Registration:
    """Draw one way of making a stack: registered dithered frames, or a Bayer matrix.

    Parameters
    ----------
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
    pick = float(torch.rand(1, generator=rng, device=device))
    signal: Tensor = torch.ones(n, n // 2 + 1, dtype=torch.complex64, device=device)
    power = torch.ones(size, size // 2 + 1, device=device)
    variance = 0.0
    if pick < 0.35:  # Bayer, red or blue: bilinear kernel; green: the cross
        if pick < 0.2:
            signal = signal * _half_cosine(fy_fine)[:, None] * _half_cosine(fx_fine)[None, :]
            power = power * (_half_cosine(fy)[:, None] * _half_cosine(fx)[None, :]) ** 2
            variance += 0.5
        else:
            cross = _cross(fy_fine[:, None], fx_fine[None, :])
            signal, power = signal * cross, power * _cross(fy[:, None], fx[None, :]) ** 2
            variance += 0.25
    if pick > 0.15:
        order = "linear" if float(torch.rand(1, generator=rng, device=device)) < 0.5 else "cubic"
        frames = int(torch.randint(1, 25, (1,), generator=rng, device=device))
        mean_signal = torch.zeros_like(signal)
        mean_power = torch.zeros_like(power)
        for _ in range(frames):
            sy, sx = torch.rand(2, generator=rng, device=device)
            py, wy = _interpolation_taps(order, sy)
            px, wx = _interpolation_taps(order, sx)
            mean_signal += (
                _axis_transfer(py, wy, sy, fy_fine)[:, None]
                * _axis_transfer(px, wx, sx, fx_fine)[None, :]
            )
            mean_power += (
                _axis_transfer(py, wy, sy, fy).abs()[:, None] ** 2
                * _axis_transfer(px, wx, sx, fx).abs()[None, :] ** 2
            )
            if order == "linear":
                variance += float(sy * (1 - sy) + sx * (1 - sx)) / 2 / frames
        signal, power = signal * mean_signal / frames, power * mean_power / frames
    weight = torch.full_like(power, 2.0)
    weight[:, 0] = 1.0
    if size % 2 == 0:
        weight[:, -1] = 1.0
    total = (weight * power).sum()
    lag_x = (weight * power * torch.cos(2 * math.pi * fx)[None, :]).sum() / total
    lag_y = (weight * power * torch.cos(2 * math.pi * fy)[:, None]).sum() / total
    amplitude = torch.sqrt(power * size**2 / total)
    return Registration(signal, amplitude, variance, float(lag_x + lag_y) / 2)


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
