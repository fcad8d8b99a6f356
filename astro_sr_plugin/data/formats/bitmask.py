"""Which pixels an integer mask excludes: bit planes by their names, or by the telescope.

A plane excludes pixels only where their values are wrong or missing. Planes that describe the sky
(``DETECTED``, halos of bright stars) or where a value came from (``INTRP``) exclude nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import FlagCollection, NDData
from numpy.typing import NDArray

__all__ = ["PLANE_KEYWORDS", "exclude_flags", "named_flags"]

#: Cards that name bit planes: LSST and HSC (``MP_BAD = 0``), Pan-STARRS (``MSKNAM00`` with
#: ``MSKVAL00``).
PLANE_KEYWORDS = re.compile(r"MP_[A-Z0-9_]+|(?:MSKNAM|MSKVAL|MSKNUM)\d*")

# Names of planes, without dots and underscores.
_EXCLUDED = frozenset(
    [
        "BAD",
        "SAT",
        "SATURATED",
        "NODATA",
        "CR",
        "EDGE",
        "SENSOREDGE",
        "UNMASKEDNAN",
        "VIGNETTED",
        "STREAK",
        "DETECTOR",
        "FLAT",
        "DARK",
        "BLANK",
        "CTE",
        "LOW",
        "CONVBAD",
        "MASKVALUE",
    ]
)
_HARMLESS = frozenset(
    [
        "DETECTED",
        "DETECTEDNEGATIVE",
        "INTRP",
        "SUSPECT",
        "CROSSTALK",
        "NOTDEBLENDED",
        "BRIGHTOBJECT",
        "CLIPPED",
        "REJECTED",
        "INEXACTPSF",
        "PARTLYVIGNETTED",
        "FAKE",
        "INJECTED",
        "INJECTEDCORE",
        "INJECTEDTEMPLATE",
        "SATTEMPLATE",
        "DETECTEDTEMPLATE",
        "HIGHVARIANCE",
        "ITLDIP",
        "SPIKE",
        "GHOST",
        "STARCORE",
        "CONVPOOR",
        "BURNTOOL",
        "MARKVALUE",
    ]
)
# Coadds alone set these. There CR and EDGE say that one exposure among several was left out.
_OF_COADDS = frozenset(("CLIPPED", "REJECTED", "INEXACTPSF", "SENSOREDGE"))
_NOT_IN_COADDS = frozenset(("CR", "EDGE", "SENSOREDGE", "STREAK"))


@dataclass(frozen=True)
class _Scheme:
    """Bits of one instrument.

    Parameters
    ----------
    keyword, pattern : str
        The scheme holds where the value of the keyword matches, in capitals.
    excluded : int
        Sum of the bits that exclude a pixel.
    harmless : int
        Sum of the bits that exclude nothing; all others are unknown.
    also : str, optional
        A second condition, ``KEYWORD=pattern``.
    """

    keyword: str
    pattern: str
    excluded: int
    harmless: int
    also: str = ""

    def fits(self, header: Header) -> bool:
        key, _, pattern = self.also.partition("=")
        return _matches(header, self.keyword, self.pattern) and (
            not key or _matches(header, key, pattern)
        )


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


# From the instrument handbooks (HST: the "DQ array" tables of ACS, WFC3, STIS and NICMOS), the JWST
# and DRAGONS documentation, mask_bits.h of DES, the Euclid product description and the ZTF
# explanatory supplement.
_SCHEMES = (
    # JWST and Roman set DO_NOT_USE (bit 0) on every pixel that is not to be used.
    _Scheme("TELESCOP", r"JWST|ROMAN", 1, ~1),
    # The infrared channel of WFC3 corrects cosmic rays (8192) and blobs (512) in the ramp.
    _Scheme(
        "INSTRUME",
        "WFC3",
        _bits(0, 1, 2, 3, 4, 7, 8, 12, 14),
        _bits(5, 6, 9, 10, 11, 13),
        "DETECTOR=IR",
    ),
    _Scheme(
        "INSTRUME",
        "ACS|WFC3|STIS",
        _bits(0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14),
        _bits(5, 6),
        "TELESCOP=HST",
    ),
    # Bit 10 of NICMOS says that the pixel holds a source.
    _Scheme("INSTRUME", "NICMOS", _bits(0, 4, 5, 6, 7, 9), _bits(1, 2, 3, 8, 10, 11, 12, 13, 14)),
    _Scheme("TELESCOP", r"GEMINI.*", _bits(0, 2, 3, 4, 6), _bits(1, 5)),
    _Scheme("INSTRUME", "DECAM", _bits(0, 1, 3, 4, 6, 7, 9, 10), _bits(2, 5, 8, 11), "EXTNAME=MSK"),
    # INVALID, SAT, COSMIC, NO_DATA.
    _Scheme("TELESCOP", "EUCLID", _bits(0, 3, 4, 22), ~_bits(0, 3, 4, 22)),
    _Scheme("INSTRUME", r"ZTF.*", _bits(0, 2, 3, 4, 7, 8, 9, 10), _bits(1, 5, 11, 12)),
)
# Values, not bits, of the DECam community pipeline since V3.5: bad, no value, saturated, bleed
# trail, cosmic ray, low weight, long streak; 7 marks what differs from other exposures.
_DECAM_VALUES = (1, 2, 3, 4, 5, 6, 8)


def exclude_flags(values: NDArray, header: Header) -> tuple[NDArray[np.bool_], str]:
    """Find the pixels that an integer mask excludes.

    Parameters
    ----------
    values : ndarray of integers
        Pixels of the mask; every bit is a plane.
    header : fits.Header
        Header of the mask, with the keywords of the primary header.

    Returns
    -------
    excluded : ndarray of bool
        In the shape of `values`.
    note : str
        What is not known about the bits that are set; empty where all is clear.
    """
    present = int(np.bitwise_or.reduce(values, axis=None))
    if present in (0, 1):
        return (values == 0 if _matches(header, "HDUCLAS3", "MASKONE") else values != 0), ""
    planes = _named_planes(header)
    if planes:
        return _exclude_planes(values, present, planes)
    if _matches(header, "PRODTYPE", "DQMASK.*") or _matches(header, "OBSTYPE", "DQMASK"):
        if _matches(header, "PLVER", r"V([0-2]\.|3\.[0-4]).*"):
            return values & _bits(0, 1, 4, 6) != 0, ""
        return np.isin(values, _DECAM_VALUES), ""
    for scheme in _SCHEMES:
        if scheme.fits(header):
            unknown = present & ~(scheme.excluded | scheme.harmless)
            return (values & scheme.excluded) != 0, _note(unknown)
    excluded = values != 0
    note = (
        f"every pixel that is not 0 is excluded ({100 * float(excluded.mean()):.1f} % of them), "
        f"since the meaning of the bits {_listed(present)} is not known"
    )
    return excluded, note


def named_flags(image: object) -> FlagCollection | None:
    """Give the integer masks of an image under names.

    Parameters
    ----------
    image : object
        NDData may have flags; those that are an array get the name DQ.

    Returns
    -------
    FlagCollection or None
        None without flags.
    """
    flags = getattr(image, "flags", None) if isinstance(image, NDData) else None
    if flags is None or isinstance(flags, FlagCollection):
        return flags
    named = FlagCollection(shape=flags.shape)
    named["DQ"] = flags
    return named


def _exclude_planes(
    values: NDArray, present: int, planes: dict[str, int]
) -> tuple[NDArray[np.bool_], str]:
    found = {re.sub(r"[._ ]", "", name): bit for name, bit in planes.items() if bit & present}
    names = _EXCLUDED
    if found.keys() & _OF_COADDS:
        names = names - _NOT_IN_COADDS
    bad = sum(bit for name, bit in found.items() if name in names)
    unknown = present & ~sum({bit for name, bit in found.items() if name in _EXCLUDED | _HARMLESS})
    return (values & bad) != 0, _note(unknown)


def _note(unknown: int) -> str:
    if not unknown:
        return ""
    return f"bits of unknown meaning ({_listed(unknown)}) are set; they exclude nothing"


def _listed(bits: int) -> str:
    return ", ".join(str(n) for n in range(64) if bits >> n & 1)


def _named_planes(header: Header) -> dict[str, int]:
    planes: dict[str, int] = {}
    for key in header:
        name, value = "", header[key]
        if key.startswith("MP_"):
            name = key[3:]
            value = 1 << value if isinstance(value, int) and 0 <= value < 63 else None
        elif re.fullmatch(r"MSKNAM\d+", key):
            name, value = str(value), header.get("MSKVAL" + key[6:])
        if name and isinstance(value, int) and value > 0:
            planes[name.strip().upper()] = value
    return planes


def _matches(header: Header, keyword: str, pattern: str) -> bool:
    return re.fullmatch(pattern, str(header.get(keyword, "")).strip().upper()) is not None
