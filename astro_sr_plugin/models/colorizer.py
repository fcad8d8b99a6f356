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
    widths, scale, dropout
        As for `PlainUNet`.
    strength : float
        Factor of the colours that a trained network returns: below 1, it is more cautious with
        objects that it does not know than with those that it was trained on.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 48, 96, 128),
        scale: int = 1,
        dropout: float = 0.0,
        strength: float = 1.0,
    ) -> None:
        super().__init__(3, widths, scale, dropout)
        self.strength = strength

    def forward(self, image: Tensor) -> Tensor:
        """Take pictures of shape (B, 1, H, W), return logarithms of shape (B, 3, H, W)."""
        logits = super().forward(image)
        return logits if self.training else self.strength * logits
