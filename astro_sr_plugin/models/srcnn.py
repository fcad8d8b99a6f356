"""SRCNN: three convolutions that sharpen an interpolated image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SRCNN"]


class SRCNN(nn.Module):
    """The network of Dong et al. (2014), with the interpolation in front of it.

    Parameters
    ----------
    kernels : tuple of int
        Sides of the kernels of the three convolutions in pixels, odd: (9, 5, 5) or (9, 1, 5) as
        published.
    widths : tuple of int
        Channels after the first and the second convolution; (64, 32) as published.
    channels : int
        Planes of the image, 1 (luminance) or 3.
    scale : int
        Output pixels per input pixel along each axis; the image is interpolated to that grid first
        (bicubic, a = -0.5, as in MATLAB's ``imresize``).

    Notes
    -----
    Convolutions pad with zeros, as published, so that the outermost pixels are wrong; give it a
    rim of `halo` pixels.
    """

    def __init__(
        self,
        kernels: tuple[int, int, int] = (9, 5, 5),
        widths: tuple[int, int] = (64, 32),
        channels: int = 1,
        scale: int = 2,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.kernels = kernels
        first, second, third = kernels
        self.conv1 = nn.Conv2d(channels, widths[0], first, padding=first // 2)
        self.conv2 = nn.Conv2d(widths[0], widths[1], second, padding=second // 2)
        self.conv3 = nn.Conv2d(widths[1], channels, third, padding=third // 2)

    @property
    def halo(self) -> int:
        """Input pixels around a pixel on which its result depends; 2 are the interpolation's."""
        radius = sum(kernel // 2 for kernel in self.kernels)
        return -(-radius // self.scale) + (2 if self.scale > 1 else 0)

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge a batch of shape (B, channels, H, W) to (B, channels, scale H, scale W)."""
        if self.scale > 1:
            # With `antialias` PyTorch takes a = -0.5, else -0.75; enlarging, that is all it does.
            image = F.interpolate(image, scale_factor=self.scale, mode="bicubic", antialias=True)
        return self.conv3(F.relu(self.conv2(F.relu(self.conv1(image)))))
