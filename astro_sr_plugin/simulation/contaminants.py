"""What is in images beside the sky: trails, cosmic rays, bad columns, ghosts and dots."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Contaminants", "draw_contaminants"]

_SEEN = 0.7
"""Light of a contaminant in noise sigma from which a pixel counts as spoiled."""
_BESIDE = 0.05
"""What is added to that, as a share of the light of the sky: no network could see less on a star,
and to fill the star would do more harm."""
_PROBABILITY = 0.35
"""How often an image holds contaminants of each kind."""


_STEP = 0.25
"""Pixels between two places of a cosmic ray."""


@dataclass(frozen=True)
class Contaminants:
    """Light that is not of the sky, in noise sigma.

    Attributes
    ----------
    optical : Tensor
        Shape (H, W): light that fell on the detector, with the noise of its photons still to come.
    electronic : Tensor
        Shape (H, W): signal of the detector itself, and of particles.
    kinds : Tensor
        Shape (5, H, W): light of the trails, cosmic rays, columns, ghosts and dots, of which the
        two above are the sums.
    """

    optical: Tensor
    electronic: Tensor
    kinds: Tensor

    def masks(self, light: Tensor) -> Tensor:
        """Return which pixels each kind spoils, (5, H, W), on a sky of that light, (H, W)."""
        return self.kinds.abs() > _SEEN + _BESIDE * light.clamp_min(0)


def draw_contaminants(
    size: int, rng: torch.Generator, probability: float = _PROBABILITY
) -> Contaminants:
    """Draw contaminants for an image.

    Parameters
    ----------
    size : int
        Pixels of a side.
    rng : torch.Generator
        Source of randomness.
    probability : float
        How often there are some of each kind.
    """
    draw = _Draw(size, rng)
    kinds = [
        make(draw) if draw.chance(probability) else torch.zeros(size, size, device=rng.device)
        for make in (_trails, _cosmic_rays, _columns, _ghosts, _dots)
    ]
    trails, rays, columns, ghosts, dots = kinds
    return Contaminants(trails + ghosts + dots, rays + columns, torch.stack(kinds))


class _Draw:
    """Random numbers, and distances on a square of pixels."""

    def __init__(self, size: int, rng: torch.Generator) -> None:
        self.size, self.rng = size, rng
        place = torch.arange(size, dtype=torch.float32, device=rng.device)
        self.rows, self.columns = place[:, None], place[None, :]

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand(1, generator=self.rng, device=self.rng.device))

    def log_uniform(self, low: float, high: float) -> float:
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def chance(self, probability: float) -> bool:
        return self.uniform(0, 1) < probability

    def centre(self) -> tuple[float, float]:
        return self.uniform(0, self.size), self.uniform(0, self.size)

    def empty(self) -> Tensor:
        return torch.zeros(self.size, self.size, device=self.rng.device)

    def radius(self, flattening: float = 1.0) -> Tensor:
        """Return distances from a random centre, of ellipses in a random direction."""
        y, x = self.centre()
        angle = self.uniform(0, math.pi)
        dy, dx = self.rows - y, self.columns - x
        along = dx * math.cos(angle) + dy * math.sin(angle)
        across = dy * math.cos(angle) - dx * math.sin(angle)
        return torch.hypot(along, across / flattening)


def _trails(draw: _Draw) -> Tensor:
    """Draw one or two straight lines of even brightness, or flashing, with the width of a PSF."""
    light = draw.empty()
    for _ in range(1 + draw.chance(0.25)):
        y, x = draw.centre()
        angle = draw.uniform(0, math.pi)
        dy, dx = draw.rows - y, draw.columns - x
        across = (dy * math.cos(angle) - dx * math.sin(angle)).abs()
        along = dx * math.cos(angle) + dy * math.sin(angle)
        width = draw.log_uniform(0.8, 4.0)
        profile = torch.exp(-0.5 * (across / width) ** 2)
        if draw.chance(0.5):
            profile = (1 + (across / (2 * width)) ** 2) ** -2.5
        brightness = torch.full_like(along, draw.log_uniform(1.5, 60.0))
        if draw.chance(0.2):
            period = draw.log_uniform(20.0, 200.0)
            brightness = brightness * (0.55 + 0.45 * torch.cos(2 * math.pi * along / period))
        if draw.chance(0.15):
            brightness = brightness * (along > 0)
        light = light + brightness * profile
    return light


def _cosmic_rays(draw: _Draw) -> Tensor:
    """Draw hits of one to some tens of pixels that no optics blurred."""
    light = draw.empty()
    for _ in range(int(draw.log_uniform(1, 16))):
        centre = draw.centre()
        length = draw.log_uniform(0.5, 25.0)
        deposit = draw.log_uniform(6.0, 600.0)
        steps = torch.arange(max(1, round(length / _STEP)), device=draw.rng.device)
        angle = draw.uniform(0, 2 * math.pi) + draw.uniform(-0.0125, 0.0125) * steps
        row, column = (
            (start + _STEP * torch.cumsum(move(angle), 0)).long()
            for start, move in zip(centre, (torch.sin, torch.cos), strict=True)
        )
        inside = (row >= 0) & (row < draw.size) & (column >= 0) & (column < draw.size)
        share = torch.full(steps.shape, deposit * (_STEP if length > 1 else 1.0))
        hit = (row[inside], column[inside])
        light.index_put_(hit, share.to(light)[inside], accumulate=True)
    if draw.chance(0.3):
        # As after the registration of the frame.
        sigma = draw.uniform(0.3, 0.6)
        place = torch.arange(-2, 3, device=draw.rng.device)
        axis = torch.exp(-0.5 * (place / sigma) ** 2)
        axis = axis / axis.sum()
        kernel = (axis[:, None] * axis[None, :])[None, None]
        light = torch.nn.functional.conv2d(light[None, None], kernel, padding=2)[0, 0]
    return light


def _columns(draw: _Draw) -> Tensor:
    """Draw hot, and some dark, columns or rows, whole or from a pixel on."""
    light = draw.empty()
    for _ in range(int(draw.log_uniform(1, 5))):
        column, first = int(draw.uniform(0, draw.size)), int(draw.uniform(0, draw.size))
        height = draw.log_uniform(1.5, 150.0)
        if draw.chance(0.25):
            height = -min(height, 8.0)
        rows = slice(first if draw.chance(0.5) else 0, draw.size)
        light[rows, column] += height
    if draw.chance(0.5):
        light = light.flip(0)
    return light.T if draw.chance(0.2) else light


def _ghosts(draw: _Draw) -> Tensor:
    """Draw images of the pupil: even rings and discs with soft edges, faint and large."""
    light = draw.empty()
    for _ in range(1 + draw.chance(0.3)):
        radius = draw.radius(draw.uniform(0.85, 1.0))
        outer = draw.log_uniform(8.0, 36.0)
        inner = outer * draw.uniform(0.2, 0.6) if draw.chance(0.7) else -outer
        edge = draw.uniform(0.5, 2.0)
        shape = torch.sigmoid((outer - radius) / edge) * torch.sigmoid((radius - inner) / edge)
        light = light + draw.log_uniform(1.2, 25.0) * shape
    return light


def _dots(draw: _Draw) -> Tensor:
    """Draw discs with sharp edges, and spheres that are brightest in the middle."""
    light = draw.empty()
    for _ in range(int(draw.log_uniform(1, 5))):
        reach = draw.log_uniform(2.5, 14.0)
        radius = draw.radius()
        shape = (reach + 0.5 - radius).clamp(0, 1)
        if draw.chance(0.5):
            shape = torch.sqrt((1 - (radius / reach) ** 2).clamp_min(0))
        light = light + draw.log_uniform(3.0, 80.0) * shape
    return light
