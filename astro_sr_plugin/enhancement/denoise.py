"""Take the noise away; stars, structure and flux stay."""

from __future__ import annotations

import math
import os
import warnings
from dataclasses import replace

from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image
from astro_sr_plugin.exceptions import UnchangedWarning
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.registry import ModelLike, default_model, load_model, with_errors
from astro_sr_plugin.restoration.frame import choose_runtime, open_frame
from astro_sr_plugin.restoration.pipeline import restore_planes
from astro_sr_plugin.restoration.psf import describe_field, measure_planes
from astro_sr_plugin.restoration.strengths import check_strength

__all__ = ["denoise"]

_TYPICAL_FWHM = 3.0


def denoise(
    image: Image,
    *,
    strength: float = 1.0,
    uncertainty: bool = False,
    model: ModelLike | None = None,
    mask: NDArray | None = None,
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
    image : CCDData, NDData, ndarray, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range; each plane
        is treated with its own noise. Never changed.
    strength : float
        0 (the input exactly) to 1 (all noise removed).
    uncertainty : bool
        Whether the standard deviation of every pixel comes along, as StdDevUncertainty; also for
        arrays the result is then a CCDData. NaN where a pixel of the input was NaN or masked.
    model : str, Path or Model, optional
        Name from `list_models`, a weights file, or what `load_model` returned; by default the
        shipped network.
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
        If the image or a parameter cannot be used.
    ModelError
        If the model is unknown or damaged, or tells no uncertainty though that is asked for.
    """
    check_strength("strength", strength)
    engine = load_model(model or default_model("denoise"), task="denoise", scale=1)
    if uncertainty:
        engine = with_errors(engine)
    frame = open_frame(image, mask=mask, hdu=hdu, task="denoise", force=force)
    found = measure_planes(frame)
    if not any(m.noise_found for m in found):
        sigma = max(m.noise for m in found)
        text = (
            "no noise was found in the image, so there is nothing to remove; structure fainter "
            f"than {sigma:.3g} may be lost"
        )
        warnings.warn(text, UnchangedWarning, stacklevel=2)
    # Where no stars tell the PSF, a typical one serves: it only sets how far the filters reach.
    told = [m if math.isfinite(m.fwhm) else replace(m, fwhm=_TYPICAL_FWHM) for m in found]
    header = frame.header(
        1,
        task="denoise",
        model=engine.spec.name,
        weights_hash=engine.spec.sha256 or None,
        fwhm_in=max(m.fwhm for m in found),
        fwhm_out=max(m.fwhm for m in found),
        strength=strength,
        noise=max(m.noise for m in found),
        parameters={
            "noise_correlation": max(m.noise_correlation for m in found),
            **describe_field(found),
        },
    )

    errors = frame.make_errors(1, out) if uncertainty else None

    def fill(sink: NDArray) -> None:
        if strength == 0 and errors is None:
            sink[...] = frame.parts.data
            return
        planned = choose_runtime(runtime, device)
        restore_planes(frame, engine, told, None, planned, sink, blend=strength, errors=errors)

    return frame.finish(fill, header, 1, out, overwrite, errors=errors)
