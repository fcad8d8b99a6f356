"""World coordinates between headers and WCS objects.

The keywords of the file stay in the header as they are. They are rewritten on output only where
the WCS of the image says something else, for example after slicing.
"""

from __future__ import annotations

import re

import numpy as np
from astropy.io import fits
from astropy.io.fits import Header
from astropy.io.fits.card import Undefined
from astropy.nddata import NDData
from astropy.wcs import WCS, WcsError
from astropy.wcs.wcsapi import BaseLowLevelWCS, HighLevelWCSWrapper, SlicedLowLevelWCS

from astro_sr_plugin.data.formats.header import INVALID_WCS_KEYWORD, quiet, without
from astro_sr_plugin.exceptions import warn

__all__ = [
    "LOOKUP_KEYWORDS",
    "WCS_KEYWORDS",
    "as_fits_wcs",
    "lookup_tables",
    "read_wcs",
    "store_wcs",
]

#: Keywords of distortions given as tables in extensions; they make no sense without those.
LOOKUP_KEYWORDS = re.compile(
    r"(CPDIS|CQDIS|CPERR|CQERR|DP|DQ)\d[A-Z]?|D2IM(DIS|ERR)\d|D2IMEXT|D2IM\d|AXISCORR|WCSDVARR"
)
#: All keywords that describe world coordinates, alternate ones included.
WCS_KEYWORDS = re.compile(
    r"(CTYPE|CRVAL|CRPIX|CDELT|CROTA|CUNIT|CNAME|CRDER|CSYER)\d+[A-Z]?"
    r"|(CD|PC|PV|PS)\d+_\d+[A-Z]?|(CD|PC)00\d00\d|PROJP\d+"
    r"|(LONPOLE|LATPOLE|RADESYS|EQUINOX|WCSAXES|WCSNAME|SPECSYS|RESTFRQ|RESTWAV)[A-Z]?"
    r"|RADECSYS|EPOCH|WAT\d_\d+|(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)"
    rf"|{LOOKUP_KEYWORDS.pattern}"
)
# What goes to wcslib: cards of these keywords with values of their type. It crashes on texts in the
# plate solutions of DSS, and many cards that it rejects overflow the buffer of its messages
# (https://github.com/astropy/astropy/issues/20349).
_NUMBERS = re.compile(
    r"(CRVAL|CRPIX|CDELT|CROTA|CRDER|CSYER)[1-9][A-Z]?|(CD|PC)[1-9]_[1-9][A-Z]?"
    r"|PV[1-9]_\d{1,2}[A-Z]?|(CD|PC)00[1-9]00[1-9]|PROJP\d|(LONPOLE|LATPOLE)[A-Z]?"
    r"|(A|B|AP|BP)_(DMAX|\d_\d)|(DP|DQ|D2IM)\d|(CPERR|CQERR|D2IMERR)\d|AXISCORR"
)
_OPTIONAL_NUMBERS = re.compile(
    r"(EQUINOX|RESTFRQ|RESTWAV)[A-Z]?|EPOCH|MJD-(OBS|AVG|BEG|END)"
    r"|AMD[XY]\d{1,2}|CNPIX[12]|PPO[1-6]|[XY]PIXELSZ|PLT(RA[HMS]|DEC[DMS]|SCALE)"
)
_COUNTS = re.compile(r"WCSAXES[A-Z]?|(A|B|AP|BP)_ORDER")
_TEXTS = re.compile(r"(CTYPE|CUNIT)[1-9][A-Z]?|PS[1-9]_\d{1,2}[A-Z]?|(CPDIS|CQDIS|D2IMDIS)\d")
_OPTIONAL_TEXTS = re.compile(
    r"CNAME[1-9][A-Z]?|(RADESYS|WCSNAME|SPECSYS)[A-Z]?|RADECSYS|DATE-(OBS|AVG|BEG|END)"
    r"|PLTDECSN|WAT\d_\d{1,3}|D2IMEXT|WCSDVARR"
)
# The largest order of a SIP polynomial, and more axes than any image has.
_HIGHEST_COUNT = 9
# What astropy and wcslib raise on coordinates that make no sense.
_INVALID = (
    WcsError,
    fits.VerifyError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    AssertionError,
    MemoryError,
)
# Distance, in pixels, up to which two sets of coordinates are the same: keywords have 14 digits.
_AGREEMENT_PIXELS = 1e-6


def read_wcs(
    header: Header,
    *,
    shape: tuple[int, ...],
    hdus: fits.HDUList | None = None,
    source: str = "",
) -> WCS | None:
    """Make the WCS of the image plane from a header.

    Parameters
    ----------
    header : fits.Header
        Gets the keyword ASRNOWCS, which is never written to a file, where the warning is given.
    shape : tuple of int
        Shape of the image, (ny, nx) or (n, ny, nx).
    hdus : HDUList, optional
        The open file, for distortions that lie in extensions.
    source : str, optional
        Name for the warning; an empty one keeps it back.

    Returns
    -------
    astropy.wcs.WCS or None
        Two-dimensional; None without coordinates, with invalid ones, or where the plane is not the
        sky (a warning names the reason where they are invalid).
    """
    if not any(re.fullmatch(r"CTYPE\d+|AMDX1", key) for key in header):
        return None
    given = header
    has_tables = any(LOOKUP_KEYWORDS.fullmatch(key.split(".")[0]) for key in header if key)
    if has_tables and hdus is None:
        header = without(header, LOOKUP_KEYWORDS)
    header, reason = _checked(header)
    wcs = None
    with quiet():
        try:
            wcs = None if reason else _plane(WCS(header, fobj=hdus if has_tables else None))
            if wcs is not None:
                wcs.wcs.set()
                wcs.pixel_shape = shape[:-3:-1]
                middle = wcs.all_pix2world([[(shape[-1] + 1) / 2, (shape[-2] + 1) / 2]], 1)
                if not np.all(np.isfinite(middle)):
                    reason = "the middle of the image is nowhere on the sky"
                elif np.linalg.matrix_rank(wcs.pixel_scale_matrix) < 2:
                    reason = "its matrix is singular"
        except _INVALID as error:
            reason = " ".join(str(error).split()) or type(error).__name__
    if not reason:
        return wcs
    if source:
        given[INVALID_WCS_KEYWORD] = (True, "the user was warned of invalid coordinates")
        msg = f"{source}: the WCS of the image is invalid and is not used ({reason[:200]})"
        warn(msg)
    return None


def store_wcs(header: Header, wcs: WCS | None, shape: tuple[int, ...]) -> Header:
    """Make sure that a header says what a WCS says.

    Parameters
    ----------
    header : fits.Header
        Left as it is.
    wcs : WCS or None
        None leaves the coordinates in the header.
    shape : tuple of int
        Shape of the image.

    Returns
    -------
    astropy.io.fits.Header
        A copy; with the keywords of the original form where they agree with `wcs` to 1e-6 pixel.
    """
    plain = without(header, LOOKUP_KEYWORDS)
    if wcs is None:
        return plain
    tables = lookup_tables(wcs)
    if not tables and _agree(read_wcs(plain, shape=shape), wcs, shape):
        return plain
    result = without(plain, WCS_KEYWORDS)
    with quiet():
        described = wcs.to_fits(relax=True)[0].header if tables else wcs.to_header(relax=True)
    for card in described.cards:
        if card.keyword in ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "COMMENT", "HISTORY", ""):
            continue
        if WCS_KEYWORDS.fullmatch(card.keyword.split(".")[0]):
            result.append(card, end=True)
        elif card.keyword not in result:
            result.append(card)
    return result


def lookup_tables(wcs: WCS | None) -> list[fits.ImageHDU]:
    """Give the extensions with the distortion tables of a WCS.

    Parameters
    ----------
    wcs : WCS or None
        Any FITS WCS.

    Returns
    -------
    list of ImageHDU
        Empty without such distortions.
    """
    if wcs is None or not any((wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        return []
    with quiet():
        return list(wcs.to_fits(relax=True)[1:])


def as_fits_wcs(image: NDData) -> WCS | None:
    """Find the FITS WCS of the image plane of an NDData.

    Parameters
    ----------
    image : NDData
        Any image; slices of images count.

    Returns
    -------
    astropy.wcs.WCS or None
        None, with a warning, where the coordinates cannot be expressed so.
    """
    wcs = image.wcs
    slices: list[slice] = []
    if isinstance(wcs, HighLevelWCSWrapper):
        wcs = wcs.low_level_wcs
    if isinstance(wcs, SlicedLowLevelWCS):
        slices = list(wcs._slices_array)
        wcs = wcs._wcs
    if wcs is None:
        return None
    try:
        if isinstance(wcs, WCS):
            with quiet():
                whole = all(isinstance(s, slice) and s.step in (None, 1) for s in slices[-2:])
                plane = _plane(wcs)
                if plane is not None and whole:
                    return plane.slice(slices[-2:]) if slices else plane
    except _INVALID:
        pass
    kind = "FITS WCS" if isinstance(wcs, BaseLowLevelWCS) else type(wcs).__name__
    msg = f"the coordinates of the image cannot be written as a two-axis {kind} and are not used"
    warn(msg)
    return None


def _checked(header: Header) -> tuple[Header, str]:
    """Keep the first card of each keyword that wcslib knows, with a value of the right type.

    Parameters
    ----------
    header : fits.Header
        Left as it is.

    Returns
    -------
    header : fits.Header
        Numbers in quotes are numbers there.
    reason : str
        The first value without which the coordinates are wrong; empty where all are right.
    """
    result = Header()
    reason = ""
    for card in header.cards:
        keyword, value = card.keyword.split(".")[0], card.value
        if card.keyword in result or isinstance(value, Undefined):
            continue
        optional = _OPTIONAL_NUMBERS.fullmatch(keyword) or _OPTIONAL_TEXTS.fullmatch(keyword)
        if _TEXTS.fullmatch(keyword) or _OPTIONAL_TEXTS.fullmatch(keyword):
            right = isinstance(value, str)
            allowed = "a text"
        elif _COUNTS.fullmatch(keyword):
            value = _as_number(value)
            right = value is not None and value == int(value) and 0 <= value <= _HIGHEST_COUNT
            value = int(value) if right and value is not None else value
            allowed = f"a whole number up to {_HIGHEST_COUNT}"
        elif _NUMBERS.fullmatch(keyword) or _OPTIONAL_NUMBERS.fullmatch(keyword):
            value = _as_number(value)
            right = value is not None
            allowed = "a finite number"
        else:
            continue
        if right:
            result.append(card if value is card.value else (card.keyword, value), end=True)
        elif not reason and not optional:
            reason = f"{card.keyword} = {card.value!r} is not {allowed}"
    return result, reason


def _as_number(value: object) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return value


def _plane(wcs: WCS) -> WCS | None:
    """Give the first two axes of a WCS, or None where they describe nothing."""
    if not any(wcs.wcs.ctype):
        return None
    wcs = _with_readable_name(wcs)
    if wcs.naxis == 2:
        return wcs
    if {wcs.wcs.lng, wcs.wcs.lat} != {0, 1}:
        return None
    return wcs.sub([1, 2])


def _with_readable_name(wcs: WCS) -> WCS:
    """Take away a name that cannot be written.

    To scanned plates (DSS) wcslib gives one that ends with uninitialised memory.
    """
    try:
        name = wcs.wcs.name
        if name.isascii() and name.isprintable() and not name.startswith("DSS PLATEID"):
            return wcs
    except UnicodeDecodeError:
        pass
    named = wcs.deepcopy()
    named.wcs.name = ""
    return named


def _agree(first: WCS | None, second: WCS, shape: tuple[int, ...]) -> bool:
    """Whether two WCS put the points of an image at the same places of the same frame."""
    if first is None or list(first.wcs.ctype) != list(second.wcs.ctype):
        return False
    if (first.wcs.radesys or "ICRS") != (second.wcs.radesys or "ICRS"):
        return False
    ny, nx = shape[-2:]
    x, y = np.meshgrid(np.linspace(0, nx - 1, 5), np.linspace(0, ny - 1, 5))
    points = np.column_stack([x.ravel(), y.ravel()])
    with quiet():
        try:
            here = first.all_pix2world(points, 0)
            there = second.all_pix2world(points, 0)
            step = np.abs(first.all_pix2world(points + 1, 0) - here)
        except _INVALID:
            return False
    difference = np.abs((here - there + 180) % 360 - 180)
    step = np.minimum(step, np.abs(step - 360))
    close = difference <= _AGREEMENT_PIXELS * step.max() + 1e-11
    return bool(np.all(close | (np.isnan(here) & np.isnan(there))))
