"""From a scene to what the telescope records, and to the truth that a network should return."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from astro_sr_plugin.simulation.detector import add_noise, make_registration, saturate
from astro_sr_plugin.simulation.optics import (
    add_spikes,
    gaussian_transfer,
    make_moffat,
    pixel_transfer,
    to_transfer,
)
from astro_sr_plugin.simulation.scene import OVERSAMPLE
from astro_sr_plugin.tasks import TASKS

__all__ = ["Observation", "ObservationConfig", "observe"]


@dataclass(frozen=True)
class ObservationConfig:
    """Ranges from which optics and detector are drawn; all lengths in detector pixels.

    Attributes
    ----------
    task : str
        ``"denoise"`` (truth: the same PSF without noise), ``"deconvolve"`` (Gaussian target PSF),
        ``"super-resolve"`` (Gaussian target PSF on the grid twice as fine) or ``"remove-stars"``
        (the same PSF without noise, once with and once without stars).
    fwhm, beta, ellipticity : tuple of float
        Moffat parameters of the true PSF.
    fwhm_error : tuple of float
        Least and greatest relative 1-sigma error of the FWHM that the network is given, drawn
        log-uniformly for each patch; that of beta is six times as large.
    correlated_probability, saturation_probability, spike_probability : float
        How often noise is correlated, bright stars saturate, and stars have diffraction spikes.
    hot_pixel_probability, quantise_probability : float
        How often a patch has hot pixels, and steps as coarse as the noise.
    edge_probability : float
        How often a patch shows the edges of a frame, with its mirror image beyond them.
    """

    task: str = "deconvolve"
    fwhm: tuple[float, float] = (1.4, 8.2)
    beta: tuple[float, float] = (2.0, 10.0)
    ellipticity: float = 0.3
    fwhm_error: tuple[float, float] = (0.025, 0.025)
    correlated_probability: float = 0.5
    saturation_probability: float = 0.15
    spike_probability: float = 0.25
    hot_pixel_probability: float = 0.04
    quantise_probability: float = 0.06
    edge_probability: float = 0.0


@dataclass(frozen=True)
class Observation:
    """A batch of observed patches, their truth, and what a measurement would find.

    Attributes
    ----------
    observed : Tensor
        ``(B, 1, H, W)`` in sky sigma, background near 0.
    mask : Tensor
        ``(B, 1, H, W)``, 1 where saturated, -1 beyond the edges of a frame.
    truth : Tensor
        ``(B, 1, sH, sW)``, noise-free at the target PSF; ``(B, 2, H, W)`` for ``"remove-stars"``.
    fwhm, beta, ellipticity, theta : Tensor
        ``(B,)``: the PSF as measured, with errors.
    target_fwhm : Tensor
        ``(B,)``: FWHM of the Gaussian target in output pixels (for denoise: equal to ``fwhm``).
    noise_correlation : Tensor
        ``(B,)``: lag-1 correlation of the noise as measured.
    """

    observed: Tensor
    mask: Tensor
    truth: Tensor
    fwhm: Tensor
    beta: Tensor
    ellipticity: Tensor
    theta: Tensor
    target_fwhm: Tensor
    noise_correlation: Tensor


class _Draw:
    """Random numbers of one batch."""

    def __init__(self, batch: int, rng: torch.Generator) -> None:
        self.batch, self.rng = batch, rng

    def uniform(self, low: float, high: float) -> Tensor:
        values = torch.rand(self.batch, generator=self.rng, device=self.rng.device)
        return values * (high - low) + low

    def log_uniform(self, low: float, high: float) -> Tensor:
        return torch.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self) -> Tensor:
        return torch.randn(self.batch, generator=self.rng, device=self.rng.device)

    def chance(self, probability: float) -> Tensor:
        return self.uniform(0, 1) < probability


def _target_fwhm(config: ObservationConfig, fwhm: Tensor, draw: _Draw) -> Tensor:
    """Draw the default target for four patches of five, else any between it and no change."""
    if TASKS[config.task].keeps_psf:
        return fwhm
    scale = TASKS[config.task].trained_scale
    default = (fwhm * scale / 2).clamp_min(2.0)
    free = default + draw.uniform(0, 1) * (fwhm * scale - default).clamp_min(0)
    return torch.where(draw.chance(0.2), free, default)


def _frame_edges(size: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Lay a frame over half of a patch, along rows, columns or both.

    Returns the rows and the columns to take, mirrored about the first and the last of the frame so
    that the patch stays periodic, and which pixels lie beyond it.
    """
    device = rng.device
    drawn = float(torch.rand(1, generator=rng, device=device))
    taken, beyond = [], []
    for mirrored in (drawn < 0.6, drawn >= 0.4):
        first = int(torch.randint(size, (1,), generator=rng, device=device))
        place = (torch.arange(size, device=device) - first) % size
        outside = (place > size // 2) & mirrored
        taken.append((torch.where(outside, size - place, place) + first) % size)
        beyond.append(outside)
    return taken[0], taken[1], beyond[0][:, None] | beyond[1][None, :]


def observe(spectra: Tensor, config: ObservationConfig, rng: torch.Generator) -> Observation:
    """Observe a batch of scenes, each through optics, noise and measurement errors of its own.

    Parameters
    ----------
    spectra : Tensor
        ``(B, 2, n, n // 2 + 1)`` spectra from `make_scene`.
    config : ObservationConfig
        Ranges to draw from.
    rng : torch.Generator
        Source of randomness, on the device of ``spectra``.

    Returns
    -------
    Observation
        With ``H = W = n / OVERSAMPLE``.
    """
    batch, _, n = spectra.shape[:3]
    size = n // OVERSAMPLE
    device = spectra.device
    draw = _Draw(batch, rng)

    fwhm = draw.log_uniform(*config.fwhm)
    beta = draw.log_uniform(*config.beta)
    ellipticity = config.ellipticity * draw.uniform(0, 1) ** 2
    theta = draw.uniform(0, math.pi)
    psf = make_moffat(n, fwhm, beta, ellipticity, theta)
    spiked = draw.chance(config.spike_probability)
    if bool(spiked.any()):
        arms = 4 if float(torch.rand(1, generator=rng, device=device)) < 0.6 else 6
        strength = spiked * draw.uniform(0.01, 0.08)
        psf = add_spikes(psf, strength, arms, theta, 0.25 * fwhm)
    optics = to_transfer(psf) * pixel_transfer(n, device)

    width_squared = fwhm**2
    correlation = torch.zeros(batch, device=device)
    amplitude = torch.ones(batch, size, size // 2 + 1, device=device)
    for i in torch.nonzero(draw.chance(config.correlated_probability)).flatten().tolist():
        registration = make_registration(size, OVERSAMPLE, rng)
        optics[i] = optics[i] * registration.signal
        amplitude[i] = registration.noise
        width_squared[i] += 8 * math.log(2) * registration.variance
        correlation[i] = registration.correlation
    observed_fwhm = width_squared.sqrt()

    target = _target_fwhm(config, observed_fwhm, draw)
    fy = torch.fft.fftfreq(n, device=device)[:, None]
    fx = torch.fft.rfftfreq(n, device=device)[None, :]
    # Detector centres lie half a fine pixel beyond every second fine pixel.
    to_detector = torch.polar(torch.ones_like(fy * fx), 2 * math.pi * 0.5 * (fy + fx))
    everything = spectra.sum(1)

    def detected(spectrum: Tensor) -> Tensor:
        return torch.fft.irfft2(spectrum * to_detector, s=(n, n))[:, ::2, ::2]

    clean = detected(everything * optics)
    if config.task == "deconvolve":
        truth = detected(everything * gaussian_transfer(n, target))[:, None]
    elif config.task == "super-resolve":
        truth = torch.fft.irfft2(everything * gaussian_transfer(n, target / 2), s=(n, n))[:, None]
    else:
        truth = clean[:, None]
        if config.task == "remove-stars":
            truth = torch.stack([clean, detected(spectra[:, 1] * optics)], dim=1)

    # Sources much brighter than the sky make the noise that the measurement finds; the pedestal and
    # gradient left by the background estimate go into both images.
    gain = draw.log_uniform(3.0, 1000.0)
    observed = add_noise(clean, gain, amplitude, rng)
    level = torch.where(
        draw.chance(config.saturation_probability),
        draw.log_uniform(100.0, 30000.0),
        torch.full((batch,), float("inf"), device=device),
    )
    observed, saturated = saturate(observed, level)
    for i in torch.nonzero(draw.chance(config.hot_pixel_probability)).flatten().tolist():
        count = int(torch.randint(1, 12, (1,), generator=rng, device=device))
        y, x = torch.randint(size, (2, count), generator=rng, device=device)
        heights = torch.exp(torch.rand(count, generator=rng, device=device) * 6 + 1.5)
        observed[i, y, x] += heights
    step = torch.where(
        draw.chance(config.quantise_probability), draw.uniform(0.1, 1.0), draw.uniform(1e-3, 2e-3)
    )[:, None, None]
    observed = torch.round(observed / step) * step

    scale_error = (1 + 0.01 * draw.normal())[:, None, None]
    waves = 0.6 * torch.stack([draw.normal(), draw.normal()])[:, :, None]
    phases = torch.stack([draw.uniform(0, 1), draw.uniform(0, 1)])[:, :, None]
    pedestal = (0.4 * draw.normal())[:, None, None]

    def background(side: int) -> Tensor:
        place = (torch.arange(side, device=device) + 0.5) / side
        wave = waves * torch.sin(2 * math.pi * (place + phases))
        return pedestal + wave[0][:, :, None] + wave[1][:, None, :]

    observed = (observed + background(size)) * scale_error
    truth = (truth + background(truth.shape[-1])[:, None]) * scale_error[:, None]

    observed, mask = observed[:, None], saturated[:, None].float()
    for i in torch.nonzero(draw.chance(config.edge_probability)).flatten().tolist():
        rows, columns, beyond = _frame_edges(size, rng)
        observed[i] = observed[i][:, rows][:, :, columns]
        mask[i] = torch.where(beyond, -1.0, mask[i][:, rows][:, :, columns])

    psf_error = draw.log_uniform(*config.fwhm_error)
    error = 1 + psf_error * draw.normal()
    return Observation(
        observed=observed,
        mask=mask,
        truth=truth,
        fwhm=observed_fwhm * error,
        beta=(beta * torch.exp(6 * psf_error * draw.normal())).clamp(1.6, 10.0),
        ellipticity=(ellipticity + 0.02 * draw.normal()).clamp(0.0, 0.5),
        theta=theta + 0.05 * draw.normal(),
        target_fwhm=observed_fwhm * error if TASKS[config.task].keeps_psf else target,
        noise_correlation=correlation + 0.02 * draw.normal(),
    )
