"""Images of measured point-spread functions, split by telescope into training and validation."""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import InputError

__all__ = ["read_psfs"]

_SUFFIXES = (".fits", ".fits.gz", ".fit", ".fts")
"""Ends of the names of files that are read."""
_HELD_OUT = 4
"""One telescope of so many is kept for validation."""
_MOST_OF_A_FILE = 40
"""PSFs that are taken of one file at most, evenly."""


def _telescope_of(path: Path, telescope: str | None) -> str:
    """Name the telescope of an image: as its header does, or its folder, or else its name.

    Of a name, the last part behind an underscore is left away, which is often the filter.
    """
    if telescope:
        return telescope.strip().lower()
    return path.name.split(".")[0].rpartition("_")[0].lower() or path.parent.name.lower()


def read_psfs(folder: str | Path, *, validation: bool = False) -> list[NDArray[np.float64]]:
    """Read images of point-spread functions, for training or for validation.

    Parameters
    ----------
    folder : path
        Its FITS files, those of its folders included, hold an image or a cube of images of single
        stars in each extension. Telescopes differ by ``TELESCOP`` in the header, otherwise
        by the name of the file; one of four is kept for validation.
    validation : bool
        Which of the two parts is read.

    Returns
    -------
    list of ndarray
        Each of shape (ny, nx).

    Raises
    ------
    InputError
        If the folder is missing, a file cannot be read, or there is none for this part.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"psfs folder {str(folder)!r} does not exist"
        raise InputError(msg)
    images: list[NDArray[np.float64]] = []
    for path in sorted(p for p in folder.rglob("*") if p.name.lower().endswith(_SUFFIXES)):
        try:
            with fits.open(path) as hdus:
                telescope = _telescope_of(path, hdus[0].header.get("TELESCOP"))
                if (crc32(telescope.encode()) % _HELD_OUT == 0) != validation:
                    continue
                found = [np.asarray(hdu.data, float) for hdu in hdus if hdu.is_image]
        except (OSError, TypeError, ValueError) as error:
            msg = f"PSF file {str(path)!r} cannot be read: {error}"
            raise InputError(msg) from error
        planes = [
            p for image in found if image.ndim >= 2 for p in image.reshape(-1, *image.shape[-2:])
        ]
        images += planes[:: max(1, -(-len(planes) // _MOST_OF_A_FILE))]
    if not images:
        part = "validation" if validation else "training"
        msg = f"psfs folder {str(folder)!r} holds no FITS image of a PSF for {part}"
        raise InputError(msg)
    return images
