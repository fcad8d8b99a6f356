"""The published architectures by name: what a card or the settings of a training run call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from astro_sr_plugin.models.colorizer import Colorizer
from astro_sr_plugin.models.contaminant_net import ContaminantNet
from astro_sr_plugin.models.diffusion.residual import ResidualDiffusion
from astro_sr_plugin.models.diffusion.sampler import DiffusionNet, Sampling
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.models.srcnn import SRCNN
from astro_sr_plugin.models.swin2sr import Swin2SR

__all__ = ["ARCHITECTURES", "describe_published"]

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "SRCNN": SRCNN,
    "Swin2SR": Swin2SR,
    "Colorizer": Colorizer,
    "ResidualDiffusion": ResidualDiffusion,
    "ContaminantNet": ContaminantNet,
}
"""Networks for display images, which take (B, channels, H, W) and return as many channels. The
colourising one takes one and returns the logarithms of three; that of contaminants takes one in
units of the noise and returns the logits of five."""


def describe_published(
    architecture: str,
    net: nn.Module,
    *,
    name: str,
    task: str,
    description: str,
    scale: int,
    channels: tuple[int, int],
    options: dict[str, Any],
) -> ModelSpec:
    """Return the declaration of a published architecture that was trained.

    Parameters
    ----------
    architecture : str
        One of `ARCHITECTURES`.
    net : torch.nn.Module
        The network, whose halo and windows are asked for.
    name, task, description : str
        As in `ModelSpec`.
    scale : int
        Output pixels per input pixel.
    channels : tuple of int
        Planes that it takes and returns.
    options : dict
        Arguments of the architecture, without the scale.
    """
    window = int(getattr(net, "window", 1))
    halo = int(net.halo)  # type: ignore[arg-type]
    if isinstance(net, DiffusionNet):
        halo += Sampling().steps * net.step_halo
    return ModelSpec(
        name=name,
        task=task,
        description=description,
        architecture=architecture,
        scale=scale,
        channels_in=channels[0],
        channels_out=channels[1],
        domain="noise-sigma" if architecture == "ContaminantNet" else "unit",
        needs_psf=False,
        tiling="exact" if window == 1 else "overlap",
        min_size=window,
        halo=-(-halo // window) * window,
        multiple_of=window,
        options=options,
    )
