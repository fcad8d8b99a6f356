"""Enlarge and sharpen: more pixels, and the detail that the data support in them."""

from __future__ import annotations

import os
from dataclasses import asdict

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.models.diffusion.model import DiffusionModel
from astro_sr_plugin.models.diffusion.sampler import Sampling, read_sampling
from astro_sr_plugin.models.registry import ModelLike
from astro_sr_plugin.restoration.aberrated import fit_to_aberrations
from astro_sr_plugin.restoration.crush import Crush, read_workflow
from astro_sr_plugin.restoration.frame import choose_model, choose_model_for, choose_runtime
from astro_sr_plugin.restoration.generic import restore_frame
from astro_sr_plugin.restoration.luminance import check_colour, check_uncertainty
from astro_sr_plugin.restoration.pipeline import Job
from astro_sr_plugin.restoration.psf import PSFLike
from astro_sr_plugin.restoration.reduce import open_reduced
from astro_sr_plugin.restoration.result import write_result
from astro_sr_plugin.restoration.target import TargetFWHM, choose_target
from astro_sr_plugin.tasks import TASKS

__all__ = ["SCALES", "super_resolve"]

SCALES = TASKS["super-resolve"].scales
"""Scales that are offered."""


@image_function
def super_resolve(
    image: Image,
    *,
    scale: int = 2,
    target_fwhm: TargetFWHM = None,
    psf: PSFLike = None,
    auto_scale: bool = False,
    conserve_flux: bool = False,
    uncertainty: bool = False,
    luminance_only: bool = False,
    workflow: Crush | str | None = None,
    sampling: Sampling | str | None = None,
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
    """Bring a linear image to a finer grid and a smaller, round PSF.

    Output pixel ``j`` lies at input pixel ``(j + 0.5) / scale - 0.5``: the edges of the image stay
    where they are.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range. Never
        changed.
    scale : {2, 4}
        Output pixels per input pixel along each axis. At 4 the networks show the detail of 2, on
        more pixels: their result at 2, interpolated.
    target_fwhm : float or "input", optional
        FWHM of the result in output pixels, 1 or more, of networks at scale 4 4 or more; by default
        half of the width that the input's stars have on the sky, at least 2, of networks at scale 4
        at least 4. ``"input"`` keeps the width on the sky. Not with ``"bicubic"``, which keeps the
        PSF and needs no stars.
    psf : number, sequence of numbers, 2D array, PSF model, str or Path, optional
        PSF of the input, as for `deconvolve`.
    auto_scale : bool
        Whether an image whose stars are wider than 6 pixels is first reduced, by a whole number, by
        averaging blocks of pixels; not with ``psf``.
    conserve_flux : bool
        False keeps the surface brightness (the level of the sky), True the sum of the pixels.
    uncertainty : bool
        Whether the standard deviation of every pixel comes along, as StdDevUncertainty; also for
        arrays the result is then a CCDData. NaN where a pixel of the input was NaN or masked.
    luminance_only : bool
        Whether the model restores the luminance of a colour image alone, whose light is then shared
        out in the colours of the input. Refused for other images, and with ``uncertainty``. A model
        that keeps the PSF, such as ``"bicubic"``, adds no detail to share out: it gets every plane.
    workflow : Crush or str, optional
        ``"crush"`` or ``"crush:NOISE,BLUR"``: a network for display images sees the image reduced
        by its scale, with noise and blur added, and runs twice; for wide stars and coarse noise.
    sampling : Sampling or str, optional
        For diffusion models such as ``"sr3-x2"``: how many samples are drawn, and how; the text is
        such as ``"samples=16,steps=8,sampler=ddpm,seed=3"``. The result is their mean, the
        uncertainty follows from their spread.
    model : str, Path or Model, optional
        Name from `list_models` (``"bicubic"`` and ``"wiener"`` are classical), a weights file,
        or what `load_model` returned.

    Returns
    -------
    CCDData or ndarray
        Shape (scale * ny, scale * nx) per plane; same kind and unit, mask and WCS on the new grid;
        float32 (float64 for float64). Pixels that are NaN or masked stay so.

    Raises
    ------
    InputError
        If the image or a parameter cannot be used, or the PSF, where the model needs it, is neither
        given nor measurable.
    ModelError
        If the model is unknown or damaged, or estimates no uncertainty though that is asked for.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> y, x = np.mgrid[:96, :96] % 24 - 12
    >>> image = np.random.default_rng(1).normal(100.0, 2.0, (96, 96))
    >>> image += 500.0 * np.exp(-(x**2 + y**2) / 4.0)
    >>> big = asr.super_resolve(image, scale=2, psf=3.3, model="bicubic")
    >>> big.shape
    (192, 192)
    """
    if model is None and scale not in SCALES:
        msg = f"scale={scale} is not offered; allowed are {', '.join(map(str, SCALES))}"
        raise InputError(msg)
    if luminance_only:
        check_uncertainty(uncertainty)
    crush, draws = read_workflow(workflow), read_sampling(sampling)
    engine = choose_model(model, "super-resolve", scale, uncertainty=uncertainty)
    if isinstance(engine, DiffusionModel):
        engine = engine if draws is None else engine.with_sampling(draws)
    elif draws is not None:
        msg = (
            f"sampling={sampling!r} is for diffusion models, such as 'sr3-x2'; leave it out with "
            f"model {engine.spec.name!r}"
        )
        raise InputError(msg)
    if crush is not None and engine.spec.domain != "unit":
        msg = (
            f"workflow={workflow!r} is for networks for display images, from files of other "
            f"projects; leave it out with model {engine.spec.name!r}"
        )
        raise InputError(msg)
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
    header = frame.header(
        engine.spec,
        fwhm_out=target,
        parameters={
            "conserve_flux": conserve_flux,
            "luminance_only": luminance_only,
            **({} if crush is None else {"crush_noise": crush.noise, "crush_blur": crush.blur}),
            **(asdict(engine.sampling) if isinstance(engine, DiffusionModel) else {}),
            "psf_fwhm": tuple(round(plane.psf.moffat.fwhm, 4) for plane in frame.planes),
        },
    )
    factor = 1 / scale**2 if conserve_flux else 1.0
    job = Job(engine, target, choose_runtime(runtime, device), factor=factor)

    def fill(sink: NDArray, errors: NDArray | None) -> None:
        restore_frame(
            frame,
            job,
            sink,
            header=header,
            errors=errors,
            luminance_only=luminance_only,
            crush=crush,
        )

    return write_result(
        frame, fill, header, scale=scale, out=out, overwrite=overwrite, uncertainty=uncertainty
    )
