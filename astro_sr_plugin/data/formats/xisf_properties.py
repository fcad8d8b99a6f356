"""Properties of XISF images that PixInsight writes instead of FITS keywords.

The astrometric solution, with coordinates of the image from the upper left corner of the uppermost
row, y downwards, becomes FITS keywords; so does the colour filter array. The names of the processes
in the processing history become one HISTORY card each.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable
from xml.etree import ElementTree

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import CFA_KEYWORDS
from astro_sr_plugin.exceptions import warn

__all__ = ["add_astrometry", "add_filters", "add_history"]

_SOLUTION = "AstrometricSolution:"
_TYPES = {"F32": "f4", "F64": "f8", "I32": "i4", "I16": "i2", "UI8": "u1"}
# FITS codes of the projections of PixInsight.
_PROJECTIONS = {
    "gnomonic": "TAN",
    "stereographic": "STG",
    "orthographic": "SIN",
    "zenithalequalarea": "ZEA",
    "platecarree": "CAR",
    "mercator": "MER",
    "hammeraitoff": "AIT",
}

# PixInsight writes its processes as an XML document, <instance class="CurvesTransformation" ...>.
_HISTORY = "PixInsight:ProcessingHistory"
_PROCESS = re.compile(r"<instance\b[^>]*?\bclass=\"(\w+)\"")

#: Gives the bytes at a position of the file.
ReadBytes = Callable[[int, int], bytes]


def add_astrometry(
    header: Header,
    image: ElementTree.Element,
    read_bytes: ReadBytes,
    *,
    height: int,
    source: str,
) -> None:
    """Write the linear part of an astrometric solution into a header that has none.

    Parameters
    ----------
    header : fits.Header
        Changed in place, unless it has CTYPE1 or the image has no solution.
    image : Element
        The image in the XML header.
    read_bytes : callable
        ``read_bytes(position, size)`` of the file, for attached values.
    height : int
        Rows of the image.
    source : str
        Name of the file, for warnings.

    Warns
    -----
    AstroSRWarning
        If the solution cannot be read, or has distortions, which are left out.
    """
    if "CTYPE1" in header:
        return
    found = {
        name.rpartition(_SOLUTION)[2]: element
        for element in image
        if element.tag.rpartition("}")[2] == "Property"
        and _SOLUTION in (name := element.get("id", ""))
    }
    if not found:
        return
    try:
        code = _PROJECTIONS[_text(found["ProjectionSystem"]).replace(" ", "").lower()]
        sky = _numbers(found["ReferenceCelestialCoordinates"], read_bytes)[:2]
        x, y = _numbers(found["ReferenceImageCoordinates"], read_bytes)[:2]
        matrix = _numbers(found["LinearTransformationMatrix"], read_bytes).reshape(2, 2)
        pole = found.get("CelestialPoleNativeCoordinates")
        poles = None if pole is None else _numbers(pole, read_bytes)[:2]
    except (KeyError, ValueError, IndexError, binascii.Error, zlib.error) as error:
        reason = f"{type(error).__name__} {error}".strip()
        msg = f"{source}: its astrometric solution cannot be read and is left out ({reason})"
        warn(msg)
        return
    header["CTYPE1"], header["CTYPE2"] = f"RA---{code}", f"DEC--{code}"
    header["CRVAL1"], header["CRVAL2"] = (float(v) for v in sky)
    header["CRPIX1"], header["CRPIX2"] = float(x) + 0.5, height + 0.5 - float(y)
    for i in (0, 1):
        header[f"CD{i + 1}_1"], header[f"CD{i + 1}_2"] = float(matrix[i, 0]), -float(matrix[i, 1])
    if poles is not None:
        header["LONPOLE"], header["LATPOLE"] = (float(v) for v in poles)
    header["RADESYS"] = _frame(image)
    if any("Spline" in name or "ControlPoints" in name for name in found):
        msg = (
            f"{source}: the linear part of the astrometric solution is used; its distortions "
            "(splines) are left out"
        )
        warn(msg)


def add_filters(header: Header, image: ElementTree.Element) -> None:
    """Write the colour filter array of an image into its header.

    Parameters
    ----------
    header : fits.Header
        Changed in place where the image has an element ColorFilterArray, which counts from the
        uppermost row.
    image : Element
        The image in the XML header.
    """
    for child in image:
        if child.tag.rpartition("}")[2] != "ColorFilterArray":
            continue
        for keyword in CFA_KEYWORDS:
            header.remove(keyword, ignore_missing=True, remove_all=True)
        pattern = child.get("pattern", "")
        if (child.get("width"), child.get("height")) in (("2", "2"), ("6", "6")):
            header["BAYERPAT"] = (pattern, "filters from the upper left corner")
        else:
            header["CFAIMAGE"] = (True, f"filters {pattern}"[:40])


def add_history(header: Header, image: ElementTree.Element, read_bytes: ReadBytes) -> None:
    """Write the processes of PixInsight's processing history into the HISTORY of a header.

    Parameters
    ----------
    header : fits.Header
        Changed in place; each process is named once, in the order of the history. A history that
        cannot be read adds nothing.
    image : Element
        The image in the XML header.
    read_bytes : callable
        ``read_bytes(position, size)`` of the file, for an attached history.
    """
    for child in image:
        if child.tag.rpartition("}")[2] == "Property" and child.get("id", "") == _HISTORY:
            attached = child.get("location", "")
            try:
                text = _bytes(child, read_bytes).decode() if attached else _text(child)
            except (ValueError, IndexError, binascii.Error, zlib.error):
                continue
            for process in dict.fromkeys(_PROCESS.findall(text)):
                header.add_history(f"PixInsight process {process}")


def _text(element: ElementTree.Element) -> str:
    return (element.get("value") or element.text or "").strip()


def _frame(image: ElementTree.Element) -> str:
    names = ("CelestialReferenceSystem",)
    for child in image:
        if child.get("id", "").endswith(names) and _text(child).upper() in ("ICRS", "FK5", "FK4"):
            return _text(child).upper()
    return "ICRS"


def _numbers(element: ElementTree.Element, read_bytes: ReadBytes) -> NDArray[np.float64]:
    """Give the numbers of a vector or matrix, row by row."""
    kind = element.attrib["type"].replace("Vector", "").replace("Matrix", "")
    order = ">" if element.get("byteOrder") == "big" else "<"
    values = np.frombuffer(_bytes(element, read_bytes), order + _TYPES[kind]).astype(np.float64)
    if not np.all(np.isfinite(values)):
        msg = "values that are not finite"
        raise ValueError(msg)
    return values


def _bytes(element: ElementTree.Element, read_bytes: ReadBytes) -> bytes:
    """Give the bytes of a property: attached, embedded or inline, plain or compressed by zlib."""
    form, *place = element.get("location", "inline:base64").split(":")
    if form == "attachment":
        raw = read_bytes(int(place[0]), int(place[1]))
    else:
        child = next(iter(element), None) if form == "embedded" else element
        text = (child.text or "") if child is not None else ""
        coding = (
            place[0] if form == "inline" else ("" if child is None else child.get("encoding", ""))
        )
        raw = bytes.fromhex("".join(text.split())) if coding == "hex" else base64.b64decode(text)
    if element.get("compression", "").startswith("zlib:"):
        raw = zlib.decompress(raw)
    elif element.get("compression"):
        msg = f"compression {element.get('compression')!r} of a property"
        raise ValueError(msg)
    return raw
