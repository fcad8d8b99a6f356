"""A U-Net that finds the colours of a gray picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from astro_sr_plugin.models.plain_unet import PlainUNet

__all__ = ["Colorizer", "colour_ratios"]


def colour_ratios(logits: Tensor, saturation: float = 1.0) -> Tensor:
    """Return the light of each colour over that of their mean.

    Parameters
    ----------
    logits : Tensor
        Shape (B, 3, H, W), what `Colorizer` returns.
    saturation : float
        Factor of the logits; 0 is gray.

    Returns
    -------
    Tensor
        Shape (B, 3, H, W), above 0; the mean over red, green and blue is 1.
    """
    return logits.shape[1] * torch.softmax(saturation * logits, dim=1)


class Colorizer(PlainUNet):
    """From one stretched plane to the logarithms of three colours; it begins with gray.

    Parameters
    ----------
    widths, scale
        As for `PlainUNet`.
    """

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 128), scale: int = 1) -> None:
        super().__init__(3, widths, scale)
