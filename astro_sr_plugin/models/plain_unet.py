"""A plain U-Net, for networks that say something of each pixel of a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["PlainUNet"]


class PlainUNet(nn.Module):
    """A U-Net from one plane to several of the same size.

    Two convolutions of 3 x 3 pixels on every level, max-pooling down, transposed convolutions up.
    It has no normalisation, so that tiles give the result of the whole image. It begins with 0.

    Parameters
    ----------
    planes : int
        Planes that it returns.
    widths : sequence of int
        Channels of the levels, the finest first.
    scale : int
        Output pixels per input pixel; 1 is allowed.
    dropout : float
        How often a whole plane of a level is left out in training.

    Raises
    ------
    ValueError
        If ``scale`` is not 1.
    """

    def __init__(
        self, planes: int, widths: Sequence[int], scale: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if scale != 1:
            msg = f"scale={scale} is not allowed; this network keeps the pixels"
            raise ValueError(msg)
        taken = (1, *widths[:-1])
        self.down = nn.ModuleList(
            _block(given, width, dropout) for given, width in zip(taken, widths, strict=True)
        )
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(coarse, fine, 2, stride=2) for coarse, fine in pairs
        )
        self.up = nn.ModuleList(_block(2 * fine, fine, dropout) for _, fine in pairs)
        self.last = nn.Conv2d(widths[0], planes, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.window = 2 ** (len(widths) - 1)
        """Heights and widths, and the places of tiles, are multiples of this."""

    @property
    def halo(self) -> int:
        """Pixels around a pixel on which its result depends."""
        levels = len(self.down)
        # Two convolutions on each level; levels but the coarsest are passed twice.
        reach = sum(2 * 2**level * (1 if level == levels - 1 else 2) for level in range(levels))
        # The cell of the coarsest level.
        return reach + self.window - 1

    def forward(self, image: Tensor) -> Tensor:
        """Take planes of shape (B, 1, H, W), return (B, planes, H, W)."""
        kept: list[Tensor] = []
        features = image
        for block in self.down:
            if kept:
                features = nn.functional.max_pool2d(features, 2)
            features = block(features)
            kept.append(features)
        for rise, block, finer in zip(self.rise, self.up, kept[-2::-1], strict=True):
            features = block(torch.cat([rise(features), finer], dim=1))
        result: Tensor = self.last(features)
        return result


def _block(taken: int, given: int, dropout: float) -> nn.Sequential:
    layers = (
        nn.Conv2d(taken, given, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(given, given, 3, padding=1),
        nn.LeakyReLU(0.2),
    )
    return nn.Sequential(*layers, *([nn.Dropout2d(dropout)] if dropout else []))
