"""Frames in image files, one each, and in cubes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import NDData
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import find_cfa
from astro_sr_plugin.data.formats.registry import find_suffix, read_image
from astro_sr_plugin.data.frames import Frame, open_frame
from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.exceptions import AstroSRError, ImageReadError

__all__ = ["PICTURES", "CubeVideo", "ImageFiles", "list_folder"]

PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of pictures that only this module reads: most are not linear."""

_DECODERS = {".png": "png", ".jpg": "jpeg8", ".jpeg": "jpeg8"}
"""Decoder of imagecodecs by the ending."""


def list_folder(folder: Path) -> list[Path]:
    """List the images of a folder, numbers in their names in their order.

    Raises
    ------
    ImageReadError
        If there are none.
    """
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURES or (find_suffix(path) and not path.is_dir())
    ]
    if not paths:
        msg = f"cannot read {folder}: the folder holds no image (FITS, XISF, TIFF, PNG or JPEG)"
        raise ImageReadError(msg)
    return sorted(paths, key=_in_order)


def _in_order(path: Path) -> list[Any]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), part) if k % 2 else part for k, part in enumerate(parts)]


class ImageFiles(Video):
    """Images of one size, in files or in memory, each a frame.

    Parameters
    ----------
    images : sequence of Path, ndarray or NDData
        The images, at least one of which can be read.
    name : str
        For messages.

    Raises
    ------
    ImageReadError
        If there are no images, or none can be read.
    """

    def __init__(self, images: Sequence[Any], name: str) -> None:
        super().__init__(name)
        self._images = list(images)
        for number in range(len(self._images)):
            first, header = self._load(number)
            if first is not None:
                break
        else:
            reason = next(iter(self.faults.values()), "there are no images")
            raise ImageReadError(f"cannot read {name}: {reason}")
        self.shape = first.shape
        self.bits = 8 * first.dtype.itemsize if first.dtype.kind == "u" else 16
        self.header = header
        cfa = find_cfa(header, self.shape)
        self.pattern = cfa.pattern if cfa is not None and cfa.is_rgb else ""

    def __len__(self) -> int:
        return len(self._images)

    def frame_name(self, number: int) -> str:
        """Return the name of the file, or the number."""
        image = self._images[number]
        return Path(image).name if isinstance(image, str | os.PathLike) else str(number)

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray]]:
        for number in numbers:
            frame, _ = self._load(number)
            if frame is None:
                continue
            if frame.shape != self.shape:
                sides = " x ".join(str(side) for side in frame.shape)
                others = " x ".join(str(side) for side in self.shape)
                self.faults[number] = f"its shape {sides} is not {others}, that of the first"
                continue
            yield number, frame

    def _load(self, number: int) -> tuple[NDArray | None, Header]:
        try:
            return _load(self._images[number])
        except AstroSRError as error:
            self.faults[number] = str(error)
            return None, Header()


def _load(image: Any) -> tuple[NDArray, Header]:
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        if path.suffix.lower() in PICTURES:
            return _read_picture(path), Header()
        image = read_image(path)
    if isinstance(image, NDData):
        values = np.array(image.data)
        if image.mask is not None and np.any(image.mask):
            values = values.astype(np.float32)
            values[np.broadcast_to(image.mask, values.shape)] = np.nan
        meta = image.meta if isinstance(image.meta, Header) else Header()
    else:
        values, meta = np.asarray(image), Header()
    if values.ndim not in (2, 3) or (values.ndim == 3 and len(values) != 3):
        msg = f"a frame has shape {values.shape}; allowed are (ny, nx) and (3, ny, nx)"
        raise ImageReadError(msg)
    return values, meta


def _read_picture(path: Path) -> NDArray:
    """Read a PNG or JPEG file at its depth, without a plane of transparency."""
    import imagecodecs

    try:
        pixels = imagecodecs.imread(path, codec=_DECODERS[path.suffix.lower()])
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged or not a picture"
        raise ImageReadError(f"cannot read {path}: {reason.lower()}") from error
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[-1] <= 2:
        return np.ascontiguousarray(pixels[..., 0])
    return np.ascontiguousarray(np.moveaxis(pixels[..., :3], -1, 0))


class CubeVideo(Video):
    """Frames of a cube, (n, ny, nx), in a file or in memory; also (n, 3, ny, nx) in memory.

    Parameters
    ----------
    cube : ndarray, NDData or Path
        The cube. That of a plain FITS file is mapped, not read.
    name : str
        For messages.

    Raises
    ------
    ImageReadError
        If it cannot be read, or is no cube.
    """

    def __init__(self, cube: Any, name: str) -> None:
        super().__init__(name)
        frame = cube if isinstance(cube, np.ndarray) else open_frame(cube, name=name)
        self._frame: NDArray | Frame = frame
        stored: NDArray = frame.stored if isinstance(frame, Frame) else frame
        if stored.ndim not in (3, 4) or (stored.ndim == 4 and stored.shape[1] != 3):
            msg = (
                f"cannot read {name}: its shape is {stored.shape}; a video is (n, ny, nx) or "
                "(n, 3, ny, nx)"
            )
            raise ImageReadError(msg)
        if not stored.size:
            raise ImageReadError(f"cannot read {name}: it holds no frame")
        self._count = len(stored)
        self.shape = tuple(int(side) for side in stored.shape[1:])
        self.bits = 8 * stored.dtype.itemsize if stored.dtype.kind == "u" else 16
        if isinstance(frame, Frame):
            self.header = frame.meta
            self.start = frame.header.start
            cfa = find_cfa(frame.meta, self.shape)
            self.pattern = cfa.pattern if cfa is not None and cfa.is_rgb else ""

    def __len__(self) -> int:
        return self._count

    def _read(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray]]:
        frame = self._frame
        for number in numbers:
            if not isinstance(frame, Frame):
                yield number, np.asarray(frame[number])
                continue
            values = frame.stored[number]
            if frame.coding is not None:
                values = frame.coding.decode(values)[0]
            values = np.asarray(values)
            if frame.mask is not None:
                values = np.where(frame.mask[number], np.float32(np.nan), values)
            yield number, values.astype(values.dtype.newbyteorder("="), copy=False)
