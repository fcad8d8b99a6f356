"""How far a planet turns during a video."""

from __future__ import annotations

import numpy as np

from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.exceptions import warn
from astro_sr_plugin.stacking.planetary.disc import Disc

__all__ = ["warn_of_rotation"]

_PERIODS = {"jup": 9.925, "sat": 10.66, "mars": 24.62, "uran": 17.24, "nept": 16.11}
"""Hours of a rotation by the start of the name of a planet (Archinal et al. 2018, Celestial
Mechanics and Dynamical Astronomy 130, 22)."""
_OBLATE = 0.045
"""Oblateness from which a disc without a name is taken as Jupiter or Saturn."""
_LARGEST_SMEAR = 1.0
"""Pixels in the middle of the disc."""


def warn_of_rotation(video: Video, disc: Disc) -> None:
    """Warn if the planet turns by more than a pixel during the video.

    Parameters
    ----------
    video : Video
        With times; without them nothing is known.
    disc : Disc
        The disc of a frame.
    """
    if video.times is None or not disc.found:
        return
    words = f"{video.header.get('OBJECT', '')} {video.name}".lower()
    period = next((hours for name, hours in _PERIODS.items() if name in words), None)
    if period is None:
        if disc.oblateness < _OBLATE:
            return
        period = _PERIODS["jup"]
    hours = float((np.max(video.times) - np.min(video.times)) / np.timedelta64(1, "h"))
    smear = 2 * np.pi * disc.radius * hours / period
    if smear > _LARGEST_SMEAR:
        longest = 60 * period / (2 * np.pi * disc.radius)
        warn(
            f"the planet turns by {smear:.1f} pixels during the video of {60 * hours:.1f} min, and "
            f"the rotation is not taken out: stack {longest:.1f} min at a time"
        )
