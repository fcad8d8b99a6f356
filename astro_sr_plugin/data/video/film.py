"""Videos that FFmpeg decodes: AVI, MP4, MOV and others, by PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.exceptions import ImageReadError, InputError, warn

__all__ = ["Film"]

_NEUTRAL = 3
"""Largest difference of red, green and blue, in 8-bit steps, that rounding leaves in a grey frame
stored as luma and chroma."""
_BAYER = "bayer_"
"""How the names of the pixel formats of raw colour frames begin, ``bayer_rggb8`` for instance."""


class Film(Video):
    """A video of any format that PyAV reads.

    Frames in red, green and blue that are grey become mono.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InputError
        If PyAV is not installed.
    ImageReadError
        If the file cannot be decoded, or holds no frame.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._av = _library(path)
        with self._open() as (container, stream):
            self._count = sum(packet.size > 0 for packet in container.demux(stream))
            codec = stream.codec_context.name
        first = None
        with self._open() as (container, stream):
            for frame in container.decode(stream):
                first = frame
                break
        if first is None:
            raise self._error(f"no frame could be decoded (codec {codec})")
        bits = max(part.bits for part in first.format.components)
        self.bits = 8 if bits <= 8 else 16
        name = first.format.name
        self._mono = name.startswith("gray")
        self._format: str | None = {8: "gray", 16: "gray16le"}[self.bits]
        if name.startswith(_BAYER):
            self.pattern = name.removeprefix(_BAYER)[:4].upper()
            self._format, self._mono = None, True
        elif not self._mono:
            self._format = {8: "rgb24", 16: "rgb48le"}[self.bits]
            pixels = first.to_ndarray(format=self._format).astype(np.int32)
            step = _NEUTRAL * (1 if self.bits == 8 else 256)
            self._mono = bool(np.ptp(pixels, axis=-1).max() <= step)
        size = (first.height, first.width)
        self.shape = size if self._mono else (3, *size)

    def __len__(self) -> int:
        return self._count

    def _error(self, reason: str) -> ImageReadError:
        return ImageReadError(f"cannot read {self.name}: {reason}")

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        try:
            with self._av.open(str(self._path)) as container:
                if not container.streams.video:
                    raise self._error("it holds no video")
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                yield container, stream
        except (self._av.FFmpegError, ValueError, OSError) as error:
            if isinstance(error, InputError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise self._error(f"it cannot be decoded ({reason})") from error

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray]]:
        wanted = set(numbers)
        if not wanted:
            return
        number = -1
        with self._open() as (container, stream):
            for number, frame in enumerate(self._decoded(container, stream)):
                if number in wanted:
                    yield number, self._pixels(frame)
                if number >= max(wanted):
                    return
        for missing in wanted:
            if missing > number:
                self.faults[missing] = "it could not be decoded"

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Decode until the end, or until the damage begins."""
        try:
            yield from container.decode(stream)
        except self._av.FFmpegError as error:
            warn(f"{self.name} is damaged ({error.strerror}); the frames before that are used")

    def _pixels(self, frame: Any) -> NDArray:
        pixels = frame.to_ndarray(format=self._format) if self._format else frame.to_ndarray()
        if pixels.ndim == 2:
            return np.ascontiguousarray(pixels)
        if self._mono:
            return np.ascontiguousarray(pixels[..., 1])
        return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _library(path: Path) -> ModuleType:
    try:
        import av
    except ImportError as error:
        msg = (
            f"{path} is no SER file, image or cube, and other videos need the package 'av': "
            "pip install 'astro_sr_plugin[video]'"
        )
        raise InputError(msg) from error
    module: ModuleType = av
    return module
