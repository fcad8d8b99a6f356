"""The house network: a residual U-Net that corrects Wiener estimates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_sr_plugin.models.filters import WIENER_STRENGTHS, without_border

__all__ = [
    "CONDITIONS",
    "Stage",
    "WienerUNet",
    "as_channels_last",
    "asinh",
    "at_level",
    "encode_conditions",
]

Net = TypeVar("Net", bound=nn.Module)

CONDITIONS = 5
"""Numbers per image that condition the network."""

_FLOOR = 0.05
"""Correction over the brightness of bright pixels: 1 in noise sigma, 5 % of bright light."""
_BACKGROUND_LOGIT = 5.0
"""Subtracted from the logit of the background's weight, so that it is near 0 at first."""
_STRIP = 16
"""Rows worked through at a time on CPUs, so that they stay in the cache."""
_PIECE = 128
"""Rows of the last convolution at a time on CPUs, whose many channels need much memory."""


def encode_conditions(
    fwhm: Tensor, beta: Tensor, ellipticity: Tensor, ratio: Tensor, noise_correlation: Tensor
) -> Tensor:
    """Gather the conditions of a batch as numbers of order one.

    Parameters
    ----------
    fwhm, beta, ellipticity : Tensor
        Shape ``(B,)``: PSF of the input, FWHM in input pixels.
    ratio : Tensor
        FWHM of the input over FWHM of the target, both in input pixels.
    noise_correlation : Tensor
        Lag-1 correlation of the noise.

    Returns
    -------
    Tensor
        Shape ``(B, CONDITIONS)``.
    """
    return torch.stack(
        [
            torch.log(fwhm / 3.5),
            torch.log(beta / 3.5),
            4 * ellipticity,
            2 * torch.log(ratio),
            3 * noise_correlation,
        ],
        dim=1,
    )


def asinh(x: Tensor) -> Tensor:
    """`torch.asinh`, several times as fast on CPUs."""
    size = x.abs()
    return torch.log(size + torch.sqrt(size * size + 1)).copysign(x)


def _encode(observed: Tensor, mask: Tensor, estimates: Tensor) -> Tensor:
    """Bring the input to numbers of order one, at half the resolution."""
    planes = torch.cat([asinh(observed), mask, asinh(estimates)], dim=1)
    return functional.pixel_unshuffle(planes, 2)


def _by_strips(function: Callable[..., Tensor], *images: Tensor) -> Tensor:
    """Apply a function of single pixels in strips that fit a processor's cache."""
    height = images[0].shape[-2]
    rows = height if torch.is_grad_enabled() or images[0].is_cuda else _STRIP
    pieces = [image.split(rows * image.shape[-2] // height, dim=-2) for image in images]
    return torch.cat([function(*strip) for strip in zip(*pieces, strict=True)], dim=-2)


def at_level(conditions: Tensor | None, level: int) -> Tensor | None:
    """Bring conditions that change over the image to the resolution of a level."""
    if conditions is None or conditions.ndim == 2:
        return conditions
    return functional.avg_pool2d(conditions, 2 ** (level + 1))


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, conditions: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.steer = nn.Linear(conditions, 2 * channels)
        for parameter in self.steer.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, conditions: Tensor | None) -> Tensor:
        hidden = self.first(x)
        if conditions is not None and conditions.ndim == 4:
            self._steer_by_place(hidden, conditions)
        elif conditions is not None:
            gain, offset = self.steer(conditions)[:, :, None, None].chunk(2, dim=1)
            hidden = torch.addcmul(offset, hidden, 1 + gain)
        return self.second(hidden.relu_()).add_(x)

    def _steer_by_place(self, hidden: Tensor, conditions: Tensor) -> None:
        """Apply gains and offsets that change over the image, in place."""
        weight = self.steer.weight[:, :, None, None]
        rows = hidden.shape[-2] if hidden.is_cuda else _STRIP
        strips = zip(hidden.split(rows, dim=-2), conditions.split(rows, dim=-2), strict=True)
        for own, local in strips:
            gain, offset = functional.conv2d(local, weight, self.steer.bias).chunk(2, dim=1)
            own.addcmul_(own, gain).add_(offset)

    def fold(self, conditions: Tensor) -> None:
        """Build the gain and offset of one image into the convolution."""
        gain, offset = self.steer(conditions)[0].chunk(2)
        bias = torch.zeros_like(offset) if self.first.bias is None else self.first.bias
        self.first.weight.data = self.first.weight * (1 + gain)[:, None, None, None]
        self.first.bias = nn.Parameter(bias * (1 + gain) + offset)


class Stage(nn.Module):
    """Residual blocks of one resolution, conditioned on numbers that describe the image.

    Parameters
    ----------
    channels, blocks : int
        Size.
    conditions : int
        How many numbers.
    """

    def __init__(self, channels: int, blocks: int, conditions: int = CONDITIONS) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_ResidualBlock(channels, conditions) for _ in range(blocks))

    def forward(self, x: Tensor, conditions: Tensor | None) -> Tensor:
        """Return an image of the same shape; ``conditions`` None for a folded network."""
        for block in self.blocks:
            x = block(x, conditions)
        return x


class _Exchange(nn.Module):
    """Shows each plane of an image the mean of what was found in the other planes."""

    def __init__(self, channels: int, planes: int) -> None:
        super().__init__()
        self.planes = planes
        self.others = nn.Conv2d(channels, channels, 1)
        for parameter in self.others.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        planes = x.unflatten(0, (-1, self.planes))
        others = (planes.sum(1, keepdim=True) - planes) / (self.planes - 1)
        return x + self.others(others.flatten(0, 1))


class WienerUNet(nn.Module):
    """Residual U-Net at half resolution that mixes and corrects Wiener estimates.

    The output is a mixture of the Wiener estimates, weighted per pixel, plus a correction in units
    of the noise: bright stars take their flux from the linear estimates, which conserve it, and the
    network decides which estimate to use where. The weights of a pixel may be negative, so that a
    mixture can be sharper than all estimates; their sum lies between 0 (the background alone) and
    1, at any brightness. No layer looks beyond its neighbourhood (no
    normalisation, no global pooling), so tiles equal the whole.

    Parameters
    ----------
    scale : int
        Output pixels per input pixel along each axis.
    outputs : int
        Images that are made of one input; of more than one, the scale is 1.
    widths : sequence of int
        Channels at 1/2, 1/4, 1/8 ... of the input resolution.
    blocks : sequence of int
        Residual blocks per level, on each side of the U; one side only at the bottom.
    sees_edges : bool
        Whether the mask gives it the pixels beyond the edges of the frame; in training, frames
        must then have edges.
    planes : int
        Planes of an image that it restores at once. Each goes through the same layers; before each
        stage it is shown the mean of the others. The order of the planes does not matter.

    References
    ----------
    Ronneberger et al. (2015), arXiv:1505.04597 (U-Net); Sureau et al. (2020), A&A 641, A67
    (network after a closed-form Tikhonov step); Perez et al. (2018), arXiv:1709.07871 (conditions
    as gain and offset).
    """

    def __init__(
        self,
        scale: int = 1,
        outputs: int = 1,
        widths: Sequence[int] = (48, 96, 192),
        blocks: Sequence[int] = (1, 1, 2),
        sees_edges: bool = False,
        planes: int = 1,
    ) -> None:
        super().__init__()
        self.scale, self.outputs, self.blocks = scale, outputs, blocks
        self.sees_edges, self.planes = sees_edges, planes
        self.estimates = len(WIENER_STRENGTHS)
        phases = scale**2
        images = 2 + self.estimates * phases
        self.head = nn.Conv2d(4 * images, widths[0], 3, padding=1)
        self.encoder = nn.ModuleList(Stage(w, n) for w, n in zip(widths, blocks, strict=True))
        self.decoder = nn.ModuleList(
            Stage(w, n) for w, n in zip(widths[:-1], blocks[:-1], strict=True)
        )
        steps = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in steps)
        if planes > 1:
            self.exchanges = nn.ModuleList(_Exchange(w, planes) for w in widths)
            self.exchanges_up = nn.ModuleList(_Exchange(w, planes) for w in widths[:-1])
        mixed = 2 * (self.estimates + 1) * phases * outputs
        self.tail = nn.Conv2d(widths[0], 4 * mixed, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self,
        observed: Tensor,
        mask: Tensor,
        estimates: Tensor,
        conditions: Tensor | None,
        *,
        margin: int = 0,
    ) -> Tensor:
        """Restore a batch.

        Parameters
        ----------
        observed, mask : Tensor
            Shape ``(B, 1, H, W)``: image in noise sigma with the background near 0, and 1 where a
            pixel is saturated or filled in; -1, if the network sees edges, where it is the mirror
            image of one of the frame; ``H`` and ``W`` multiples of ``2**len(widths)``. The planes
            of an image follow each other in the batch.
        estimates : Tensor
            Shape ``(B, K, scale**2, H, W)``: Wiener estimates, all phases.
        conditions : Tensor or None
            Shape ``(B, CONDITIONS)``; None for a network from `folded`; ``(B, CONDITIONS, H, W)``
            where they change over the image (without gradients).
        margin : int
            Input pixels at every side of which the output is not wanted.

        Returns
        -------
        Tensor
            Shape ``(B, outputs, scale * (H - 2 * margin), scale * (W - 2 * margin))``, in noise
            sigma.
        """
        x = self.head(_by_strips(_encode, observed, mask, estimates.flatten(1, 2)))
        steering = [at_level(conditions, level) for level in range(len(self.encoder))]
        skips = []
        for level, stage in enumerate(self.encoder):
            if self.planes > 1:
                x = self.exchanges[level](x)
            x = stage(x, steering[level])
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        gone = 0
        for level in reversed(range(len(self.decoder))):
            cell = 2 ** (level + 1)
            spare = (margin - self._reach(level)) // (2 * cell) * (2 * cell)
            if spare > gone:
                x, gone = without_border(x, (spare - gone) // (2 * cell)), spare
            x = self.up[level](x).add_(without_border(skips[level], gone // cell))
            if self.planes > 1:
                x = self.exchanges_up[level](x)
            here = steering[level]
            if here is not None and here.ndim == 4:
                here = without_border(here, gone // cell)
            x = self.decoder[level](x, here)
        mixed = self._finish(without_border(estimates, gone), x)
        return without_border(mixed, self.scale * (margin - gone))

    def _reach(self, level: int) -> int:
        """Return the input pixels around an output pixel that matter from a decoder level on."""
        tail = 2
        return tail + sum(2 * self.blocks[k] * 2 ** (k + 1) for k in range(level + 1))

    def _finish(self, estimates: Tensor, x: Tensor) -> Tensor:
        """Take the last convolution piece by piece: its many channels need not exist at once."""
        height = x.shape[-2]
        rows = height if torch.is_grad_enabled() or x.is_cuda else _PIECE
        pieces = []
        for first in range(0, height, rows):
            last = min(first + rows, height)
            low, high = max(0, first - 1), min(height, last + 1)
            mixed = self.tail(x[..., low:high, :])[..., first - low : last - low, :]
            own = estimates[..., 2 * first : 2 * last, :]
            pieces.append(_by_strips(self.mix, own, mixed))
        return torch.cat(pieces, dim=-2)

    def mix(self, estimates: Tensor, x: Tensor) -> Tensor:
        """Turn the last features into weights and correction, and mix."""
        count = self.estimates
        x = functional.pixel_shuffle(x.float(), 2).unflatten(1, (2 * count + 2, -1))
        share = torch.softmax(
            torch.cat([x[:, :count], x[:, -1:] - _BACKGROUND_LOGIT], dim=1), dim=1
        )
        beyond = x[:, count + 1 : -1]
        weights = share[:, :-1] + beyond - beyond.mean(1, keepdim=True)
        unit = torch.sqrt(1 + (_FLOOR * estimates[:, -1]) ** 2)
        result = (weights * estimates).sum(1) + unit * x[:, count]
        return functional.pixel_shuffle(result, self.scale)

    def folded(self, conditions: Tensor) -> WienerUNet:
        """Return a copy for one image only, faster: shape of ``conditions`` ``(1, CONDITIONS)``."""
        net = copy.deepcopy(self)
        with torch.no_grad():
            for module in net.modules():
                if isinstance(module, _ResidualBlock):
                    module.fold(conditions)
        return net.requires_grad_(False)


def as_channels_last(net: Net) -> Net:
    """Lay the kernels out as convolutions on CPUs and tensor cores want them; in place."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return net
