"""The tone curve of display pictures, sRGB (IEC 61966-2-1), and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["light_of_tones", "tones_of_light"]

_LINEAR_TONE, _LINEAR_LIGHT = 0.04045, 0.0031308
"""Tone, and light, up to which the curve is a straight line."""
_SLOPE, _OFFSET, _POWER = 12.92, 0.055, 2.4
"""Slope of the line; offset and power of the curve beyond."""


def light_of_tones(tones: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the light of tones of 0 to 1."""
    curve = ((tones + _OFFSET) / (1 + _OFFSET)) ** _POWER
    return np.where(tones <= _LINEAR_TONE, tones / _SLOPE, curve)


def tones_of_light(light: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the tones of light of 0 to 1."""
    curve = (1 + _OFFSET) * light ** (1 / _POWER) - _OFFSET
    return np.where(light <= _LINEAR_LIGHT, _SLOPE * light, curve)
