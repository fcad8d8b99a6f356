"""The unit of the pixels, from and to BUNIT."""

from __future__ import annotations

import re

from astropy import units as u
from astropy.io.fits import Header

from astro_sr_plugin.data.formats.header import quiet, to_ascii

__all__ = ["parse_unit", "store_unit"]

_SPELLINGS = {
    "adus": "adu",
    "counts": "count",
    "cts": "count",
    "electrons": "electron",
    "e-": "electron",
    "photons": "photon",
    "s": "s",
    "sec": "s",
    "seconds": "s",
    "second": "s",
    "pixel": "pix",
    "pixels": "pix",
}


def parse_unit(text: object) -> u.UnitBase:
    """Read a unit as files spell it.

    Parameters
    ----------
    text : object
        Value of BUNIT.

    Returns
    -------
    astropy.units.UnitBase
        The unit; adu where there is none or it cannot be understood.
    """
    if not isinstance(text, str) or not text.strip():
        return u.adu
    words = re.sub(r"[A-Za-z]+-?", lambda word: _spelled(word[0]), text)
    with quiet():
        for candidate in (text.strip(), words.strip(), words.strip().lower()):
            try:
                return u.Unit(candidate)
            except (ValueError, TypeError):
                continue
    return u.adu


def store_unit(header: Header, unit: u.UnitBase | None) -> None:
    """Write a unit to BUNIT, in place, unless the spelling there means the same.

    Parameters
    ----------
    header : fits.Header
        Changed in place.
    unit : astropy unit or None
        None leaves the header as it is.
    """
    if unit is None or ("BUNIT" in header and parse_unit(header["BUNIT"]) == unit):
        return
    with quiet():
        try:
            text = unit.to_string("fits")
        except ValueError:
            text = unit.to_string()
    header["BUNIT"] = (to_ascii(text), "unit of the pixel values")


def _spelled(word: str) -> str:
    lower = word.lower()
    if lower in _SPELLINGS:
        return _SPELLINGS[lower]
    if lower in ("adu", "electron", "count", "photon"):
        return lower
    return word
