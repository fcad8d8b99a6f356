"""Videos in the SER format, version 3 (G. Wilhelm and C. Garry, 2014)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.exceptions import ImageReadError, check_choice, warn

__all__ = ["SER_START", "ByteOrder", "SERVideo"]

ByteOrder = Literal["auto", "little", "big"]

SER_START = b"LUCAM-RECORDER"
"""First bytes of a file."""
_HEADER_BYTES = 178
_COLOURS = {8: "RGGB", 9: "GRBG", 10: "GBRG", 11: "BGGR"}
"""Filters by ColorID."""
_OTHER_FILTERS = {16: "CYYM", 17: "YCMY", 18: "YMCY", 19: "MYYC"}
"""ColorIDs of filters that are not red, green and blue."""
_RGB, _BGR = 100, 101
"""ColorIDs of frames with three values per pixel."""
_STAMP_BYTES = 8
"""Size of the time of a frame, in the trailer."""
_EPOCH = datetime(1, 1, 1)
"""Times count from here in steps of 100 ns."""
_TICKS_PER_MICROSECOND = 10
_LARGEST_SIDE = 100_000
"""Pixels along an axis; more is no sensor, but a damaged header."""


class SERVideo(Video):
    """A SER file.

    Parameters
    ----------
    path : Path
        The file.
    byteorder : {"auto", "little", "big"}
        Order of the bytes of 16-bit values. The flag of the header is used in both senses by
        recording programs, so the order in which neighbouring pixels differ less is taken.

    Raises
    ------
    ImageReadError
        If it is no SER file, or holds no complete frame.
    """

    def __init__(self, path: Path, byteorder: ByteOrder = "auto") -> None:
        super().__init__(str(path))
        check_choice("byteorder", byteorder, get_args(ByteOrder))
        self._path = path
        try:
            with path.open("rb") as file:
                head = file.read(_HEADER_BYTES)
                size = file.seek(0, os.SEEK_END)
        except OSError as error:
            raise self._error((error.strerror or str(error)).lower()) from error
        if len(head) < _HEADER_BYTES or not head.startswith(SER_START):
            raise self._error("it is not a SER file, or is cut off inside of its header")
        colour, flag, nx, ny, depth, count = struct.unpack_from("<6i", head, 18)
        if not (1 <= nx <= _LARGEST_SIDE and 1 <= ny <= _LARGEST_SIDE and 1 <= depth <= 16):
            raise self._error(f"the header gives {nx} x {ny} pixels of {depth} bits")
        self._planes = 3 if colour in (_RGB, _BGR) else 1
        self._bgr = colour == _BGR
        self.shape = (ny, nx) if self._planes == 1 else (3, ny, nx)
        self.bits = depth
        self.pattern = _COLOURS.get(colour, "")
        if colour in _OTHER_FILTERS:
            filters = _OTHER_FILTERS[colour]
            warn(f"{path} has filters {filters}, which are not red, green and blue; taken as mono")
        self._dtype = np.dtype("u1" if depth <= 8 else "<u2")
        self._frame_bytes = ny * nx * self._planes * self._dtype.itemsize
        self._count = self._count_frames(count, size - _HEADER_BYTES)
        if self._dtype.itemsize > 1:
            self._dtype = self._find_byteorder(byteorder, flag)
        self._read_times(size)
        for keyword, start in (("OBSERVER", 42), ("INSTRUME", 82), ("TELESCOP", 122)):
            text = head[start : start + 40].split(b"\0")[0].decode("ascii", "ignore").strip()
            if text.isprintable() and text:
                self.header[keyword] = text

    def __len__(self) -> int:
        return self._count

    def _error(self, reason: str) -> ImageReadError:
        return ImageReadError(f"cannot read {self.name}: {reason}")

    def _count_frames(self, stated: int, size: int) -> int:
        """Count the complete frames, and warn where the header says something else."""
        complete = size // self._frame_bytes
        stamped, rest = divmod(size, self._frame_bytes + _STAMP_BYTES)
        if rest == 0 and stated in (0, stamped):
            complete = stamped
        if complete == 0:
            raise self._error("it holds no complete frame")
        trailer = size - stated * self._frame_bytes
        if 0 < stated <= complete and trailer - stated * _STAMP_BYTES < self._frame_bytes:
            return stated
        warn(
            f"{self.name}: the header gives {stated} frames, and the file holds {complete}, "
            "which are used"
        )
        return complete

    def _find_byteorder(self, wanted: ByteOrder, flag: int) -> np.dtype:
        little, big = np.dtype("<u2"), np.dtype(">u2")
        if wanted != "auto":
            return little if wanted == "little" else big
        stored = np.fromfile(
            self._path, little, self._frame_bytes // little.itemsize, offset=_HEADER_BYTES
        )
        rows = stored.reshape(self.shape[-2], -1)
        # Next pixel of the same colour.
        step = 2 if self.pattern else self._planes
        roughness = []
        for dtype in (little, big):
            values = rows.view(dtype).astype(np.float64)
            roughness.append(np.square(values[:, step:] - values[:, :-step]).sum())
        if roughness[0] == roughness[1]:
            # Most programs mean little-endian by 0, against the text of the format.
            return big if flag else little
        return little if roughness[0] < roughness[1] else big

    def _read_times(self, size: int) -> None:
        start = _HEADER_BYTES + self._count * self._frame_bytes
        if size - start < self._count * _STAMP_BYTES:
            return
        ticks = np.fromfile(self._path, "<i8", self._count, offset=start)
        try:
            moments = [
                _EPOCH + timedelta(microseconds=int(tick) // _TICKS_PER_MICROSECOND)
                for tick in ticks
            ]
        except OverflowError:
            return
        if min(moments).year > 1:
            self.times = np.array(moments, "datetime64[us]")
            self.start = min(moments)

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray]]:
        with self._path.open("rb") as file:
            for number in numbers:
                file.seek(_HEADER_BYTES + number * self._frame_bytes)
                stored = np.fromfile(file, self._dtype, self._frame_bytes // self._dtype.itemsize)
                values = stored.astype(self._dtype.newbyteorder("="), copy=False)
                if self._planes == 1:
                    yield number, values.reshape(self.shape)
                    continue
                pixels = values.reshape(*self.shape[-2:], 3)
                if self._bgr:
                    pixels = pixels[..., ::-1]
                yield number, np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
