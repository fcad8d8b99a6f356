"""Open a video of any kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy.nddata import NDData
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.registry import find_suffix
from astro_sr_plugin.data.video.film import Film
from astro_sr_plugin.data.video.images import PICTURES, CubeVideo, ImageFiles, list_folder
from astro_sr_plugin.data.video.ser import SER_START, ByteOrder, SERVideo
from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.exceptions import ImageReadError, InputError

__all__ = ["VideoLike", "open_video"]

VideoLike: TypeAlias = (
    Video
    | str
    | os.PathLike[str]
    | NDArray
    | NDData
    | Sequence[str | os.PathLike[str] | NDArray | NDData]
)
"""What a video may be given as."""


def open_video(
    source: VideoLike, *, pattern: str | None = None, byteorder: ByteOrder = "auto"
) -> Video:
    """Open a video, whose frames are then read one by one.

    Parameters
    ----------
    source : str, Path, ndarray, NDData, Video, or a sequence of images
        A SER file, AVI, MP4 or other video (with PyAV: ``pip install 'astro_sr_plugin[video]'``), a
        FITS cube, a folder of FITS, XISF, TIFF, PNG or JPEG files in the order of their numbers, a
        cube (n, ny, nx) or (n, 3, ny, nx), or images of one size.
    pattern : str, optional
        Filters of raw colour frames such as ``"RGGB"``, where the file does not know them.
    byteorder : {"auto", "little", "big"}
        Order of the bytes in a SER file with more than 8 bits; found in its pixels by default.

    Returns
    -------
    Video
        The values of its frames are those of the file: neither scaled nor stretched.

    Raises
    ------
    ImageReadError
        If it cannot be read, or holds no frame.
    InputError
        If PyAV is needed and not installed, or a parameter is not allowed.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> frames = [np.full((8, 8), number) for number in range(3)]
    >>> video = asr.open_video(frames)
    >>> [int(frame[0, 0]) for number, frame in video.frames()]
    [0, 1, 2]
    """
    video = _open(source, byteorder)
    video.set_pattern(pattern)
    if video.pattern and len(video.shape) == 3:
        msg = f"pattern={pattern!r} is for raw frames; those of {video.name} are in colour"
        raise InputError(msg)
    return video


def _open(source: Any, byteorder: ByteOrder) -> Video:
    if isinstance(source, Video):
        return source
    if isinstance(source, str | os.PathLike):
        return _open_path(Path(source), byteorder)
    if isinstance(source, np.ndarray | NDData):
        return CubeVideo(source, "the cube")
    if isinstance(source, Sequence):
        return ImageFiles(source, "the images")
    msg = (
        f"the video is a {type(source).__name__}; allowed are a file, a folder, a cube and a list "
        "of images"
    )
    raise InputError(msg)


def _open_path(path: Path, byteorder: ByteOrder) -> Video:
    if path.is_dir():
        return ImageFiles(list_folder(path), str(path))
    try:
        with path.open("rb") as file:
            start = file.read(len(SER_START))
    except OSError as error:
        reason = "no such file or folder" if not path.exists() else error.strerror
        raise ImageReadError(f"cannot read {path}: {reason}") from error
    if not start:
        raise ImageReadError(f"cannot read {path}: the file is empty")
    if start == SER_START or path.suffix.lower() == ".ser":
        return SERVideo(path, byteorder)
    if find_suffix(path):
        return CubeVideo(path, str(path))
    if path.suffix.lower() in PICTURES:
        return ImageFiles([path], str(path))
    return Film(path)
