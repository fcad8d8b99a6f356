"""Read and write image files: FITS, XISF and TIFF behind one pair of functions."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import CCDData, NDData, NDUncertainty
from astropy.units import Quantity, UnitBase
from astropy.wcs import WCS
from numpy.typing import DTypeLike, NDArray

from astro_sr_plugin.data import output
from astro_sr_plugin.data.formats import fits, tiff, xisf
from astro_sr_plugin.data.formats.bitmask import named_flags
from astro_sr_plugin.data.formats.contents import FileContents
from astro_sr_plugin.data.formats.header import clean_header
from astro_sr_plugin.data.formats.pixel_types import choose_coding, stored_dtype
from astro_sr_plugin.data.formats.pixels import PixelCoding
from astro_sr_plugin.data.nonlinear import undo_asinh
from astro_sr_plugin.data.strips import CHUNK_BYTES, iter_strips
from astro_sr_plugin.data.units import store_unit
from astro_sr_plugin.data.wcs_keywords import as_fits_wcs, store_wcs
from astro_sr_plugin.exceptions import ImageReadError, InputError, OutputError, warn

__all__ = [
    "FORMATS",
    "FileFormat",
    "check_output",
    "find_suffix",
    "name_result",
    "read_image",
    "write_image",
]


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileFormat:
    """A file format: its names, its first bytes and its two functions.

    Parameters
    ----------
    name : str
        For messages.
    suffixes : tuple of str
        Endings of file names, in small letters.
    magic : tuple of bytes
        How files begin; compressed FITS files by the bytes of the compression.
    read : callable
        ``read(path, hdu=, memmap=) -> CCDData``.
    write : callable
        ``write(part, contents)``.
    types : collection of str, optional
        Types of pixels that it can write; all that are offered if not given.
    extensions : bool, default False
        Whether a file has extensions for a mask, an uncertainty and flags.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]
    read: Callable[..., CCDData]
    write: Callable[[Path, FileContents], None]
    types: Collection[str] | None = None
    extensions: bool = False


#: The formats, in the order in which they are tried.
FORMATS = (
    FileFormat(
        "FITS",
        tuple(f"{s}{c}" for s in output.PLAIN_FITS for c in ("", ".gz", ".bz2", ".xz", ".fz")),
        (b"SIMPLE  =", b"\x1f\x8b", b"BZh", b"\xfd7zXZ"),
        fits.read,
        fits.write,
        extensions=True,
    ),
    FileFormat("XISF", (".xisf",), (b"XISF0100",), xisf.read, xisf.write, xisf.TYPES),
    FileFormat(
        "TIFF",
        (".tif", ".tiff"),
        (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        tiff.read,
        tiff.write,
        tiff.TYPES,
    ),
)


def find_suffix(path: Path) -> str:
    """Give the ending of a file name that says its format, such as ``.fits.fz``; empty if none."""
    name = path.name.lower()
    # The longest one: of "a.fits.fz" both parts are the ending.
    known = (s for form in FORMATS for s in form.suffixes if name.endswith(s) and name != s)
    return max(known, key=len, default="")


def name_result(path: Path, ending: str, suffix: str | None = None) -> str:
    """Name the file of a result: ``stack.fits`` becomes ``stack_<ending>.fits``.

    Parameters
    ----------
    path : Path
        The input.
    ending : str
        What was done.
    suffix : str, optional
        The format, such as ``.xisf``; that of the input by default.

    Returns
    -------
    str
        A file name.
    """
    own = find_suffix(path) or path.suffix
    stem = path.name[: len(path.name) - len(own)]
    return f"{stem}_{ending}{suffix or own or '.fits'}"


def read_image(
    path: str | os.PathLike[str], *, hdu: fits.HDUChoice = None, memmap: bool = True
) -> CCDData:
    """Read an image file.

    Parameters
    ----------
    path : str or Path
        FITS (also ``.fz .gz .bz2 .xz``), XISF or TIFF, by the content of the file and not by
        its name. A pipe (``/dev/stdin``, a named pipe) is read once, to its end.
    hdu : int, str or (str, int), optional
        Number or name (``"SCI"``, ``"SCI,2"``, ``("SCI", 2)``) of the HDU, of the XISF image or of
        the TIFF page; by default the first one that holds an image.
    memmap : bool, default True
        Map uncompressed floats from the disk instead of reading them. Changing the array never
        changes the file.

    Returns
    -------
    CCDData
        Data of shape (ny, nx) or (n, ny, nx), colour (3, ny, nx), rows in the order of the file.
        Integers come as float32 where that is exact, else float64; BLANK as NaN, and masked.
        Asinh-compressed pixels of Pan-STARRS (BSOFTEN, BOFFSET) are made linear, with a warning.
        The unit is that of BUNIT, adu where it is missing or unknown. ``meta`` is the full header
        (with that of the primary HDU merged in), ``wcs`` its celestial part. Mask and
        uncertainty are those of the file that belong to this image; a mask of bits stays in
        ``flags``, and ``mask`` holds the pixels that its bits exclude.

    Raises
    ------
    ImageReadError
        If the file is missing, damaged, truncated or holds no such image.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> path = asr.write_image(np.ones((20, 30)), f"{mkdtemp()}/image.fits")
    >>> image = asr.read_image(path)
    >>> image.shape, image.unit
    ((20, 30), Unit("adu"))
    """
    path = Path(path)
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            return _read_stream(path, hdu)
        with path.open("rb") as file:
            start = file.read(512)
    except IsADirectoryError as error:
        msg = f"cannot read {path}: it is a folder, not an image file"
        raise ImageReadError(msg) from error
    except OSError as error:
        msg = f"cannot read {path}: {(error.strerror or str(error)).lower()}"
        raise ImageReadError(msg) from error
    if not start:
        msg = f"cannot read {path}: the file is empty"
        raise ImageReadError(msg)
    for form in FORMATS:
        if start.startswith(form.magic):
            image = undo_asinh(form.read(path, hdu=hdu, memmap=memmap), str(path))
            _log.info("read %s: %s in %s", path, image.shape, image.unit)
            return image
    msg = f"cannot read {path}: it is {_kind(start)}, not a FITS, XISF or TIFF image"
    raise ImageReadError(msg)


def _read_stream(path: Path, hdu: fits.HDUChoice) -> CCDData:
    """Read a pipe into a temporary file, since a pipe can be neither mapped nor read twice."""
    with tempfile.TemporaryDirectory(prefix="astro-sr-") as folder:
        copy = Path(folder) / path.name
        with path.open("rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        try:
            # Not mapped: the file is gone when the image is used.
            return read_image(copy, hdu=hdu, memmap=False)
        except ImageReadError as error:
            raise ImageReadError(str(error).replace(str(copy), str(path))) from error


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Check that an image could be written to a path, before the work for it starts.

    Parameters
    ----------
    path : str or Path
        The output file.
    overwrite : bool, default False
        Whether it may exist already.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        If the ending is unknown, the folder missing or not writable, or the file exists.
    """
    _format_of(Path(path))
    return output.check_place(path, overwrite=overwrite)


def write_image(
    image: CCDData | NDData | NDArray,
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike | None = None,
    overwrite: bool = False,
    checksum: bool = True,
) -> Path:
    """Write an image file; it appears only when it is complete.

    Parameters
    ----------
    image : CCDData, NDData, Quantity or ndarray, shape (ny, nx) or (n, ny, nx)
        The image. FITS takes everything along; XISF and TIFF hold no mask and no uncertainty, and a
        warning says so.
    path : str or Path
        The ending chooses the format: ``.fits .fit .fts`` (and ``.gz .bz2 .xz .fz`` after it),
        ``.xisf``, ``.tif .tiff``.
    dtype : str or numpy.dtype, optional
        Type of the stored pixels; ``"original"`` for that of the file the image was read from. By
        default that of the array. In integers NaN is stored as BLANK (FITS only).
    overwrite : bool, default False
        Whether a file that exists already may be replaced.
    checksum : bool, default True
        Write checksums (FITS and XISF).

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    InputError
        If the image has no pixels or other than two or three axes, or if values do not fit into
        `dtype`; nothing is ever clipped.
    OutputError
        If the file cannot be written, or exists already.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> path = asr.write_image(np.ones((20, 30), np.float32), f"{mkdtemp()}/image.xisf")
    >>> asr.read_image(path).data.dtype.name
    'float32'
    >>> asr.write_image(np.zeros((20, 30)), path)
    Traceback (most recent call last):
    ...
    astro_sr_plugin.exceptions.OutputError: cannot write ...image.xisf: it exists already; ...
    """
    form, suffix = _format_of(Path(path))
    data, mask, uncertainty, unit, wcs, meta = _parts(image)
    if data.dtype.kind not in "iufb" or data.ndim not in (2, 3) or data.size == 0:
        msg = (
            f"an image of shape {data.shape} and dtype {data.dtype} cannot be written; allowed are "
            "(ny, nx) and (n, ny, nx) of integers or floats, not empty"
        )
        raise InputError(msg)
    target = output.check_place(path, overwrite=overwrite)
    header = clean_header(meta)
    name = stored_dtype(dtype, data, header)
    original = isinstance(dtype, str) and dtype == "original"
    coding = choose_coding(name, data, header, original=original, fits=form.extensions)
    store_unit(header, unit)
    if mask is not None and _is_blank(mask, data, coding):
        mask = None
    header = store_wcs(header, wcs, data.shape)
    _check_losses(form, coding, has_planes=mask is not None or uncertainty is not None)
    contents = FileContents(
        data,
        header,
        coding,
        suffix=suffix,
        mask=mask,
        uncertainty=uncertainty,
        flags=named_flags(image),
        wcs=wcs,
        checksum=checksum,
    )
    with output.writing(target, overwrite=overwrite) as part:
        form.write(part, contents)
    _log.info("wrote %s: %s of %s", path, name, data.shape)
    return Path(path)


def _check_losses(form: FileFormat, coding: PixelCoding, *, has_planes: bool) -> None:
    """Refuse a type that the format has not, and warn of planes that it does not hold."""
    if form.types is not None and coding.name not in form.types:
        allowed = ", ".join(form.types)
        msg = f"dtype={coding.name!r} cannot be written to {form.name}; allowed are {allowed}"
        raise InputError(msg)
    if has_planes and not form.extensions:
        warn(f"{form.name} files take no mask and no uncertainty along; FITS does")


def _parts(
    image: object,
) -> tuple[
    NDArray, NDArray | None, NDUncertainty | None, UnitBase | None, WCS | None, Header | dict
]:
    if isinstance(image, NDData):
        mask = None if image.mask is None else np.broadcast_to(image.mask, image.data.shape)
        wcs = as_fits_wcs(image)
        return np.asarray(image.data), mask, image.uncertainty, image.unit, wcs, image.meta
    if isinstance(image, np.ma.MaskedArray):
        own = None if image.mask is np.ma.nomask else np.ma.getmaskarray(image)
        return np.asarray(image.data), own, None, None, None, Header()
    if isinstance(image, np.ndarray):
        unit = image.unit if isinstance(image, Quantity) else None
        return np.asarray(image), None, None, unit, None, Header()
    msg = f"the image is a {type(image).__name__}; allowed are a numpy array, NDData and CCDData"
    raise InputError(msg)


def _is_blank(mask: NDArray, data: NDArray, coding: PixelCoding) -> bool:
    """Whether the mask says no more than BLANK does."""
    if not np.any(mask):
        return coding.blank is not None
    if coding.blank is None:
        return False
    pairs = zip(iter_strips(mask), iter_strips(data), strict=True)
    return all(np.array_equal(excluded, np.isnan(strip)) for excluded, strip in pairs)


def _format_of(path: Path) -> tuple[FileFormat, str]:
    name = path.name.lower()
    for form in FORMATS:
        for suffix in form.suffixes:
            if name.endswith(suffix) and len(name) > len(suffix):
                return form, Path(suffix).suffix
    packed = (".fits.gz", ".fits.bz2", ".fits.fz")
    allowed = ", ".join((*output.PLAIN_FITS, *packed, ".xisf", ".tif", ".tiff"))
    msg = f"cannot write {path}: the name has to end in one of {allowed}"
    raise OutputError(msg)


def _kind(start: bytes) -> str:
    kinds = {
        b"\x89PNG": "a PNG picture",
        b"\xff\xd8\xff": "a JPEG picture",
        b"%PDF": "a PDF document",
        b"PK\x03\x04": "a ZIP archive",
        b"GIF8": "a GIF picture",
    }
    for magic, kind in kinds.items():
        if start.startswith(magic):
            return kind
    try:
        text = start[:256].decode("utf-8")
    except UnicodeDecodeError:
        return "a file of another kind"
    return "a text file" if text.isprintable() or text.split() else "a file of another kind"
