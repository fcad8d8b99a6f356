"""Sharpen to a smaller, round PSF, and take the noise away."""

from __future__ import annotations

import math
import os

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.models.registry import ModelLike
from astro_sr_plugin.restoration.aberrated import fit_to_aberrations
from astro_sr_plugin.restoration.frame import choose_model, choose_model_for, choose_runtime
from astro_sr_plugin.restoration.generic import restore_frame
from astro_sr_plugin.restoration.luminance import check_colour, check_uncertainty
from astro_sr_plugin.restoration.pipeline import Job
from astro_sr_plugin.restoration.psf import PSFLike
from astro_sr_plugin.restoration.reduce import open_reduced
from astro_sr_plugin.restoration.result import write_result
from astro_sr_plugin.restoration.strengths import check_strength, make_blend
from astro_sr_plugin.restoration.target import TargetFWHM, choose_target, is_too_narrow

__all__ = ["deconvolve"]


@image_function
def deconvolve(
    image: Image,
    *,
    stars: float = 1.0,
    extended: float = 1.0,
    target_fwhm: TargetFWHM = None,
    psf: PSFLike = None,
    auto_scale: bool = False,
    uncertainty: bool = False,
    luminance_only: bool = False,
    model: ModelLike | None = None,
    measured: Quality | None = None,
    mask: MaskLike | None = None,
    device: str | None = None,
    runtime: Runtime | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    hdu: HDUChoice = None,
    force: bool = False,
) -> CCDData | NDArray:
    """Bring a linear image to a smaller, round PSF.

    The PSF of each plane is measured from its stars unless it is given; the result has a Gaussian
    PSF, the same for all planes.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range. Never
        changed.
    stars, extended : float
        Strength on stars and on everything else, 0 (the input exactly) to 1.
    target_fwhm : float or "input", optional
        FWHM of the result in pixels, 1 or more; by default half of the input's, at least 2. An
        image whose stars are too narrow for that (below 1.5 pixels for the networks) comes back as
        it is by default, with an `UnchangedWarning`.
        ``"input"`` keeps the mean width of the field: stars become round, and equal over the field,
        but no sharper.
    psf : number, sequence of numbers, 2D array, PSF model, str or Path, optional
        PSF of the input: ``fwhm``, ``(fwhm, beta)`` or ``(fwhm, beta, ellipticity, theta)`` of a
        Moffat profile before integration over the pixel; an image of the PSF; a PSF model of
        photutils, such as `measure_psf` gives, or a list of them for the planes of a colour image;
        or a file of an image or of `write_psf`.
    auto_scale : bool
        Whether an image whose stars are wider than 6 pixels is first reduced, by a whole number, by
        averaging blocks of pixels; not with ``psf``.
    uncertainty : bool
        Whether the standard deviation of every pixel comes along, as StdDevUncertainty; also for
        arrays the result is then a CCDData. NaN where a pixel of the input was NaN or masked.
    luminance_only : bool
        Whether the model restores the luminance of a colour image alone, whose light is then shared
        out in the colours of the input. Refused for other images, and with ``uncertainty``.
    model : str, Path or Model, optional
        Name from `list_models` (``"richardson-lucy"``, ``"wiener"`` are classical), a weights
        file, or what `load_model` returned.

    Returns
    -------
    CCDData or ndarray
        Same kind, unit, mask and WCS; float32 (float64 for float64). Pixels that are NaN or masked
        come back as they were. With ``out``, the file's image, memory-mapped.

    Raises
    ------
    InputError
        If the image or a parameter cannot be used, or the PSF is neither given nor measurable.
    ModelError
        If the model is unknown or damaged, or estimates no uncertainty though that is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:96, :96] % 24 - 12
    >>> image = np.random.default_rng(1).normal(100.0, 2.0, (96, 96))
    >>> image += 500.0 * np.exp(-(x**2 + y**2) / 4.0)
    >>> sharp = asr.deconvolve(image, psf=3.3, model="wiener")
    >>> sharp.shape, bool(sharp.max() > image.max())
    ((96, 96), True)
    """
    check_strength("stars", stars)
    check_strength("extended", extended)
    if luminance_only:
        check_uncertainty(uncertainty)
    engine = choose_model(model, "deconvolve", uncertainty=uncertainty)
    frame = open_reduced(
        image,
        engine.spec.task,
        mask=mask,
        hdu=hdu,
        force=force,
        measured=measured,
        psf=psf,
        auto_scale=auto_scale,
    )
    if luminance_only:
        check_colour(frame)
    engine = choose_model_for(
        frame,
        engine,
        named=model is not None,
        uncertainty=uncertainty,
        luminance_only=luminance_only,
    )
    target = choose_target(frame.planes, target_fwhm, engine.spec)
    if model is None:
        engine = fit_to_aberrations(frame, engine, target, uncertainty=uncertainty)
    if is_too_narrow(frame.planes, target_fwhm, engine.spec):
        stars = extended = 0.0
    profiles = [plane.psf.moffat for plane in frame.planes]
    header = frame.header(
        engine.spec,
        fwhm_out=target if stars > 0 else None,
        strength=min(stars, extended),
        parameters={
            "stars": stars,
            "extended": extended,
            "luminance_only": luminance_only,
            "psf_fwhm": tuple(round(profile.fwhm, 4) for profile in profiles),
            "psf_beta": tuple(round(p.beta, 3) for p in profiles if math.isfinite(p.beta)),
        },
    )
    planned = choose_runtime(runtime, device)

    def fill(sink: NDArray, errors: NDArray | None) -> None:
        if stars == extended == 0 and errors is None:
            sink[...] = frame.parts.data
            return
        planes = [plane.measured for plane in frame.planes]
        blend = make_blend(planes, stars, extended, frame.fwhm)
        job = Job(engine, target, planned, blend=blend, guarded=max(stars, extended) > 0)
        restore_frame(frame, job, sink, header=header, errors=errors, luminance_only=luminance_only)

    return write_result(
        frame, fill, header, scale=1, out=out, overwrite=overwrite, uncertainty=uncertainty
    )
