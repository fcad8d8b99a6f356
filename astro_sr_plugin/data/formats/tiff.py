"""TIFF images through tifffile: integers and floats, grey, colour and pages.

Values are those of the file, rows from the top one, which is the first row of a TIFF unless its
orientation tag says otherwise. The FITS header travels as text in ImageDescription, as in
Astro-TIFF.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from astropy.io.fits import Card, Header
from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.contents import FileContents
from astro_sr_plugin.data.formats.header import (
    DISPLAY_KEYWORD,
    MEMORY_KEYWORDS,
    parse_header,
    quiet,
    to_ascii,
    without,
)
from astro_sr_plugin.data.formats.pixels import FACTOR_KEYWORD, PixelCoding, read_factor
from astro_sr_plugin.data.formats.tiff_tags import SampleTags, find_full_size, split_samples
from astro_sr_plugin.data.strips import iter_strips
from astro_sr_plugin.data.units import parse_unit
from astro_sr_plugin.data.wcs_keywords import WCS_KEYWORDS, read_wcs
from astro_sr_plugin.exceptions import ImageReadError, warn

__all__ = ["TYPES", "read", "write"]

TYPES: tuple[str, ...] = ("uint8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Types of pixels that are written."""
_LOST_PAGE = (
    "invalid page offset",
    "invalid offset to page",
    "invalid circular reference",
    "corrupted tag list",
)
"""What tifffile says of a page whose directory is not in the file, or not whole. What follows one
that is cut off is no place of a page, and may be taken for that of an earlier one."""


def read(path: Path, *, hdu: int | str | None = None, memmap: bool = True) -> CCDData:
    """Read an image of a TIFF file.

    Parameters
    ----------
    path : Path
        The file.
    hdu : int or str, optional
        Number of the page; by default the first image of full size, whose pages make a cube if it
        has several.
    memmap : bool, default True
        Not used: TIFF images are read as a whole.

    Returns
    -------
    CCDData
        Data of shape (ny, nx) or (n, ny, nx), upright, and with zero as black. An alpha channel
        becomes the mask: transparent pixels are excluded.

    Raises
    ------
    ImageReadError
        If the file is damaged or holds something else.
    """
    with path.open("rb") as stream:
        if stream.read(10)[8:] == b"CR":
            raise _error(path, "it is a raw file of a Canon camera; convert it to FITS or DNG")
    try:
        with _silent() as remarks, tifffile.TiffFile(path) as file:
            source, note = _choose(path, file, hdu)
            if hdu is None and any(lost in remark for remark in remarks for lost in _LOST_PAGE):
                reason = "a page of it is missing, as in truncated files; hdu=N reads another"
                raise _error(path, reason)
            _check_segments(path, source)
            stored = source.asarray()
            axes = source.axes
            page: Any = source.pages[0] if isinstance(source, tifffile.TiffPageSeries) else source
            description = str(getattr(page, "description", "") or "")
            tags = SampleTags.read(page.aspage())
            if tags.refusal:
                raise _error(path, tags.refusal)
            if stored.dtype.kind not in "iuf":
                reason = f"its pixels have dtype {stored.dtype}; allowed are integers and floats"
                raise _error(path, reason)
            stored, alpha, extra = _in_order(path, stored, axes, tags.extras)
            stored = tags.upright(tags.plain(stored))
            alpha = None if alpha is None else tags.upright(alpha)
    except ImageReadError:
        raise
    except MemoryError as error:
        raise _error(path, "there is not enough memory for its image") from error
    # Parsers of tags and decoders fail on damaged files with errors of any kind.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())
        raise _error(path, f"the TIFF file is damaged or not supported ({reason})") from error
    if note:
        warn(f"{path}: {note}")
    if tags.orientation:
        msg = (
            f"{path}: by its orientation tag the image is stored {tags.orientation}; it was turned "
            "upright, as viewers show it"
        )
        warn(msg)
    if extra == tifffile.EXTRASAMPLE.UNSPECIFIED:
        msg = f"{path}: the last sample of each pixel is of unspecified kind and is left out"
        warn(msg)
    header = _header(description)
    if tags.orientation:
        header = without(header, WCS_KEYWORDS)
    tags.add_filters(header)
    coding = PixelCoding(stored.dtype, read_factor(header, stored.dtype))
    data = coding.decode(stored)[0]
    mask = None
    if alpha is not None:
        mask = np.broadcast_to(alpha == 0, data.shape).copy() if np.any(alpha == 0) else None
        if extra == tifffile.EXTRASAMPLE.ASSOCALPHA:
            data = _without_alpha(data, alpha)
    wcs = read_wcs(header, shape=data.shape, source=str(path))
    if tags.is_display_curve(stored.dtype, header):
        header[DISPLAY_KEYWORD] = (True, "values are for display by the file read")
    header["ASRDTYPE"] = (coding.name, "pixel type of the file read")
    return CCDData(data, unit=parse_unit(header.get("BUNIT")), mask=mask, wcs=wcs, meta=header)


def write(part: Path, contents: FileContents) -> None:
    """Write an image with its header as text; three planes as RGB, other numbers as pages.

    Parameters
    ----------
    part : Path
        The file to make.
    contents : FileContents
        Mask, uncertainty, flags and checksums are left out.
    """
    data, coding = contents.data, contents.coding
    colour = data.ndim == 3 and data.shape[0] == 3
    stored = np.empty(data.shape, coding.dtype.newbyteorder("="))
    for source, target in zip(iter_strips(data), iter_strips(stored), strict=True):
        target[...] = coding.encode(source)
    if colour:
        stored = np.ascontiguousarray(np.moveaxis(stored, 0, -1))
    tifffile.imwrite(
        part,
        stored,
        photometric="rgb" if colour else "minisblack",
        planarconfig="contig" if colour else None,
        description=_text(data.shape, contents.header, coding),
        metadata=None,
        software="astro_sr_plugin",
    )


def _error(path: Path, reason: str) -> ImageReadError:
    return ImageReadError(f"cannot read {path}: {reason}")


@contextmanager
def _silent() -> Iterator[list[str]]:
    """Collect the remarks of tifffile on odd tags, and keep them from the user."""
    remarks: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        remarks.append(record.getMessage())
        return False

    logger = logging.getLogger("tifffile")
    logger.addFilter(collect)
    try:
        yield remarks
    finally:
        logger.removeFilter(collect)


def _check_segments(
    path: Path, source: tifffile.TiffPageSeries | tifffile.TiffPage | tifffile.TiffFrame
) -> None:
    """Check that every strip and tile is there: missing ones would be read as zeros."""
    if isinstance(source, tifffile.TiffPageSeries):
        if source.dataoffset is not None:
            return
        pages: list[Any] = list(source.pages)
    else:
        pages = [source]
    for page in pages:
        sizes = () if page is None else page.databytecounts
        if page is None or len(sizes) < math.prod(page.chunked) or 0 in (*sizes, *page.dataoffsets):
            raise _error(path, "some of its strips or tiles are missing")


def _choose(path: Path, file: tifffile.TiffFile, wanted: int | str | None) -> tuple[Any, str]:
    # Counting ends at a page that refers to one before it; reading the series first would not end.
    count = len(file.pages)
    if not file.series:
        raise _error(path, "it holds no image")
    if wanted is None:
        return find_full_size(file)
    if str(wanted) not in [str(i) for i in range(count)]:
        raise _error(path, f"there is no page {wanted!r}; it has pages 0 to {count - 1}")
    return file.pages[int(wanted)], ""


def _in_order(
    path: Path, stored: NDArray, axes: str, extras: tuple[int, ...]
) -> tuple[NDArray, NDArray | None, int | None]:
    """Put the axes into the order (plane, y, x), and take alpha or an extra sample out."""
    kept = "".join(a for a, n in zip(axes, stored.shape, strict=True) if a in "YX" or n != 1)
    stored = stored.reshape([n for a, n in zip(axes, stored.shape, strict=True) if a in kept])
    if "Y" not in kept or "X" not in kept or len(kept) > 3:
        raise _error(path, f"its image has axes {axes} of sizes {stored.shape}, not two or three")
    alpha = extra = None
    if len(kept) == 3:
        other = kept.translate(str.maketrans("", "", "YX"))
        order = [kept.index(other), kept.index("Y"), kept.index("X")]
        stored = stored.transpose(order)
        if other == "S" and len(extras) < len(stored):
            stored, alpha, extra = split_samples(stored, extras)
        stored = np.ascontiguousarray(stored)
    if stored.size == 0:
        raise _error(path, "its image has zero pixels")
    return stored, alpha, extra


def _without_alpha(data: NDArray, alpha: NDArray) -> NDArray:
    """Undo the multiplication by an associated alpha where it is not 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        opacity = alpha / (1.0 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max)
        return (data / np.where(opacity == 0, 1.0, opacity)).astype(data.dtype)


def _header(description: str) -> Header:
    """Read the header out of the description; other text becomes comments."""
    text = to_ascii("\n".join(line for line in description.split("\n") if line.strip("\0 ")))
    lines = description.replace("\r", "").replace("\0", "").split("\n")
    with quiet():
        if lines[0].startswith("SIMPLE"):
            if len(lines) == 1:
                return parse_header(to_ascii(lines[0]).encode("ascii"))
            return parse_header("".join(to_ascii(s)[:80].ljust(80) for s in lines).encode("ascii"))
        header = Header()
        for start in range(0, min(len(text), 72 * 50), 72):
            header.add_comment(text[start : start + 72])
    return header


def _text(shape: tuple[int, ...], header: Header, coding: PixelCoding) -> str:
    bitpix = 8 * coding.dtype.itemsize * (-1 if coding.is_float else 1)
    cards = [Card("SIMPLE", True), Card("BITPIX", bitpix), Card("NAXIS", len(shape))]
    cards += [Card(f"NAXIS{i}", n) for i, n in enumerate(shape[::-1], start=1)]
    cards += [card for card in header.cards if card.keyword not in MEMORY_KEYWORDS]
    if coding.scale != 1:
        cards.append(Card(FACTOR_KEYWORD, 1 / coding.scale, "stored number / pixel value"))
    with quiet():
        images = [card.image for card in cards]
    lines = [image[i : i + 80] for image in images for i in range(0, len(image), 80)]
    return "\n".join([*lines, "END"])
