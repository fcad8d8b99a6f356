"""Which frames are stacked, and with which weights."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stacking.planetary.survey import FrameRecord

__all__ = ["PlanetWeights", "check_keep", "frame_weights", "select_frames"]

PlanetWeights = Literal["quality", "none"]
Keep = int | float | str | None

_POWER = 20.0
"""Largest exponent of the quality in the weight of a frame. Simulated videos of 256 frames gave the
highest signal-to-noise ratio between 16, where the stack is better after the sharpening, and 24,
where it is better before."""
_LEAST_SHARE, _LEAST_NUMBER = 0.15, 20
"""Frames that a stack with weights is worth at least, in noise: a part of them, and their number.
Where the quality changes much the exponent is smaller."""
_NEGLIGIBLE = 0.01
"""Part of the sum of the weights that the worst frames have together, and are left out for: it
costs as much signal-to-noise ratio at most, and saves the work for up to half of the frames."""
_WORST = 1e-6
"""Quality over the best one below which frames count as alike."""
_STEPS = 30
"""Halvings of the interval of the exponent."""


def check_keep(keep: Keep) -> None:
    """Check the number of frames to keep.

    Raises
    ------
    InputError
        If it is neither a number of frames above 0 nor a share such as ``"20%"``.
    """
    _share_or_number(keep)


def _share_or_number(keep: Keep) -> tuple[float | None, int | None]:
    msg = f"keep={keep!r} is not understood; allowed are a number of frames and a share like '20%'"
    if keep is None:
        return None, None
    text = str(keep).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1])
            if not 0 < share <= 100:
                raise InputError(msg)
            return share / 100, None
        number = int(text)
    except ValueError as error:
        raise InputError(msg) from error
    if number < 1:
        raise InputError(msg)
    return None, number


def select_frames(records: list[FrameRecord], keep: Keep) -> list[int]:
    """Return the numbers of the best frames, the best one first.

    Parameters
    ----------
    records : list of FrameRecord
        All frames; those with a reason are never kept.
    keep : int, str or None
        How many, or which share of the usable ones; all by default.

    Returns
    -------
    list of int
        Frames of one quality stay in their order.
    """
    usable = [record for record in records if not record.reason]
    usable.sort(key=lambda record: -record.quality)
    share, number = _share_or_number(keep)
    if share is not None:
        number = max(1, round(share * len(usable)))
    return [record.number for record in usable[:number]]


def frame_weights(qualities: NDArray[np.floating], weights: PlanetWeights) -> NDArray[np.float64]:
    """Return the weights of frames; the largest is 1, and those that would not count are 0.

    Parameters
    ----------
    qualities : ndarray
        Of the frames that are kept.
    weights : {"quality", "none"}
        All alike for ``"none"``.

    Returns
    -------
    ndarray of float64
    """
    best = float(np.max(qualities, initial=0.0))
    if weights == "none" or not best > 0:
        return np.ones(len(qualities))
    ratio = np.log(np.maximum(np.asarray(qualities, np.float64) / best, _WORST))
    least = min(len(ratio), max(_LEAST_NUMBER, _LEAST_SHARE * len(ratio)))
    low, high = 0.0, _POWER
    if _worth(np.exp(high * ratio)) < least:
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if _worth(np.exp(middle * ratio)) < least else (middle, high)
        high = low
    found = np.exp(high * ratio)
    order = np.argsort(found, kind="stable")
    found[order[np.cumsum(found[order]) < _NEGLIGIBLE * found.sum()]] = 0
    return found


def _worth(weights: NDArray[np.float64]) -> float:
    """Return the number of equal frames whose mean has the noise of the weighted mean."""
    return float(weights.sum() ** 2 / np.sum(weights**2))
