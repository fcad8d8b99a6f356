"""FITS images out, strip by strip, with checksums; whole images or arrays filled piece by piece."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from astropy.io import fits
from astropy.io.fits import Card, Header
from astropy.nddata import FlagCollection, NDUncertainty
from astropy.wcs import WCS
from numpy.typing import DTypeLike, NDArray

from astro_sr_plugin.data.formats.bitmask import PLANE_KEYWORDS, exclude_flags
from astro_sr_plugin.data.formats.checksum import RunningSum, encode_checksum
from astro_sr_plugin.data.formats.header import MEMORY_KEYWORDS, clean_header, quiet
from astro_sr_plugin.data.formats.pixels import PixelCoding, choose_coding
from astro_sr_plugin.data.output import PLAIN_FITS, check_place, finish, part_of, write_errors
from astro_sr_plugin.data.strips import iter_strips, release
from astro_sr_plugin.data.wcs_keywords import lookup_tables, store_wcs
from astro_sr_plugin.exceptions import InputError, OutputError

__all__ = ["FitsStream", "append_image", "create_fits", "write"]

# Bytes of a FITS block (standard 4.0, section 3.1).
_BLOCK = 2880
# float64 holds all whole numbers up to here.
_LARGEST_WHOLE = 2**53
# Bytes copied at a time.
_CHUNK = 16 * 2**20
_PACKERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def write(
    part: Path,
    data: NDArray,
    header: Header,
    coding: PixelCoding,
    *,
    suffix: str = ".fits",
    mask: NDArray[np.bool_] | None = None,
    uncertainty: NDUncertainty | None = None,
    flags: FlagCollection | None = None,
    wcs: WCS | None = None,
    checksum: bool = True,
) -> None:
    """Write an image with its companions, in the layout of CCDData.

    Parameters
    ----------
    part : Path
        The file to make.
    data : ndarray, shape (ny, nx) or (n, ny, nx)
        Physical values.
    header : fits.Header
        Clean header, WCS included.
    coding : PixelCoding
        How to store the values.
    suffix : str, default ".fits"
        ``.gz``, ``.bz2`` or ``.xz`` pack the file; ``.fz`` stores tiles without loss.
    mask : ndarray of bool, optional
        Goes into the extension MASK.
    uncertainty : NDUncertainty, optional
        Goes into the extension UNCERT.
    flags : FlagCollection, optional
        Integer masks, each of which goes into an extension of its name.
    wcs : WCS, optional
        Its lookup-table distortions go into extensions.
    checksum : bool, default True
        Write CHECKSUM and DATASUM.
    """
    companions = list(_companions(data.shape, header, mask, uncertainty, flags, wcs))
    if suffix == ".fz":
        _write_tiles(part, data, header, coding, companions, checksum=checksum)
        return
    plain = part if suffix not in _PACKERS else part.with_name(part.name + ".fits")
    try:
        with plain.open("w+b") as stream:
            append_image(stream, data, header, coding, checksum=checksum)
            for companion, array in companions:
                append_image(stream, array, companion, checksum=checksum)
        if plain != part:
            with (
                plain.open("rb") as source,
                cast("BinaryIO", _PACKERS[suffix](part, "wb")) as target,
            ):
                shutil.copyfileobj(source, target, _CHUNK)
    finally:
        if plain != part:
            plain.unlink(missing_ok=True)


class FitsStream:
    """A FITS file under construction: an array on disk to be filled in any order.

    Attributes
    ----------
    data : numpy.memmap
        Big-endian array of the wanted shape, zero at first.
    mask : ndarray of bool or None
        Set it to have the extension MASK written at the end.
    uncertainty : NDUncertainty or None
        Set it to have the extension UNCERT written at the end.
    flags : FlagCollection or None
        Set it to have integer masks written at the end, each in an extension of its name.
    """

    def __init__(self, data: np.memmap) -> None:
        self.data = data
        self.mask: NDArray[np.bool_] | None = None
        self.uncertainty: NDUncertainty | None = None
        self.flags: FlagCollection | None = None

    def release(self) -> None:
        """Write what was filled in so far to the file and free its memory."""
        release(self.data)


@contextmanager
def create_fits(
    path: str | os.PathLike[str],
    header: Header | None,
    shape: Sequence[int],
    dtype: DTypeLike = "float32",
    overwrite: bool = False,
    *,
    wcs: WCS | None = None,
    checksum: bool = True,
) -> Iterator[FitsStream]:
    """Make a FITS image on disk and fill it piece by piece.

    The room is taken on the disk at once, so that a full disk is noticed before the work starts.
    The file appears under its name when the block is left without an error; otherwise, Ctrl-C
    included, nothing is left.

    Parameters
    ----------
    path : str or Path
        Uncompressed FITS file to make.
    header : fits.Header or None
        Header of the image.
    shape : sequence of int
        (ny, nx) or (n, ny, nx).
    dtype : {"float32", "float64"}, default "float32"
        Type of the pixels.
    overwrite : bool, default False
        Whether a file that exists already may be replaced.
    wcs : WCS, optional
        Stored in the header where that says something else.
    checksum : bool, default True
        Write CHECKSUM and DATASUM, which reads the file once more at the end.

    Yields
    ------
    FitsStream
        With ``.data`` to fill and ``.release()`` to keep memory low.

    Raises
    ------
    InputError
        If the shape or type cannot be written.
    OutputError
        If the place cannot be written or the disk is too full.
    """
    coding = PixelCoding(np.dtype(dtype).newbyteorder(">"))
    shape = tuple(int(n) for n in shape)
    if coding.name not in ("float32", "float64"):
        msg = f"dtype={dtype!r} cannot be filled piece by piece; allowed are float32 and float64"
        raise InputError(msg)
    if len(shape) not in (2, 3) or min(shape) < 1:
        msg = f"shape={shape} cannot be written; allowed are (ny, nx) and (n, ny, nx), no zeros"
        raise InputError(msg)
    if not str(path).lower().endswith(PLAIN_FITS):
        msg = f"cannot write {path} piece by piece; the name has to end in .fits, .fit or .fts"
        raise OutputError(msg)
    target = check_place(path, overwrite=overwrite)
    cards = _with_sums(
        _image_cards(shape, coding) + list(store_wcs(clean_header(header), wcs, shape).cards),
        checksum,
    )
    top = _block(cards)
    size = int(np.prod(shape)) * coding.dtype.itemsize
    part = part_of(target)
    try:
        with write_errors(target), part.open("w+b") as file:
            file.write(top)
            file.flush()
            _reserve(file, len(top) + size + -size % _BLOCK)
            data = np.memmap(file, coding.dtype, "r+", len(top), shape)
        stream = FitsStream(data)
        yield stream
        with write_errors(target), part.open("r+b") as file:
            release(data)
            if checksum:
                total = RunningSum()
                for strip in iter_strips(data):
                    total.add(strip)
                    release(data)
                _patch(file, 0, cards, total)
            file.seek(0, os.SEEK_END)
            companions = _companions(
                shape, clean_header(header), stream.mask, stream.uncertainty, stream.flags, wcs
            )
            for companion, array in companions:
                append_image(file, array, companion, checksum=checksum)
        with write_errors(target):
            finish(part, target)
    finally:
        part.unlink(missing_ok=True)


def _reserve(file: BinaryIO, size: int) -> None:
    """Take the room on the disk now: a hole could not be filled later on a full disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    file.seek(0, os.SEEK_END)
    empty = bytes(_CHUNK)
    while (rest := size - file.tell()) > 0:
        file.write(empty[: min(rest, _CHUNK)])
    file.flush()


def _image_cards(
    shape: tuple[int, ...], coding: PixelCoding, *, extension: bool = False
) -> list[Card]:
    """Give the cards that describe the array."""
    bitpix = 8 * coding.dtype.itemsize * (-1 if coding.is_float else 1)
    first = ("XTENSION", "IMAGE   ", "image extension") if extension else ("SIMPLE", True, "FITS")
    cards = [Card(*first), Card("BITPIX", bitpix, "bits per pixel"), Card("NAXIS", len(shape))]
    cards += [Card(f"NAXIS{i}", n) for i, n in enumerate(shape[::-1], start=1)]
    if extension:
        cards += [Card("PCOUNT", 0), Card("GCOUNT", 1)]
    else:
        cards.append(Card("EXTEND", True))
    return cards + _scale_cards(coding)


def _scale_cards(coding: PixelCoding) -> list[Card]:
    cards = []
    if (coding.scale, coding.zero) != (1, 0):
        whole = coding.zero == int(coding.zero) and abs(coding.zero) <= _LARGEST_WHOLE
        zero: float = int(coding.zero) if whole else coding.zero
        cards = [Card("BSCALE", coding.scale), Card("BZERO", zero)]
    if coding.blank is not None:
        cards.append(Card("BLANK", coding.blank, "stored number without a value"))
    return cards


def _with_sums(cards: list[Card], checksum: bool) -> list[Card]:
    kept = [card for card in cards if card.keyword not in MEMORY_KEYWORDS]
    if checksum:
        kept.append(Card("CHECKSUM", "0" * 16, "HDU checksum"))
        kept.append(Card("DATASUM", "0", "data unit checksum"))
    return kept


def _block(cards: list[Card]) -> bytes:
    with quiet():
        text = "".join(card.image for card in cards) + "END".ljust(80)
    return text.ljust(len(text) + -len(text) % _BLOCK).encode("ascii")


def _patch(stream: BinaryIO, start: int, cards: list[Card], data_sum: RunningSum) -> None:
    """Write the header once more, with the sums in it."""
    cards[-1] = Card("DATASUM", str(data_sum.value), "data unit checksum")
    total = RunningSum(data_sum.value)
    total.add(_block(cards))
    cards[-2] = Card("CHECKSUM", encode_checksum(total.value), "HDU checksum")
    stream.seek(start)
    stream.write(_block(cards))


def _write_hdu(
    stream: BinaryIO,
    first: list[Card],
    header: Header,
    data: NDArray,
    coding: PixelCoding,
    checksum: bool,
) -> None:
    """Write one HDU at the end of the stream, holding one strip in memory at a time."""
    start = stream.tell()
    cards = _with_sums(first + list(header.cards), checksum)
    stream.write(_block(cards))
    total = RunningSum()
    size = 0
    for strip in iter_strips(data):
        stored = np.ascontiguousarray(coding.encode(strip))
        if checksum:
            total.add(stored)
        stream.write(stored.reshape(-1).view(np.uint8).data)
        size += stored.nbytes
        release(data)
    stream.write(bytes(-size % _BLOCK))
    if checksum:
        _patch(stream, start, cards, total)
        stream.seek(0, os.SEEK_END)


def _companions(
    shape: tuple[int, ...],
    header: Header,
    mask: NDArray[np.bool_] | None,
    uncertainty: NDUncertainty | None,
    flags: FlagCollection | None,
    wcs: WCS | None,
) -> Iterator[tuple[Header, NDArray]]:
    planes = [card for card in header.cards if PLANE_KEYWORDS.fullmatch(card.keyword)]
    for name, values in (flags or {}).items():
        own = Header([Card("EXTNAME", name, "bits of every pixel"), *planes])
        described = header.copy()
        described.update(own)
        if mask is not None and np.array_equal(mask, exclude_flags(values, described)[0]):
            mask = None
        yield own, np.broadcast_to(values, shape)
    if mask is not None:
        name = "BPM" if flags and "MASK" in flags else "MASK"
        yield (
            Header([Card("EXTNAME", name, "1 = excluded")]),
            np.broadcast_to(np.asarray(mask, dtype=np.uint8), shape),
        )
    if uncertainty is not None and uncertainty.array is not None:
        header = Header([Card("EXTNAME", "UNCERT"), Card("UTYPE", type(uncertainty).__name__)])
        yield header, np.broadcast_to(uncertainty.array, shape)
    for table in lookup_tables(wcs):
        yield clean_header(table.header), table.data


def append_image(
    stream: BinaryIO,
    data: NDArray,
    header: Header,
    coding: PixelCoding | None = None,
    *,
    checksum: bool = True,
) -> None:
    """Write an image HDU at the end of a file under construction.

    Parameters
    ----------
    stream : BinaryIO
        Open for reading and writing, at its end; the first HDU is the primary one.
    data : ndarray
        Physical values.
    header : fits.Header
        Clean header.
    coding : PixelCoding, optional
        How to store the values; by default integers as they are, floats in their precision.
    checksum : bool, default True
        Write CHECKSUM and DATASUM.
    """
    coding = coding or _coding_of(data)
    first = _image_cards(data.shape, coding, extension=stream.tell() > 0)
    _write_hdu(stream, first, header, data, coding, checksum)


def _coding_of(array: NDArray) -> PixelCoding:
    """Choose how to store a companion."""
    if array.dtype.kind in "ui":
        name = array.dtype.newbyteorder("=").name
        return choose_coding("int64" if name == "uint64" else name, array, Header())
    wide = array.dtype.itemsize > 4
    return PixelCoding(np.dtype(np.float64 if wide else np.float32).newbyteorder(">"))


def _cards_for_table(header: Header) -> list[Card]:
    """Save the cards that the way through a table header would drop, as comments."""
    kept: list[Card] = []
    seen: set[str] = set()
    for card in header.cards:
        if card.keyword in ("COMMENT", "HISTORY") or (card.keyword and card.keyword not in seen):
            kept.append(card)
        elif text := (card.image if card.keyword else str(card.value)).rstrip():
            kept.append(Card("COMMENT", text[:72]))
        seen.add(card.keyword)
    return kept


def _write_tiles(
    part: Path,
    data: NDArray,
    header: Header,
    coding: PixelCoding,
    companions: list[tuple[Header, NDArray]],
    *,
    checksum: bool,
) -> None:
    """Write tile-compressed HDUs; floats without the usual quantisation, so without loss."""
    hdus = fits.HDUList([fits.PrimaryHDU()])
    kept = _with_sums(_cards_for_table(header), False)
    arrays = [(Header(kept), coding, data)]
    arrays += [(head, _coding_of(array), array) for head, array in companions]
    with quiet():
        for head, rule, array in arrays:
            stored = rule.encode(array).astype(rule.dtype.newbyteorder("="), copy=False)
            # Rice coding is for integers of up to 32 bits.
            rice = not rule.is_float and rule.dtype.itemsize < 8
            hdu = fits.CompImageHDU(
                stored,
                head,
                compression_type="RICE_1" if rice else "GZIP_2",
                quantize_level=0.0,
                uint=False,
                do_not_scale_image_data=True,
            )
            for card in _scale_cards(rule):
                hdu.header[card.keyword] = (card.value, card.comment)
            hdus.append(hdu)
        hdus.writeto(part, output_verify="exception", checksum=checksum)
