"""Measurement of the point-spread function of an image, as a model of photutils."""

from __future__ import annotations

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, unpack
from astro_sr_plugin.data.pixel_kind import check_linear
from astro_sr_plugin.data.signatures import shared_parameters
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.plane import open_planes
from astro_sr_plugin.measurement.psf.exchange import PSFModel, make_model
from astro_sr_plugin.measurement.quality import Quality

__all__ = ["measure_psf"]


@shared_parameters
def measure_psf(
    image: Image,
    *,
    measured: Quality | None = None,
    mask: MaskLike | None = None,
    force: bool = False,
    hdu: HDUChoice = None,
) -> PSFModel | list[PSFModel]:
    """Measure the point-spread function of an image, pixel by pixel, from its stars.

    It is what the pixels record of a star, on a grid that is finer than they are: a Moffat profile,
    and beside it what many stars have in common, with the halo and the diffraction spikes. Where
    the stars are few or faint, it approaches the Moffat profile. The residual of stars that were
    left out is its quality.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array or path, shape (ny, nx) or (n, ny, nx)
        Linear image; (3, ny, nx) is colour. It is not changed.

    Returns
    -------
    ImagePSF or GriddedPSFModel, or a list of them
        Models of photutils, a list for several planes; a grid where the PSF changes over the field.
        ``flux`` is that of a star out to infinity. ``meta`` has the parameters of the Moffat
        profile, ``fwhm beta ellip theta``, the number of stars ``nstars``, and what the PSF leaves
        of left-out stars: as a fraction of the star (``resfrac``; ``resmoff`` for the Moffat
        profile) and in units of the noise (``resnoise``). ``psf=`` of the verbs takes the models.

    Raises
    ------
    InputError
        If the image cannot be measured, or shows no stars.
    ImageReadError
        If a path cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:128, :128]
    >>> image = rng.normal(100.0, 5.0, y.shape)
    >>> for x0, y0 in rng.uniform(8, 120, (20, 2)):
    ...     image += 2000 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 1.5**2))
    >>> psf = asr.measure_psf(image)
    >>> print(f"{type(psf).__name__}, FWHM {psf.meta['fwhm']:.1f} pixels")
    ImagePSF, FWHM 3.5 pixels
    """
    parts = unpack(image, mask=mask, hdu=hdu)
    check_linear(parts, force=force)
    planes = open_planes(parts) if measured is None else measured.planes_of(parts, mask)
    for plane in planes:
        if not plane.psf.known:
            msg = f"{plane.name} shows no star whose PSF could be measured"
            raise InputError(msg)
    models = [make_model(plane.empirical_psf) for plane in planes]
    return models if len(models) > 1 else models[0]
