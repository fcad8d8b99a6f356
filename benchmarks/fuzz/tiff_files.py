"""TIFF files: types, planes, tiles, compression, pages, orientation, and tags with wrong values."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import tifffile
from hypothesis import assume
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

__all__ = ["tiff_files"]

_TYPES = ("u1", "u2", "u2", "i2", "u4", "i4", "f4", "f4", "f8", "f2", "i1", "u8", "i8")
_CODECS = (None, None, "zlib", "lzw", "zstd", "packbits", "deflate", "lzma", "jpeg", "webp")
_LOSSY = ("jpeg", "webp")
_TAGS = {
    "NewSubfileType": 254,
    "ImageWidth": 256,
    "ImageLength": 257,
    "BitsPerSample": 258,
    "Compression": 259,
    "PhotometricInterpretation": 262,
    "FillOrder": 266,
    "ImageDescription": 270,
    "StripOffsets": 273,
    "Orientation": 274,
    "SamplesPerPixel": 277,
    "RowsPerStrip": 278,
    "StripByteCounts": 279,
    "PlanarConfiguration": 284,
    "Software": 305,
    "Predictor": 317,
    "ColorMap": 320,
    "TileWidth": 322,
    "TileLength": 323,
    "TileOffsets": 324,
    "SubIFDs": 330,
    "ExtraSamples": 338,
    "SampleFormat": 339,
    "SubSampling": 530,
}
_NUMBERS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 34, 64, 255, 256, 1000, 32773, 65535)
_LARGE = (10**6, 2**31 - 1, 2**32 - 1)
_TEXTS = (
    "",
    "words",
    "SIMPLE  =                    T\nBITPIX  = 16\nBZERO   =  32768\nOBJECT  = 'M 1'\nEND",
    "SIMPLE  =                    T\nBSCALE  = NaN\nBUNIT   = 'x/0'\nGAIN    = -1\nEND",
    "SIMPLE\0\0 garbage = = = ' \xe4",
    '{"shape": [2, 2, 9]}',
    "ImageJ=1.0\nimages=7\nslices=7\n",
    "<?xml version='1.0'?><OME></OME>",
)
_CLASSIC_ENTRY = 12
_FIRST_IFD_AT = 4


def _upright(stored: NDArray, orientation: int) -> NDArray:
    """Turn an image so that its first row is the upper one (TIFF 6.0, section 8)."""
    turned = {
        1: stored,
        2: stored[..., ::-1],
        3: stored[..., ::-1, ::-1],
        4: stored[..., ::-1, :],
        5: stored.swapaxes(-1, -2),
        6: stored.swapaxes(-1, -2)[..., ::-1],
        7: stored.swapaxes(-1, -2)[..., ::-1, ::-1],
        8: stored.swapaxes(-1, -2)[..., ::-1, :],
    }
    return turned[orientation]


def _truth(planes: NDArray, options: dict[str, object], orientation: int) -> NDArray | None:
    """Give the pixels that are to be read; None where they depend on the reader."""
    if options["compression"] in _LOSSY or options.get("extrasamples") == ["assocalpha"]:
        return None
    values = planes.astype(np.longdouble)
    if options["photometric"] == "miniswhite":
        if planes.dtype.kind != "u":
            return None
        values = np.iinfo(planes.dtype).max - values
    values = _upright(values, orientation)
    return values[0] if values.ndim == 3 and len(values) == 1 else values


@st.composite
def tiff_files(draw: Draw) -> Case:
    """Make a TIFF file, sound or damaged."""
    shape = draw(image_shapes())
    dtype = draw(st.sampled_from(_TYPES))
    planes = draw(pixels_of(dtype, shape))
    orientation = draw(st.sampled_from([1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8]))
    codec = draw(st.sampled_from(_CODECS))
    colour = planes.ndim == 3 and planes.shape[0] == 3
    options: dict[str, object] = {
        "photometric": "rgb"
        if colour
        else draw(st.sampled_from(["minisblack"] * 4 + ["miniswhite"])),
        "compression": codec,
        "predictor": bool(codec in ("zlib", "lzw", "zstd", "deflate") and draw(st.booleans())),
        "byteorder": draw(st.sampled_from(["<", ">"])),
        "bigtiff": draw(st.sampled_from([False, False, False, True])),
        "metadata": None,
        "description": draw(st.sampled_from(_TEXTS[:3])),
        "extratags": [(274, "H", 1, orientation, True)] if orientation != 1 else [],
    }
    if chance(draw, 0.25):
        options["tile"] = (16, 32)
    elif draw(st.booleans()):
        options["rowsperstrip"] = draw(st.integers(1, shape[-2]))
    stored = planes
    alpha = None
    if colour:
        planar = draw(st.sampled_from(["contig", "separate"]))
        options["planarconfig"] = planar
        extra = draw(st.sampled_from([None, None, "assocalpha", "unassalpha", "unspecified"]))
        if extra is not None:
            alpha = draw(pixels_of(dtype, shape[-2:]))
            stored = np.concatenate([planes, alpha[np.newaxis]])
            options["extrasamples"] = [extra]
        stored = stored if planar == "separate" else np.moveaxis(stored, 0, -1)
    elif planes.ndim == 3:
        options["planarconfig"] = None
    further_pages = draw(st.sampled_from([0, 0, 0, 1, 2]))
    content = _written(stored, options, further_pages)
    note = f"{dtype} {shape} {options}"
    if chance(draw, 0.4):
        content, how = draw(
            st.one_of(_tampered(content), _tampered(content), damaged(content, 400))
        )
        return Case(".tif", content, f"{note}; {how}")
    truth = _truth(planes, options, orientation)
    if further_pages and shape[-1] * shape[-2] < _page(further_pages - 1).size:
        # The first image counts as a preview of a larger one.
        truth = _page(further_pages - 1).astype(np.longdouble)
    odd_types = planes.dtype.itemsize == 8 or planes.dtype == np.float16
    plain = options["photometric"] != "miniswhite" and alpha is None and codec not in _LOSSY
    case = Case(".tif", content, note, pixels=truth, valid=plain and not odd_types)
    return draw(truncated(case)) if chance(draw, 0.1) else case


def _page(number: int) -> NDArray:
    """Make one of the further pages."""
    return np.full((5, 6 + number), number, "u1")


def _written(stored: NDArray, options: dict[str, object], further_pages: int) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with tifffile.TiffWriter(
                stream, bigtiff=bool(options["bigtiff"]), byteorder=str(options["byteorder"])
            ) as file:
                own = {k: v for k, v in options.items() if k not in ("bigtiff", "byteorder")}
                file.write(stored, **own)
                for page in range(further_pages):
                    file.write(_page(page), photometric="minisblack")
        # What this writer cannot write makes no file.
        except Exception:  # noqa: BLE001
            assume(False)
    return stream.getvalue()


@st.composite
def _tampered(draw: Draw, content: bytes) -> tuple[bytes, str]:
    """Change entries of the first directory: the value, the count, the type or the tag itself."""
    data = bytearray(content)
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", data, 2)[0] != 42:
        return draw(damaged(content, 400))
    start = struct.unpack_from(order + "I", data, _FIRST_IFD_AT)[0]
    count = struct.unpack_from(order + "H", data, start)[0]
    notes = []
    for _ in range(draw(st.integers(1, 3))):
        place = start + 2 + _CLASSIC_ENTRY * draw(st.integers(0, count - 1))
        code, kind, length = struct.unpack_from(order + "HHI", data, place)
        value = draw(st.sampled_from(_NUMBERS + _LARGE))
        part = draw(st.sampled_from(["value", "value", "value", "count", "type", "tag"]))
        if part == "value" and kind == 3 and length <= 2:
            struct.pack_into(order + "HH", data, place + 8, value % 2**16, value % 2**16)
        elif part == "value":
            struct.pack_into(order + "I", data, place + 8, value)
        elif part == "count":
            struct.pack_into(order + "I", data, place + 4, value)
        elif part == "type":
            struct.pack_into(order + "H", data, place + 2, draw(st.integers(0, 19)))
        else:
            name = draw(st.sampled_from(sorted(_TAGS)))
            struct.pack_into(order + "H", data, place, _TAGS[name])
            value = _TAGS[name]
        notes.append(f"{part} of tag {code} -> {value}")
    return bytes(data), ", ".join(notes)
