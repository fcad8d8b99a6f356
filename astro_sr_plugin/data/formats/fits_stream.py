"""FITS images on disk that are filled piece by piece."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from astropy.io.fits import Card, Header
from astropy.nddata import FlagCollection, NDUncertainty
from astropy.wcs import WCS
from numpy.typing import DTypeLike, NDArray

from astro_sr_plugin.data.formats.checksum import RunningSum
from astro_sr_plugin.data.formats.fits_hdu import (
    BLOCK,
    append_image,
    header_block,
    image_cards,
    with_sums,
    write_sums,
)
from astro_sr_plugin.data.formats.fits_output import list_companions
from astro_sr_plugin.data.formats.header import clean_header
from astro_sr_plugin.data.formats.pixels import PixelCoding
from astro_sr_plugin.data.output import PLAIN_FITS, check_place, finish, part_of, write_errors
from astro_sr_plugin.data.strips import CHUNK_BYTES, iter_strips, release
from astro_sr_plugin.data.wcs_keywords import store_wcs
from astro_sr_plugin.exceptions import InputError, OutputError

__all__ = ["FitsStream", "create_fits"]


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
        Header of the image. Values may change until the block is left, the cards may not.
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

    def list_cards() -> list[Card]:
        own = list(store_wcs(clean_header(header), wcs, shape).cards)
        return with_sums(image_cards(shape, coding) + own, checksum)

    top = header_block(list_cards())
    size = int(np.prod(shape)) * coding.dtype.itemsize
    part = part_of(target)
    try:
        with write_errors(target), part.open("w+b") as file:
            file.write(top)
            file.flush()
            _reserve(file, len(top) + size + -size % BLOCK)
            data = np.memmap(file, coding.dtype, "r+", len(top), shape)
        stream = FitsStream(data)
        yield stream
        with write_errors(target), part.open("r+b") as file:
            release(data)
            cards = list_cards()
            file.write(header_block(cards))
            if checksum:
                total = RunningSum()
                for strip in iter_strips(data):
                    total.add(strip)
                    release(data)
                write_sums(file, 0, cards, total)
            file.seek(0, os.SEEK_END)
            companions = list_companions(
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
    empty = bytes(CHUNK_BYTES)
    while (rest := size - file.tell()) > 0:
        file.write(empty[: min(rest, CHUNK_BYTES)])
    file.flush()
