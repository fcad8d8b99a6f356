"""Training of a diffusion model: one pass, its expected error, and samples of that error."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from astro_sr_plugin.models.diffusion.residual import ResidualDiffusion
from astro_sr_plugin.models.diffusion.sampler import Sampling, draw_samples
from astro_sr_plugin.training.loop import TrainState, autocast
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.losses import PictureLoss
from astro_sr_plugin.training.pictures.source import PatchSource, draw_batch

__all__ = ["calibrate", "diffusion_loss", "sampling_figures"]

_SAMPLE_WEIGHT = 0.2
"""Weight of the expected error, and of the samples, to 1 of the picture: all three have gradients
of the same order at their outputs, and the encoder serves the picture first."""
_WITHIN = 0.6827
"""Part of normal errors within one standard deviation."""
_TWO_SIGMA = 1.96
"""Standard deviations within which 95 % of normal errors lie."""
_FITTED = 192
"""Patches that the spread of the samples is fitted on."""
_APART = 1000
"""Pixels from patch to patch in the field of noise, so that each has noise of its own."""
_CAUCHY = 2.67
"""Factor of squared errors over their expected ones with which that is, of normal errors, their
standard deviation; found by numerical integration."""
_MOST_ERROR = 8.0
"""Errors over their expected size are limited to this: beyond it lie single pixels of cores."""


def diffusion_loss(
    state: TrainState[nn.Module],
    config: PictureConfig,
    source: PatchSource,
    rng: torch.Generator,
    device: str,
) -> Callable[[int], Tensor]:
    """Return the function that draws a batch and returns the loss of all parts of the network.

    The picture of one pass has the losses of the settings. The expected error is that of a Cauchy
    distribution around it, so that the few large errors of cores do not decide. The samples learn
    by the squared error of the velocity (Salimans & Ho 2022), at angles of the noise that are
    uniform from 0 to 90 degrees.
    """
    losses = [PictureLoss(stage.losses) for stage in config.stages]
    net = cast(ResidualDiffusion, state.net)
    inner = config.inner

    def loss_of(stage: int) -> Tensor:
        observed, truth = draw_batch(source, config, stage, rng)
        with autocast(device, config.precision):
            seen = net.begin(observed)
        missed = (truth - seen.mean.detach()) / seen.log_spread.exp()
        spread = seen.log_spread + torch.log1p(_CAUCHY * missed.square())
        error = missed.detach().clamp(-_MOST_ERROR, _MOST_ERROR)
        angle = 0.5 * math.pi * torch.rand(len(truth), generator=rng, device=rng.device)
        noise = torch.randn(truth.shape, generator=rng, device=rng.device)
        cosine, sine = (part[:, None, None, None] for part in (angle.cos(), angle.sin()))
        with autocast(device, config.precision):
            velocity = net.velocity(seen.features, cosine * error + sine * noise, angle)
        wanted = cosine * noise - sine * error
        sampling = (velocity - wanted)[inner].square().mean() + spread[inner].mean()
        picture: Tensor = losses[stage](seen.mean[inner], truth[inner])
        return picture + _SAMPLE_WEIGHT * sampling

    return loss_of


def calibrate(
    net: ResidualDiffusion, config: PictureConfig, source: PatchSource, rng: torch.Generator
) -> None:
    """Widen samples until the truth is within a standard deviation as often as for normal errors.

    Parameters
    ----------
    net : ResidualDiffusion
        Changed in place.
    config : PictureConfig
        The run.
    source : PatchSource
        Pictures and skies of the training.
    rng : torch.Generator
        Source of randomness.
    """
    net.calibration.fill_(1.0)
    drawn = _draw(net, config, source, _FITTED, rng)
    ratios = torch.cat([errors.abs() / spreads for errors, spreads, _ in drawn])
    net.calibration.fill_(ratios.flatten().kthvalue(round(_WITHIN * ratios.numel())).values)


def sampling_figures(
    net: ResidualDiffusion,
    config: PictureConfig,
    source: PatchSource,
    patches: int,
    rng: torch.Generator,
) -> dict[str, float]:
    """Measure the samples of a network with the default sampling, on stretched planes.

    Parameters
    ----------
    net : ResidualDiffusion
        The network, calibrated.
    config : PictureConfig
        The run.
    source : PatchSource
        Pictures and skies that it was not trained on.
    patches : int
        How many are drawn.
    rng : torch.Generator
        Source of randomness.

    Returns
    -------
    dict
        ``samples_gain_db``, the PSNR of the mean of the samples over that of one pass;
        ``coverage_68`` and ``coverage_95``, how
        often the truth lies within 1 and 1.96 standard deviations of it; ``spread_correlation`` of
        the standard deviation with the size of the error; ``calibration``, the factor that the
        spread took.
    """
    drawn = list(_draw(net, config, source, patches, rng))
    gains = [
        10 * float(torch.log10(first.square().mean() / errors.square().mean()))
        for errors, _, first in drawn
    ]
    errors, spreads, _ = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    sizes = errors.abs()
    within = [float((sizes < width * spreads).float().mean()) for width in (1.0, _TWO_SIGMA)]
    both = torch.stack([sizes.flatten(), spreads.flatten()])
    return {
        "samples_gain_db": sum(gains) / len(gains),
        "coverage_68": within[0],
        "coverage_95": within[1],
        "spread_correlation": float(torch.corrcoef(both)[0, 1]),
        "calibration": float(net.calibration),
    }


def _draw(
    net: ResidualDiffusion,
    config: PictureConfig,
    source: PatchSource,
    patches: int,
    rng: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield for a patch the error of the mean of the samples, its expected size, that of a pass."""
    sampling = Sampling()
    done = 0
    while done < patches:
        for observed, truth in zip(
            *draw_batch(source, config, len(config.stages) - 1, rng), strict=True
        ):
            with torch.inference_mode():
                samples = draw_samples(net, observed[None], sampling, (0, _APART * done))
                first = net(observed[None])[0]
            inner, true = samples[config.inner], truth[config.inner]
            spread = torch.sqrt(inner.var(0) * (1 + 1 / len(inner)))
            yield inner.mean(0) - true, spread, first[config.inner] - true
            done += 1
