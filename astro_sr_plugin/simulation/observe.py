"""From a scene to what the telescope records, and to the truth that a network should return."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from astro_sr_plugin.simulation.bank import PSFBank
from astro_sr_plugin.simulation.detector import (
    add_noise,
    count_photons,
    make_registrations,
    saturate,
)
from astro_sr_plugin.simulation.estimate import Wings, effective_psf, estimate_psf
from astro_sr_plugin.simulation.faults import (
    add_hot_pixels,
    bleed,
    mirror_beyond_area,
    mirror_beyond_frame,
    punch_holes,
    quantise,
)
from astro_sr_plugin.simulation.optics import (
    add_spikes,
    add_wide_wings,
    gaussian_transfer,
    make_moffat,
    pixel_transfer,
    to_transfer,
)
from astro_sr_plugin.simulation.scene import OVERSAMPLE, chance
from astro_sr_plugin.tasks import TASKS

__all__ = ["Observation", "ObservationConfig", "observe"]

_SHALLOW, _SHALLOW_BETA = 0.05, (1.3, 2.0)
"""Share of Moffat profiles whose wings hold much of the light, and their exponents."""
_WINGS_SHARE, _WINGS_WIDTH, _WINGS_BETA = (0.01, 0.4), (1.0, 6.0), (1.3, 2.5)
"""Wide wings: fraction of the light, FWHM over that of the core, exponent."""
_GAIN = (3.0, 1000.0)
"""Light in sky sigma at which a pixel has twice the variance of the sky."""
_FEW_ELECTRONS = (0.4, 10.0)
"""Electrons per pixel of the sky of images that few photons made."""
_COARSE_STEP = (0.1, 3.0)
"""Steps in sky sigma of images of few levels, such as those of 8 bits."""
_FIT_ERROR = 0.7
"""Relative error of a fitted FWHM times the SNR of the star."""
_ONE_TELESCOPE, _SEEING = 0.8, 0.08
"""How often all planes of an image come from one telescope, and the scatter of the natural
logarithm of their FWHM."""
_SHARED_NOISE, _MOST_SHARED = 0.5, 0.7
"""How often planes share noise, as after an interpolation of missing colours that takes detail from
one plane to the others, and the largest share of the variance."""
_COPIES = 0.1
"""How often a plane is the copy of another, as in palettes of two filters and in gray pictures."""
_NARROW = 2.5
"""FWHM in pixels below which the verbs mostly give networks the Moffat profile alone."""
_MORE_STARS = (2.0, 100.0)
"""SNR of all stars together over that which explains the error of the FWHM: stars differ from each
other, and more of them cure noise only."""


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
    edge_probability, missing_probability, hole_probability : float
        How often a patch shows the edges of a frame or an area without data, both with its mirror
        image beyond them, or small holes that are filled in.
    bleeding_probability : float
        How often the light of saturated stars runs along the columns.
    photon_probability : float
        How often images of white noise count single photons.
    wings_probability : float
        How often the PSF has wide wings.
    moffat_probability : float
        How often the PSF that the network is given is a Moffat profile, as of few stars.
    narrow_moffat_probability : float
        How often it is one where stars are narrower than 2.5 pixels: the verbs mostly give that.
    bank_probability : float
        How often the PSF is one of `bank`.
    planes : int
        Planes of an image, which follow each other in a batch: they mostly share their optics, and
        their target.
    bank : PSFBank or None
        PSFs that are not Moffat profiles.
    """

    task: str = "deconvolve"
    fwhm: tuple[float, float] = (1.15, 8.2)
    beta: tuple[float, float] = (2.0, 10.0)
    ellipticity: float = 0.3
    fwhm_error: tuple[float, float] = (0.025, 0.025)
    correlated_probability: float = 0.5
    saturation_probability: float = 0.15
    spike_probability: float = 0.25
    hot_pixel_probability: float = 0.06
    quantise_probability: float = 0.08
    edge_probability: float = 0.0
    missing_probability: float = 0.0
    hole_probability: float = 0.08
    bleeding_probability: float = 0.4
    photon_probability: float = 0.06
    wings_probability: float = 0.12
    moffat_probability: float = 0.12
    narrow_moffat_probability: float = 0.0
    bank_probability: float = 0.55
    planes: int = 1
    bank: PSFBank | None = field(default=None, compare=False, repr=False)


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
    psf : Tensor
        ``(B, 2R + 1, 2R + 1)``, ``R = PSF_RADIUS``: the effective PSF as estimated, sum 1.
    fwhm, beta, ellipticity, theta : Tensor
        ``(B,)``: its Moffat profile as measured, with errors.
    target_fwhm : Tensor
        ``(B,)``: FWHM of the Gaussian target in output pixels (for denoise: equal to ``fwhm``).
    noise_correlation : Tensor
        ``(B,)``: lag-1 correlation of the noise as measured.
    """

    observed: Tensor
    mask: Tensor
    truth: Tensor
    psf: Tensor
    fwhm: Tensor
    beta: Tensor
    ellipticity: Tensor
    theta: Tensor
    target_fwhm: Tensor
    noise_correlation: Tensor


class _Draw:
    """Random numbers of one batch, the same for so many patches that follow each other."""

    def __init__(self, batch: int, rng: torch.Generator, alike: int = 1) -> None:
        self.batch, self.rng, self.alike = batch, rng, alike

    @property
    def different(self) -> int:
        """How many numbers are drawn."""
        return self.batch // self.alike

    def repeat(self, values: Tensor) -> Tensor:
        """Give each of the different numbers to all patches that are alike."""
        return values.repeat_interleave(self.alike, dim=0)

    def uniform(self, low: float, high: float) -> Tensor:
        values = torch.rand(self.different, generator=self.rng, device=self.rng.device)
        return self.repeat(values * (high - low) + low)

    def log_uniform(self, low: float, high: float) -> Tensor:
        return torch.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self) -> Tensor:
        return self.repeat(torch.randn(self.different, generator=self.rng, device=self.rng.device))

    def chance(self, probability: float) -> Tensor:
        return self.uniform(0, 1) < probability

    def taken(self, probability: float) -> list[list[int]]:
        """Draw to which patches something happens: lists of those that are alike."""
        happens = self.chance(probability)[:: self.alike]
        firsts = (torch.nonzero(happens).flatten() * self.alike).tolist()
        return [list(range(first, first + self.alike)) for first in firsts]


def _target_fwhm(config: ObservationConfig, fwhm: Tensor, draw: _Draw) -> Tensor:
    """Draw the default target for four patches of five, else any between it and no change."""
    if TASKS[config.task].keeps_psf:
        return fwhm
    scale = TASKS[config.task].trained_scale
    # One target for all planes of an image, as for its widest plane.
    fwhm = draw.repeat(fwhm.unflatten(0, (-1, draw.alike)).amax(1))
    default = (fwhm * scale / 2).clamp_min(2.0)
    free = default + draw.uniform(0, 1) * (fwhm * scale - default).clamp_min(0)
    return torch.where(draw.chance(0.2), free, default)


@dataclass(frozen=True)
class _Optics:
    """Optics, registration and noise of a batch.

    Attributes
    ----------
    transfer : Tensor
        On the fine grid, pixel included, ``(B, n, n // 2 + 1)``.
    fitted : tuple of Tensor
        FWHM, beta, ellipticity and theta of the Moffat profile that fits it.
    wings : Wings
        What it has beyond.
    amplitude : Tensor
        Amplitude of the noise spectrum, ``(B, H, H // 2 + 1)``.
    correlation : Tensor
        Lag-1 correlation of the noise.
    """

    transfer: Tensor
    fitted: tuple[Tensor, Tensor, Tensor, Tensor]
    wings: Wings
    amplitude: Tensor
    correlation: Tensor


def _draw_psf(
    n: int, config: ObservationConfig, draw: _Draw
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor], Wings]:
    """Draw PSFs on the fine torus before the pixel, their Moffat profiles and their wide wings."""
    rng, device = draw.rng, draw.rng.device
    fwhm = draw.log_uniform(*config.fwhm)
    if draw.alike > 1:
        fwhm = fwhm * torch.exp(_SEEING * torch.randn(draw.batch, generator=rng, device=device))
    beta = draw.log_uniform(*config.beta)
    beta = torch.where(draw.chance(_SHALLOW), draw.log_uniform(*_SHALLOW_BETA), beta)
    ellipticity = config.ellipticity * draw.uniform(0, 1) ** 2
    theta = draw.uniform(0, math.pi)
    psf = make_moffat(n, fwhm, beta, ellipticity, theta)
    spiked = draw.chance(config.spike_probability)
    if bool(spiked.any()):
        arms = 4 if float(torch.rand(1, generator=rng, device=device)) < 0.6 else 6
        strength = spiked * draw.uniform(0.01, 0.08)
        psf = add_spikes(psf, strength, arms, theta, 0.25 * fwhm)
    if config.bank is not None:
        other = config.bank.draw(draw.different, n, rng)
        taken = draw.chance(config.bank_probability)
        psf = torch.where(taken[:, None, None], draw.repeat(other.images), psf)
        fwhm, beta, ellipticity, theta = (
            torch.where(taken, draw.repeat(new), old)
            for new, old in zip(
                (other.fwhm, other.beta, other.ellipticity, other.theta),
                (fwhm, beta, ellipticity, theta),
                strict=True,
            )
        )
    winged = draw.chance(config.wings_probability)
    wings = Wings(
        winged * draw.log_uniform(*_WINGS_SHARE),
        fwhm * draw.log_uniform(*_WINGS_WIDTH),
        draw.log_uniform(*_WINGS_BETA),
    )
    if bool(winged.any()):
        psf = add_wide_wings(psf, wings.share, wings.fwhm, wings.beta)
    return psf, (fwhm, beta, ellipticity, theta), wings


def _draw_optics(n: int, config: ObservationConfig, draw: _Draw) -> _Optics:
    """Draw optics, and how frames were registered to an image."""
    rng, device, size = draw.rng, draw.rng.device, n // OVERSAMPLE
    psf, (fwhm, beta, ellipticity, theta), wings = _draw_psf(n, config, draw)
    optics = to_transfer(psf) * pixel_transfer(n, device)
    width_squared = fwhm**2
    correlation = torch.zeros(draw.batch, device=device)
    amplitude = torch.ones(draw.batch, size, size // 2 + 1, device=device)
    stacked = draw.chance(config.correlated_probability)
    if bool(stacked.any()):
        # One registration for the planes that are alike, which follow each other.
        made = make_registrations(int(stacked.sum()) // draw.alike, size, OVERSAMPLE, rng)
        optics[stacked] *= draw.repeat(made.signal)
        amplitude[stacked] = draw.repeat(made.noise)
        width_squared[stacked] += 8 * math.log(2) * draw.repeat(made.variance)
        correlation[stacked] = draw.repeat(made.correlation)
    fitted = (width_squared.sqrt(), beta, ellipticity, theta)
    return _Optics(optics, fitted, wings, amplitude, correlation)


def _detect(
    clean: Tensor, optics: _Optics, config: ObservationConfig, draw: _Draw
) -> tuple[Tensor, Tensor]:
    """Record noise-free images ``(B, H, H)``; return them, and which pixels are saturated."""
    rng, device = draw.rng, clean.device
    # Sources much brighter than the sky make the noise that the measurement finds.
    gain = draw.log_uniform(*_GAIN)
    white = None if config.planes == 1 else _shared_noise(clean.shape[-2:], config, draw)
    observed = add_noise(clean, gain, optics.amplitude, rng, white)
    starved = draw.chance(config.photon_probability) & (optics.correlation == 0)
    electrons = draw.log_uniform(*_FEW_ELECTRONS)
    if bool(starved.any()):
        observed[starved] = count_photons(clean[starved], electrons[starved], rng)
    level = torch.where(
        draw.chance(config.saturation_probability),
        draw.log_uniform(100.0, 30000.0),
        torch.full((draw.batch,), float("inf"), device=device),
    )
    recorded, saturated = saturate(observed, level)
    bleeding = draw.chance(config.bleeding_probability) & level.isfinite()
    if bool(bleeding.any()):
        well = level[bleeding][:, None, None]
        beyond = (observed[bleeding] / well - 1).clamp_min(0)
        saturated[bleeding] = bleed(saturated[bleeding], beyond)
        recorded[bleeding] = torch.where(saturated[bleeding], well, recorded[bleeding])
    for i in torch.nonzero(draw.chance(config.hot_pixel_probability)).flatten().tolist():
        add_hot_pixels(recorded[i], rng)
    coarse = draw.chance(config.quantise_probability)
    step = torch.where(coarse, draw.log_uniform(*_COARSE_STEP), draw.uniform(1e-3, 2e-3))
    return quantise(recorded, step), saturated


def _shared_noise(shape: torch.Size, config: ObservationConfig, draw: _Draw) -> Tensor:
    """Draw white noise of which the planes of an image may have a part in common."""
    image = _Draw(draw.batch, draw.rng, config.planes)
    share = image.chance(_SHARED_NOISE) * image.uniform(0, _MOST_SHARED)

    def white(count: int) -> Tensor:
        return torch.randn(count, *shape, generator=draw.rng, device=draw.rng.device)

    share = share[:, None, None]
    common = image.repeat(white(image.different))
    return (1 - share).sqrt() * white(draw.batch) + share.sqrt() * common


def _with_copies(seen: Observation, planes: int, rng: torch.Generator) -> Observation:
    """Return a batch in which some planes of an image are copies of another."""
    pick = torch.arange(len(seen.fwhm), device=rng.device).unflatten(0, (-1, planes))
    for own in pick:
        if chance(rng, _COPIES):
            copies = torch.randperm(planes, generator=rng, device=rng.device)
            count = int(torch.randint(1, planes, (1,), generator=rng, device=rng.device))
            own[copies[1 : 1 + count]] = own[copies[0]].clone()
    chosen = pick.flatten()
    return Observation(*(getattr(seen, part.name)[chosen] for part in fields(seen)))


def observe(spectra: Tensor, config: ObservationConfig, rng: torch.Generator) -> Observation:
    """Observe a batch of scenes, each through optics, noise and measurement errors of its own.

    Parameters
    ----------
    spectra : Tensor
        ``(B, 2, n, n // 2 + 1)`` spectra from `make_scene`, or of the planes of `make_planes`.
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
    draw, image = _Draw(batch, rng), _Draw(batch, rng, config.planes)

    one = config.planes == 1 or chance(rng, _ONE_TELESCOPE)
    optics = _draw_optics(n, config, image if one else draw)
    observed_fwhm, beta, ellipticity, theta = optics.fitted
    target = _target_fwhm(config, observed_fwhm, image)
    fy = torch.fft.fftfreq(n, device=device)[:, None]
    fx = torch.fft.rfftfreq(n, device=device)[None, :]
    # Detector centres lie half a fine pixel beyond every second fine pixel.
    to_detector = torch.polar(torch.ones_like(fy * fx), 2 * math.pi * 0.5 * (fy + fx))
    everything = spectra.sum(1)

    def detected(spectrum: Tensor) -> Tensor:
        return torch.fft.irfft2(spectrum * to_detector, s=(n, n))[:, ::2, ::2]

    clean = detected(everything * optics.transfer)
    if config.task == "deconvolve":
        truth = detected(everything * gaussian_transfer(n, target))[:, None]
    elif config.task == "super-resolve":
        truth = torch.fft.irfft2(everything * gaussian_transfer(n, target / 2), s=(n, n))[:, None]
    else:
        truth = clean[:, None]
        if config.task == "remove-stars":
            truth = torch.stack([clean, detected(spectra[:, 1] * optics.transfer)], dim=1)

    observed, saturated = _detect(clean, optics, config, draw)
    # The pedestal and gradient left by the background estimate go into both images.
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
    for i in torch.nonzero(draw.chance(config.hole_probability)).flatten().tolist():
        observed[i], mask[i] = punch_holes(observed[i], mask[i], rng)
    for planes in image.taken(config.missing_probability):
        # All planes of an image end where the sky does.
        state = rng.get_state()
        for i in planes:
            rng.set_state(state)
            observed[i], mask[i] = mirror_beyond_area(observed[i], mask[i], rng)
    edged = image.chance(config.edge_probability)
    if bool(edged.any()):
        frames = mirror_beyond_frame(int(edged.sum()) // image.alike, size, rng)
        rows, columns, beyond = (image.repeat(each) for each in frames)
        own = torch.arange(len(rows), device=device)[:, None, None]
        place = (own, 0, rows[:, :, None], columns[:, None, :])
        observed[edged] = observed[edged][place][:, None]
        mask[edged] = torch.where(beyond, -1.0, mask[edged][place])[:, None]

    psf_error = draw.log_uniform(*config.fwhm_error)
    found = (
        observed_fwhm * (1 + psf_error * draw.normal()),
        (beta * torch.exp(6 * psf_error * draw.normal())).clamp(1.25, 20.0),
        (ellipticity + 0.8 * psf_error * draw.normal()).clamp(0.0, 0.6),
        theta + 0.05 * draw.normal(),
    )
    snr = _FIT_ERROR / psf_error * draw.log_uniform(*_MORE_STARS)
    narrow = draw.chance(config.narrow_moffat_probability) & (observed_fwhm < _NARROW)
    profile_alone = draw.chance(config.moffat_probability) | narrow
    snr = torch.where(profile_alone, torch.full_like(snr, 1e-3), snr)
    truth_psf = effective_psf(optics.transfer, n)
    seen = Observation(
        observed=observed,
        mask=mask,
        truth=truth,
        psf=estimate_psf(truth_psf, optics.fitted, found, optics.wings, snr, rng),
        fwhm=found[0],
        beta=found[1].clamp(1.6, 10.0),
        ellipticity=found[2].clamp_max(0.5),
        theta=found[3],
        target_fwhm=found[0] if TASKS[config.task].keeps_psf else target,
        noise_correlation=optics.correlation + 0.02 * draw.normal(),
    )
    return seen if config.planes == 1 else _with_copies(seen, config.planes, rng)
