"""FITS images in: any HDU, plain or compressed, with mask, uncertainty, unit, WCS and full header.

Floats are memory-mapped as they lie in the file (big-endian); integers become floats, with BLANK
as NaN. Pixel rows keep their order. Axes of length one before the last two are dropped, their
keywords kept.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from astropy.io import fits
from astropy.io.fits import Header
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDUncertainty,
    StdDevUncertainty,
    UnknownUncertainty,
    VarianceUncertainty,
)
from numpy.typing import NDArray

from astro_sr_plugin.data.fits_output import create_fits, write
from astro_sr_plugin.data.header import clean_header, parse_header, quiet, without
from astro_sr_plugin.data.memory import release
from astro_sr_plugin.data.pixels import PixelCoding
from astro_sr_plugin.data.units import parse_unit
from astro_sr_plugin.data.wcs_keywords import LOOKUP_KEYWORDS, WCS_KEYWORDS, read_wcs
from astro_sr_plugin.exceptions import ImageReadError

__all__ = ["create_fits", "read", "release", "write"]

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_CHUNK = 16 * 2**20
_IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)
_UNCERTAINTY_OF: dict[str, type[NDUncertainty]] = {
    "UNCERT": StdDevUncertainty,
    "ERR": StdDevUncertainty,
    "IVAR": InverseVariance,
    "WHT": InverseVariance,
    "WEIGHT": InverseVariance,
}
"""Extensions, and what they hold unless their keyword UTYPE says otherwise."""

_UNCERTAINTIES: dict[str, type[NDUncertainty]] = {
    "std": StdDevUncertainty,
    "StdDevUncertainty": StdDevUncertainty,
    "var": VarianceUncertainty,
    "VarianceUncertainty": VarianceUncertainty,
    "ivar": InverseVariance,
    "InverseVariance": InverseVariance,
    "unknown": UnknownUncertainty,
    "UnknownUncertainty": UnknownUncertainty,
}
# What astropy raises on damaged files, besides OSError.
_DAMAGE = (
    fits.VerifyError,
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    RuntimeError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
)


def read(path: Path, *, hdu: int | str | None = None, memmap: bool = True) -> CCDData:
    """Read one image of a FITS file.

    Parameters
    ----------
    path : Path
        A file, plain or compressed by gzip, bzip2, xz or tile compression.
    hdu : int or str, optional
        Number or name (``"SCI"``, ``"SCI,2"``) of the HDU; the first one with an image by default.
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
    try:
        with _stream(path) as stream, quiet():
            hdus = fits.open(
                stream, memmap=False, do_not_scale_image_data=True, ignore_missing_simple=False
            )
            return _File(path, stream, hdus).image(hdu, memmap=memmap)
    except _DAMAGE as error:
        if isinstance(error, ImageReadError):
            raise
        msg = f"cannot read {path}: the FITS file is damaged or truncated ({_line(error)})"
        raise ImageReadError(msg) from error
    except OSError as error:
        msg = f"cannot read {path}: {_line(error)}"
        raise ImageReadError(msg) from error


@contextmanager
def _stream(path: Path) -> Iterator[BinaryIO]:
    """Open the file; compressed ones are unpacked into memory as a whole."""
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)
        if opener is None:
            yield file
            return
        buffer = io.BytesIO()
        with cast("BinaryIO", opener(file)) as unpacked:
            shutil.copyfileobj(unpacked, buffer, _CHUNK)
    buffer.seek(0)
    # Never closed: the image goes on using its memory.
    yield buffer


class _File:
    """An open FITS file."""

    def __init__(self, path: Path, stream: BinaryIO, hdus: fits.HDUList) -> None:
        self.path = path
        self.stream = stream
        self.hdus = hdus
        self.images = _readable(hdus)
        self.length = stream.seek(0, io.SEEK_END)

    def image(self, wanted: int | str | None, *, memmap: bool) -> CCDData:
        index = self.find(wanted)
        hdu = self.images[index]
        stored, coding = self.stored(index, memmap=memmap)
        data, mask = coding.decode(stored.reshape(_squeezed(hdu.shape)))
        header = self.header(index)
        wcs = read_wcs(header, shape=data.shape, hdus=self.hdus, source=str(self.path))
        header = without(header, LOOKUP_KEYWORDS)
        _remember(header, coding)
        explicit, uncertainty = self.companions(index, data.shape)
        if explicit is not None:
            mask = explicit if mask is None else mask | explicit
        return CCDData(
            data,
            unit=parse_unit(header.get("BUNIT")),
            mask=mask,
            uncertainty=uncertainty,
            wcs=wcs,
            meta=header,
        )

    def find(self, wanted: int | str | None) -> int:
        """Find the number of the HDU to read."""
        shapes = [_shape(hdu) for hdu in self.images]
        if wanted is None:
            for index, shape in enumerate(shapes):
                if shape is not None and len(shape) in (2, 3) and 0 not in shape:
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

    def numbered(self, wanted: int | str) -> int:
        text = str(wanted).strip().upper()
        name, _, version = text.partition(",")
        for index, hdu in enumerate(self.images):
            if text == str(index):
                return index
            if hdu.name and hdu.name.upper() == name and (not version or int(version) == hdu.ver):
                return index
        msg = f"cannot read {self.path}: there is no HDU {wanted!r}; it has {self.listing()}"
        raise ImageReadError(msg)

    def listing(self) -> str:
        entries = []
        for index, hdu in enumerate(self.images):
            shape = _shape(hdu)
            kind = "table" if shape is None else "x".join(map(str, shape[::-1])) or "no data"
            entries.append(f"{index} {hdu.name} ({kind})".replace("  ", " "))
        return ", ".join(entries)

    def stored(self, index: int, *, memmap: bool) -> tuple[NDArray, PixelCoding]:
        """Give the numbers as they are in the file, and the rule for their values."""
        hdu = self.images[index]
        coding = PixelCoding.from_header(hdu.header, int(hdu.header["BITPIX"]))
        if isinstance(hdu, fits.CompImageHDU):
            stored = hdu.data
            return stored, PixelCoding(stored.dtype, coding.scale, coding.zero, coding.blank)
        offset = hdu.fileinfo()["datLoc"]
        count = int(np.prod(hdu.shape))
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

    def header(self, index: int) -> Header:
        """Give the header of an image, with what the primary header adds."""
        hdu = self.images[index]
        if isinstance(hdu, fits.CompImageHDU):
            header = clean_header(hdu.header)
        else:
            header = parse_header(self.raw(index))
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

    def raw(self, index: int) -> bytes:
        place = self.images[index].fileinfo()
        self.stream.seek(place["hdrLoc"])
        return self.stream.read(place["datLoc"] - place["hdrLoc"])

    def companions(
        self, index: int, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.bool_] | None, NDUncertainty | None]:
        """Find the MASK and UNCERT extensions as CCDData writes them, or a map of weights."""
        mask: NDArray[np.bool_] | None = None
        uncertainty: NDUncertainty | None = None
        for number, hdu in enumerate(self.images):
            if number == index or hdu.name not in ("MASK", *_UNCERTAINTY_OF):
                continue
            own_shape = _shape(hdu)
            if own_shape != shape:
                continue
            stored, coding = self.stored(number, memmap=True)
            if hdu.name == "MASK" and mask is None:
                mask = stored.reshape(shape).astype(bool)
            elif hdu.name != "MASK" and uncertainty is None:
                told = str(hdu.header.get("UTYPE"))
                kind = _UNCERTAINTIES.get(told, _UNCERTAINTY_OF[hdu.name])
                uncertainty = kind(coding.decode(stored.reshape(shape))[0], copy=False)
        return mask, uncertainty


def _readable(hdus: fits.HDUList) -> list[Any]:
    """Give the HDUs up to the end of the file, or to what is none."""
    found: list[Any] = []
    while True:
        try:
            found.append(hdus[len(found)])
        except IndexError:
            return found
        except (OSError, *_DAMAGE):
            if not found:
                raise
            return found


def _remember(header: Header, coding: PixelCoding) -> None:
    """Note in the header in memory how the file stored its pixels."""
    header["ASRDTYPE"] = (coding.name, "pixel type of the file read")
    plain = PixelCoding(coding.dtype)
    if coding.name == plain.name and (coding.scale, coding.zero) != (1, 0):
        header["ASRBSCAL"] = (coding.scale, "BSCALE of the file read")
        header["ASRBZERO"] = (coding.zero, "BZERO of the file read")
    if coding.blank is not None:
        header["ASRBLANK"] = (coding.blank, "BLANK of the file read")


def _shape(hdu: fits.PrimaryHDU) -> tuple[int, ...] | None:
    """Shape of an image, or None for anything else."""
    if not isinstance(hdu, _IMAGES):
        return None
    return _squeezed(tuple(hdu.shape))


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    leading, rest = shape[:-2], shape[-2:]
    return tuple(n for n in leading if n != 1) + tuple(rest)


def _line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")
