"""Series of frames that are read in strips of rows, each file opened once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy.io import fits
from astropy.io.fits import Header
from astropy.nddata import CCDData, NDData
from astropy.units import UnitBase
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.fits import FitsFile
from astro_sr_plugin.data.formats.fits_opening import read_errors, unpacked
from astro_sr_plugin.data.formats.header import quiet
from astro_sr_plugin.data.formats.pixels import PixelCoding
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.data.frame_header import FrameHeader, read_frame_header
from astro_sr_plugin.data.nddata import HDUChoice, Image, unpack
from astro_sr_plugin.data.units import parse_unit
from astro_sr_plugin.data.wcs_keywords import read_wcs
from astro_sr_plugin.exceptions import InputError

__all__ = ["Frame", "FrameImage", "FrameSequence", "open_frame"]

FrameImage: TypeAlias = Image
"""What a frame may be given as."""
_FITS_START = b"SIMPLE  ="
_SAVED = ".npy"
"""Ending of the files that `Frame.saved` writes."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame whose pixels are read in strips of rows.

    Attributes
    ----------
    name : str
        Path of the file, or a number for images in memory.
    header : FrameHeader
        What its header says.
    meta : fits.Header
        The header itself.
    wcs : WCS or None
        Its celestial coordinates.
    unit : astropy unit or None
        Of the pixels.
    stored : ndarray, shape (ny, nx) or (n, ny, nx)
        Numbers as stored, mapped from the disk where that is possible.
    coding : PixelCoding or None
        Rule for their values; None where they are the values.
    mask : ndarray of bool or None
        Excluded pixels.
    source : str
        File from which the stored numbers are mapped again in another process; empty if none.
    hdu : int, str or (str, int), optional
        Which image of it.
    """

    name: str
    header: FrameHeader
    meta: Header
    wcs: WCS | None
    unit: UnitBase | None
    stored: NDArray
    coding: PixelCoding | None = None
    mask: NDArray[np.bool_] | None = None
    source: str = ""
    hdu: HDUChoice = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave mapped pixels behind: another process maps them itself."""
        state = dict(self.__dict__)
        if self.source and self.is_mapped:
            state["stored"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Map the pixels again."""
        if state["stored"] is None:
            source = state["source"]
            if source.endswith(_SAVED):
                state["stored"] = np.load(source, mmap_mode="r")
            else:
                state["stored"] = open_frame(source, hdu=state["hdu"]).stored
        self.__dict__.update(state)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image, (ny, nx) or (n, ny, nx)."""
        return tuple(int(side) for side in self.stored.shape)

    @property
    def is_mapped(self) -> bool:
        """Whether the pixels lie on the disk and are read only where they are needed."""
        base: Any = self.stored
        while isinstance(base, np.ndarray):
            if isinstance(base, np.memmap):
                return True
            base = base.base
        return False

    def rows(self, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
        """Read a strip of rows.

        Parameters
        ----------
        first, last : int
            First row, and the one after the last; all rows by default.

        Returns
        -------
        ndarray of float32, shape (rows, nx) or (n, rows, nx)
            A copy, NaN where the frame has no value or is masked.
        """
        strip = self.stored[..., first:last, :]
        if self.coding is None:
            values = np.array(strip, dtype=np.float32)
        else:
            # Integers, whose values are new.
            values = np.asarray(self.coding.decode(strip)[0], dtype=np.float32)
        if self.mask is not None:
            values[self.mask[..., first:last, :]] = np.nan
        if self.stored.dtype.kind == "f":
            np.copyto(values, np.nan, where=np.isinf(values))
        return values

    def counts(self, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
        """Read a strip of rows as `rows` does, with the pedestal of the header added."""
        values = self.rows(first, last)
        if self.header.pedestal:
            values += np.float32(self.header.pedestal)
        return values

    def saved(self, path: Path) -> Frame:
        """Return the frame with its pixels in a plain file on the disk, which is written."""
        np.save(path, self.rows())
        stored = np.load(path, mmap_mode="r")
        return replace(self, stored=stored, coding=None, mask=None, source=str(path))


class FrameSequence(Sequence[Frame]):
    """Frames of a series; each is opened when it is used first, and stays open.

    Parameters
    ----------
    frames : iterable of CCDData, NDData, ndarray, str or Path
        The frames.
    hdu : int, str or (str, int), optional
        Which image of each file.
    scratch : Path, optional
        Folder for the pixels of files that cannot be mapped (compressed ones, XISF, TIFF). Without
        one they stay in memory.

    Examples
    --------
    >>> import numpy as np
    >>> frames = FrameSequence([np.ones((4, 6)), np.zeros((4, 6))])
    >>> len(frames), frames.names, frames[0].rows(1, 3).shape
    (2, ['frame 1', 'frame 2'], (2, 6))
    """

    def __init__(
        self,
        frames: Iterable[FrameImage],
        *,
        hdu: HDUChoice = None,
        scratch: Path | None = None,
    ) -> None:
        self._images = list(frames)
        self._hdu = hdu
        self._scratch = scratch
        self._open: dict[int, Frame] = {}
        self.names = [
            os.fspath(image) if isinstance(image, str | os.PathLike) else f"frame {number}"
            for number, image in enumerate(self._images, start=1)
        ]

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int) -> FrameImage:
        """Return a frame as it was given."""
        return self._images[index]

    def __getitem__(self, index: Any) -> Any:
        """Open a frame.

        Raises
        ------
        ImageReadError
            If its file cannot be read.
        """
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if index not in self._open:
            frame = open_frame(self._images[index], name=self.names[index], hdu=self._hdu)
            is_file = isinstance(self._images[index], str | os.PathLike)
            if is_file and self._scratch is not None and not frame.is_mapped:
                frame = frame.saved(self._scratch / f"frame_{index:05d}{_SAVED}")
            self._open[index] = frame
        return self._open[index]

    def __iter__(self) -> Iterator[Frame]:
        return (self[k] for k in range(len(self)))


def open_frame(image: FrameImage, *, name: str = "", hdu: HDUChoice = None) -> Frame:
    """Open a frame for reading in strips.

    Parameters
    ----------
    image : CCDData, NDData, ndarray, str or Path
        The frame.
    name : str, optional
        For messages; the path by default.
    hdu : int, str or (str, int), optional
        Which image of a file.

    Returns
    -------
    Frame
        Integers of plain FITS files are mapped, not read.

    Raises
    ------
    ImageReadError
        If the file cannot be read.
    """
    source = ""
    if isinstance(image, str | os.PathLike):
        source = os.fspath(image)
        name = name or source
        frame = _open_integers(Path(image), hdu)
        if frame is not None:
            return frame
        image = read_image(image, hdu=hdu)
    if isinstance(image, NDData):
        # A frame without a usable pixel is a bad one, and is named by whoever measures it.
        data, mask, meta = np.asanyarray(image.data), image.mask, image.meta
        wcs = image.wcs if isinstance(image, CCDData) else None
        unit = image.unit
        own = None if mask is None else np.broadcast_to(np.asarray(mask, bool), data.shape)
    else:
        try:
            parts = unpack(image, hdu=hdu)
            data, own, meta, wcs, unit = parts.data, parts.mask, parts.meta, parts.wcs, parts.unit
        except InputError:
            if not isinstance(image, np.ndarray) or image.ndim not in (2, 3) or not image.size:
                raise
            data, own, meta, wcs, unit = image, None, Header(), None, None
    header = meta.copy() if isinstance(meta, Header) else Header()
    if not isinstance(meta, Header):
        for keyword, value in dict(meta).items():
            with suppress(ValueError), quiet():
                header[keyword] = value
    found = read_frame_header(header, shape=data.shape, name=name)
    return Frame(name, found, header, wcs, unit, data, None, own, source, hdu)


def _open_integers(path: Path, hdu: HDUChoice) -> Frame | None:
    """Map the integers of an image of a plain FITS file that has no companions."""
    try:
        with path.open("rb") as file:
            if file.read(len(_FITS_START)) != _FITS_START:
                return None
    except OSError:
        # `read_image` says what is wrong.
        return None
    with read_errors(path), unpacked(path) as stream, quiet():
        opened = FitsFile(path, stream)
        index = opened.find(hdu)
        if isinstance(opened.images[index], fits.CompImageHDU) or len(opened.images) > 1:
            return None
        stored, coding = opened.stored(index, memmap=True)
        if coding.is_float:
            return None
        shape = opened.extensions[index].shape or stored.shape
        meta = opened.header(index)
        wcs = read_wcs(meta, shape=shape, hdus=opened.hdus, source=str(path))
    header = read_frame_header(meta, shape=shape, name=str(path))
    unit = parse_unit(meta.get("BUNIT"))
    stored = stored.reshape(shape)
    return Frame(str(path), header, meta, wcs, unit, stored, coding, None, str(path), hdu)
