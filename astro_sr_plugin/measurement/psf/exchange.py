"""PSFs as models of photutils, and their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy.io import fits
from astropy.nddata import NDData
from numpy.typing import NDArray
from photutils.psf import GriddedPSFModel, ImagePSF

from astro_sr_plugin.data.output import writing
from astro_sr_plugin.exceptions import ImageReadError, InputError
from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS

__all__ = ["PSFModel", "make_model", "read_psf", "write_psf"]

PSFModel: TypeAlias = "ImagePSF | GriddedPSFModel"
"""PSF of a plane as photutils has it: one image, or a grid of images over the field."""

_NODES = 7
"""Nodes along each axis of the plane: between them photutils interpolates linearly, and the PSF is
a polynomial of up to the third order."""
_OVERSAMPLING, _POSITION = "OVERSAMP", "DET_YX"
"""Keywords of the files of WebbPSF, which photutils reads: oversampling, and place of an image."""
_FIGURES = {
    "fwhm": "[pixel] FWHM of the Moffat profile",
    "beta": "Moffat exponent",
    "ellip": "1 - b/a",
    "theta": "[rad] position angle from +x",
    "nstars": "stars measured",
    "resfrac": "residual of left-out stars / star",
    "resmoff": "the same of the Moffat profile",
    "resnoise": "residual of left-out stars / noise",
}
"""Figures of a PSF, and what the file says of them."""


def make_model(psf: EmpiricalPSF) -> PSFModel:
    """Make the model of a PSF that is known.

    Its ``meta`` has the Moffat parameters ``fwhm beta ellip theta``, and the quality ``nstars
    resfrac resmoff resnoise``. The images are normalised so that ``flux`` is that of a star out to
    infinity.
    """
    radius = STAMP_RADIUS
    if psf.extended is None and psf.residual is not None:
        radius = min(radius, psf.residual.shape[1] // 2 // psf.oversampling)
    moffat = psf.moffat
    figures = {
        "fwhm": moffat.fwhm,
        "beta": moffat.beta,
        "ellip": moffat.ellipticity,
        "theta": moffat.theta,
        "nstars": psf.n_stars,
        "resfrac": psf.residual_fraction,
        "resmoff": psf.moffat_residual_fraction,
        "resnoise": psf.residual_noise,
    }
    if not psf.varies:
        image = psf.image(*psf.centre, radius=radius, oversampling=psf.oversampling)
        return _join(image[None], [psf.centre], psf.oversampling, figures)
    ny, nx = psf.shape
    places = [
        (float(x), float(y))
        for y in np.linspace(0, ny - 1, _NODES)
        for x in np.linspace(0, nx - 1, _NODES)
    ]
    images = [psf.image(*place, radius=radius, oversampling=psf.oversampling) for place in places]
    return _join(np.stack(images), places, psf.oversampling, figures)


def write_psf(
    psf: PSFModel | Sequence[PSFModel], path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a PSF to a FITS file.

    The file is one that ``GriddedPSFModel.read(path, format="webbpsf")`` of photutils reads: a cube
    of images, ``OVERSAMP``, and the place (x, y) of each image in ``DET_YX0``, ``DET_YX1``, ... The
    PSFs of further planes follow as extensions.

    Parameters
    ----------
    psf : ImagePSF or GriddedPSFModel, or a sequence of them
        From `measure_psf`.
    path : str or Path
        The file.
    overwrite : bool
        Whether a file that exists already may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> from photutils.psf import ImagePSF
    >>> y, x = np.mgrid[-8:9, -8:9]
    >>> image = np.exp(-(x**2 + y**2) / 8) / (8 * np.pi)
    >>> path = asr.write_psf(ImagePSF(image, oversampling=1), "psf.fits")
    >>> path.name
    'psf.fits'
    >>> asr.read_psf("psf.fits").data.shape
    (17, 17)
    """
    models = psf if isinstance(psf, Sequence) else [psf]
    hdus = fits.HDUList()
    for number, model in enumerate(models):
        kind = fits.PrimaryHDU if number == 0 else fits.ImageHDU
        hdus.append(
            kind(
                np.asarray(model.data, dtype=np.float32).reshape(-1, *model.data.shape[-2:]),
                _header(model),
            )
        )
    with writing(path, overwrite=overwrite) as part:
        hdus.writeto(part)
    return Path(path)


def read_psf(path: str | os.PathLike[str]) -> PSFModel | list[PSFModel]:
    """Read a PSF from a file of `write_psf` or of WebbPSF.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    ImagePSF or GriddedPSFModel, or a list of them
        As `measure_psf` gives them; a list of those of several planes.

    Raises
    ------
    ImageReadError
        If the file cannot be read, or holds no such PSF.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> from photutils.psf import ImagePSF
    >>> path = asr.write_psf(ImagePSF(np.full((5, 5), 0.04), oversampling=1), "flat.fits")
    >>> psf = asr.read_psf("flat.fits")
    >>> round(float(psf(1.0, 2.0)), 3)
    0.04
    """
    try:
        with fits.open(path) as hdus:
            found = [
                _read(hdu.header, hdu.data) for hdu in hdus if hdu.header.get("NAXIS") in (2, 3)
            ]
    except (OSError, KeyError, TypeError, ValueError, InputError) as error:
        msg = f"cannot read a PSF from {Path(path)}: {error}"
        raise ImageReadError(msg) from error
    if not found:
        msg = f"cannot read a PSF from {Path(path)}: it holds no image"
        raise ImageReadError(msg)
    return found if len(found) > 1 else found[0]


def _read(header: fits.Header, data: NDArray[Any]) -> PSFModel:
    images = np.asarray(data, dtype=np.float64)
    images = images.reshape(-1, *images.shape[-2:])
    if _OVERSAMPLING not in header:
        msg = f"the keyword {_OVERSAMPLING} is missing"
        raise InputError(msg)
    places = [(0.0, 0.0)]
    if len(images) > 1:
        texts = [str(header[f"{_POSITION}{k}"]).strip("() ") for k in range(len(images))]
        places = [(float(x), float(y)) for x, y in (text.split(",") for text in texts)]
    figures = {name: header[name] for name in _FIGURES if name in header}
    return _join(images, places, int(header[_OVERSAMPLING]), figures)


def _join(
    images: NDArray[np.float64],
    places: list[tuple[float, float]],
    oversampling: int,
    figures: dict[str, Any],
) -> PSFModel:
    if len(images) == 1:
        model = ImagePSF(images[0], oversampling=oversampling)
        model.meta.update(figures)
        return model
    meta = {"grid_xypos": places, "oversampling": oversampling, **figures}
    return GriddedPSFModel(NDData(images, meta=meta))


def _header(model: PSFModel) -> fits.Header:
    header = fits.Header()
    header[_OVERSAMPLING] = (
        int(np.atleast_1d(model.oversampling)[0]),
        "samples per pixel of each axis",
    )
    places = getattr(model, "grid_xypos", [(0.0, 0.0)])
    for number, (x, y) in enumerate(places):
        header[f"{_POSITION}{number}"] = f"({x:.3f}, {y:.3f})", "[pixel] place (x, y) of this image"
    for name, text in _FIGURES.items():
        value = model.meta.get(name)
        if value is not None and np.isfinite(value):
            header[name] = value, text
    return header
