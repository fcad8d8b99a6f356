"""SRVGG: a row of convolutions with learned rectifiers, the compact network of Real-ESRGAN."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SRVGG"]


class SRVGG(nn.Module):
    """The network "SRVGGNetCompact" of Real-ESRGAN.

    Parameters
    ----------
    channels : int
        Planes of the image.
    width : int
        Channels between the convolutions, 64 as published.
    convolutions : int
        Convolutions between the first and the last, 16 or 32 as published.
    scale : int
        Output pixels per input pixel along each axis.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, convolutions: int = 16, scale: int = 4
    ) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        for number in range(convolutions + 1):
            layers.append(nn.Conv2d(channels if number == 0 else width, width, 3, padding=1))
            layers.append(nn.PReLU(width))
        layers.append(nn.Conv2d(width, channels * scale**2, 3, padding=1))
        self.body = nn.Sequential(*layers)
        self.halo = convolutions + 2
        """Input pixels around a pixel on which its result depends."""

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge a batch of shape (B, channels, H, W)."""
        enlarged = F.interpolate(image, scale_factor=self.scale, mode="nearest")
        return F.pixel_shuffle(self.body(image), self.scale) + enlarged
