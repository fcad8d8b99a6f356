"""A U-Net that finds satellite trails, cosmic rays, bad columns, ghosts and dots."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from astro_sr_plugin.models.plain_unet import PlainUNet

__all__ = ["KINDS", "ContaminantNet"]

KINDS = ("trail", "cosmic-ray", "column", "ghost", "dot")
"""What it tells from the sky, in the order of its planes."""
_SLOPE = 0.2
"""Slope of the network for negative values, which its first weights follow from."""
_RARE = -4.0
"""Logit of 2 %: how often pixels are spoiled by a kind in training."""
_SOFTENING = 3.0
"""Noise sigmas up to which it sees light as it is; beyond, its logarithm."""


class ContaminantNet(PlainUNet):
    """From a plane in units of the noise, the sky at 0, to the logits of `KINDS` at each pixel.

    Parameters
    ----------
    widths, scale
        As for `PlainUNet`.
    """

    def __init__(self, widths: Sequence[int] = (16, 24, 32, 48, 64), scale: int = 1) -> None:
        super().__init__(len(KINDS), widths, scale)
        # As few pixels are spoiled, it begins with that; an even start makes all kinds alike.
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.last:
                nn.init.kaiming_normal_(module.weight, a=_SLOPE)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, _RARE)

    def forward(self, image: Tensor) -> Tensor:
        """Take planes of shape (B, 1, H, W), return logits of shape (B, 5, H, W)."""
        return super().forward(torch.asinh(image / _SOFTENING))
