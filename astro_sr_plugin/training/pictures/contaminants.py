"""Training of the network that finds contaminants, on skies and pictures with simulated ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.simulation.contaminants import draw_contaminants
from astro_sr_plugin.simulation.detector import saturate
from astro_sr_plugin.simulation.faults import bleed
from astro_sr_plugin.simulation.scene import chance
from astro_sr_plugin.training.loop import TrainState, autocast
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.degradations import MARGIN, add_noise, log_uniform
from astro_sr_plugin.training.pictures.source import PatchSource

__all__ = ["contaminant_figures", "contaminant_loss"]

_WEIGHTS = (3.0, 20.0, 8.0, 3.0, 5.0)
"""Weights of pixels that each kind spoils to 1 of the others: those of cosmic rays are the fewest,
and would count for nothing."""
_HARM = 4.0
"""Weight, beside that of the sky, of unspoiled pixels with light: to fill those does harm."""
_BRIGHT = 3.0
"""Noise sigmas of light from which that holds."""
_SATURATED = 0.25
"""How often the brightest pixels are cut."""
_FULL_WELL = (50.0, 20_000.0)
"""Range of the level at which they are, in noise sigma."""
_BLEEDING = 0.4
"""How often their light runs along the columns then."""
_LIKELY = 0.5
"""Probability from which a pixel counts as spoiled."""


def _draw(
    source: PatchSource, config: PictureConfig, stage: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return images in noise sigma and the light of their skies, (B, 1, H, W), and masks of kinds.

    The masks have the shape (B, 5, H, W), with 1 where a kind spoils the pixel, 0 elsewhere.
    """
    source.refresh()
    degradation = config.stages[stage].degradation_config(config.degradation)
    images, skies, masks = [], [], []
    for _ in range(config.batch_size):
        light = source.draw()[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        spoiled = draw_contaminants(config.patch, rng)
        seen = add_noise(light + spoiled.optical, degradation, rng)
        images.append(_saturate(seen + spoiled.electronic, rng))
        skies.append(light)
        masks.append(spoiled.masks(light[0]))
    return torch.stack(images), torch.stack(skies), torch.stack(masks).float()


def _saturate(image: Tensor, rng: torch.Generator) -> Tensor:
    """Cut some images, (1, H, W), at a full well; the light beyond may run along columns."""
    if not chance(rng, _SATURATED):
        return image
    level = log_uniform(rng, *_FULL_WELL)
    cut, saturated = saturate(image, torch.tensor([level], device=rng.device))
    if chance(rng, _BLEEDING):
        full = bleed(saturated, (image / level - 1).clamp_min(0))[0]
        cut = torch.where(full, level, cut)
    return cut


def contaminant_loss(
    state: TrainState[nn.Module],
    config: PictureConfig,
    source: PatchSource,
    rng: torch.Generator,
    device: str,
) -> Callable[[int], Tensor]:
    """Return the function that draws a batch and returns the cross entropy of all kinds."""
    inner = config.inner

    def loss_of(stage: int) -> Tensor:
        images, skies, masks = _draw(source, config, stage, rng)
        with autocast(device, config.precision):
            logits = state.net(images)
        weight = torch.tensor(_WEIGHTS, device=masks.device)[:, None, None]
        harm = torch.where((skies > _BRIGHT) & (masks == 0), _HARM, 1.0)
        # With its logarithm added, what the network returns is the probability without weights.
        return F.binary_cross_entropy_with_logits(
            logits.float()[inner] + weight.log(),
            masks[inner],
            weight=harm[inner],
            pos_weight=weight,
        )

    return loss_of


def contaminant_figures(
    net: nn.Module, config: PictureConfig, source: PatchSource, patches: int, rng: torch.Generator
) -> dict[str, float]:
    """Measure a network on patches that it was not trained on.

    Returns
    -------
    dict
        For each kind ``recall`` and ``precision`` of its pixels; ``clean_false_per_mpx``, the
        pixels of a million unspoiled ones that are taken for spoiled.
    """
    found, spoiled, right = (torch.zeros(len(KINDS)) for _ in range(3))
    clean = wrong = 0.0
    done = 0
    with torch.inference_mode():
        while done < patches:
            images, _, masks = _draw(source, config, len(config.stages) - 1, rng)
            likely = (net(images).sigmoid() > _LIKELY)[config.inner].cpu()
            true = masks[config.inner].bool().cpu()
            places = (0, 2, 3)
            found += likely.sum(places)
            spoiled += true.sum(places)
            right += (likely & true).sum(places)
            unspoiled = ~true.any(1)
            clean += float(unspoiled.sum())
            wrong += float((likely.any(1) & unspoiled).sum())
            done += len(images)
    figures = {"clean_false_per_mpx": 1e6 * wrong / max(clean, 1.0)}
    for number, kind in enumerate(KINDS):
        name = kind.replace("-", "_")
        hits = float(right[number])
        figures[f"{name}_recall"] = hits / max(float(spoiled[number]), 1.0)
        figures[f"{name}_precision"] = hits / max(float(found[number]), 1.0)
    return figures
