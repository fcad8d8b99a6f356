"""Take the noise away; stars, structure and flux stay."""

from __future__ import annotations

import os

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.exceptions import UnchangedWarning, warn
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.models.registry import ModelLike
from astro_sr_plugin.restoration.frame import (
    choose_model,
    choose_model_for,
    choose_runtime,
    open_frame,
)
from astro_sr_plugin.restoration.generic import restore_frame
from astro_sr_plugin.restoration.pipeline import Job
from astro_sr_plugin.restoration.psf import PSFLike
from astro_sr_plugin.restoration.result import write_result
from astro_sr_plugin.restoration.strengths import check_strength
from astro_sr_plugin.restoration.target import warn_of_width

__all__ = ["denoise"]


@image_function
def denoise(
    image: Image,
    *,
    strength: float = 1.0,
    psf: PSFLike = None,
    uncertainty: bool = False,
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
    """Remove the noise of a linear image, white or correlated.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range; each plane
        is treated with its own noise. Never changed.
    strength : float
        0 (the input exactly) to 1 (all noise removed).
    psf : number, sequence of numbers, 2D array, PSF model, str or Path, optional
        PSF of the input instead of the measured one, as for `deconvolve`.
    uncertainty : bool
        Whether the standard deviation of every pixel comes along, as StdDevUncertainty; also for
        arrays the result is then a CCDData. NaN where a pixel of the input was NaN or masked.

    Returns
    -------
    CCDData or ndarray
        Same kind, unit, mask and WCS; float32 (float64 for float64). Pixels that are NaN or masked
        come back as they were. With ``out``, the file's image, memory-mapped.

    Raises
    ------
    InputError
        If the image or a parameter cannot be used.
    ModelError
        If the model is unknown or damaged, or estimates no uncertainty though that is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> image = np.random.default_rng(1).normal(100.0, 2.0, (96, 96))
    >>> clean = asr.denoise(image, model="wiener")
    >>> bool(clean.std() < image.std() / 2), round(float(clean.mean()))
    (True, 100)
    """
    check_strength("strength", strength)
    engine = choose_model(model, "denoise", uncertainty=uncertainty)
    frame = open_frame(
        image, engine.spec.task, mask=mask, hdu=hdu, force=force, measured=measured, psf=psf
    )
    engine = choose_model_for(frame, engine, named=model is not None, uncertainty=uncertainty)
    if all(plane.measured.noise.sigma <= 0 for plane in frame.usable):
        sigma = max(plane.image_sigma for plane in frame.usable)
        warn(
            "no noise was found in the image, so there is nothing to remove; structure fainter "
            f"than {sigma:.3g} may be lost",
            UnchangedWarning,
        )
    warn_of_width([plane.psf.moffat for plane in frame.planes], engine.spec)
    header = frame.header(
        engine.spec,
        strength=strength,
        parameters={"noise_correlation": frame.noise_correlation},
    )
    job = Job(engine, None, choose_runtime(runtime, device), blend=strength)

    def fill(sink: NDArray, errors: NDArray | None) -> None:
        if strength == 0 and errors is None:
            sink[...] = frame.parts.data
        else:
            restore_frame(frame, job, sink, header=header, errors=errors)

    return write_result(
        frame, fill, header, scale=1, out=out, overwrite=overwrite, uncertainty=uncertainty
    )
