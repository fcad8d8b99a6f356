"""Training of the network that makes up colours: L1 and a discriminator (Isola et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from astro_sr_plugin.models.colorizer import colour_ratios
from astro_sr_plugin.models.display_stretch import DisplayStretch
from astro_sr_plugin.training.loop import TrainState, autocast
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.degradations import add_noise, blur, draw_kernel
from astro_sr_plugin.training.pictures.losses import PictureLoss
from astro_sr_plugin.training.pictures.source import PatchSource, draw_stretch

__all__ = ["PatchDiscriminator", "add_discriminator", "colour_errors", "colour_loss"]

_RATE, _MOMENTUM = 2e-4, (0.5, 0.999)
"""Learning rate and momenta of the discriminator, as in pix2pix."""
_REAL = 0.9
"""What the discriminator should say of a true picture, so that it is never sure."""
_LEAST_SHARE = 0.3
"""Least sensitivity of the camera to a colour before all three are brought to the sum 1; the
greatest is more by 1."""
_BINS = 24
"""Levels of brightness of the curve of mean colours."""


class PatchDiscriminator(nn.Module):
    """Says of each patch of a gray and a colour picture whether the colours are true.

    Parameters
    ----------
    widths : sequence of int
        Channels of its convolutions of 4 x 4 pixels; all but the last halve the resolution.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        taken = 4
        for number, width in enumerate(widths, start=1):
            stride = 2 if number < len(widths) else 1
            layers += [nn.Conv2d(taken, width, 4, stride=stride, padding=1), nn.LeakyReLU(0.2)]
            taken = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(taken, 1, 4, padding=1))

    def forward(self, picture: Tensor, colours: Tensor) -> Tensor:
        """Return logits of shape (B, 1, h, w), above 0 where the colours look true."""
        result: Tensor = self.layers(torch.cat([picture, colours], dim=1))
        return result


def add_discriminator(state: TrainState[nn.Module], config: PictureConfig, device: str) -> None:
    """Give a fresh state the discriminator, if a stage asks for one."""
    if any(stage.adversarial > 0 for stage in config.stages):
        judge = PatchDiscriminator().to(device)
        optimizer = torch.optim.Adam(judge.parameters(), lr=_RATE, betas=_MOMENTUM)
        state.others["discriminator"] = (judge, optimizer)


def _draw(
    source: PatchSource, config: PictureConfig, stage: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, list[DisplayStretch]]:
    """Return gray pictures (B, 1, H, W), the true light (B, 3, H, W), and how it is stretched.

    The sensitivities of the camera to the three colours are random, so that any camera fits.
    """
    source.refresh()
    degradation = config.stages[stage].degradation_config(config.degradation)
    pictures, lights, stretches = [], [], []
    for _ in range(config.batch_size):
        light = blur(source.draw(), draw_kernel(degradation, rng))
        shares = _LEAST_SHARE + torch.rand(3, generator=rng, device=rng.device)
        gray = (light * (shares / shares.sum())[:, None, None]).sum(0, keepdim=True)
        seen = add_noise(gray, degradation, rng)
        stretch = draw_stretch(seen, rng)
        pictures.append(stretch(seen.clamp(stretch.darkest, stretch.lightest)))
        lights.append(light)
        stretches.append(stretch)
    return torch.stack(pictures), torch.stack(lights), stretches


def _display(light: Tensor, stretches: Sequence[DisplayStretch]) -> Tensor:
    return torch.stack([stretch(image) for stretch, image in zip(stretches, light, strict=True)])


def _coloured(logits: Tensor, light: Tensor) -> Tensor:
    """Return the true light in the colours of a network."""
    return colour_ratios(logits) * light.mean(1, keepdim=True)


def colour_loss(
    state: TrainState[nn.Module],
    config: PictureConfig,
    source: PatchSource,
    rng: torch.Generator,
    device: str,
) -> Callable[[int], Tensor]:
    """Return the function that draws a batch, trains the discriminator, and returns the loss.

    Parameters
    ----------
    state : TrainState
        The network, and the discriminator in ``others``.
    config : PictureConfig
        The run.
    source : PatchSource
        Where colour pictures come from; simulated skies are gray.
    rng : torch.Generator
        Source of randomness.
    device : str
        Where the network runs.
    """
    losses = [PictureLoss(stage.losses) for stage in config.stages]
    inner = config.inner

    def loss_of(stage: int) -> Tensor:
        picture, light, stretches = _draw(source, config, stage, rng)
        with autocast(device, config.precision):
            logits = state.net(picture)
        made, true = (
            _display(image, stretches)[inner] for image in (_coloured(logits.float(), light), light)
        )
        loss: Tensor = losses[stage](made, true)
        weight = config.stages[stage].adversarial
        if weight > 0:
            judge, optimizer = state.others["discriminator"]
            _teach(judge, optimizer, picture[inner], made.detach(), true)
            verdict = judge(picture[inner], made)
            loss = loss + weight * _cross_entropy(verdict, 1.0)
        return loss

    return loss_of


def _teach(
    judge: nn.Module,
    optimizer: torch.optim.Optimizer,
    picture: Tensor,
    made: Tensor,
    true: Tensor,
) -> None:
    """Train the discriminator for one step."""
    loss = _cross_entropy(judge(picture, true), _REAL) + _cross_entropy(judge(picture, made), 0.0)
    optimizer.zero_grad()
    (loss / 2).backward()
    optimizer.step()


def _cross_entropy(logits: Tensor, truth: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def colour_errors(
    net: nn.Module,
    config: PictureConfig,
    source: PatchSource,
    known: PatchSource,
    patches: int,
    rng: torch.Generator,
) -> dict[str, float]:
    """Measure a network on patches, beside gray and beside a curve of mean colours.

    Parameters
    ----------
    net : torch.nn.Module
        The network.
    config : PictureConfig
        The run.
    source, known : PatchSource
        Pictures to measure on, and those that the network was trained on, which give the mean
        colour of each level of brightness: what is known without looking at shapes.
    patches : int
        Number of patches of each.
    rng : torch.Generator
        Source of randomness.

    Returns
    -------
    dict
        ``delta_e``, ``gray_delta_e`` and ``curve_delta_e``: mean CIEDE2000 (Sharma et al. 2005)
        between stretched pictures; ``chroma_ratio``: mean chroma of the network over the true one.
    """
    from skimage.color import deltaE_ciede2000, rgb2lab

    last = len(config.stages) - 1
    curve = _mean_colours(known, config, patches, rng)
    names = ("delta_e", "gray_delta_e", "curve_delta_e")
    sums, chroma, done = dict.fromkeys(names, 0.0), [0.0, 0.0], 0
    with torch.inference_mode():
        while done < patches:
            picture, light, stretches = _draw(source, config, last, rng)
            mean = light.mean(1, keepdim=True)
            by_level = curve[(picture[:, 0].clamp(0, 1) * (_BINS - 1)).round().long()]
            images = (
                _coloured(net(picture), light),
                mean.expand_as(light),
                by_level.permute(0, 3, 1, 2) * mean,
                light,
            )
            shown = [_display(image, stretches).clamp(0, 1).cpu().double() for image in images]
            labs: list[NDArray[np.float64]] = [rgb2lab(i.numpy(), channel_axis=1) for i in shown]
            for name, lab in zip(names, labs, strict=False):
                error = deltaE_ciede2000(lab, labs[3], channel_axis=1)
                sums[name] += float(error.mean()) * len(lab)
            for place, lab in enumerate((labs[0], labs[3])):
                chroma[place] += float(np.hypot(lab[:, 1], lab[:, 2]).mean())
            done += len(picture)
    figures = {name: total / done for name, total in sums.items()}
    return figures | {"chroma_ratio": chroma[0] / chroma[1] if chroma[1] > 0 else 1.0}


def _mean_colours(
    source: PatchSource, config: PictureConfig, patches: int, rng: torch.Generator
) -> Tensor:
    """Return the mean ratios of colours at each level of brightness, shape (_BINS, 3)."""
    total = torch.full((_BINS, 3), 1e-3, device=rng.device)
    done = 0
    while done < patches:
        picture, light, _ = _draw(source, config, len(config.stages) - 1, rng)
        levels = (picture[:, 0].clamp(0, 1) * (_BINS - 1)).round().long()
        total.index_add_(0, levels.flatten(), light.permute(0, 2, 3, 1).flatten(0, 2))
        done += len(picture)
    return total / total.mean(1, keepdim=True)
