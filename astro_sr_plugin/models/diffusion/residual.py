"""A network that enlarges an image in one pass, and draws samples of the error of that pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from astro_sr_plugin.models.diffusion.sampler import DiffusionNet, Level
from astro_sr_plugin.models.srcnn import SRCNN

__all__ = ["OnePass", "ResidualDiffusion"]

_LOG_SPREAD = -5.0
"""Logarithm of the expected error that training begins with, in the range of black to white: about
that of an interpolated picture."""
_HARMONICS = 4
"""Sines and cosines of the angle of the noise level that the network gets."""


@dataclass(frozen=True)
class OnePass:
    """What one pass makes of a picture.

    Attributes
    ----------
    mean : Tensor
        The enlarged picture, shape (B, 1, scale H, scale W).
    log_spread : Tensor
        Logarithm of its expected error, of the same shape.
    features : Tensor
        What the samples are drawn from, shape (B, width, H, W).
    """

    mean: Tensor
    log_spread: Tensor
    features: Tensor


class ResidualDiffusion(DiffusionNet):
    """SR3 (Saharia et al. 2021) on the error of one pass, small enough for a CPU.

    SRCNN enlarges the picture. An encoder looks at it once, too: it returns a correction, the
    expected error at each pixel, and features. A denoiser, which sees few pixels, turns noise into
    a sample of the error over its expected size, given the features and the level of the noise. It
    estimates the velocity of Salimans & Ho (2022), which is defined at every level from pure noise
    on, so that any number of steps can be taken. Nothing is normalised over the picture.

    Parameters
    ----------
    width, blocks : int
        Channels and residual blocks of the encoder.
    sample_width, sample_blocks : int
        The same of the denoiser.
    channels, scale : int
        Planes, which is 1, and output pixels per input pixel.

    Raises
    ------
    ValueError
        If ``channels`` is not 1.
    """

    def __init__(
        self,
        width: int = 40,
        blocks: int = 6,
        sample_width: int = 40,
        sample_blocks: int = 3,
        channels: int = 1,
        scale: int = 2,
    ) -> None:
        super().__init__()
        if channels != 1:
            msg = f"channels={channels} is not allowed; each plane is enlarged for itself"
            raise ValueError(msg)
        self.scale = scale
        self.base = SRCNN(scale=scale)
        phases = scale**2
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.encoder = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.one_pass = nn.Conv2d(width, 2 * phases, 3, padding=1)
        nn.init.zeros_(self.one_pass.weight)
        self.level = nn.Sequential(
            nn.Linear(2 * _HARMONICS, 64),
            nn.SiLU(),
            nn.Linear(64, sample_blocks * 2 * sample_width),
        )
        self.enter = nn.Conv2d(width + phases, sample_width, 3, padding=1)
        self.denoiser = nn.ModuleList(_Block(sample_width) for _ in range(sample_blocks))
        self.leave = nn.Conv2d(sample_width, phases, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        # One pixel for each convolution.
        self.halo = max(self.base.halo, 2 + 2 * blocks)
        self.step_halo = 2 + 2 * sample_blocks
        self.calibration: Tensor
        self.register_buffer("calibration", torch.ones(()))

    def levels(self, steps: int) -> list[Level]:
        """Return the levels of the noise, from pure noise to none, ``steps + 1`` of them."""
        angles = (0.5 * math.pi * (1 - step / steps) for step in range(steps + 1))
        return [Level(math.cos(angle), math.sin(angle)) for angle in angles]

    def begin(self, picture: Tensor) -> OnePass:
        """Look at pictures of shape (B, 1, H, W) once."""
        features = self.first(picture)
        for block in self.encoder:
            features = block(features)
        mean, log_spread = self.one_pass(features).float().chunk(2, dim=1)
        return OnePass(
            self.base(picture).float() + F.pixel_shuffle(mean, self.scale),
            F.pixel_shuffle(log_spread, self.scale) + _LOG_SPREAD,
            features,
        )

    def velocity(self, features: Tensor, noisy: Tensor, angle: Tensor) -> Tensor:
        """Estimate the velocity of noisy errors of shape (B, 1, scale H, scale W).

        The error times the cosine of the angle (B,), and noise times its sine, add up to ``noisy``.
        """
        orders = torch.arange(1, _HARMONICS + 1, device=angle.device) * angle[:, None]
        level = self.level(torch.cat([orders.cos(), orders.sin()], dim=1))
        slopes = level[..., None, None].chunk(2 * len(self.denoiser), dim=1)
        hidden = self.enter(
            torch.cat([features, F.pixel_unshuffle(noisy, self.scale).to(features)], dim=1)
        )
        for number, block in enumerate(self.denoiser):
            hidden = block(hidden * (1 + slopes[2 * number]) + slopes[2 * number + 1])
        return F.pixel_shuffle(self.leave(hidden).float(), self.scale)

    def estimate(self, seen: OnePass, noisy: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """Return the error and the noise that are in noisy errors."""
        angle = noisy.new_tensor([math.atan2(level.noise, level.signal)]).expand(len(noisy))
        velocity = self.velocity(seen.features, noisy, angle)
        error = level.signal * noisy - level.noise * velocity
        return error, level.noise * noisy + level.signal * velocity

    def finish(self, seen: OnePass, error: Tensor) -> Tensor:
        """Return the picture of a sample of the error."""
        return seen.mean + self.calibration * seen.log_spread.exp() * error

    def forward(self, picture: Tensor) -> Tensor:
        """Return what one pass makes of pictures (B, 1, H, W): (B, 1, scale H, scale W)."""
        return self.begin(picture).mean


class _Block(nn.Module):
    """Two convolutions beside a short cut; it begins with the short cut alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.conv2(F.silu(self.conv1(features)))
        return features + changed
