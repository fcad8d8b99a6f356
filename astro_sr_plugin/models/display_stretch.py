"""The stretch of linear planes for networks that know display images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["STRETCH_HISTORY", "STRETCH_KEYWORD", "DisplayStretch"]

_SKY = 0.2
"""Level of the sky in the picture that a network gets: between 0.1 and 0.6 such networks bend the
tones by less than 0.005, below they crush or lift them."""
_WHITE = 0.85
"""Level of the brightest pixel in that picture; from 0.9 on networks bend the tones again."""
_SOFTENING = 10.0
"""Noise sigmas up to which the stretch is linear."""
STRETCH_KEYWORD = "ASRSTRK"
"""Keyword of the factor of the stretch."""
STRETCH_HISTORY = (
    f"stretch for the network: {_SKY:g} + {STRETCH_KEYWORD} asinh(light / {_SOFTENING:g}), "
    "light in noise",
    "sigma above the sky; undone by its inverse",
)
"""What the history of the result says of it."""


@dataclass(frozen=True)
class DisplayStretch:
    """An asinh curve from noise sigma to the values that a network knows, with its inverse.

    The sky, 0, comes to 0.2 and ``brightest`` to 0.85 of the range; nothing is clipped.

    Attributes
    ----------
    brightest : float
        Brightest pixel of the image in noise sigma.
    black, white : float
        Values of black and white of the pictures that the network was trained on.
    """

    brightest: float
    black: float = 0.0
    white: float = 1.0

    @property
    def slope(self) -> float:
        """Factor of the asinh."""
        return (_WHITE - _SKY) / math.asinh(self.brightest / _SOFTENING)

    @property
    def darkest(self) -> float:
        """Light that comes to black."""
        return -_SOFTENING * math.sinh(_SKY / self.slope)

    @property
    def lightest(self) -> float:
        """Light that comes to white."""
        return _SOFTENING * math.sinh((1 - _SKY) / self.slope)

    def __call__(self, light: Tensor) -> Tensor:
        """Stretch light in noise sigma."""
        level = _SKY + self.slope * torch.asinh(light / _SOFTENING)
        return self.black + (self.white - self.black) * level

    def inverse(self, values: Tensor) -> Tensor:
        """Return light in noise sigma; above white and below black, where no input is, linearly."""
        level = (values - self.black) / (self.white - self.black)
        inside = level.clamp(0.0, 1.0)
        angle = (inside - _SKY) / self.slope
        slope = _SOFTENING * torch.cosh(angle) / self.slope
        return _SOFTENING * torch.sinh(angle) + slope * (level - inside)
