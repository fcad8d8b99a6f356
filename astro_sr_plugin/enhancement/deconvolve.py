"""Sharpen to a smaller, round PSF, and take the noise away."""

from __future__ import annotations

import math
import os

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.registry import ModelLike, default_model, load_model, with_errors
from astro_sr_plugin.restoration.frame import choose_runtime
from astro_sr_plugin.restoration.luminance import (
    check_colour,
    check_uncertainty,
    restore_luminance,
)
from astro_sr_plugin.restoration.pipeline import restore_planes
from astro_sr_plugin.restoration.psf import (
    PSFLike,
    choose_target,
    describe_field,
)
from astro_sr_plugin.restoration.reduce import open_measured
from astro_sr_plugin.restoration.strengths import check_strength, make_blend

__all__ = ["deconvolve"]


def deconvolve(
    image: Image,
    *,
    stars: float = 1.0,
    extended: float = 1.0,
    target_fwhm: float | None = None,
    psf: PSFLike = None,
    auto_scale: bool = False,
    uncertainty: bool = False,
    luminance_only: bool = False,
    model: ModelLike | None = None,
    mask: NDArray | None = None,
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
    image : CCDData, NDData, ndarray, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range. Never
        changed.
    stars, extended : float
        Strength on stars and on everything else, 0 (the input exactly) to 1.
    target_fwhm : float, optional
        FWHM of the result in pixels, 1 or more; by default half of the input's, at least 2.
    psf : number, sequence of numbers, 2D array, str or Path, optional
        PSF of the input: ``fwhm``, ``(fwhm, beta)`` or ``(fwhm, beta, ellipticity, theta)`` of a
        Moffat profile before integration over the pixel, or an image of the PSF, or its file.
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
    mask : ndarray of bool, optional
        True = excluded, in addition to the image's own mask.
    device : {'auto', 'cpu', 'cuda', 'mps'}, optional
        Shorthand for ``runtime=Runtime(device=...)``.
    runtime : Runtime, optional
        Device, tiles, progress.
    out : str or Path, optional
        FITS file to stream the result into, for images larger than the memory.
    overwrite : bool
        Whether ``out`` may replace a file.
    hdu : int, str or (str, int), optional
        Which image of a file.
    force : bool
        Take an image as it is that the verb is not for: a mosaic, magnitudes, a stretched image,
        one that was denoised or sharpened before.

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
        If the model is unknown or damaged, or tells no uncertainty though that is asked for.
    """
    check_strength("stars", stars)
    check_strength("extended", extended)
    engine = load_model(model or default_model("deconvolve"), task="deconvolve", scale=1)
    if luminance_only:
        check_uncertainty(uncertainty)
    if uncertainty:
        engine = with_errors(engine)
    frame, found = open_measured(
        image, mask=mask, hdu=hdu, psf=psf, auto_scale=auto_scale, task="deconvolve", force=force
    )
    if luminance_only:
        check_colour(frame)
    target = choose_target(found, target_fwhm, engine.spec)
    fwhm = max(m.fwhm for m in found)
    header = frame.header(
        1,
        task="deconvolve",
        model=engine.spec.name,
        weights_hash=engine.spec.sha256 or None,
        fwhm_in=fwhm,
        fwhm_out=target if stars > 0 else fwhm,
        strength=min(stars, extended),
        noise=max(m.noise for m in found),
        parameters={
            "stars": stars,
            "extended": extended,
            "luminance_only": luminance_only,
            "psf_fwhm": tuple(round(m.fwhm, 4) for m in found),
            **describe_field(found),
            "psf_beta": tuple(round(m.beta, 3) for m in found if math.isfinite(m.beta)),
        },
    )

    errors = frame.make_errors(1, out) if uncertainty else None

    def fill(sink: NDArray) -> None:
        if stars == extended == 0 and errors is None:
            sink[...] = frame.parts.data
            return
        blend = make_blend(frame.pixels, stars, extended, fwhm)
        planned = choose_runtime(runtime, device)
        if luminance_only:
            restore_luminance(frame, engine, found, target, planned, sink, blend=blend)
        else:
            restore_planes(frame, engine, found, target, planned, sink, blend=blend, errors=errors)

    return frame.finish(fill, header, 1, out, overwrite, errors=errors)
