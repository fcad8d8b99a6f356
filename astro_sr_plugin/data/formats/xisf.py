"""XISF images (PixInsight), by the XISF 1.0 specification: monolithic files with attached blocks.

Values are those of the file. The file begins with the uppermost row, while its FITS keywords count
rows from the lowest one, as FITS does; the rows are turned over here, so that the first row of an
array is that of FITS and the world coordinates are right. FITS keywords travel; of other properties
the astrometric solution, the colour filter array and the processing history are read. Written
images are planar and little-endian, checked by SHA-1.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from astropy.io.fits import Card, Header
from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin import __version__
from astro_sr_plugin.data.cfa import CFA_KEYWORDS, pattern_from_top
from astro_sr_plugin.data.formats.contents import FileContents
from astro_sr_plugin.data.formats.header import (
    MEMORY_KEYWORDS,
    clean_header,
    parse_header,
    quiet,
    to_ascii,
    without,
)
from astro_sr_plugin.data.formats.pixels import FACTOR_KEYWORD, PixelCoding, read_factor
from astro_sr_plugin.data.formats.xisf_blocks import (
    unpack_block,
    verify_block,
    xisf_error,
)
from astro_sr_plugin.data.formats.xisf_properties import add_astrometry, add_filters, add_history
from astro_sr_plugin.data.strips import iter_strips, release
from astro_sr_plugin.data.units import parse_unit
from astro_sr_plugin.data.wcs_keywords import read_wcs
from astro_sr_plugin.exceptions import ImageReadError

__all__ = ["TYPES", "read", "write"]

_MAGIC = b"XISF0100"
# Bytes before the XML header: the signature, its length and a reserved field.
_START = 16
TYPESPACE = "http://www.pixinsight.com/xisf"
_SAMPLES = {"UInt8": "u1", "UInt16": "u2", "UInt32": "u4", "Float32": "f4", "Float64": "f8"}
TYPES: dict[str, str] = {np.dtype(code).name: sample for sample, code in _SAMPLES.items()}
"""Types of pixels that the format has, and what it calls them."""
# States for some programs how a FITS file of the image is to be shown; of no use in XISF.
_ROW_ORDER = "ROWORDER"
# Room for the numbers that are only known once the header is complete.
_PLACE = "{:020d}"
_BLOCK = 4096
"""Bytes of which the places of attached blocks are multiples, as PixInsight writes them."""


def read(path: Path, *, hdu: int | str | None = None, memmap: bool = True) -> CCDData:
    """Read one image of an XISF file.

    Parameters
    ----------
    path : Path
        The file.
    hdu : int or str, optional
        Number or id of the image; the first one by default.
    memmap : bool, default True
        Map uncompressed planar floats instead of reading them.

    Returns
    -------
    CCDData
        Data of shape (ny, nx) or (n, ny, nx).

    Raises
    ------
    ImageReadError
        If the file is damaged or uses what this reader does not know.
    """
    try:
        with path.open("rb") as file:
            length = struct.unpack("<8sII", file.read(_START))[1]
            if _START + length > path.stat().st_size:
                raise xisf_error(path, "it is truncated within its header")
            text = file.read(length)
        root = ElementTree.fromstring(text.rstrip(b"\0 \r\n"))
        element = _choose(path, root, hdu)
        stored = _turned(_pixels(path, element, memmap=memmap))
    except (ElementTree.ParseError, struct.error, UnicodeDecodeError) as error:
        raise xisf_error(path, f"its header is damaged ({error})") from error
    except MemoryError as error:
        raise xisf_error(path, "there is not enough memory for its image") from error
    except (ValueError, LookupError, OSError, zlib.error) as error:
        if isinstance(error, ImageReadError):
            raise
        raise xisf_error(path, f"its image is damaged ({error})") from error
    with quiet():
        header = _header(element)
    add_filters(header, element)
    add_history(header, element, _reader(path))
    add_astrometry(header, element, _reader(path), height=stored.shape[-2], source=str(path))
    coding = PixelCoding(stored.dtype, read_factor(header, stored.dtype))
    data = coding.decode(stored)[0]
    wcs = read_wcs(header, shape=data.shape, source=str(path))
    header[_ROW_ORDER] = ("BOTTOM-UP", "the first row is the lowest one")
    header["ASRDTYPE"] = (coding.name, "pixel type of the file read")
    if "bounds" in element.attrib:
        header["ASRBOUND"] = (to_ascii(element.attrib["bounds"]), "bounds of the file read")
    return CCDData(data, unit=parse_unit(header.get("BUNIT")), wcs=wcs, meta=header)


def write(part: Path, contents: FileContents) -> None:
    """Write an image with its keywords.

    Parameters
    ----------
    part : Path
        The file to make.
    contents : FileContents
        Mask, uncertainty and flags are left out.
    """
    header, coding = contents.header, contents.coding
    rule = PixelCoding(coding.dtype.newbyteorder("<"), coding.scale)
    if coding.scale != 1:
        header = header.copy()
        header[FACTOR_KEYWORD] = (1 / coding.scale, "stored number / pixel value")
    pattern = pattern_from_top(header, contents.data.shape)
    if pattern:
        header = without(header, re.compile("|".join(CFA_KEYWORDS)))
        header["BAYERPAT"] = (pattern, "filters from the upper left corner")
    data = _turned(contents.data)
    shape = data.shape
    attributes = {
        "id": "image",
        "geometry": ":".join(str(n) for n in (shape[-1], shape[-2], *shape[:-2]))
        + ":1" * (3 - data.ndim),
        "sampleFormat": TYPES[coding.name],
        "colorSpace": "RGB" if data.ndim == 3 and shape[0] == 3 else "Gray",
        "pixelStorage": "Planar",
        "location": f"attachment:{_PLACE.format(0)}:{_PLACE.format(0)}",
    }
    if rule.is_float:
        attributes["bounds"] = _bounds(data, header)
    if contents.checksum:
        attributes["checksum"] = "sha-1:" + "0" * 40
    top = len(_head(attributes, header))
    start = top + -top % _BLOCK
    digest = hashlib.sha1(usedforsecurity=False)
    with part.open("wb") as file:
        file.seek(start)
        for strip in iter_strips(data):
            piece = rule.encode(strip).tobytes()
            digest.update(piece)
            file.write(piece)
            release(data)
        size = file.tell() - start
        attributes["location"] = f"attachment:{_PLACE.format(start)}:{_PLACE.format(size)}"
        if contents.checksum:
            attributes["checksum"] = f"sha-1:{digest.hexdigest()}"
        file.seek(0)
        file.write(_head(attributes, header))


def _turned(array: NDArray) -> NDArray:
    """Turn the rows over, without a copy."""
    return array[..., ::-1, :]


def _reader(path: Path) -> Callable[[int, int], bytes]:
    def read_bytes(position: int, size: int) -> bytes:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(size)

    return read_bytes


def _choose(path: Path, root: ElementTree.Element, wanted: int | str | None) -> ElementTree.Element:
    images = root.findall(f"{{{TYPESPACE}}}Image") or root.findall("Image")
    if not images:
        raise xisf_error(path, "it holds no image")
    if wanted is None:
        return images[0]
    for index, element in enumerate(images):
        if str(wanted) in (str(index), element.get("id")):
            return element
    present = ", ".join(f"{i} {e.get('id', '')}".strip() for i, e in enumerate(images))
    raise xisf_error(path, f"there is no image {wanted!r}; it has {present}")


def _pixels(path: Path, element: ElementTree.Element, *, memmap: bool) -> NDArray:
    """Give the stored samples in shape (ny, nx) or (n, ny, nx), uppermost row first."""
    sample = element.get("sampleFormat", "")
    if sample not in _SAMPLES:
        raise xisf_error(path, f"samples of type {sample or 'none'} are no image")
    order = ">" if element.get("byteOrder") == "big" else "<"
    dtype = np.dtype(order + _SAMPLES[sample])
    geometry = [int(n) for n in element.attrib["geometry"].split(":")]
    if len(geometry) != 3:
        raise xisf_error(path, f"its image has {len(geometry) - 1} axes, and an image has two")
    width, height, channels = geometry
    if min(geometry) < 1:
        raise xisf_error(path, "its image has zero pixels")
    interleaved = element.get("pixelStorage", "Planar").lower() == "normal"
    shape = (height, width, channels) if interleaved else (channels, height, width)
    kind, *place = element.attrib["location"].split(":")
    if kind != "attachment":
        raise xisf_error(path, f"pixels stored as {kind!r} are not supported, only attached ones")
    position, size = int(place[0]), int(place[1])
    needed = math.prod(shape) * dtype.itemsize
    if min(position, size) < 0:
        raise xisf_error(path, f"its image lies at byte {position} with a size of {size} bytes")
    if position + size > path.stat().st_size:
        raise xisf_error(path, f"it is truncated (the image ends at byte {position + size})")
    packed = element.get("compression")
    if packed is None and size < needed:
        raise xisf_error(path, f"its image has {size} bytes instead of {needed}")
    if packed is None and memmap and dtype.kind == "f" and not interleaved:
        mapped: NDArray = np.memmap(path, dtype, "c", position, shape)
        return mapped[0] if channels == 1 else mapped
    with path.open("rb") as file:
        file.seek(position)
        block = bytearray(file.read(size))
    verify_block(path, block, element.get("checksum"))
    if packed is not None:
        block = unpack_block(path, block, packed, element.get("subblocks"), needed)
    array = np.frombuffer(block, dtype, math.prod(shape)).reshape(shape)
    if interleaved:
        array = np.ascontiguousarray(np.moveaxis(array, -1, 0))
    return array[0] if channels == 1 else array


def _header(element: ElementTree.Element) -> Header:
    """Collect the FITS keywords of an image."""
    header = Header()
    for child in element:
        if child.tag.rpartition("}")[2] != "FITSKeyword":
            continue
        name = to_ascii(child.get("name", "")).strip().upper()
        value = to_ascii(child.get("value", "")).strip()
        comment = to_ascii(child.get("comment", "")).strip()
        if name in ("COMMENT", "HISTORY", ""):
            header.add_history(comment or value) if name == "HISTORY" else header.add_comment(
                comment or value
            )
            continue
        header.extend(_cards(name, value, comment), end=True)
    return clean_header(header)


def _cards(name: str, value: str, comment: str) -> list[Card]:
    if value.startswith("'"):
        text = value[1:-1] if value.endswith("'") and len(value) > 1 else value[1:]
        entry: Any = text.replace("''", "'").rstrip()
    else:
        parsed = parse_header(f"{name:<8}= {value:>20} / {comment}"[:80].ljust(80).encode("ascii"))
        if name in parsed:
            return list(parsed.cards)
        entry = value
    try:
        return [Card(name, entry, comment)]
    except ValueError:
        return [Card("COMMENT", f"{name} = {value} / {comment}"[:72])]


def _bounds(data: NDArray, header: Header) -> str:
    """Give the range of values that programs take as black and white.

    That of the file the image came from; else 0 to 1 for images of about that range, which are
    not to be rescaled for a few values outside.
    """
    known = header.get("ASRBOUND")
    if known:
        return str(known)
    low, high = np.inf, -np.inf
    for strip in iter_strips(data):
        finite = strip[np.isfinite(strip)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        release(data)
    if low > high or (low >= -1 and high <= 2):
        return "0:1"
    return f"{min(low, 0.0):.9g}:{max(high, 1.0):.9g}"


def _head(attributes: dict[str, str], header: Header) -> bytes:
    """Give the signature and the XML header."""
    root = ElementTree.Element(
        "xisf",
        {
            "version": "1.0",
            "xmlns": TYPESPACE,
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:schemaLocation": f"{TYPESPACE} {TYPESPACE}/xisf-1.0.xsd",
        },
    )
    image = ElementTree.SubElement(root, "Image", attributes)
    for card in header.cards:
        if card.keyword in (*MEMORY_KEYWORDS, _ROW_ORDER):
            continue
        if card.keyword in ("COMMENT", "HISTORY", ""):
            entry = {"name": card.keyword or "COMMENT", "value": "", "comment": str(card.value)}
        else:
            entry = {"name": card.keyword, "value": _value(card.value), "comment": card.comment}
        ElementTree.SubElement(image, "FITSKeyword", entry)
    metadata = ElementTree.SubElement(root, "Metadata")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name, kind, value in (
        ("XISF:CreationTime", "TimePoint", now),
        ("XISF:CreatorApplication", "String", f"astro_sr_plugin {__version__}"),
    ):
        entry = {"id": name, "type": kind}
        if kind == "TimePoint":
            entry["value"] = value
        element = ElementTree.SubElement(metadata, "Property", entry)
        element.text = None if kind == "TimePoint" else value
    text = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return _MAGIC + struct.pack("<II", len(text), 0) + text


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        return repr(value)
    return str(value) if isinstance(value, int | complex) else ""
