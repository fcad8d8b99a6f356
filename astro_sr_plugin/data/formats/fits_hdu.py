"""One HDU of a FITS file to be written: its cards, blocks and checksums."""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np
from astropy.io.fits import Card, Header
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.checksum import RunningSum, encode_checksum
from astro_sr_plugin.data.formats.header import MEMORY_KEYWORDS, quiet
from astro_sr_plugin.data.formats.pixel_types import choose_coding
from astro_sr_plugin.data.formats.pixels import PixelCoding
from astro_sr_plugin.data.strips import iter_strips, release

__all__ = [
    "BLOCK",
    "append_image",
    "coding_of",
    "header_block",
    "image_cards",
    "scale_cards",
    "with_sums",
    "write_sums",
]

# Bytes of a FITS block (standard 4.0, section 3.1).
BLOCK = 2880
# float64 holds all whole numbers up to here.
_LARGEST_WHOLE = 2**53


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
    coding = coding or coding_of(data)
    first = image_cards(data.shape, coding, extension=stream.tell() > 0)
    _write_hdu(stream, first, header, data, coding, checksum)


def image_cards(
    shape: tuple[int, ...], coding: PixelCoding, *, extension: bool = False
) -> list[Card]:
    """Return the cards that describe the array."""
    bitpix = 8 * coding.dtype.itemsize * (-1 if coding.is_float else 1)
    first = ("XTENSION", "IMAGE   ", "image extension") if extension else ("SIMPLE", True, "FITS")
    cards = [Card(*first), Card("BITPIX", bitpix, "bits per pixel"), Card("NAXIS", len(shape))]
    cards += [Card(f"NAXIS{i}", n) for i, n in enumerate(shape[::-1], start=1)]
    if extension:
        cards += [Card("PCOUNT", 0), Card("GCOUNT", 1)]
    else:
        cards.append(Card("EXTEND", True))
    return cards + scale_cards(coding)


def scale_cards(coding: PixelCoding) -> list[Card]:
    """Return BSCALE, BZERO and BLANK where they say something."""
    cards = []
    if (coding.scale, coding.zero) != (1, 0):
        whole = coding.zero == int(coding.zero) and abs(coding.zero) <= _LARGEST_WHOLE
        zero: float = int(coding.zero) if whole else coding.zero
        cards = [Card("BSCALE", coding.scale), Card("BZERO", zero)]
    if coding.blank is not None:
        cards.append(Card("BLANK", coding.blank, "stored number without a value"))
    return cards


def with_sums(cards: list[Card], checksum: bool) -> list[Card]:
    """Leave out the keywords for memory only; with `checksum`, add empty sums at the end."""
    kept = [card for card in cards if card.keyword not in MEMORY_KEYWORDS]
    if checksum:
        kept.append(Card("CHECKSUM", "0" * 16, "HDU checksum"))
        kept.append(Card("DATASUM", "0", "data unit checksum"))
    return kept


def header_block(cards: list[Card]) -> bytes:
    """Return the cards as the file has them, END and padding to whole blocks included."""
    with quiet():
        text = "".join(card.image for card in cards) + "END".ljust(80)
    return text.ljust(len(text) + -len(text) % BLOCK).encode("ascii")


def write_sums(stream: BinaryIO, start: int, cards: list[Card], data_sum: RunningSum) -> None:
    """Write the header once more, with the sums in it."""
    cards[-1] = Card("DATASUM", str(data_sum.value), "data unit checksum")
    total = RunningSum(data_sum.value)
    total.add(header_block(cards))
    cards[-2] = Card("CHECKSUM", encode_checksum(total.value), "HDU checksum")
    stream.seek(start)
    stream.write(header_block(cards))


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
    cards = with_sums(first + list(header.cards), checksum)
    stream.write(header_block(cards))
    total = RunningSum()
    size = 0
    for strip in iter_strips(data):
        stored = np.ascontiguousarray(coding.encode(strip))
        if checksum:
            total.add(stored)
        stream.write(stored.reshape(-1).view(np.uint8).data)
        size += stored.nbytes
        release(data)
    stream.write(bytes(-size % BLOCK))
    if checksum:
        write_sums(stream, start, cards, total)
        stream.seek(0, os.SEEK_END)


def coding_of(array: NDArray) -> PixelCoding:
    """Choose how to store a companion."""
    if array.dtype.kind in "ui":
        name = array.dtype.newbyteorder("=").name
        return choose_coding("int64" if name == "uint64" else name, array, Header())
    wide = array.dtype.itemsize > 4
    return PixelCoding(np.dtype(np.float64 if wide else np.float32).newbyteorder(">"))
