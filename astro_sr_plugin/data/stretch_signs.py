"""Signs that an image was stretched for display by another program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.data.formats.header import DISPLAY_KEYWORD

__all__ = ["find_stretch_signs"]

# What Siril, PixInsight and others write into the history when they change the tone curve.
_WORDS = re.compile(
    r"auto-?\s?stretch|histogram ?transf|midtones? transfer|\bMTF\b|\bSTF applied|\bGHS\b"
    r"|hyperbolic ?stretch|a(rc)?sinh ?(stretch|transf)|masked ?stretch|adaptive ?stretch"
    r"|statistical ?stretch|star ?stretch|curves? ?transf|exponential ?transf"
    r"|gamma ?(correction|transf)|veralux|local ?histogram ?equal|\bCLAHE\b",
    re.IGNORECASE,
)
_OWN = "astro_sr_plugin"
# About this many pixels make the histogram, from at least so many rows.
_SAMPLE, _SAMPLE_ROWS = 400_000, 64
# A stretch puts the sky at 0.1 to 0.4 of the range, a logarithm at 0.6 to 0.85, and its noise is
# then so large a part of the range that little is left above: 3 to 12 sigma after a midtones
# transfer function, 3 to 8 after a logarithm, up to 35 after an asinh, 42 and more after a root.
# Linear frames of the sky with a star at the top of the range have 20 to 10,000 sigma
# above it, the low numbers where the sky is brighter than half of the range.
_LOWEST_SKY, _HIGHEST_SKY = 0.05, 0.6
_CERTAIN_SIGMAS = 16.0
_TYPICAL_SKY = (0.1, 0.45)
_LIKELY_SIGMAS = 42.0
"""Range above the sky in sigma: the first with any sky, the second with a sky of typical level."""
_LOGARITHMIC_SKY, _LOGARITHMIC_SIGMAS = 0.9, 8.5
"""The same for skies above `_HIGHEST_SKY`, if the brightest pixel is at the top of the range."""
# Range of normalised floats, with some room for stretches that clip nothing.
_LOWEST_FLOAT, _HIGHEST_FLOAT = -0.6, 1.6
# Percentiles that are inside of it, whatever bad pixels are outside.
_TAILS = (0.1, 99.9)
# Part of the range that the brightest pixel of a stretched image reaches at least, the second
# after a logarithm.
_BRIGHTEST_PIXEL, _TOP = 0.5, 0.95
# Top of the range of integers that programs for display write.
_INTEGER_TOPS = {"uint8": 255.0, "uint16": 65535.0}


def find_stretch_signs(meta: Mapping[str, Any], data: NDArray) -> str:
    """Say why an image seems to be stretched.

    Parameters
    ----------
    meta : mapping or fits.Header
        Metadata of the image: its history, and what the file said about its samples.
    data : ndarray, shape (ny, nx) or (n, ny, nx)
        The pixels.

    Returns
    -------
    str
        Empty where nothing speaks of a stretch.
    """
    if meta.get(DISPLAY_KEYWORD) and not _is_dark(meta, data):
        return "its file holds values for display: 8-bit colours, or a profile with a tone curve"
    for line in _history(meta):
        if _WORDS.search(line) and not line.startswith(_OWN):
            return f"its history says {line[:60]!r}"
    return _histogram_sign(meta, data)


def _history(meta: Mapping[str, Any]) -> list[str]:
    entries = meta.get("HISTORY", meta.get("history", ()))
    return [entries] if isinstance(entries, str) else [str(line) for line in entries or ()]


def _is_dark(meta: Mapping[str, Any], data: NDArray) -> bool:
    """Whether 16-bit samples have a sky as dark as only linear images do.

    Programs for linear images embed the profile of the screen too.
    """
    if _stored_type(meta, data) != "uint16":
        return False
    sample = _sample(data)
    return sample.size > 0 and float(np.median(sample)) < _LOWEST_SKY * _INTEGER_TOPS["uint16"]


def _stored_type(meta: Mapping[str, Any], data: NDArray) -> str:
    return str(meta.get("ASRDTYPE", data.dtype.name))


def _sample(data: NDArray) -> NDArray[np.float64]:
    """Give finite pixels from whole rows, so that little of a mapped file is read."""
    # Green of colour images, the first plane of cubes.
    plane = data if data.ndim == 2 else data[1 if len(data) == 3 else 0]
    step = max(1, min(len(plane) // _SAMPLE_ROWS, plane.size // _SAMPLE))
    with np.errstate(invalid="ignore"):
        sample = plane[::step].astype(np.float64)
    found: NDArray[np.float64] = sample[np.isfinite(sample)]
    return found


@np.errstate(over="ignore", invalid="ignore")
def _histogram_sign(meta: Mapping[str, Any], data: NDArray) -> str:
    """Compare the noise of the sky with the range of values above it."""
    sample = _sample(data)
    if sample.size == 0:
        return ""
    low, high, brightest = np.percentile(sample, (*_TAILS, 100.0))
    top = _INTEGER_TOPS.get(_stored_type(meta, data), 1.0)
    if low < _LOWEST_FLOAT * top or high > _HIGHEST_FLOAT * top:
        return ""
    if brightest < _BRIGHTEST_PIXEL * top:
        return ""
    sky = float(np.median(sample))
    sigma = MAD_TO_SIGMA * float(np.median(np.abs(sample - sky)))
    if not sigma > 0:
        return ""
    sigmas, level = (brightest - sky) / sigma, sky / top
    certain = _LOWEST_SKY < level < _HIGHEST_SKY and sigmas < _CERTAIN_SIGMAS
    likely = _TYPICAL_SKY[0] < level < _TYPICAL_SKY[1] and sigmas < _LIKELY_SIGMAS
    logarithmic = (
        _HIGHEST_SKY <= level < _LOGARITHMIC_SKY
        and sigmas < _LOGARITHMIC_SIGMAS
        and brightest > _TOP * top
    )
    if not (certain or likely or logarithmic):
        return ""
    return (
        f"its sky is at {level:.2f} of the range, and its brightest pixel {sigmas:.0f} sigma above"
    )
