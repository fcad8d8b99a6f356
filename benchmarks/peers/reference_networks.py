"""Layouts of the x4 networks that our speed is compared with, with random weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BilinearFast", "CompactSRVGG", "infer"]


def _body(features: int, convolutions: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
    for _ in range(convolutions):
        layers += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
    return layers


class CompactSRVGG(nn.Module):
    """SRVGG compact x4: 32 convolutions of 64 features, pixel-shuffle head, 1.2 M parameters."""

    def __init__(self, features: int = 64, convolutions: int = 32) -> None:
        super().__init__()
        head = [nn.Conv2d(features, 48, 3, padding=1), nn.PixelShuffle(4)]
        self.layers = nn.Sequential(*_body(features, convolutions), *head)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 3, 4 H, 4 W)."""
        enlarged = functional.interpolate(image, scale_factor=4.0, mode="nearest")
        return torch.as_tensor(self.layers(image) + enlarged)


class BilinearFast(nn.Module):
    """The same body with two bilinear x2 steps and a 64-32-3 head at the output's resolution."""

    def __init__(self, features: int = 64, convolutions: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(*_body(features, convolutions))
        self.middle = nn.Sequential(nn.Conv2d(features, features // 2, 3, padding=1), nn.PReLU())
        self.last = nn.Conv2d(features // 2, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Return (B, 3, 4 H, 4 W)."""
        enlarged = functional.interpolate(image, scale_factor=4.0, mode="bilinear")
        deep = functional.interpolate(self.body(image), scale_factor=2.0, mode="bilinear")
        deep = functional.interpolate(self.middle(deep), scale_factor=2.0, mode="bilinear")
        return torch.as_tensor(self.last(deep) + enlarged)


def infer(network: nn.Module, image: Tensor, *, tile: int, channels_last: bool) -> None:
    """Run a network over (1, 3, H, W) in tiles without overlap, the cheapest way there is."""
    if channels_last:
        image = image.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        for row in range(0, image.shape[2], tile):
            for column in range(0, image.shape[3], tile):
                network(image[:, :, row : row + tile, column : column + tile])
