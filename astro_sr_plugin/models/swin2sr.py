"""Swin2SR: attention in shifted windows, for super-resolution and, as AstroSWIN, for sharpening."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["HALO", "Head", "Swin2SR"]

Head: TypeAlias = Literal["direct", "shuffle", "nearest", "residual", "astroswin"]
"""What makes the image of the features: one convolution and a pixel shuffle (``pixelshuffledirect``
of the published network), several (``pixelshuffle``), nearest neighbours and convolutions
(``nearest+conv``, x4), a convolution that is added to the input (no upsampler), or AstroSWIN's
convolution, which makes the image itself."""

_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of the red, green and blue of the DIV2K images, which is subtracted (published)."""

_BIAS_WIDTH = 512
"""Width of the network that makes the position bias (Liu et al. 2022, Swin Transformer V2)."""

_BIAS_LIMIT = 16.0
"""Limit of the position bias (same source)."""

_COORDINATE_LIMIT = 8
"""Value of the largest relative coordinate before its logarithm (same source)."""

_LARGEST_SCALE = math.log(1 / 0.01)
"""Limit of the learned logarithm of the scale of the cosine attention (same source)."""

HALO = 64
"""Input pixels around a tile. Attention reaches further; beyond, the published networks change by
less than 1e-3 of the range of the values."""

_FEATURES = 64
"""Channels of the heads of several convolutions (published)."""

_SLOPE = 0.2
"""Slope of the leaky rectifiers for negative values, but for the one before a shuffle head."""


class Swin2SR(nn.Module):
    """The network of Conde et al. (2022), with the names of its authors.

    Parameters
    ----------
    channels : int
        Planes of the image, 1 or 3.
    width : int
        Channels of the trunk: 60 (lightweight) or 180.
    depths : sequence of int
        Blocks of each stage.
    heads : sequence of int
        Heads of the attention in each stage.
    window : int
        Side of the windows in pixels; heights and widths are multiples of it.
    expansion : int
        Width of the inner layer of a block over that of the trunk.
    scale : int
        Output pixels per input pixel along each axis.
    head : str
        See `Head`.
    three_convolutions : bool
        Whether a stage ends with a bottleneck of three convolutions in place of one.
    value_range : float
        Factor of the values, ``img_range`` of the published network.
    fold : int
        Pixels along each axis that are folded into the channels first, and back at the end of a
        residual head: a quarter of the work with 2. As published 1, no folding.

    Raises
    ------
    ValueError
        If another head than a residual one is to be folded.
    """

    def __init__(
        self,
        channels: int = 3,
        width: int = 60,
        depths: Sequence[int] = (6, 6, 6, 6),
        heads: Sequence[int] = (6, 6, 6, 6),
        window: int = 8,
        expansion: int = 2,
        scale: int = 2,
        head: Head = "direct",
        three_convolutions: bool = False,
        value_range: float = 1.0,
        fold: int = 1,
    ) -> None:
        super().__init__()
        if fold > 1 and head != "residual":
            msg = f"a fold of {fold} needs the head 'residual', not {head!r}"
            raise ValueError(msg)
        self.head, self.value_range, self.scale = head, value_range, scale
        self.fold, self.window, self.halo = fold, window * fold, HALO
        self.mean = _MEAN if channels == len(_MEAN) else (0.0,) * channels
        self.conv_first = nn.Conv2d(channels * fold**2, width, 3, padding=1)
        self.patch_embed = _Projection(width, normalised=True)
        self.layers = nn.ModuleList(
            _Stage(width, depth, number, window, expansion, three_convolutions)
            for depth, number in zip(depths, heads, strict=True)
        )
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = _end_of_stage(width, three_convolutions)
        self._make_head(channels, width)

    def _make_head(self, channels: int, width: int) -> None:
        if self.head == "direct":
            self.upsample = _shuffles(width, channels * self.scale**2, (self.scale,))
        elif self.head == "residual":
            self.conv_last = nn.Conv2d(width, channels * self.fold**2, 3, padding=1)
        elif self.head == "astroswin":
            self.resample = nn.Conv2d(width, channels, 3, padding=1)
        else:
            self.conv_before_upsample = nn.Sequential(
                nn.Conv2d(width, _FEATURES, 3, padding=1), nn.LeakyReLU()
            )
            self.conv_last = nn.Conv2d(_FEATURES, channels, 3, padding=1)
            if self.head == "shuffle":
                factors = (3,) if self.scale == 3 else (2,) * (self.scale.bit_length() - 1)
                self.upsample = _shuffles(_FEATURES, _FEATURES * factors[0] ** 2, factors)
            else:
                self.conv_up1 = nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1)
                self.conv_up2 = nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1)
                self.conv_hr = nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Restore a batch of shape (B, channels, H, W); sides are multiples of ``window``."""
        mean = image.new_tensor(self.mean).view(1, -1, 1, 1)
        image = (image - mean) * self.value_range
        first = self.conv_first(F.pixel_unshuffle(image, self.fold) if self.fold > 1 else image)
        features = self.patch_embed(first).permute(0, 2, 3, 1)
        for stage in self.layers:
            features = stage(features)
        features = self.norm(features).permute(0, 3, 1, 2)
        features = self.conv_after_body(features) + first
        if self.head == "astroswin":
            # As AstroSWIN is trained and run: the mean is not added again.
            result: Tensor = self.resample(features)
            return result / self.value_range
        return self._run_head(features, image) / self.value_range + mean

    def _run_head(self, features: Tensor, image: Tensor) -> Tensor:
        result: Tensor
        if self.head == "direct":
            result = self.upsample(features)
        elif self.head == "residual":
            change = self.conv_last(features)
            result = image + (F.pixel_shuffle(change, self.fold) if self.fold > 1 else change)
        elif self.head == "shuffle":
            result = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        else:
            result = self.conv_before_upsample(features)
            for layer in (self.conv_up1, self.conv_up2):
                finer = F.interpolate(result, scale_factor=2, mode="nearest")
                result = F.leaky_relu(layer(finer), _SLOPE)
            result = self.conv_last(F.leaky_relu(self.conv_hr(result), _SLOPE))
        return result


def _shuffles(taken: int, given: int, factors: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for factor in factors:
        layers += [nn.Conv2d(taken, given, 3, padding=1), nn.PixelShuffle(factor)]
    return nn.Sequential(*layers)


def _end_of_stage(width: int, three_convolutions: bool) -> nn.Module:
    if not three_convolutions:
        return nn.Conv2d(width, width, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(width, width // 4, 3, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(width // 4, width // 4, 1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(width // 4, width, 3, padding=1),
    )


class _Projection(nn.Module):
    """A convolution of single pixels, and a normalisation of the channels."""

    def __init__(self, width: int, normalised: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width, width, 1)
        self.norm = nn.LayerNorm(width) if normalised else None

    def forward(self, image: Tensor) -> Tensor:
        image = self.proj(image)
        if self.norm is None:
            return image
        result: Tensor = self.norm(image.permute(0, 2, 3, 1))
        return result.permute(0, 3, 1, 2)


class _Stage(nn.Module):
    """Blocks whose windows are shifted by turns, a convolution, and the sum with the input."""

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        window: int,
        expansion: int,
        three_convolutions: bool,
    ) -> None:
        super().__init__()
        self.residual_group = _Blocks(
            _Block(width, heads, window, window // 2 if number % 2 else 0, expansion)
            for number in range(depth)
        )
        self.conv = _end_of_stage(width, three_convolutions)
        self.patch_embed = _Projection(width, normalised=False)

    def forward(self, features: Tensor) -> Tensor:
        result = self.residual_group(features).permute(0, 3, 1, 2)
        return self.patch_embed(self.conv(result)).permute(0, 2, 3, 1) + features


class _Blocks(nn.Module):
    def __init__(self, blocks: Iterable[_Block]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.blocks(features)
        return result


class _Block(nn.Module):
    """Attention in windows and two layers on each pixel, both normalised before they are added."""

    def __init__(self, width: int, heads: int, window: int, shift: int, expansion: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attn = _WindowAttention(width, heads, window)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Layers(width, width * expansion)

    def forward(self, features: Tensor) -> Tensor:
        """Take and return features of shape (B, H, W, C)."""
        batch, height, width, channels = features.shape
        side, shift = self.window, self.shift
        moved = torch.roll(features, (-shift, -shift), (1, 2)) if shift else features
        rows, columns = height // side, width // side
        windows = moved.view(batch, rows, side, columns, side, channels).transpose(2, 3)
        mask = _mask(height, width, side, shift).to(features) if shift else None
        windows = self.attn(windows.reshape(-1, side * side, channels), mask)
        windows = windows.view(batch, rows, columns, side, side, channels).transpose(2, 3)
        found = windows.reshape(batch, height, width, channels)
        found = torch.roll(found, (shift, shift), (1, 2)) if shift else found
        features = features + self.norm1(found)
        result: Tensor = features + self.norm2(self.mlp(features))
        return result


class _Layers(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, features: Tensor) -> Tensor:
        result: Tensor = self.fc2(F.gelu(self.fc1(features)))
        return result


class _WindowAttention(nn.Module):
    """Cosine attention among the pixels of a window, with a bias by their relative position."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, _BIAS_WIDTH), nn.ReLU(), nn.Linear(_BIAS_WIDTH, heads, bias=False)
        )
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Take and return windows of shape (N, pixels, C), under a mask as of `_mask`."""
        count, pixels, channels = windows.shape
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(windows, self.qkv.weight, bias)
        query, key, value = qkv.view(count, pixels, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scale = self.logit_scale.clamp(max=_LARGEST_SCALE).exp()
        scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
        scores = scores * scale + self._position_bias()
        if mask is not None:
            masked = scores.view(-1, len(mask), self.heads, pixels, pixels) + mask[:, None]
            scores = masked.view(-1, self.heads, pixels, pixels)
        found = (scores.softmax(-1) @ value).transpose(1, 2).reshape(count, pixels, channels)
        result: Tensor = self.proj(found)
        return result

    def _position_bias(self) -> Tensor:
        """Return the bias of shape (1, heads, pixels, pixels)."""
        coordinates, index = _relative_positions(self.window)
        table = self.cpb_mlp(coordinates.to(self.q_bias))
        pixels = self.window**2
        bias = table[index.to(self.q_bias.device)].view(pixels, pixels, self.heads)
        return _BIAS_LIMIT * torch.sigmoid(bias.permute(2, 0, 1))[None]


@lru_cache(maxsize=8)
def _relative_positions(window: int) -> tuple[Tensor, Tensor]:
    """Return log-spaced relative coordinates, and which of them each pair of pixels has.

    Returns
    -------
    coordinates : Tensor, shape ((2 window - 1)^2, 2)
    index : Tensor of int, shape (window^4,)
    """
    # Kept for later calls, which may be those of a training.
    with torch.inference_mode(False), torch.device("cpu"):
        along = torch.arange(1 - window, window, dtype=torch.float32)
        along = along * _COORDINATE_LIMIT / (window - 1)
        along = along.sign() * torch.log2(along.abs() + 1) / math.log2(_COORDINATE_LIMIT)
        coordinates = torch.stack(torch.meshgrid(along, along, indexing="ij"), -1).view(-1, 2)
        places = torch.arange(window)
        y, x = (p.flatten() for p in torch.meshgrid(places, places, indexing="ij"))
        rows, columns = (p[:, None] - p[None, :] + window - 1 for p in (y, x))
        return coordinates, (rows * (2 * window - 1) + columns).flatten()


@lru_cache(maxsize=8)
def _mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Keep pixels apart that stand in one window only because the image was rolled.

    Returns
    -------
    Tensor, shape (windows, pixels, pixels)
        0 for pairs from one side of the image, -100 for others (as published).
    """

    def sides(length: int) -> Tensor:
        part = torch.zeros(length, dtype=torch.int64)
        part[length - window : length - shift], part[length - shift :] = 1, 2
        return part

    with torch.inference_mode(False), torch.device("cpu"):
        part = 3 * sides(height)[:, None] + sides(width)[None, :]
        part = part.view(height // window, window, width // window, window).transpose(1, 2)
        part = part.reshape(-1, window * window)
        return torch.where(part[:, None, :] == part[:, :, None], 0.0, -100.0)
