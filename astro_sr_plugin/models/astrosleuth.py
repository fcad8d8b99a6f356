"""The networks of AstroSleuth that are not plain RRDB: FAST and NEXT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.models.in_strips import in_strips
from astro_sr_plugin.models.rrdb import RRDB, RRDBNet

__all__ = ["CONDITION_LENGTH", "AstroSleuthFast", "AstroSleuthNext"]

CONDITION_LENGTH = 512
"""Numbers of the vector that conditions NEXT."""

_SLOPE = 0.2
"""Slope of the leaky rectifier for negative values, as in RRDB."""

_CONDITIONED = 0.1
"""Factor of what the condition adds, as AstroSleuth runs the network."""

_REACH = 2
"""Pixels of the trunk of FAST around one on which its result depends: interpolation and one
convolution on each finer grid."""


class AstroSleuthFast(nn.Module):
    """A row of convolutions with learned rectifiers, doubled twice, added to bilinear x4.

    Parameters
    ----------
    channels : int
        Planes of the image.
    width : int
        Channels of the trunk, 64 as published.
    convolutions : int
        Convolutions of the trunk, 33 as published.
    narrow : int
        Channels between the two doublings, 32 as published.
    """

    def __init__(
        self, channels: int = 3, width: int = 64, convolutions: int = 33, narrow: int = 32
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(convolutions):
            layers.append(nn.Conv2d(channels if number == 0 else width, width, 3, padding=1))
            layers.append(nn.PReLU(width))
        self.body = nn.Sequential(*layers)
        self.conv_up1 = nn.Conv2d(width, narrow, 3, padding=1)
        self.conv_up2 = nn.Conv2d(narrow, channels, 3, padding=1)
        self.halo = convolutions + _REACH
        """Input pixels around a pixel on which its result depends."""

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge a batch of shape (B, channels, H, W) four times."""
        result = in_strips(self.enlarge, self.body(image), _REACH)
        return result + F.interpolate(image, scale_factor=4, mode="bilinear")

    def enlarge(self, trunk: Tensor) -> Tensor:
        """Make what is added to the image of what the trunk found."""
        result = F.leaky_relu(self.conv_up1(_double(trunk)), _SLOPE)
        added: Tensor = self.conv_up2(_double(result))
        return added


def _double(image: Tensor) -> Tensor:
    return F.interpolate(image, scale_factor=2, mode="bilinear")


class _ResponseNorm(nn.Module):
    """Channels weighted by their part of the energy of the whole image (ConvNeXt V2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, image: Tensor) -> Tensor:
        energy = torch.linalg.vector_norm(image, dim=(1, 2), keepdim=True)
        share = energy / (energy.mean(dim=-1, keepdim=True) + 1e-6)
        return self.gamma * (image * share) + self.beta + image


class _ConvNeXtBlock(nn.Module):
    """The block of ConvNeXt V2 (Woo et al. 2023) without its sum with the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = _ResponseNorm(4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, image: Tensor) -> Tensor:
        channels_last = self.norm(self.dwconv(image).permute(0, 2, 3, 1))
        result: Tensor = self.pwconv2(self.grn(F.gelu(self.pwconv1(channels_last))))
        return result.permute(0, 3, 1, 2)


class _ConditionedRRDB(RRDB):
    """An RRDB with its ConvNeXt block; without a condition that block is not used."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__(width, growth)
        self.block = _ConvNeXtBlock(width)
        self.l1 = nn.Linear(width, width)

    def forward(
        self, image: Tensor, condition: Tensor | None = None, strength: float = 1.0
    ) -> Tensor:
        if condition is None:
            return super().forward(image)
        shift = self.l1(condition).view(1, -1, 1, 1)
        added = _CONDITIONED * strength * self.block(image + shift)
        result = image
        for dense in (self.rdb1, self.rdb2, self.rdb3):
            result = dense(result + added)
        return result * 0.2 + image


class AstroSleuthNext(RRDBNet):
    """AstroSleuth NEXT: RRDB with bilinear doubling, steered by a vector of 512 numbers.

    With a condition the result of a pixel depends on the whole image: the network can't be run in
    tiles.

    Parameters
    ----------
    width, growth, blocks : int
        64, 32 and 6 as published.
    condition : Tensor, shape (512,), optional
        The vector; without, the network runs unconditioned.
    strength : float
        Factor of what the condition adds, 0 to 5.
    """

    upsampling = "bilinear"

    def __init__(
        self,
        width: int = 64,
        growth: int = 32,
        blocks: int = 6,
        condition: Tensor | None = None,
        strength: float = 1.0,
    ) -> None:
        super().__init__(width=width, growth=growth, blocks=blocks)
        self.l1 = nn.Linear(CONDITION_LENGTH, width)
        self.condition, self.strength = condition, strength

    def make_block(self, width: int, growth: int) -> nn.Module:
        """Return a new block of the trunk."""
        return _ConditionedRRDB(width, growth)

    def run_body(self, image: Tensor) -> Tensor:
        """Run the trunk, with the condition if there is one."""
        if self.condition is None:
            return super().run_body(image)
        code = F.leaky_relu(self.l1(self.condition.to(image.device)), _SLOPE)
        for block in self.body:
            image = block(image, code, self.strength)
        return image
