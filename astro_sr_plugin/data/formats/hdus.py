"""Images from HDU objects of `astropy.io.fits`, as if they had been read from a file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TypeAlias

from astropy.io import fits
from astropy.nddata import CCDData

from astro_sr_plugin.data.formats.fits import HDUChoice
from astro_sr_plugin.data.formats.header import quiet
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.exceptions import ImageReadError, InputError

__all__ = ["HDU_TYPES", "HDUs", "read_hdus"]

HDUs: TypeAlias = fits.HDUList | fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU
HDU_TYPES = (fits.HDUList, fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)

_NAME = "the HDUs"


def read_hdus(hdus: HDUs, *, hdu: HDUChoice = None) -> CCDData:
    """Read an image from HDU objects by the rules of `read_image`.

    Parameters
    ----------
    hdus : HDUList, PrimaryHDU, ImageHDU or CompImageHDU
        Not changed. The pixels are copied.
    hdu : int, str or (str, int), optional
        Which image of an HDUList.

    Returns
    -------
    CCDData
        With the mask, the uncertainty, the unit and the WCS that `read_image` would find.

    Raises
    ------
    InputError
        If `hdu` is given for a single HDU.
    ImageReadError
        If there is no such image, or it cannot be read.
    """
    if not isinstance(hdus, fits.HDUList):
        if hdu is not None:
            msg = f"hdu={hdu!r} is only for files and HDULists; a {type(hdus).__name__} is given"
            raise InputError(msg)
        hdus = fits.HDUList([hdus])
    with tempfile.TemporaryDirectory(prefix="astro-sr-") as folder:
        path = Path(folder) / "hdus.fits"
        try:
            with quiet():
                copies = [_copy(one, first=number == 0) for number, one in enumerate(hdus)]
                if not isinstance(copies[0], fits.PrimaryHDU):
                    copies.insert(0, fits.PrimaryHDU())
                fits.HDUList(copies).writeto(path, output_verify="silentfix")
            return read_image(path, hdu=hdu, memmap=False)
        except ImageReadError as error:
            raise ImageReadError(str(error).replace(str(path), _NAME)) from error
        except (OSError, ValueError, TypeError, IndexError, fits.VerifyError) as error:
            msg = f"cannot read {_NAME}: {' '.join(str(error).split())}"
            raise ImageReadError(msg) from error


def _copy(hdu: fits.PrimaryHDU, *, first: bool) -> fits.PrimaryHDU:
    """Return a plain image HDU with a header of its own; anything that is no image as it is."""
    if not isinstance(hdu, HDU_TYPES):
        return hdu
    kind = fits.PrimaryHDU if first and isinstance(hdu, fits.PrimaryHDU) else fits.ImageHDU
    # The data first: reading them takes the keywords of the scaling out of the header.
    data = hdu.data
    return kind(data=data, header=hdu.header.copy())
