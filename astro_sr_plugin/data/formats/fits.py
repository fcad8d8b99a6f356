"""FITS images in: any HDU, plain or compressed, with mask, uncertainty, unit, WCS and full header.

Floats are memory-mapped as they lie in the file (big-endian); integers become floats, with BLANK
as NaN. Pixel rows keep their order. Axes of length one before the last two are dropped, their
keywords kept.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from astropy.io import fits
from astropy.io.fits import Header
from astropy.nddata import CCDData, FlagCollection, NDUncertainty
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.bitmask import PLANE_KEYWORDS, exclude_flags
from astro_sr_plugin.data.formats.companions import (
    Extension,
    find_companions,
    is_image,
    uncertainty_class,
)
from astro_sr_plugin.data.formats.fits_opening import (
    check_first_cards,
    read_errors,
    readable_hdus,
    unpacked,
)
from astro_sr_plugin.data.formats.fits_output import write
from astro_sr_plugin.data.formats.header import clean_header, parse_header, quiet, without
from astro_sr_plugin.data.formats.pixels import PixelCoding
from astro_sr_plugin.data.units import parse_unit
from astro_sr_plugin.data.wcs_keywords import LOOKUP_KEYWORDS, WCS_KEYWORDS, read_wcs
from astro_sr_plugin.exceptions import ImageReadError, warn

__all__ = ["FitsFile", "HDUChoice", "read", "write"]

#: Which image of a file: number, name (``"SCI"``, ``"SCI,2"``) or name and version.
HDUChoice: TypeAlias = int | str | tuple[str, int] | None
_IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
# Bytes of a card.
_CARD = 80
_LAYOUT = re.compile(rb"(SIMPLE|XTENSION|BITPIX|NAXIS\d*) *=([^/]*)")
# Pixels for each byte of a compressed file: gzip of constant tiles comes to about a thousand.
_MAX_RATIO = 5000
# Other images of a file that the warning names.
_NAMED = 8


def read(path: Path, *, hdu: HDUChoice = None, memmap: bool = True) -> CCDData:
    """Read one image of a FITS file.

    Parameters
    ----------
    path : Path
        A file, plain or compressed by gzip, bzip2, xz or tile compression.
    hdu : int, str or (str, int), optional
        Number or name (``"SCI"``, ``"SCI,2"``, ``("SCI", 2)``) of the HDU; the first one with an
        image by default, with a warning that names the others.
    memmap : bool, default True
        Map uncompressed floats instead of reading them. The map is copy-on-write: changing the
        array never changes the file.

    Returns
    -------
    CCDData
        Data of shape (ny, nx) or (n, ny, nx).

    Raises
    ------
    ImageReadError
        If the file is damaged or holds no such image.
    """
    with read_errors(path), unpacked(path) as stream, quiet():
        return FitsFile(path, stream).image(hdu, memmap=memmap)


class FitsFile:
    """An open FITS file.

    Parameters
    ----------
    path : Path
        For messages, and to map pixels from.
    stream : BinaryIO
        From `unpacked`.

    Attributes
    ----------
    extensions : list of Extension
        Name, version and shape of every HDU.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.stream = stream
        check_first_cards(stream, 0)
        self.hdus = fits.open(
            stream, memmap=False, do_not_scale_image_data=True, ignore_missing_simple=False
        )
        self.images = readable_hdus(self.hdus, stream)
        self.extensions = [Extension(_name(hdu), _version(hdu), _shape(hdu)) for hdu in self.images]
        self.length = stream.seek(0, io.SEEK_END)

    def image(self, wanted: HDUChoice, *, memmap: bool) -> CCDData:
        """Read one image with its companions."""
        index = self.find(wanted)
        hdu = self.images[index]
        stored, coding = self.stored(index, memmap=memmap)
        data, mask = coding.decode(stored.reshape(_squeezed(hdu.shape)))
        header = self.header(index)
        wcs = read_wcs(header, shape=data.shape, hdus=self.hdus, source=str(self.path))
        header = without(header, LOOKUP_KEYWORDS)
        _remember(header, coding)
        explicit, flags, planes = self.masks(index, header)
        header.update(planes)
        if explicit is not None:
            mask = explicit if mask is None else mask | explicit
        if wanted is None:
            self.name_others(index)
        return CCDData(
            data,
            unit=parse_unit(header.get("BUNIT")),
            mask=mask,
            flags=flags,
            uncertainty=self.uncertainty(index),
            wcs=wcs,
            meta=header,
        )

    def find(self, wanted: HDUChoice) -> int:
        """Find the number of the HDU to read."""
        shapes = [_shape(hdu) for hdu in self.images]
        if wanted is None:
            usable = [i for i, s in enumerate(shapes) if s and len(s) in (2, 3) and 0 not in s]
            for index in [i for i in usable if is_image(self.extensions[i])] + usable:
                return index
            present = [shape for shape in shapes if shape]
            if not present:
                reason = "it holds no image"
            elif any(0 in shape for shape in present):
                reason = "its image has zero pixels"
            else:
                axes = min(present, key=len)
                reason = f"it holds only {len(axes)}-D data, and an image has two axes or three"
            msg = f"cannot read {self.path}: {reason}; it has {self.listing()}"
            raise ImageReadError(msg)
        index = self.numbered(wanted)
        shape = shapes[index]
        if shape is None:
            reason = "is a table, not an image"
        elif not shape:
            reason = "has no data"
        elif 0 in shape:
            reason = "has zero pixels"
        elif len(shape) < 2:
            reason = "is 1-D, and an image has two axes or three"
        elif len(shape) > 3:
            reason = f"has {len(shape)} axes, and an image has two or three"
        else:
            return index
        msg = f"cannot read {self.path}: HDU {wanted!r} {reason}; the file has {self.listing()}"
        raise ImageReadError(msg)

    def numbered(self, wanted: int | str | tuple[str, int]) -> int:
        """Find an HDU by its number or name."""
        if isinstance(wanted, tuple):
            wanted = ",".join(map(str, wanted))
        if str(wanted).strip().lower() == "all":
            msg = "hdu='all' stands for every image of a file, where one is read; give its number"
            raise ImageReadError(msg)
        text = str(wanted).strip().upper()
        name, _, version = (part.strip() for part in text.partition(","))
        for index, extension in enumerate(self.extensions):
            if text == str(index) or (name and name == extension.name and not version):
                return index
            if name and (name, version) == (extension.name, str(extension.version)):
                return index
        msg = f"cannot read {self.path}: there is no HDU {wanted!r}; it has {self.listing()}"
        raise ImageReadError(msg)

    def listing(self, numbers: Iterable[int] | None = None) -> str:
        """Name HDUs with their sizes, for messages; all of them by default."""
        entries = []
        for index in range(len(self.extensions)) if numbers is None else numbers:
            shape = self.extensions[index].shape
            kind = "table" if shape is None else "x".join(map(str, shape[::-1])) or "no data"
            entries.append(f"{index} {self.label(index)} ({kind})".replace("  ", " "))
        return ", ".join(entries)

    def label(self, index: int) -> str:
        """Name an HDU; with its version where the name alone is not enough."""
        own = self.extensions[index]
        alone = sum(extension.name == own.name for extension in self.extensions) == 1
        return own.name if alone or not own.name else f"{own.name},{own.version}"

    def name_others(self, index: int) -> None:
        """Warn that the file holds further images, which are not used."""
        others = [
            number
            for number, extension in enumerate(self.extensions)
            if number != index and is_image(extension)
        ]
        if others:
            shown = self.listing(others[:_NAMED]) + (", ..." if len(others) > _NAMED else "")
            msg = (
                f"{self.path}: HDU {index} {self.label(index)} is used, and {len(others)} more "
                f"images are not: {shown}; hdu=NAME chooses one"
            )
            warn(msg)

    def check_tiles(self, hdu: fits.CompImageHDU) -> None:
        """Make sure that the tiles of a compressed image are there, before room is made for it."""
        sides = [int(n) for n in hdu.shape]
        edges = [int(n) for n in hdu.tile_shape]
        tiles = math.prod(-(-side // max(1, edge)) for side, edge in zip(sides, edges, strict=True))
        rows = int(hdu._bintable.header["NAXIS2"])
        if tiles != rows or math.prod(sides) > _MAX_RATIO * self.length:
            msg = (
                f"cannot read {self.path}: it is damaged or truncated (a compressed image of "
                f"{'x'.join(map(str, sides[::-1]))} pixels needs {tiles} tiles, and there are "
                f"{rows} in {self.length} bytes)"
            )
            raise ImageReadError(msg)

    def check_layout(self, index: int) -> None:
        """Refuse a header that gives the layout of the pixels twice, and not the same."""
        raw = self.raw(index)
        values: dict[bytes, bytes] = {}
        for start in range(0, len(raw), _CARD):
            card = _LAYOUT.match(raw, start, start + _CARD)
            if card is None:
                continue
            value = card[2].strip()
            if values.setdefault(card[1], value) != value:
                msg = (
                    f"cannot read {self.path}: the header of HDU {index} is damaged "
                    f"({card[1].decode()} is in it twice, with different values)"
                )
                raise ImageReadError(msg)

    def stored(self, index: int, *, memmap: bool) -> tuple[NDArray, PixelCoding]:
        """Give the numbers as they are in the file, and the rule for their values."""
        hdu = self.images[index]
        coding = PixelCoding.from_header(hdu.header, int(hdu.header["BITPIX"]))
        if isinstance(hdu, fits.CompImageHDU):
            self.check_tiles(hdu)
            stored = hdu.data
            return stored, PixelCoding(stored.dtype, coding.scale, coding.zero, coding.blank)
        self.check_layout(index)
        offset = hdu.fileinfo()["datLoc"]
        count = math.prod(hdu.shape)
        end = offset + count * coding.dtype.itemsize
        if end > self.length:
            msg = (
                f"cannot read {self.path}: it is truncated (HDU {index} needs {end} bytes, "
                f"the file has {self.length})"
            )
            raise ImageReadError(msg)
        if isinstance(self.stream, io.BytesIO):
            memory = self.stream.getbuffer()
            return np.frombuffer(memory, coding.dtype, count, offset).reshape(hdu.shape), coding
        if memmap or not coding.is_float:
            mapped = np.memmap(self.path, coding.dtype, "c", offset, hdu.shape)
            return mapped, coding
        return np.fromfile(self.path, coding.dtype, count, offset=offset).reshape(hdu.shape), coding

    def own_header(self, index: int) -> Header:
        """Give the header of an image without what the primary header adds."""
        hdu = self.images[index]
        if isinstance(hdu, fits.CompImageHDU):
            return clean_header(hdu.header)
        return parse_header(self.raw(index))

    def header(self, index: int) -> Header:
        """Give the header of an image, with what the primary header adds."""
        header = self.own_header(index)
        if index == 0:
            return header
        own_wcs = "CTYPE1" in header
        for card in parse_header(self.raw(0)).cards:
            if card.keyword in ("", "COMMENT", "HISTORY"):
                header.append(card, end=True)
            elif card.keyword not in header and not (
                own_wcs and WCS_KEYWORDS.fullmatch(card.keyword)
            ):
                header.append(card)
        return header

    def whole(self, index: int) -> bytes:
        """Give the bytes of an HDU, header and data."""
        place = self.images[index].fileinfo()
        self.stream.seek(place["hdrLoc"])
        return self.stream.read(place["datLoc"] + place["datSpan"] - place["hdrLoc"])

    def raw(self, index: int) -> bytes:
        """Give the bytes of a header."""
        place = self.images[index].fileinfo()
        self.stream.seek(place["hdrLoc"])
        return self.stream.read(place["datLoc"] - place["hdrLoc"])

    def masks(
        self, index: int, header: Header
    ) -> tuple[NDArray[np.bool_] | None, FlagCollection | None, Header]:
        """Read the masks of an image.

        Returns the excluded pixels, the integers of a mask of bits under its name, and the cards
        that name its bits.
        """
        excluded: NDArray[np.bool_] | None = None
        flags: FlagCollection | None = None
        planes = Header()
        for number in find_companions(self.extensions, index)[0]:
            stored, coding = self.stored(number, memmap=True)
            values = coding.integers(stored.reshape(self.extensions[index].shape))
            if values.dtype == bool:
                own = values
            else:
                own_header = self.own_header(number)
                full = header.copy()
                full.update(own_header)
                own, note = exclude_flags(values, full)
                if note:
                    msg = f"{self.path}, extension {self.label(number)}: {note}"
                    warn(msg)
                if flags is None and int(values.max()) > 1:
                    flags = FlagCollection(shape=values.shape)
                    flags[self.extensions[number].name] = values
                    cards = [c for c in own_header.cards if PLANE_KEYWORDS.fullmatch(c.keyword)]
                    planes = Header(cards)
            excluded = own if excluded is None else excluded | own
        return excluded, flags, planes

    def uncertainty(self, index: int) -> NDUncertainty | None:
        """Read the uncertainty of an image, from its best companion."""
        number = find_companions(self.extensions, index)[1]
        if number is None:
            return None
        stored, coding = self.stored(number, memmap=True)
        values = coding.decode(stored.reshape(self.extensions[index].shape))[0]
        kind = uncertainty_class(self.extensions[number], self.images[number].header.get("UTYPE"))
        return kind(values, copy=False)


def _remember(header: Header, coding: PixelCoding) -> None:
    """Note in the header in memory how the file stored its pixels."""
    header["ASRDTYPE"] = (coding.name, "pixel type of the file read")
    plain = PixelCoding(coding.dtype)
    if coding.name == plain.name and (coding.scale, coding.zero) != (1, 0):
        header["ASRBSCAL"] = (coding.scale, "BSCALE of the file read")
        header["ASRBZERO"] = (coding.zero, "BZERO of the file read")
    if coding.blank is not None:
        header["ASRBLANK"] = (coding.blank, "BLANK of the file read")


def _name(hdu: fits.PrimaryHDU) -> str:
    """Give EXTNAME in capitals, empty where it cannot be read."""
    try:
        return str(hdu.name).strip().upper()
    except fits.VerifyError:
        return ""


def _version(hdu: fits.PrimaryHDU) -> int:
    """Give EXTVER, 1 where it is no whole number."""
    try:
        return int(hdu.ver)
    except (fits.VerifyError, ValueError, TypeError, OverflowError):
        return 1


def _shape(hdu: fits.PrimaryHDU) -> tuple[int, ...] | None:
    """Shape of an image, or None for anything else."""
    if not isinstance(hdu, _IMAGES):
        return None
    return _squeezed(tuple(hdu.shape))


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    leading, rest = shape[:-2], shape[-2:]
    return tuple(n for n in leading if n != 1) + tuple(rest)
