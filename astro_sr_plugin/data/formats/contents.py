"""What goes into an image file, of whichever format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import FlagCollection, NDUncertainty
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.pixels import PixelCoding

__all__ = ["FileContents"]


@dataclass(frozen=True, eq=False)
class FileContents:
    """What goes into an image file.

    Attributes
    ----------
    data : ndarray, shape (ny, nx) or (n, ny, nx)
        Physical values.
    header : fits.Header
        Clean header, WCS included.
    coding : PixelCoding
        How to store the values.
    suffix : str
        Ending of the name of the file. Of FITS, ``.gz``, ``.bz2`` and ``.xz`` pack the file, and
        ``.fz`` stores tiles without loss.
    mask : ndarray of bool or None
        FITS only: goes into the extension MASK.
    uncertainty : NDUncertainty or None
        FITS only: goes into the extension UNCERT.
    flags : FlagCollection or None
        FITS only: integer masks, each of which goes into an extension of its name.
    wcs : astropy.wcs.WCS or None
        FITS only: its lookup-table distortions go into extensions.
    checksum : bool
        Write checksums: CHECKSUM and DATASUM in FITS, SHA-1 of the pixels in XISF.
    """

    data: NDArray
    header: Header
    coding: PixelCoding
    suffix: str = ".fits"
    mask: NDArray[np.bool_] | None = None
    uncertainty: NDUncertainty | None = None
    flags: FlagCollection | None = None
    wcs: WCS | None = None
    checksum: bool = True
