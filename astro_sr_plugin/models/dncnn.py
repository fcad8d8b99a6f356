"""DnCNN: a stack of convolutions that estimates the noise of an image."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DnCNN"]


class DnCNN(nn.Module):
    """The denoiser of Zhang et al. (2017) without batch normalisation, as its authors publish it.

    Parameters
    ----------
    depth : int
        Convolutions of 3 x 3 pixels, 17 or 20 as published.
    width : int
        Channels between them, 64 as published.
    channels : int
        Planes of the image, 1 or 3.
    """

    def __init__(self, depth: int = 17, width: int = 64, channels: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(depth):
            taken = channels if number == 0 else width
            given = channels if number == depth - 1 else width
            layers += [nn.Conv2d(taken, given, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        self.halo = depth
        """Pixels around a pixel on which its result depends."""

    def forward(self, image: Tensor) -> Tensor:
        """Denoise a batch of shape (B, channels, H, W)."""
        return image - self.model(image)
