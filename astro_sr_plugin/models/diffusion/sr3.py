"""SR3 of Saharia et al. (2021), as the public code of Janspiry lays it out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.models.diffusion.sampler import DiffusionNet, Level

__all__ = ["SR3"]

_SLOWEST = 1e4
"""Longest over shortest period of the sines that the noise level is given as."""


class SR3(DiffusionNet):
    """A U-Net that estimates the noise in an image, given the interpolated one of lower resolution.

    It has group normalisation and attention over the whole image, so that it takes images whole.

    Parameters
    ----------
    width : int
        Channels of the first layer.
    multipliers : sequence of int
        Channels of the levels over those of the first layer, the finest level first.
    blocks : int
        Residual blocks of a level on the way down; on the way up there is one more.
    attention : sequence of bool
        Whether the blocks of each level have attention.
    groups : int
        Groups of the normalisation.
    steps : int
        Steps of the noise schedule that it was trained with.
    channels, scale : int
        Planes, and output pixels per input pixel.
    """

    def __init__(
        self,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[bool],
        groups: int = 32,
        steps: int = 2000,
        channels: int = 3,
        scale: int = 2,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.noise_level_mlp = nn.Sequential(
            _Periods(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

        def block(taken: int, given: int, *, attends: bool) -> _Block:
            return _Block(taken, given, width, groups, attends=attends)

        kept, now = [width], width
        downs: list[nn.Module] = [nn.Conv2d(2 * channels, width, 3, padding=1)]
        for level, multiplier in enumerate(multipliers):
            if level > 0:
                downs.append(_Down(now))
                kept.append(now)
            for _ in range(blocks):
                downs.append(block(now, width * multiplier, attends=attention[level]))
                now = width * multiplier
                kept.append(now)
        self.downs = nn.ModuleList(downs)
        self.mid = nn.ModuleList([block(now, now, attends=attends) for attends in (True, False)])
        ups: list[nn.Module] = []
        for level in reversed(range(len(multipliers))):
            given = width * multipliers[level]
            for _ in range(blocks + 1):
                ups.append(block(now + kept.pop(), given, attends=attention[level]))
                now = given
            if level > 0:
                ups.append(_Up(now))
        self.ups = nn.ModuleList(ups)
        self.final_conv = _Convolution(now, channels, groups)
        self.betas: Tensor
        self.register_buffer("betas", torch.zeros(steps))

    def levels(self, steps: int) -> list[Level]:
        """Return levels of the schedule, evenly spread over its steps, down to no noise."""
        kept = torch.cumprod(1 - self.betas.double().cpu(), 0).tolist()
        places = (round(len(kept) * (1 - step / steps)) for step in range(steps + 1))
        signals = (kept[place - 1] if place > 0 else 1.0 for place in places)
        return [Level(math.sqrt(signal), math.sqrt(1 - signal)) for signal in signals]

    def begin(self, picture: Tensor) -> Tensor:
        """Interpolate pictures (B, channels, H, W) of 0 to 1, to -1 to 1."""
        finer = F.interpolate(picture, scale_factor=self.scale, mode="bicubic", antialias=True)
        return 2 * finer - 1

    def estimate(self, seen: Tensor, noisy: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """Return the picture, which is limited to -1 to 1 as published, and the noise."""
        noise = self._noise(torch.cat([seen, noisy], dim=1), level.signal).float()
        clean = ((noisy - level.noise * noise) / level.signal).clamp(-1, 1)
        return clean, (noisy - level.signal * clean) / level.noise

    def finish(self, seen: Tensor, sample: Tensor) -> Tensor:
        """Return the sample as a picture of 0 to 1."""
        del seen
        return (sample + 1) / 2

    def _noise(self, features: Tensor, signal: float) -> Tensor:
        level = self.noise_level_mlp(features.new_tensor([signal]))
        kept: list[Tensor] = []
        for layer in self.downs:
            features = layer(features, level) if isinstance(layer, _Block) else layer(features)
            kept.append(features)
        for layer in self.mid:
            features = layer(features, level)
        for layer in self.ups:
            if isinstance(layer, _Block):
                features = layer(torch.cat([features, kept.pop()], dim=1), level)
            else:
                features = layer(features)
        result: Tensor = self.final_conv(features)
        return result


class _Periods(nn.Module):
    """Sines and cosines of a number, of periods in a geometric series."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.count = width // 2

    def forward(self, number: Tensor) -> Tensor:
        places = torch.arange(self.count, device=number.device) / self.count
        phases = number[:, None] * torch.exp(-math.log(_SLOWEST) * places)
        return torch.cat([phases.sin(), phases.cos()], dim=1)


class _Down(nn.Module):
    """Half as many pixels along each axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(features)
        return result


class _Up(nn.Module):
    """Twice as many pixels along each axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.conv(F.interpolate(features, scale_factor=2, mode="nearest"))
        return result


class _Convolution(nn.Module):
    """Normalisation, SiLU and a convolution; in the place of the third is dropout in training."""

    def __init__(self, taken: int, given: int, groups: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(groups, taken),
            nn.SiLU(),
            nn.Identity(),
            nn.Conv2d(taken, given, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.block(features)
        return result


class _Block(nn.Module):
    """A residual block that knows the noise level, and attention where there is any."""

    def __init__(self, taken: int, given: int, level: int, groups: int, *, attends: bool) -> None:
        super().__init__()
        self.res_block = _Residual(taken, given, level, groups)
        if attends:
            self.attn = _Attention(given, groups)

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        result: Tensor = self.res_block(features, level)
        return self.attn(result) if hasattr(self, "attn") else result


class _Residual(nn.Module):
    def __init__(self, taken: int, given: int, level: int, groups: int) -> None:
        super().__init__()
        self.noise_func = _Shift(level, given)
        self.block1 = _Convolution(taken, given, groups)
        self.block2 = _Convolution(given, given, groups)
        self.res_conv = nn.Conv2d(taken, given, 1) if taken != given else nn.Identity()

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        changed = self.block2(self.noise_func(self.block1(features), level))
        result: Tensor = changed + self.res_conv(features)
        return result


class _Shift(nn.Module):
    """Adds a number to each channel, which depends on the noise level."""

    def __init__(self, level: int, width: int) -> None:
        super().__init__()
        self.noise_func = nn.Sequential(nn.Linear(level, width))

    def forward(self, features: Tensor, level: Tensor) -> Tensor:
        shift: Tensor = self.noise_func(level)
        return features + shift[..., None, None]


class _Attention(nn.Module):
    """Attention of each pixel to all others, with one head."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm(features)).flatten(2).mT.chunk(3, dim=2)
        attended = F.scaled_dot_product_attention(query, key, value)
        result: Tensor = features + self.out(attended.mT.unflatten(2, features.shape[-2:]))
        return result
