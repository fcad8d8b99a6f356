"""World coordinates and pixel keywords of an image that was resampled to another scale.

With the scale ``s`` output pixel ``j`` lies at input coordinate ``(j + 0.5) / s - 0.5`` (0-based,
pixel centres at whole numbers): the outer edges of the image stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from astropy.io.fits import HDUList, Header, ImageHDU, PrimaryHDU
from astropy.wcs import WCS, Sip

from astro_sr_plugin.data.formats.header import INVALID_WCS_KEYWORD, quiet, without
from astro_sr_plugin.data.keywords import read_number
from astro_sr_plugin.data.wcs_keywords import LOOKUP_KEYWORDS, WCS_KEYWORDS
from astro_sr_plugin.exceptions import InputError, warn

__all__ = ["crop_wcs", "crop_wcs_header", "scale_wcs", "scale_wcs_header"]

_POLYNOMIAL = re.compile(r"(?:A|B|AP|BP)_(\d+)_(\d+)")
_MATRIX = re.compile(r"(CD|PC)(\d+)_([12])([A-Z]?)")
_SYSTEM = re.compile(r"(?:CTYPE|CRVAL|CRPIX|CDELT)\d([A-Z]?)|(?:CD|PC)\d_\d([A-Z]?)")
# Sizes of a pixel: micrometres, arcseconds per pixel, micrometres of a photographic plate.
_SIZES = re.compile(
    r"[XY]PIXSZ|PIXSIZE[12]?|PIXSCALE|PIXSCAL[12XY]?|SCALE|SECPIX[12XY]?|[XY]PIXELSZ"
)
# Sections counted in pixels of this image (CCDSEC and DETSEC count pixels of the detector).
_SECTIONS = re.compile(r"(DATA|TRIM|BIAS)SEC[AB]?")
_SECTION = re.compile(r"\[(\d+):(\d+),(\d+):(\d+)\]")


def scale_wcs_header(header: Header, scale: float, *, shape: Sequence[int] | None = None) -> Header:
    """Rewrite all keywords of a header that depend on the pixel grid.

    CD, PC with CDELT, CROTA, SIP and TPV forms keep their form, in all 27 coordinate systems a
    header can hold; so do the plate solutions of DSS. Pixel sizes, physical coordinates (LTV, LTM)
    and image sections follow. XBINNING and YBINNING describe the camera and stay.

    Parameters
    ----------
    header : fits.Header
        Header of the image before; left as it is.
    scale : float
        Output pixels per input pixel along each axis, greater than zero.
    shape : sequence of int, optional
        Shape of the image after, for NAXIS1 and NAXIS2 where the header has them.

    Returns
    -------
    astropy.io.fits.Header
        A new header. Distortions that lie in tables outside the header are dropped, with a warning.

    Raises
    ------
    InputError
        If the scale is not positive and finite.
    """
    _check(scale)
    with quiet():
        result = header.copy()
    if any(LOOKUP_KEYWORDS.fullmatch(card.keyword.split(".")[0]) for card in result.cards):
        result = without(result, LOOKUP_KEYWORDS)
        msg = "distortion tables (CPDIS, D2IM) lie outside the header and are not scaled with it"
        warn(msg)
    _scale_keywords(result, scale)
    if shape is not None:
        for axis, length in ((1, shape[-1]), (2, shape[-2])):
            if f"NAXIS{axis}" in result:
                result[f"NAXIS{axis}"] = int(length)
    return result


def scale_wcs(wcs: WCS | None, scale: float) -> WCS | None:
    """Give the WCS of an image resampled to another scale.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or None
        WCS of the image before; left as it is. Axes after the second one are not scaled.
    scale : float
        Output pixels per input pixel along each axis, greater than zero.

    Returns
    -------
    astropy.wcs.WCS or None
        With SIP and lookup-table distortions scaled along.

    Raises
    ------
    InputError
        If the scale is not positive and finite.
    """
    _check(scale)
    if wcs is None:
        return None
    if not _is_finite(wcs):
        msg = "the WCS of the image holds numbers that are not finite and is left out"
        warn(msg)
        return None
    with quiet():
        primary, *tables = wcs.to_fits(relax=True)
        for table in tables:
            _scale_table(table, scale)
        _scale_keywords(primary.header, scale)
        result = WCS(primary.header, HDUList([PrimaryHDU(), *tables]), key=wcs.wcs.alt or " ")
        if wcs.pixel_shape is not None:
            # ``WCS(header, naxis=2)`` of a cube keeps the sides of all its axes.
            sides = wcs.pixel_shape[: wcs.naxis]
            result.pixel_shape = tuple(round(n * scale) for n in sides)
    return result


def crop_wcs(wcs: WCS | None, y: int, x: int, shape: tuple[int, int]) -> WCS | None:
    """Give the WCS of a part of an image, which may go beyond it.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or None
        WCS of the image; left as it is.
    y, x : int
        Row and column that the part begins with.
    shape : (int, int)
        Its shape (ny, nx).
    """
    if wcs is None:
        return None
    cropped = wcs.deepcopy()
    axes = cropped.wcs.naxis
    offset = np.zeros(axes)
    offset[:2] = x, y
    cropped.wcs.crpix = cropped.wcs.crpix - offset
    if cropped.sip is not None:
        old = cropped.sip
        cropped.sip = Sip(old.a, old.b, old.ap, old.bp, old.crpix - offset[:2])
    if axes == 2:
        cropped.pixel_shape = shape[::-1]
    return cropped


def crop_wcs_header(header: Header, y: int, x: int) -> Header:
    """Rewrite the reference pixels of a header for a part that begins at a row and a column."""
    header = header.copy()
    for keyword in [key for key in header if re.fullmatch(r"CRPIX[12][A-Z]?", key)]:
        value = read_number(header, keyword)
        if value is not None:
            header[keyword] = value - (x if keyword[5] == "1" else y)
    return header


def _check(scale: float) -> None:
    if not (np.isfinite(scale) and scale > 0):
        msg = f"scale={scale!r} is not allowed; it has to be a finite number greater than zero"
        raise InputError(msg)


def _scale_keywords(header: Header, scale: float) -> None:
    """Scale the keywords that depend on the pixel grid, in place."""
    keys = {card.keyword.split(".")[0] for card in header.cards}
    systems = {m[1] or m[2] or "" for key in keys if (m := _SYSTEM.fullmatch(key)) is not None}
    for letter in sorted(systems):
        _scale_system(header, letter, scale)
    for key in sorted(keys):
        polynomial = _POLYNOMIAL.fullmatch(key)
        if polynomial is not None:
            _multiply(header, key, scale ** (1 - int(polynomial[1]) - int(polynomial[2])))
        elif re.fullmatch(r"(A|B|AP|BP)_DMAX|CNPIX[12]", key):
            _multiply(header, key, scale)
        elif _SIZES.fullmatch(key):
            _multiply(header, key, 1 / scale)
        elif _SECTIONS.fullmatch(key):
            _scale_section(header, key, scale)
    _scale_physical(header, keys, scale)


def _is_finite(wcs: WCS) -> bool:
    inner = wcs.wcs
    matrix = inner.cd if inner.has_cd() else inner.get_pc() * inner.get_cdelt()[:, None]
    polynomials = [] if wcs.sip is None else [wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp]
    numbers = [inner.crpix, inner.crval, matrix, *(p for p in polynomials if p is not None)]
    return all(bool(np.all(np.isfinite(values))) for values in numbers)


def _position(value: float, scale: float) -> float:
    """Scale a 1-based pixel coordinate."""
    return (value - 0.5) * scale + 0.5


def _store(header: Header, keyword: str, value: float) -> None:
    """Set a keyword unless its value is out of the range of float64."""
    if np.isfinite(value):
        header[keyword] = value


def _multiply(header: Header, keyword: str, factor: float) -> None:
    value = read_number(header, keyword)
    if value is not None:
        _store(header, keyword, value * factor)


def _scale_system(header: Header, letter: str, scale: float) -> None:
    """Scale the linear part of one coordinate system; one without usable numbers is dropped."""
    own = re.compile(rf"(?:CRPIX|CRVAL|CDELT|CROTA)\d+{letter}|(?:CD|PC|PV)\d+_\d+{letter}")
    keys = [key for key in header if own.fullmatch(key)]
    if not letter:
        keys += [key for key in header if _POLYNOMIAL.fullmatch(key)]
    unusable = [key for key in keys if read_number(header, key) is None]
    if unusable:
        if f"CTYPE1{letter}" in header:
            _drop_system(header, letter)
            if letter or INVALID_WCS_KEYWORD not in header:
                warn(f"{unusable[0]} is no finite number: the world coordinates are left out")
        return
    for axis in "12":
        reference = read_number(header, f"CRPIX{axis}{letter}") or 0.0
        header[f"CRPIX{axis}{letter}"] = _position(reference, scale)
    matrix = [m for key in header if (m := _MATRIX.fullmatch(key)) and m[4] == letter]
    for entry in matrix:
        if entry[1] == "CD":
            _multiply(header, entry[0], 1 / scale)
    if any(entry[1] == "CD" for entry in matrix):
        for axis in "12":
            _multiply(header, f"CDELT{axis}{letter}", 1 / scale)
        return
    mixed = [key for key in header if _mixes_cube_axes(key, letter)]
    if any(read_number(header, key) for key in mixed) or _is_distorted(header, letter):
        # CDELT multiplies whole rows of PC, the part of the third axis included, and wcslib puts
        # the distortion between the two.
        _rotation_to_matrix(header, letter)
        rows = {entry[2] for entry in matrix} | {"1", "2"}
        for row in rows:
            for axis in "12":
                key = f"PC{row}_{axis}{letter}"
                before = read_number(header, key)
                header[key] = (float(row == axis) if before is None else before) / scale
        return
    for axis in "12":
        before = read_number(header, f"CDELT{axis}{letter}")
        header[f"CDELT{axis}{letter}"] = (1.0 if before is None else before) / scale


def _drop_system(header: Header, letter: str) -> None:
    """Remove the keywords of one coordinate system, in place."""
    for key in {key for key in header if WCS_KEYWORDS.fullmatch(key)}:
        if (key[-1] if WCS_KEYWORDS.fullmatch(key[:-1]) and key[-1].isalpha() else "") == letter:
            header.remove(key, remove_all=True)


def _rotation_to_matrix(header: Header, letter: str) -> None:
    """Write the old rotation angle as PC, which goes with distortions."""
    angle = read_number(header, "CROTA2")
    if letter or angle is None or any(re.fullmatch(r"PC\d_\d", key) for key in header):
        return
    ratio = (read_number(header, "CDELT2") or 1.0) / (read_number(header, "CDELT1") or 1.0)
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    header["PC1_1"], header["PC1_2"] = cosine, -sine * ratio
    header["PC2_1"], header["PC2_2"] = sine / ratio, cosine
    for axis in "12":
        header.remove(f"CROTA{axis}", ignore_missing=True)


def _is_distorted(header: Header, letter: str) -> bool:
    """Whether a distortion acts between PC and CDELT: TPV and its like, plate solutions of DSS."""
    if f"CQDIS1{letter}" in header:
        return True
    return str(header.get(f"CTYPE1{letter}", ""))[-3:] in ("TPV", "TPD", "TNX", "ZPX")


def _mixes_cube_axes(keyword: str, letter: str) -> bool:
    entry = re.fullmatch(r"PC(\d+)_(\d+)([A-Z]?)", keyword)
    if entry is None or entry[3] != letter:
        return False
    return (entry[1] in "12") != (entry[2] in "12")


def _scale_table(table: ImageHDU, scale: float) -> None:
    """Scale a table of shifts in pixels, and the grid of pixels that it is given on, in place."""
    table.data = np.asarray(table.data, dtype=np.float32) * np.float32(scale)
    for axis in "12":
        table.header[f"CRVAL{axis}"] = _position(table.header[f"CRVAL{axis}"], scale)
        table.header[f"CDELT{axis}"] *= scale


def _scale_section(header: Header, keyword: str, scale: float) -> None:
    text = str(header.get(keyword, ""))
    section = _SECTION.fullmatch(text.replace(" ", ""))
    if section is None:
        return
    x1, x2, y1, y2 = (int(number) for number in section.groups())
    edges = [(x1 - 1) * scale, x2 * scale, (y1 - 1) * scale, y2 * scale]
    if any(abs(edge - round(edge)) > 1e-6 for edge in edges):
        del header[keyword]
        return
    left, right, bottom, top = (round(edge) for edge in edges)
    header[keyword] = f"[{left + 1}:{right},{bottom + 1}:{top}]"


def _scale_physical(header: Header, keys: set[str], scale: float) -> None:
    """Scale the IRAF relation ``image = LTM * physical + LTV``."""
    if not any(re.fullmatch(r"LTV[12]|LTM[12]_[12]", key) for key in keys):
        return
    for axis in "12":
        before = read_number(header, f"LTV{axis}")
        if before is not None or f"LTV{axis}" not in keys:
            _store(header, f"LTV{axis}", _position(before or 0.0, scale))
        for other in "12":
            key = f"LTM{axis}_{other}"
            value = read_number(header, key)
            if value is not None or (axis == other and key not in keys):
                _store(header, key, (1.0 if value is None else value) * scale)
