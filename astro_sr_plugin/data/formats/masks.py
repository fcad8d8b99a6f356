"""Masks in files of their own: DECam ood, ZTF mskimg, Pan-STARRS mask, flag maps of SExtractor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.bitmask import exclude_flags
from astro_sr_plugin.data.formats.fits import FitsFile, HDUChoice
from astro_sr_plugin.data.formats.fits_opening import read_errors, unpacked
from astro_sr_plugin.data.formats.header import clean_header, quiet
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.exceptions import ImageReadError, warn

__all__ = ["MaskLike", "read_mask"]

#: What verbs take as a mask.
MaskLike = NDArray[Any] | str | os.PathLike[str]

_FITS = (b"SIMPLE  =", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


def read_mask(
    path: str | os.PathLike[str],
    *,
    meta: Mapping[str, Any] | None = None,
    hdu: HDUChoice = None,
) -> NDArray[np.bool_]:
    """Read a mask from a file of its own.

    Parameters
    ----------
    path : str or Path
        FITS, XISF or TIFF.
    meta : fits.Header or mapping, optional
        Metadata of the image: keywords that the header of the mask lacks, such as INSTRUME, are
        taken from it.
    hdu : int, str or (str, int), optional
        Which image of a FITS file; by default the first one with two or three axes. A file with one
        image alone is read whatever the image of the verb is called.

    Returns
    -------
    ndarray of bool
        True = excluded. Of integers those bits exclude that say so by their names or by the
        instrument (see `exclude_flags`); other numbers exclude where they are not 0.

    Raises
    ------
    ImageReadError
        If the file is missing, damaged or holds no such image.

    Warns
    -----
    AstroSRWarning
        If the meaning of bits that are set is not known.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(max(_FITS, key=len)))
    except OSError as error:
        msg = f"cannot read the mask {path}: {(error.strerror or str(error)).lower()}"
        raise ImageReadError(msg) from error
    if not start.startswith(_FITS):
        return np.asarray(read_image(path, memmap=False).data) != 0
    with read_errors(path), unpacked(path) as stream:
        with quiet():
            fits = FitsFile(path, stream)
            shapes = [extension.shape for extension in fits.extensions]
            images = [i for i, shape in enumerate(shapes) if shape and len(shape) in (2, 3)]
            index = images[0] if len(images) == 1 else fits.find(hdu)
            stored, coding = fits.stored(index, memmap=True)
            values = coding.integers(stored.reshape(fits.extensions[index].shape))
            header = fits.header(index)
        if values.dtype == bool:
            return values
        full = clean_header(meta)
        full.update(header)
        excluded, note = exclude_flags(values, full)
    if note:
        warn(f"{path}: {note}")
    return excluded
