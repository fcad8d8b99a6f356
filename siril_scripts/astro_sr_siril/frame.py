"""An image as Siril holds it, regions of it, and its way into FITS files and back.

Rows are counted from the first row of the FITS file, as in the arrays; Siril counts selections
from the last.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.io.fits import Card, Header
from numpy.typing import NDArray

__all__ = [
    "Frame",
    "Region",
    "as_float",
    "for_siril",
    "merge_headers",
    "parse_header",
    "read_result",
    "shift_grid",
    "write_input",
]

_LAYOUT = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|END)"
)
_OWN = re.compile(r"ASR[A-Z0-9]+")


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels.

    Parameters
    ----------
    x, y : int
        First column and first row.
    width, height : int
        Size.
    """

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def from_selection(
        cls, selection: tuple[int, int, int, int] | None, shape: tuple[int, int]
    ) -> Region | None:
        """Return the part of a selection of Siril that lies in the image, None if there is none.

        Parameters
        ----------
        selection : tuple of int or None
            x, y, width, height; y counts from the top.
        shape : tuple of int
            Height and width of the image.
        """
        if selection is None:
            return None
        height, width = shape
        x, top, w, h = selection
        left, right = max(x, 0), min(x + w, width)
        low, high = max(height - top - h, 0), min(height - top, height)
        if right <= left or high <= low:
            return None
        return cls(left, low, right - left, high - low)

    def grown(self, margin: int, shape: tuple[int, int]) -> Region:
        """Return the region with a margin, as far as the image goes."""
        height, width = shape
        x, y = max(self.x - margin, 0), max(self.y - margin, 0)
        right = min(self.x + self.width + margin, width)
        high = min(self.y + self.height + margin, height)
        return Region(x, y, right - x, high - y)

    def within(self, outer: Region, scale: int = 1) -> Region:
        """Return the region in the pixels of an outer one that was enlarged."""
        x, y = (self.x - outer.x) * scale, (self.y - outer.y) * scale
        return Region(x, y, self.width * scale, self.height * scale)

    def cut(self, pixels: NDArray) -> NDArray:
        """Return this part of an array, as a view."""
        return pixels[..., self.y : self.y + self.height, self.x : self.x + self.width]


@dataclass(frozen=True)
class Frame:
    """The image that is loaded in Siril.

    Parameters
    ----------
    pixels : ndarray, shape (ny, nx) or (3, ny, nx)
        float32 or uint16.
    header : fits.Header
        With its HISTORY.
    selection : Region or None
        What is selected.
    path : Path or None
        The file, if there is one.
    """

    pixels: NDArray
    header: Header
    selection: Region | None
    path: Path | None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @property
    def all(self) -> Region:
        """The whole image."""
        height, width = self.shape
        return Region(0, 0, width, height)


def as_float(pixels: NDArray) -> NDArray[np.float32]:
    """Return pixels as Siril has them in 32 bits: whole numbers of 16 bits become 0 to 1."""
    if pixels.dtype == np.uint16:
        return pixels.astype(np.float32) / np.float32(65535)
    return pixels.astype(np.float32, copy=False)


def parse_header(text: str | None, history: list[str] | None = None) -> Header:
    """Make a header from the cards that Siril gives; cards that break the standard are left out."""
    header = Header()
    for line in (text or "").splitlines():
        card = Card.fromstring(line.rstrip("\x00").ljust(80)[:80])
        try:
            card.verify("exception")
            keyword, value, comment = card.keyword, card.value, card.comment
        except (fits.VerifyError, ValueError):
            continue
        if _LAYOUT.fullmatch(keyword) or not (keyword or value):
            continue
        # Siril gives the number that stands for "not set" in some keywords.
        if isinstance(value, float) and (not math.isfinite(value) or abs(value) > 1e100):
            continue
        if keyword in ("COMMENT", "HISTORY"):
            header.add_comment(value) if keyword == "COMMENT" else header.add_history(value)
        elif keyword:
            header.append(Card(keyword, value, comment), end=True)
    for line in history or []:
        header.add_history(line)
    return header


def shift_grid(header: Header, dx: int, dy: int) -> Header:
    """Return the header of the part of an image that begins at column dx and row dy."""
    header = header.copy()
    for keyword, step in (("CRPIX1", dx), ("CRPIX2", dy)):
        if keyword in header:
            header[keyword] = header[keyword] - step
    return header


def merge_headers(original: Header, result: Header) -> Header:
    """Return the header of an image of unchanged grid: its own, with what was done to it."""
    header = original.copy()
    for keyword in [key for key in header if _OWN.fullmatch(key)]:
        del header[keyword]
    for card in result.cards:
        if _OWN.fullmatch(card.keyword):
            header.append(card, end=True)
    done = list(original.get("HISTORY", []))
    for line in list(result.get("HISTORY", []))[len(done) :]:
        header.add_history(line)
    return header


def for_siril(header: Header, pixels: NDArray) -> str:
    """Return the header as the text that Siril takes: one card a line, and no HISTORY.

    Parameters
    ----------
    header : fits.Header
        Without the cards of the layout.
    pixels : ndarray
        The image that it belongs to; Siril cannot read a header that does not state the layout.
    """
    bits = -32 if pixels.dtype.kind == "f" else 16
    layout = [Card("SIMPLE", True), Card("BITPIX", bits), Card("NAXIS", pixels.ndim)]
    layout += [Card(f"NAXIS{i}", n) for i, n in enumerate(reversed(pixels.shape), start=1)]
    cards = [
        card
        for card in header.cards
        if card.keyword not in ("", "HISTORY", "COMMENT")
        and not _LAYOUT.fullmatch(card.keyword)
        and len(card.image) == 80
    ]
    return Header([*layout, *cards]).tostring(sep="\n", endcard=True, padding=False)


def write_input(path: Path, pixels: NDArray, header: Header) -> None:
    """Write a FITS file."""
    fits.writeto(path, pixels, header, output_verify="silentfix+ignore")


def read_result(path: Path) -> tuple[NDArray[np.float32], Header]:
    """Read the first image of a FITS file as float32, with what is in its header."""
    with fits.open(path, memmap=False) as hdus:
        hdu = next(hdu for hdu in hdus if hdu.data is not None)
        pixels = np.ascontiguousarray(hdu.data, np.float32)
        header = hdu.header.copy()
    for keyword in [key for key in header if key and _LAYOUT.fullmatch(key)]:
        del header[keyword]
    return pixels, header
