"""The ``--psf`` option: numbers of a Moffat profile, or an image of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from astro_sr_plugin.exceptions import ImageReadError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["PSFOption", "psf_argument", "read_psf"]

PSFOption = tuple[float, ...] | Path | None


def psf_argument(text: str) -> tuple[float, ...] | Path:
    """Return ``fwhm[,beta[,ellipticity,theta]]`` as numbers, anything else as a path.

    Raises
    ------
    argparse.ArgumentTypeError
        The numbers are not one, two or four.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return Path(text)
    if len(numbers) not in (1, 2, 4):
        msg = (
            f"{text!r} holds {len(numbers)} numbers; allowed are FWHM, FWHM,BETA "
            "and FWHM,BETA,ELLIPTICITY,THETA, or a FITS file"
        )
        raise argparse.ArgumentTypeError(msg)
    return numbers


def read_psf(option: PSFOption) -> tuple[float, ...] | np.ndarray | None:
    """Turn the option into what ``psf=`` of the verbs takes.

    Parameters
    ----------
    option : tuple of float, Path or None
        What `psf_argument` returned.

    Returns
    -------
    tuple of float, 2D `~numpy.ndarray` or None
        The numbers as they are, or the pixels of the file.

    Raises
    ------
    ImageReadError
        The file is not a 2D image.
    """
    if not isinstance(option, Path):
        return option
    import numpy as np

    from astro_sr_plugin import read_image

    image = np.asarray(read_image(option).data, dtype=np.float64)
    if image.ndim != 2:
        msg = f"the PSF {str(option)!r} has shape {image.shape}; it must be a 2D image"
        raise ImageReadError(msg)
    return image
