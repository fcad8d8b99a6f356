"""Small variants of the house network, each with one part of the recipe changed.

They are a quarter of the shipped ones and hardly trained: their differences count, not their
figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from astropy.stats import gaussian_fwhm_to_sigma
from torch import Tensor, nn
from torch.nn import functional

from astro_sr_plugin.models.wiener_unet.unet import CONDITIONS, WienerUNet, asinh
from astro_sr_plugin.simulation import (
    Observation,
    ObservationConfig,
    SceneConfig,
    make_scene,
    observe,
)
from astro_sr_plugin.training.losses import RestorationLoss
from astro_sr_plugin.training.trainer import pixel_weight, restore_batch

__all__ = ["VARIANTS", "Variant", "measure_variant", "train_variant"]

WIDTHS = (24, 48, 96)
_BATCH = 8  # patches per step
_POOL = 96  # scenes that patches are drawn from
_BORDER = 8  # pixels at the edges that are not measured
_RATE = (1e-3, 2e-5)  # learning rate at the start and at the end
_BRIGHT = 30.0  # noise sigma; least maximum whose light is compared


class PlainUNet(nn.Module):
    """The same body on the image alone: it predicts the change of ``asinh(x / 3)``."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 1
        self.body = WienerUNet(widths=WIDTHS)
        self.body.head = nn.Conv2d(8, WIDTHS[0], 3, padding=1)
        self.body.tail = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)
        nn.init.zeros_(self.body.tail.weight)
        nn.init.zeros_(self.body.tail.bias)

    def forward(
        self, observed: Tensor, mask: Tensor, estimates: Tensor, conditions: Tensor
    ) -> Tensor:
        """Return the restored image; the Wiener estimates are left unused."""
        del estimates
        body, flat = self.body, asinh(observed / 3)
        x = body.head(functional.pixel_unshuffle(torch.cat([flat, mask], dim=1), 2))
        skips = []
        for level, stage in enumerate(body.encoder):
            x = stage(x, conditions)
            if level < len(body.down):
                skips.append(x)
                x = body.down[level](x)
        for level in reversed(range(len(body.decoder))):
            x = body.decoder[level](body.up[level](x).add_(skips[level]), conditions)
        change = functional.pixel_shuffle(body.tail(x).float(), 2)
        return 3 * torch.sinh((flat + change).clamp(-8, 14))


class BiasFreeUNet(WienerUNet):
    """The house network without additive constants: conditions steer gains alone.

    References
    ----------
    Mohan et al. (2020), arXiv:1906.05478.
    """

    def __init__(self) -> None:
        super().__init__(widths=WIDTHS)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.bias = None
            elif isinstance(module, nn.Linear):
                gains = torch.zeros(module.out_features)
                gains[: module.out_features // 2] = 1
                module.weight.register_hook(lambda gradient, g=gains: gradient * g[:, None])
                module.bias.register_hook(lambda gradient, g=gains: gradient * g)


class _NAFBlock(nn.Module):
    """Block of NAFNet without its global pooling; normalised pixel by pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(channels, 2 * channels, 1)
        self.depth = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels)
        self.narrow = nn.Conv2d(channels, channels, 1)
        self.inner = nn.Conv2d(channels, 2 * channels, 1)
        self.outer = nn.Conv2d(channels, channels, 1)
        self.steer = nn.Linear(CONDITIONS, 2 * channels)
        nn.init.zeros_(self.steer.weight)
        nn.init.zeros_(self.steer.bias)
        self.sizes = nn.Parameter(torch.zeros(2, channels, 1, 1))

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        gain, offset = self.steer(conditions)[:, :, None, None].chunk(2, dim=1)
        first, second = self.depth(self.wide(_normalised(x) * (1 + gain) + offset)).chunk(2, dim=1)
        x = x + self.narrow(first * second) * self.sizes[0]
        first, second = self.inner(_normalised(x)).chunk(2, dim=1)
        return x + self.outer(first * second) * self.sizes[1]


def _normalised(x: Tensor) -> Tensor:
    mean = x.mean(1, keepdim=True)
    return (x - mean) / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-5)


class NAFUNet(WienerUNet):
    """The house network of NAF blocks, twice as many.

    References
    ----------
    Chen et al. (2022), arXiv:2204.04676.
    """

    def __init__(self) -> None:
        super().__init__(widths=WIDTHS)
        for stages in (self.encoder, self.decoder):
            for stage in stages:
                channels = stage.blocks[0].first.in_channels
                stage.blocks = nn.ModuleList(
                    _NAFBlock(channels) for _ in range(2 * len(stage.blocks))
                )


class _L1(nn.Module):
    """Mean absolute error in noise units."""

    def forward(self, output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        return (weight * (output - truth).abs() / torch.sqrt(1 + (0.02 * truth) ** 2)).mean()


class _L2(nn.Module):
    """Mean square error in noise units with a relative floor."""

    def forward(self, output: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
        return (weight * (output - truth) ** 2 / (1 + (0.02 * truth) ** 2)).mean()


@dataclass(frozen=True)
class Variant:
    """A network, its loss, and the tasks whose patches it is trained on."""

    about: str
    network: Callable[[], nn.Module]
    loss: Callable[[], nn.Module] = RestorationLoss
    tasks: tuple[str, ...] = ("deconvolve",)


def _house() -> nn.Module:
    return WienerUNet(widths=WIDTHS)


VARIANTS = {
    "house": Variant("the recipe", _house),
    "plain": Variant("no Wiener estimates: image in, image out", PlainUNet),
    "bias-free": Variant("no additive constants", BiasFreeUNet),
    "naf": Variant("NAF blocks without global pooling", NAFUNet),
    "l1": Variant("L1 in noise units instead of the sum of losses", _house, _L1),
    "l2": Variant("L2 in noise units instead of the sum of losses", _house, _L2),
    "no apertures": Variant(
        "without the loss of apertures", _house, lambda: RestorationLoss(aperture=0.0)
    ),
    "all tasks": Variant(
        "one network for denoising and deconvolution", _house, tasks=("deconvolve", "denoise")
    ),
}
"""What is compared; each is the recipe with one thing changed."""


def train_variant(variant: Variant, seconds: float, seed: int = 1) -> tuple[nn.Module, int]:
    """Train a variant for so much CPU time; return the mean of its weights, and the steps."""
    torch.manual_seed(seed)
    net, mean = variant.network(), variant.network()
    mean.load_state_dict(net.state_dict())
    loss_function = variant.loss()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE[0], weight_decay=1e-4)
    rng = torch.Generator().manual_seed(seed)
    scenes = SceneConfig(nebula_probability=0.45)
    pool = torch.stack([make_scene(scenes, rng) for _ in range(_POOL)])
    begun, step = time.process_time(), 0
    while (done := (time.process_time() - begun) / seconds) < 1:
        pool[int(torch.randint(_POOL, (1,), generator=rng))] = make_scene(scenes, rng)
        pick = torch.randint(_POOL, (_BATCH,), generator=rng)
        task = variant.tasks[step % len(variant.tasks)]
        batch = observe(pool[pick], ObservationConfig(task=task), rng)
        for group in optimizer.param_groups:
            group["lr"] = _RATE[1] + (_RATE[0] - _RATE[1]) * 0.5 * (1 + math.cos(math.pi * done))
        output = _restored(net, batch)
        b = 0 if isinstance(loss_function, RestorationLoss) else _BORDER
        inner = (..., slice(b, -b or None), slice(b, -b or None))
        weight = pixel_weight(batch)
        loss = loss_function(output[inner], batch.truth[inner], weight[inner])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.995, step / (step + 20))
        with torch.no_grad():
            for kept, new in zip(mean.parameters(), net.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
    return mean.eval(), step


def _restored(net: nn.Module, batch: Observation) -> Tensor:
    return restore_batch(net, batch)  # type: ignore[arg-type]


def measure_variant(net: nn.Module, patches: int, seed: int = 987_654) -> dict[str, float]:
    """Measure a network on deconvolution of skies of another seed.

    Returns
    -------
    dict
        ``db``: -20 log10 of the RMSE of ``asinh(x / 3 sigma)``; ``bias`` and ``scatter``: median
        and 1.4826 MAD of the relative error of the light under a Gaussian of the target's width at
        maxima of the truth above 30 sigma.
    """
    rng = torch.Generator().manual_seed(seed)
    optics = ObservationConfig(task="deconvolve", saturation_probability=0.0)
    total, ratios = 0.0, []
    with torch.inference_mode():
        for _ in range(patches):
            batch = observe(make_scene(SceneConfig(), rng)[None], optics, rng)
            output, truth = (
                image[..., _BORDER:-_BORDER, _BORDER:-_BORDER]
                for image in (_restored(net, batch), batch.truth)
            )
            total += float(((torch.asinh(output / 3) - torch.asinh(truth / 3)) ** 2).mean())
            peak = truth == functional.max_pool2d(truth, 9, stride=1, padding=4)
            at = peak & (truth > _BRIGHT)
            sums = [_smoothed(image, float(batch.target_fwhm)) for image in (output, truth)]
            ratios.append((sums[0] / sums[1])[at] - 1)
    errors = torch.cat(ratios)
    bias = errors.median()
    return {
        "db": -10 * math.log10(total / patches),
        "bias": float(bias),
        "scatter": 1.4826 * float((errors - bias).abs().median()),
    }


def _smoothed(image: Tensor, fwhm: float) -> Tensor:
    sigma = fwhm * gaussian_fwhm_to_sigma
    place = torch.arange(-12, 13, dtype=torch.float32)
    taps = torch.exp(-0.5 * (place / sigma) ** 2)
    taps = taps / taps.sum()
    smooth = functional.conv2d(image, taps[None, None, :, None], padding=(12, 0))
    return functional.conv2d(smooth, taps[None, None, None, :], padding=(0, 12))
