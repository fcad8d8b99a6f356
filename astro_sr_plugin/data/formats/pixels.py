"""How pixel values are stored: integers with scale, zero point and BLANK, or floats."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.io.fits import Header, VerifyError
from astropy.io.fits.card import Undefined
from numpy.typing import DTypeLike, NDArray

from astro_sr_plugin.data.strips import iter_strips
from astro_sr_plugin.exceptions import InputError, warn

__all__ = ["FACTOR_KEYWORD", "PixelCoding", "choose_coding", "read_factor", "stored_dtype"]

#: Keyword of integer TIFF and XISF files whose numbers are the pixel values times a factor.
FACTOR_KEYWORD = "ASRFACT"

# BZERO and the stored type of integers that FITS has not (standard 4.0, section 5.2.5).
_FITS_ZERO = {"int8": -(2**7), "uint16": 2**15, "uint32": 2**31}
_FITS_STORAGE = {"int8": "uint8", "uint16": "int16", "uint32": "int32"}
_OFFERED = ("uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64")
# Bits of the mantissa of float32: whole numbers up to 2**24 are exact.
_FLOAT32_BITS = 24
# Scales and values that float32 holds in full precision lie well inside of this range.
_FLOAT32_RANGE = (1e-30, 1e30)
# Steps that the central part of the values has to cover; with fewer, rounding to integers would
# leave 3 bits or less of the sky and of everything faint.
_CENTRAL_STEPS = 8
_CENTRAL_PERCENTILES = (0.5, 99.5)
"""The central part: bright stars and bad pixels lie outside of it."""
# About this many pixels give the percentiles.
_SAMPLE = 1_000_000
# Compressed FITS holds no longer integers, and 32 bits are finer than any measurement.
_FINEST_BITS = 32


@dataclass(frozen=True)
class PixelCoding:
    """Rule between stored and physical pixel values: ``physical = zero + scale * stored``.

    Parameters
    ----------
    dtype : numpy.dtype
        Type of the stored numbers, in the byte order of the file.
    scale, zero : float, default 1 and 0
        BSCALE and BZERO.
    blank : int, optional
        Stored number that stands for "no value".
    """

    dtype: np.dtype
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None

    @classmethod
    def from_header(cls, header: Header, bitpix: int) -> PixelCoding:
        """Read the rule from the keywords of a FITS image.

        Parameters
        ----------
        header : fits.Header
            Holds BSCALE, BZERO and BLANK where they apply.
        bitpix : int
            BITPIX of the stored array.

        Returns
        -------
        PixelCoding
            Numbers count that stand in the header as texts (``BZERO = '32768'``).

        Raises
        ------
        InputError
            If one of them is no finite number, BSCALE is 0, or BLANK is no whole number.
        """
        dtype = np.dtype(f">{'f' if bitpix < 0 else 'i'}{abs(bitpix) // 8}")
        if bitpix == 8:
            dtype = np.dtype("u1")
        scale = _number(header, "BSCALE", 1.0)
        if scale == 0:
            msg = "BSCALE is 0; allowed is any other finite number"
            raise InputError(msg)
        zero = _number(header, "BZERO", 0.0)
        blank = _number(header, "BLANK", np.nan) if bitpix > 0 else np.nan
        if np.isfinite(blank) and blank != int(blank):
            msg = f"BLANK is {blank}; allowed is a whole number"
            raise InputError(msg)
        return cls(dtype, scale, zero, int(blank) if np.isfinite(blank) else None)

    @property
    def is_float(self) -> bool:
        """Whether the stored numbers are floating point."""
        return self.dtype.kind == "f"

    @property
    def name(self) -> str:
        """Type of the physical values, such as ``"uint16"`` for int16 with BZERO = 32768."""
        for name, zero in _FITS_ZERO.items():
            stored_as = np.dtype(_FITS_STORAGE[name])
            if self.scale == 1 and self.zero == zero and self.dtype.newbyteorder("=") == stored_as:
                return name
        return self.dtype.newbyteorder("=").name

    @property
    def float_dtype(self) -> np.dtype:
        """The smaller of float32 and float64 that holds every physical value."""
        if self.is_float:
            scaled = (self.scale, self.zero) != (1, 0)
            return np.dtype(np.float64 if scaled or self.dtype.itemsize > 4 else np.float32)
        reach = 2 ** (8 * self.dtype.itemsize) + abs(self.zero / self.scale)
        least, most = _FLOAT32_RANGE
        exact = (
            reach <= 2**_FLOAT32_BITS
            and least <= abs(self.scale)
            and reach <= most / abs(self.scale)
        )
        return np.dtype(np.float32 if exact else np.float64)

    def decode(self, stored: NDArray) -> tuple[NDArray, NDArray[np.bool_] | None]:
        """Turn stored numbers into physical values.

        Parameters
        ----------
        stored : ndarray, shape (ny, nx) or (n, ny, nx)
            As in the file; unscaled floats come back as they are, without a copy.

        Returns
        -------
        data : ndarray of float
            Physical values, NaN where the stored number is BLANK.
        mask : ndarray of bool or None
            True where the stored number is BLANK; None where there is none.
        """
        if self.is_float and self.scale == 1 and self.zero == 0:
            return (stored if self.dtype.itemsize >= 4 else stored.astype(np.float32)), None
        data = np.empty(stored.shape, self.float_dtype)
        mask: NDArray[np.bool_] | None = None
        if self.blank is not None and np.any(stored == self.blank):
            mask = stored == self.blank
        for source, target in zip(iter_strips(stored), iter_strips(data), strict=True):
            if self.scale == 1 and self.zero == 0:
                target[...] = source
            else:
                target[...] = source.astype(np.float64) * self.scale + self.zero
        if mask is not None:
            data[mask] = np.nan
        return data, mask

    def integers(self, stored: NDArray) -> NDArray:
        """Give the numbers of a mask.

        Parameters
        ----------
        stored : ndarray, shape (ny, nx) or (n, ny, nx)
            As in the file.

        Returns
        -------
        ndarray of bool or integers
            Integers with their bits (BZERO added), in the byte order of the machine; True where a
            floating-point number is not 0.
        """
        if self.is_float:
            return stored != 0
        if self.scale == 1 and self.zero == 0:
            return stored.astype(self.dtype.newbyteorder("="))
        wide = np.dtype(self.name) if self.name in _FITS_ZERO else np.dtype(np.int64)
        values = stored.astype(np.float64) * self.scale + self.zero
        return values.astype(wide)

    def encode(self, values: NDArray) -> NDArray:
        """Turn physical values into stored numbers.

        Parameters
        ----------
        values : ndarray
            Values that were checked by `choose_coding`.

        Returns
        -------
        ndarray of `dtype`
            Rounded to the nearest where the stored numbers are integers.
        """
        if self.is_float:
            return values.astype(self.dtype)
        if values.dtype.kind in "iub" and self.scale == 1:
            return (values.astype(np.int64) - int(self.zero)).astype(self.dtype)
        numbers = np.rint((values.astype(np.float64) - self.zero) / self.scale)
        if self.blank is not None:
            numbers[np.isnan(numbers)] = self.blank
        return numbers.astype(self.dtype)


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
        zero = float(_FITS_ZERO.get(name, 0))
        stored = np.dtype(_FITS_STORAGE.get(name, name)).newbyteorder(">")
        if original:
            scale = float(header.get("ASRBSCAL", 1.0))
            zero = float(header.get("ASRBZERO", zero))
            blank = header.get("ASRBLANK")
    coding = PixelCoding(stored, scale, zero, blank)
    if coding.is_float:
        _check_floats(coding, data)
        return coding
    if _needs_finer_steps(coding, data):
        coding = _with_finer_steps(coding, data, name, fits=fits)
    return _with_blank(coding, data, name, allowed=fits)


def read_factor(header: Header, dtype: np.dtype) -> float:
    """Take the factor that `choose_coding` chose for TIFF and XISF out of a header.

    Parameters
    ----------
    header : fits.Header
        Of the file; the keyword is removed.
    dtype : numpy.dtype
        Type of the stored numbers. The factor counts for integers only: a program that turned
        them into floats may have kept the keyword.

    Returns
    -------
    float
        Scale of a `PixelCoding`: 1 over the factor, or 1.
    """
    factor = _number(header, FACTOR_KEYWORD, 1.0)
    header.remove(FACTOR_KEYWORD, ignore_missing=True, remove_all=True)
    return 1.0 / factor if dtype.kind in "iu" and factor > 0 else 1.0


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


def _number(header: Header, keyword: str, default: float) -> float:
    """Read a number, also one that stands in the header as a text."""
    try:
        value = header.get(keyword)
    except VerifyError as error:
        msg = f"{keyword} cannot be read; allowed is a finite number"
        raise InputError(msg) from error
    if value is None or isinstance(value, Undefined) or not str(value).strip():
        return default
    try:
        number = np.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        number = np.nan
    if not np.isfinite(number):
        msg = f"{keyword} is {value!r}; allowed is a finite number"
        raise InputError(msg)
    return number
