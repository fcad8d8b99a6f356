"""Choice of the type of the pixels of a file to be written; no value may be lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.io.fits import Header
from numpy.typing import DTypeLike, NDArray

from astro_sr_plugin.data.formats.pixels import FACTOR_KEYWORD, FITS_STORAGE, FITS_ZERO, PixelCoding
from astro_sr_plugin.data.strips import iter_strips
from astro_sr_plugin.exceptions import InputError, warn

__all__ = ["choose_coding", "stored_dtype"]

_OFFERED = ("uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
# Steps that the central part of the values has to cover; with fewer, rounding to integers would
# leave 3 bits or less of the sky and of everything faint.
_CENTRAL_STEPS = 8
_CENTRAL_PERCENTILES = (0.5, 99.5)
"""The central part: bright stars and bad pixels lie outside of it."""
# About this many pixels give the percentiles.
_SAMPLE = 1_000_000
# Compressed FITS holds no longer integers, and 32 bits are finer than any measurement.
_FINEST_BITS = 32


def stored_dtype(dtype: DTypeLike | None, data: NDArray, header: Header) -> str:
    """Find the type of the pixels to be written.

    Parameters
    ----------
    dtype : str, numpy.dtype or None
        Wanted type; ``"original"`` for the one the image was read with; None for that of `data`.
    data : ndarray
        The image.
    header : fits.Header
        Its header as `read_image` gives it.

    Returns
    -------
    str
        Name of a type.

    Raises
    ------
    InputError
        If the type is not offered.
    """
    if isinstance(dtype, str) and dtype == "original":
        dtype = str(header.get("ASRDTYPE", "")) or None
    try:
        name = np.dtype(data.dtype if dtype is None else dtype).newbyteorder("=").name
    except TypeError:
        name = str(dtype)
    if dtype is None:
        # Types of arrays that no file format has go to the next one that holds all their values.
        name = {"bool": "uint8", "float16": "float32", "int8": "int16"}.get(name, name)
        name = "float64" if np.dtype(data.dtype) == np.longdouble else name
    if name not in (*_OFFERED, "int8"):
        msg = f"dtype={name!r} cannot be written; allowed are 'original', {', '.join(_OFFERED)}"
        raise InputError(msg)
    return name


def choose_coding(
    name: str, data: NDArray, header: Header, *, original: bool = False, fits: bool = True
) -> PixelCoding:
    """Choose how to store an image, and make sure that every value fits.

    Parameters
    ----------
    name : str
        Type of the pixels, from `stored_dtype`.
    data : ndarray
        Physical values; NaN is stored as BLANK where the type is an integer.
    header : fits.Header
        Header in memory, with the scale and BLANK of the original file.
    original : bool, default False
        Use that scale.
    fits : bool, default True
        Whether the file format has BZERO and BLANK; others store integers as they are.

    Returns
    -------
    PixelCoding
        A rule that loses nothing but what rounding to integers loses.

    Raises
    ------
    InputError
        If values do not fit; nothing is ever clipped. If rounding to integers would leave only a
        few values of the image, and the file format has no BSCALE.

    Warns
    -----
    AstroSRWarning
        If values that run from 0 to 1, or in other steps finer than 1, are stored scaled.
    """
    scale, zero, blank = 1.0, 0.0, None
    stored = np.dtype(name)
    if fits:
        zero = float(FITS_ZERO.get(name, 0))
        stored = np.dtype(FITS_STORAGE.get(name, name)).newbyteorder(">")
        if original:
            scale = float(header.get("ASRBSCAL", 1.0))
            zero = float(header.get("ASRBZERO", zero))
            blank = header.get("ASRBLANK")
    coding = PixelCoding(stored, scale, zero, blank)
    if coding.is_float:
        _check_floats(coding, data)
        return coding
    if not original and data.dtype.newbyteorder("=") == np.dtype(name):
        return coding
    if _needs_finer_steps(coding, data):
        coding = _with_finer_steps(coding, data, name, fits=fits)
    return _with_blank(coding, data, name, allowed=fits)


def _needs_finer_steps(coding: PixelCoding, data: NDArray) -> bool:
    """Whether rounding to the steps of the coding would leave only a few values of the image."""
    if data.dtype.kind != "f":
        return False
    stride = max(1, data.size // _SAMPLE)
    sample = data.reshape(-1)[::stride].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return False
    # Values near the end of float64 fit into no integer; their range is infinite here.
    with np.errstate(over="ignore", invalid="ignore"):
        # Without whole steps of the zero point, beside which small values would vanish.
        steps = (sample - np.fmod(coding.zero, coding.scale)) / coding.scale
        low, high = np.percentile(steps, _CENTRAL_PERCENTILES)
        if high - low >= _CENTRAL_STEPS:
            return False
        # Whole numbers that went through a scaling in float32 are whole to about four digits.
        return bool(np.any(np.abs(steps - np.rint(steps)) > 1e-3 * min(1.0, high - low)))


def _with_finer_steps(coding: PixelCoding, data: NDArray, name: str, *, fits: bool) -> PixelCoding:
    """Spread the range of the values over the integers: BSCALE in FITS, else a stated factor."""
    low, high = np.inf, -np.inf
    for strip in iter_strips(data):
        finite = strip[np.isfinite(strip)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    info = np.iinfo(coding.dtype)
    choices: list[PixelCoding] = []
    if fits:
        # The lowest number is left for BLANK.
        reach = 2 ** (_FINEST_BITS - 1)
        bottom, top = max(info.min, -reach) + 1, min(info.max, reach - 1)
        ranges = [(0.0, 1.0)] if low >= 0 and high <= 1 else []
        for first, last in (*ranges, (low, high if high > low else low + (abs(low) or 1.0))):
            scale = (last - first) / (top - bottom)
            choices.append(replace(coding, scale=scale, zero=first - bottom * scale))
    elif max(info.min, -1) <= low and high <= 1:
        choices.append(replace(coding, scale=1.0 / info.max))
    extent = high - low or abs(low)
    choices = [fine for fine in choices if extent >= _CENTRAL_STEPS * fine.scale]
    if not choices:
        msg = (
            f"dtype={name!r} would leave only a few values of the image, which runs from "
            f"{low:.10g} to {high:.10g}; write {'' if fits else 'FITS or '}a float type"
        )
        raise InputError(msg)
    fine = choices[0]
    how = f"multiplied by {info.max} (keyword {FACTOR_KEYWORD})"
    if fits:
        how = f"with BSCALE = {fine.scale:.8g} and BZERO = {fine.zero:.8g}, which readers undo"
    msg = f"the values {low:.6g} to {high:.6g} do not fill dtype={name!r}: they are stored {how}"
    warn(msg)
    return fine


def _check_floats(coding: PixelCoding, data: NDArray) -> None:
    if data.dtype.itemsize <= coding.dtype.itemsize or coding.dtype.itemsize > 4:
        return
    top = float(np.finfo(np.float32).max)
    large = sum(
        int(np.count_nonzero(np.isfinite(strip) & (np.abs(strip) > top)))
        for strip in iter_strips(data)
    )
    if large:
        msg = f"{large} pixels do not fit into float32 (up to {top:.3g}); write dtype='float64'"
        raise InputError(msg)


def _with_blank(coding: PixelCoding, data: NDArray, name: str, *, allowed: bool) -> PixelCoding:
    """Count what does not fit, and find a stored number for NaN if there is any."""
    info = np.iinfo(coding.dtype)
    outside, missing, low, high = 0, 0, np.inf, -np.inf
    taken = False
    lowest_taken, highest_taken = False, False
    for strip in iter_strips(data):
        values = strip.astype(np.float64)
        nan = np.isnan(values)
        missing += int(np.count_nonzero(nan))
        numbers = np.rint((values - coding.zero) / coding.scale)[~nan]
        # float(2**63 - 1) rounds up to a number that an int64 cannot hold.
        top = info.max if info.bits < 64 else np.nextafter(2.0**63, 0)
        outside += int(np.count_nonzero((numbers < info.min) | (numbers > top)))
        if numbers.size:
            low, high = min(low, values[~nan].min()), max(high, values[~nan].max())
        taken |= coding.blank is not None and bool(np.any(numbers == coding.blank))
        lowest_taken |= bool(np.any(numbers == info.min))
        highest_taken |= bool(np.any(numbers == info.max))
    if outside:
        ends = sorted(
            (info.min * coding.scale + coding.zero, info.max * coding.scale + coding.zero)
        )
        msg = (
            f"{outside} pixels do not fit into dtype={name!r} ({ends[0]:.10g} to {ends[1]:.10g}): "
            f"the image runs from {low:.10g} to {high:.10g}; write a float type instead"
        )
        raise InputError(msg)
    blank = coding.blank
    if missing and (blank is None or taken):
        blank = None if lowest_taken else int(info.min)
        blank = int(info.max) if blank is None and not highest_taken else blank
        if blank is None or not allowed:
            msg = (
                f"{missing} pixels are NaN, and dtype={name!r} has no value left for them; "
                "write a float type instead"
            )
            raise InputError(msg)
    elif not missing:
        blank = None
    return PixelCoding(coding.dtype, coding.scale, coding.zero, blank)
