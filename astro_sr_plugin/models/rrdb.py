"""RRDB: residual-in-residual dense blocks, the generator of ESRGAN, Real-ESRGAN and AstroSleuth."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.models.in_strips import in_strips

__all__ = ["RRDB", "DenseBlock", "RRDBNet"]

_RESIDUAL = 0.2
"""Factor of what a block adds to its input (Wang et al. 2018, ESRGAN)."""

_SLOPE = 0.2
"""Slope of the leaky rectifier for negative values (same source)."""

_CONVOLUTIONS = 5
"""Convolutions of a dense block (same source)."""


class DenseBlock(nn.Module):
    """Five convolutions of 3 x 3 pixels, each of which sees the results of all before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for number in range(_CONVOLUTIONS):
            given = width if number == _CONVOLUTIONS - 1 else growth
            taken = width + number * growth
            setattr(self, f"conv{number + 1}", nn.Conv2d(taken, given, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the image with a fifth of what the convolutions find."""
        seen = [image]
        for number in range(1, _CONVOLUTIONS):
            found = getattr(self, f"conv{number}")(torch.cat(seen, 1))
            seen.append(F.leaky_relu(found, _SLOPE))
        result: Tensor = getattr(self, f"conv{_CONVOLUTIONS}")(torch.cat(seen, 1))
        return result * _RESIDUAL + image


class RRDB(nn.Module):
    """Three dense blocks in a row."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(width, growth)
        self.rdb2 = DenseBlock(width, growth)
        self.rdb3 = DenseBlock(width, growth)

    def forward(self, image: Tensor) -> Tensor:
        """Return the image with a fifth of what the dense blocks make of it."""
        result: Tensor = self.rdb3(self.rdb2(self.rdb1(image)))
        return result * _RESIDUAL + image


class RRDBNet(nn.Module):
    """The network of Wang et al. (2018 ESRGAN, 2021 Real-ESRGAN), with the names of Real-ESRGAN.

    Parameters
    ----------
    channels_in, channels_out : int
        Planes of the image, before it is folded.
    width, growth : int
        Channels of the trunk, and of each convolution of a dense block; 64 and 32 as published.
    blocks : int
        Number of RRDB: 23, 6 (anime and AstroSleuth), or any other.
    doublings : int
        How many times the trunk's result is doubled; 2 as published.
    fold : int
        Squares of ``fold`` x ``fold`` pixels become channels first (pixel unshuffle), as in the
        x2 (2) and x1 (4) forms of Real-ESRGAN. The scale is ``2**doublings / fold``.
    """

    upsampling = "nearest"
    """How the trunk's result is doubled, a mode of `torch.nn.functional.interpolate`."""

    def __init__(
        self,
        channels_in: int = 3,
        channels_out: int = 3,
        width: int = 64,
        growth: int = 32,
        blocks: int = 23,
        doublings: int = 2,
        fold: int = 1,
    ) -> None:
        super().__init__()
        self.doublings, self.fold = doublings, fold
        self.conv_first = nn.Conv2d(channels_in * fold**2, width, 3, padding=1)
        self.body = nn.Sequential(*(self.make_block(width, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(width, width, 3, padding=1)
        for number in range(1, doublings + 1):
            setattr(self, f"conv_up{number}", nn.Conv2d(width, width, 3, padding=1))
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, channels_out, 3, padding=1)

    def make_block(self, width: int, growth: int) -> nn.Module:
        """Return a new block of the trunk."""
        return RRDB(width, growth)

    @property
    def halo(self) -> int:
        """Input pixels around a pixel on which its result depends, exactly.

        The trunk has 15 convolutions in a block, and one before and after.
        """
        return (3 * _CONVOLUTIONS * len(self.body) + 2 + self.reach) * self.fold

    @property
    def reach(self) -> int:
        """Pixels of the trunk around one on which its result depends.

        Two convolutions stand at the end, and one after each doubling.
        """
        neighbour = 0.0 if self.upsampling == "nearest" else 0.25
        reach = 2
        for _ in range(self.doublings):
            reach = math.ceil((reach + 1) / 2 + neighbour)
        return reach

    def forward(self, image: Tensor) -> Tensor:
        """Restore a batch of shape (B, channels_in, H, W); sides are multiples of ``fold``."""
        if self.fold > 1:
            image = F.pixel_unshuffle(image, self.fold)
        first = self.conv_first(image)
        return in_strips(self.enlarge, first + self.conv_body(self.run_body(first)), self.reach)

    def enlarge(self, result: Tensor) -> Tensor:
        """Make an image of what the trunk found."""
        for number in range(1, self.doublings + 1):
            finer = F.interpolate(result, scale_factor=2, mode=self.upsampling)
            result = F.leaky_relu(getattr(self, f"conv_up{number}")(finer), _SLOPE)
        result = F.leaky_relu(self.conv_hr(result), _SLOPE)
        last: Tensor = self.conv_last(result)
        return last

    def run_body(self, image: Tensor) -> Tensor:
        """Run the trunk."""
        result: Tensor = self.body(image)
        return result
