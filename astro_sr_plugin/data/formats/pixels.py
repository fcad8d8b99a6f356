"""How pixel values are stored: integers with scale, zero point and BLANK, or floats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io.fits import Header, VerifyError
from astropy.io.fits.card import Undefined
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_strips
from astro_sr_plugin.exceptions import InputError

__all__ = ["FACTOR_KEYWORD", "FITS_STORAGE", "FITS_ZERO", "PixelCoding", "read_factor"]

#: Keyword of integer TIFF and XISF files whose numbers are the pixel values times a factor.
FACTOR_KEYWORD = "ASRFACT"

# BZERO and the stored type of integers that FITS has not (standard 4.0, section 5.2.5).
FITS_ZERO = {"int8": -(2**7), "uint16": 2**15, "uint32": 2**31}
FITS_STORAGE = {"int8": "uint8", "uint16": "int16", "uint32": "int32"}
# Bits of the mantissa of float32: whole numbers up to 2**24 are exact.
_FLOAT32_BITS = 24
# Scales and values that float32 holds in full precision lie well inside of this range.
_FLOAT32_RANGE = (1e-30, 1e30)


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
        for name, zero in FITS_ZERO.items():
            stored_as = np.dtype(FITS_STORAGE[name])
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
            elif self.scale == 1 and not self.is_float and self.zero.is_integer():
                # Exact: every value has a place in this type.
                target[...] = source
                target += target.dtype.type(self.zero)
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
        wide = np.dtype(self.name) if self.name in FITS_ZERO else np.dtype(np.int64)
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
