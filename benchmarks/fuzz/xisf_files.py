"""XISF files: types, storage, compression, checksums, keywords, and headers that are wrong."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from xml.sax.saxutils import quoteattr

import imagecodecs
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.fuzz.case import (
    Case,
    Draw,
    chance,
    damaged,
    image_shapes,
    pixels_of,
    truncated,
)

__all__ = ["xisf_files"]

_SAMPLES = {"UInt8": "u1", "UInt16": "u2", "UInt32": "u4", "Float32": "f4", "Float64": "f8"}
_CODECS = ("zlib", "lz4", "lz4hc", "zstd")
_HASHES = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512", "sha3-256": "sha3_256"}
_ODD = {
    "geometry": (
        "4:3",
        "0:3:1",
        "-4:3:1",
        "4:3:1:1",
        "a:b:c",
        "",
        "99999999:99999999:3",
        "4.0:3.0:1",
        " 4 : 3 : 1 ",
        "+4:3:1",
        "1_0:3:1",
        "4:3:2",
        "99999999999999999999:1:1",
    ),
    "sampleFormat": ("Complex32", "UInt64", "Float16", "uint16", "", "UInt16"),
    "location": (
        "attachment",
        "attachment:",
        "attachment:-5:48",
        "attachment:0:99999999999999",
        "attachment:99999999999999:48",
        "attachment:a:b",
        "inline:base64",
        "inline:hex",
        "embedded",
        "url(file:///etc/passwd)",
        "path(@header_dir/x)",
        "",
        "attachment:16:-1",
        "attachment:4096:0",
    ),
    "compression": (
        "zlib",
        "zlib:",
        "zlib:-5",
        "zlib:99999999999",
        "lz4:99999999999",
        "zstd:99999999999",
        "zlib+sh:48:0",
        "zlib+sh:48",
        "zlib+sh:48:7",
        "zlib+sh:48:-2",
        "rar:48",
        "zlib+xx:48:2",
        "",
        "zlib:48:2",
        "lz4hc+sh:48:99999999",
        "zstd:0",
    ),
    "subblocks": ("1,1", "99999999999,99999999999", "a,b", "-1,-1", "0,0:0,0", ",", "10", "1:2:3"),
    "checksum": ("sha-1:00", "md5:00", "sha-1", ":", "sha-1:", "SHA1:" + "0" * 40),
    "byteOrder": ("big", "little", "BIG", "middle", ""),
    "pixelStorage": ("Planar", "Normal", "normal", "x", ""),
    "colorSpace": ("Gray", "RGB", "CIELab", "x", ""),
    "bounds": ("0:1", "0:65535", "1:0", "NaN:NaN", "x", "0", "-1e400:1e400", "0:0"),
    "id": ("a", "", "1", "x y"),
    "orientation": ("0", "90", "180", "flip", "-90;flip", "x"),
    "offset": ("0", "0.1", "NaN", "x"),
    "imageType": ("Light", "MasterFlat", "x"),
}
_KEYWORDS = (
    ("OBJECT", "'M 1'", "name"),
    ("GAIN", "1.5", ""),
    ("GAIN", "NaN", ""),
    ("FLAG", "T", ""),
    ("BUNIT", "'x/0'", ""),
    ("EXPTIME", "1,5", ""),
    ("CTYPE1", "'RA---TAN'", ""),
    ("CRVAL1", "'x'", ""),
    ("HISTORY", "", "line"),
    ("HISTORY", "value", ""),
    ("", "", ""),
    ("TOO LONG A NAME", "1", "c"),
    ("LONGTEXT", "'" + "x" * 300 + "'", "c" * 200),
    ("BSCALE", "2.0", ""),
    ("BZERO", "32768", ""),
    ("BLANK", "0", ""),
    ("NAXIS1", "999", ""),
    ("ASRBSCAL", "'x'", ""),
    ("ASRDTYPE", "'complex64'", ""),
    ("BAYERPAT", "''", ""),
    ("END", "", ""),
    ("G\xf6t\x7f", "'\xe4'", "\u2603"),
    ("VALUE", "1e999", ""),
    ("VALUE", "99999999999999999999999", ""),
    ("OPEN", "'no end", ""),
    ("QUOTE", "'it''s'", "it's / 'x'"),
    ("A=B", "1", "="),
    ("ROWORDER", "'TOP-DOWN'", ""),
)
_PROPERTIES = (
    '<Property id="PCL:AstrometricSolution:ReferenceCelestialCoordinates" type="F64Vector" '
    'length="2" location="inline:base64">AAAAAAAAAEAAAAAAAAAAQA==</Property>',
    '<Property id="x" type="F64Matrix" rows="99999999" columns="9" location="attachment:0:9"/>',
    '<Property id="Instrument:Camera:Gain" type="Float32" value="NaN"/>',
    "<Property/>",
    '<ColorFilterArray pattern="" width="2" height="2"/>',
    "<Resolution horizontal='x' vertical='0'/>",
    "<Thumbnail geometry='2:2:1' sampleFormat='UInt8' location='inline:hex'>00000000</Thumbnail>",
    "<!-- comment --><?pi x?>",
    "text between",
)
_NAMESPACE = 'xmlns="http://www.pixinsight.com/xisf"'
_BLOCK_AT = 4096


def _shuffled(raw: bytes, item: int) -> bytes:
    whole = len(raw) // item * item
    return np.frombuffer(raw[:whole], np.uint8).reshape(-1, item).T.tobytes() + raw[whole:]


def _packed(codec: str, raw: bytes) -> bytes:
    if codec == "zlib":
        return zlib.compress(raw)
    encode = imagecodecs.zstd_encode if codec == "zstd" else imagecodecs.lz4_encode
    return bytes(encode(raw))


@st.composite
def _block(draw: Draw, stored: NDArray) -> tuple[bytes, dict[str, str]]:
    """Give the bytes of the pixels with the attributes that say how they are packed."""
    attributes: dict[str, str] = {}
    raw = stored.tobytes()
    block = raw
    if draw(st.booleans()):
        codec = draw(st.sampled_from(_CODECS))
        item = stored.dtype.itemsize
        name = f"{codec}:{len(raw)}"
        body = raw
        if draw(st.booleans()):
            body = _shuffled(raw, item)
            name = f"{codec}+sh:{len(raw)}:{item}"
        if chance(draw, 0.3) and len(raw) > 1:
            cut = draw(st.integers(1, len(raw) - 1))
            pieces = [body[:cut], body[cut:]]
            packed = [_packed(codec, piece) for piece in pieces]
            pairs = zip(packed, pieces, strict=True)
            attributes["subblocks"] = ":".join(f"{len(p)},{len(u)}" for p, u in pairs)
            block = b"".join(packed)
        else:
            block = _packed(codec, body)
        attributes["compression"] = name
    if chance(draw, 0.4):
        name = draw(st.sampled_from(sorted(_HASHES)))
        attributes["checksum"] = f"{name}:{hashlib.new(_HASHES[name], block).hexdigest()}"
    return block, attributes


@st.composite
def xisf_files(draw: Draw) -> Case:
    """Make an XISF file of one image, sound, odd or damaged."""
    shape = draw(image_shapes())
    sample = draw(st.sampled_from(sorted(_SAMPLES)))
    planes = draw(pixels_of(_SAMPLES[sample], shape))
    order = draw(st.sampled_from(["little", "little", "big"]))
    interleaved = planes.ndim == 3 and draw(st.booleans())
    stored = planes.astype(planes.dtype.newbyteorder("<" if order == "little" else ">"))
    block, packing = draw(_block(np.moveaxis(stored, 0, -1) if interleaved else stored))
    place = draw(st.sampled_from(["attachment"] * 6 + ["inline", "embedded"]))
    attributes = {
        "geometry": f"{shape[-1]}:{shape[-2]}:{shape[0] if len(shape) == 3 else 1}",
        "sampleFormat": sample,
        "colorSpace": "RGB" if len(shape) == 3 and shape[0] == 3 else "Gray",
        "location": f"attachment:{_BLOCK_AT * 2}:{len(block)}",
    }
    if order == "big":
        attributes["byteOrder"] = "big"
    if interleaved:
        attributes["pixelStorage"] = "Normal"
    if sample.startswith("Float"):
        attributes["bounds"] = "0:1"
    attributes |= packing
    note = f"{attributes} {place}"
    odd = chance(draw, 0.35)
    changes = draw(st.lists(st.sampled_from(sorted(_ODD)), min_size=odd, max_size=2 * odd))
    for name in changes:
        attributes[name] = draw(st.sampled_from(_ODD[name]))
        note += f" {name}={attributes[name]!r}"
        if chance(draw, 0.1):
            del attributes[name]
    inner = ""
    if place != "attachment":
        text = base64.b64encode(block).decode()
        attributes["location"] = "inline:base64" if place == "inline" else "embedded"
        inner = text if place == "inline" else f'<Data encoding="base64">{text}</Data>'
        if place == "embedded" and "compression" in attributes:
            moved = {k: attributes.pop(k) for k in ("compression", "subblocks") if k in attributes}
            own = " ".join(f"{k}={quoteattr(v)}" for k, v in moved.items())
            inner = inner.replace("<Data ", f"<Data {own} ")
    extras = draw(st.lists(st.sampled_from(_KEYWORDS), max_size=4))
    for keyword, value, comment in extras:
        inner += f"<FITSKeyword name={quoteattr(keyword)} value={quoteattr(value)} "
        inner += f"comment={quoteattr(comment)}/>"
    properties = draw(st.lists(st.sampled_from(_PROPERTIES), max_size=2))
    inner += "".join(properties)
    own = " ".join(f"{k}={quoteattr(v)}" for k, v in attributes.items())
    space = draw(st.sampled_from([_NAMESPACE, _NAMESPACE, _NAMESPACE, ""]))
    xml = f'<?xml version="1.0" encoding="UTF-8"?><xisf version="1.0" {space}>'
    xml += f"<Image {own}>{inner}</Image></xisf>"
    text = xml.replace("\x7f", "").encode()
    length = draw(st.sampled_from([len(text)] * 8 + [0, 2**32 - 1, len(text) - 9]))
    content = (b"XISF0100" + struct.pack("<II", length, 0) + text).ljust(_BLOCK_AT * 2, b"\0")
    content += block if place == "attachment" else b""
    note += f" {extras} {len(properties)} properties, header {length - len(text):+d}"
    if chance(draw, 0.25):
        content, how = draw(damaged(content, 16 + len(text)))
        return Case(".xisf", content, f"{note}; {how}")
    sound = not changes and length == len(text)
    truth = planes[0] if planes.ndim == 3 and len(planes) == 1 else planes
    harmless = not any(k[0] in ("BSCALE", "BZERO", "BLANK", "BAYERPAT") for k in extras)
    harmless &= not any("ColorFilterArray" in text for text in properties)
    plain = place == "attachment" and not properties and not extras and bool(space)
    case = Case(
        ".xisf",
        content,
        note,
        pixels=truth[..., ::-1, :].astype(np.longdouble) if sound and harmless else None,
        valid=sound and plain,
    )
    return draw(truncated(case)) if chance(draw, 0.1) else case
