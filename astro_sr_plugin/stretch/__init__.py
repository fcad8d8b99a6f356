"""Invertible display stretches made of stored numbers only.

A stretch is fitted once, to an image, and is from then on a fixed curve: a frozen dataclass of
numbers. It never clips, and its inverse gives back every value, below black and above white too::

    stretch = AsinhStretch.fit(image)
    shown = stretch(image.data)
    back = stretch.inverse(shown)

The numbers can travel in a header (`Stretch.to_header`, `Stretch.from_header`), so that a
stretched file can be undone without the original (`apply_stretch`, `undo_stretch`).
"""

from __future__ import annotations

from astro_sr_plugin.stretch.base import InverseStretch, Stretch
from astro_sr_plugin.stretch.curves import AsinhStretch, GammaStretch, LogStretch
from astro_sr_plugin.stretch.ghs import GHSStretch
from astro_sr_plugin.stretch.image import apply_stretch, undo_stretch
from astro_sr_plugin.stretch.mtf import MTFStretch

__all__ = [
    "AsinhStretch",
    "GHSStretch",
    "GammaStretch",
    "InverseStretch",
    "LogStretch",
    "MTFStretch",
    "Stretch",
    "apply_stretch",
    "undo_stretch",
]
