"""What all videos have in common: a number of frames that are read one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import datetime

from astropy.io.fits import Header
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import parse_pattern

__all__ = ["Video"]


class Video(ABC):
    """Frames of one size, read one by one: a few are in memory at a time.

    Attributes
    ----------
    name : str
        Path of the file or folder, for messages.
    shape : tuple of int
        Shape of a frame, (ny, nx), or (3, ny, nx) in red, green and blue.
    bits : int
        Bits of a pixel value.
    pattern : str
        Filters of a raw colour frame, row by row from its first pixel, such as ``"RGGB"``; empty
        for mono and colour frames.
    times : ndarray of datetime64 or None
        When each frame was taken, in UTC.
    start : datetime or None
        When the first frame was taken, in UTC.
    header : fits.Header
        What the file says about camera and telescope.
    faults : dict of int to str
        Frames that could not be read so far, and why.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> video = asr.open_video(np.zeros((5, 24, 32), np.uint8))
    >>> len(video), video.shape, video.bits
    (5, (24, 32), 8)
    >>> [number for number, frame in video.frames([1, 3])]
    [1, 3]
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    pattern: str = ""
    times: NDArray | None = None
    start: datetime | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.header = Header()
        self.faults: dict[int, str] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray]]:
        """Read frames in ascending order; those that cannot be read go to `faults`."""

    def frames(self, numbers: Sequence[int] | None = None) -> Iterator[tuple[int, NDArray]]:
        """Read frames in ascending order.

        Parameters
        ----------
        numbers : sequence of int, optional
            Which frames; all by default.

        Yields
        ------
        number : int
            Number of the frame from 0. Frames that cannot be read are left out, and stand in
            `faults`.
        frame : ndarray, shape (ny, nx) or (3, ny, nx)
            Values as they are stored: neither scaled nor stretched.
        """
        yield from self._read(range(len(self)) if numbers is None else sorted(set(numbers)))

    def frame_name(self, number: int) -> str:
        """Return the name of a frame: its number, or its file."""
        return str(number)

    def set_pattern(self, pattern: str | None) -> None:
        """Set the filters of raw colour frames, which some files do not know.

        Raises
        ------
        InputError
            If the pattern is none.
        """
        if pattern is not None:
            self.pattern = parse_pattern(pattern)
