"""Take the stars out: what remains, and the stars by themselves."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, iter_planes
from astro_sr_plugin.data.signatures import pair_function
from astro_sr_plugin.data.strips import iter_rows, release
from astro_sr_plugin.exceptions import UnchangedWarning, warn
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sources.trails import Trail
from astro_sr_plugin.models.registry import ModelLike
from astro_sr_plugin.restoration.extended_light import remove_extended_light
from astro_sr_plugin.restoration.frame import Frame, choose_model, choose_runtime, open_frame
from astro_sr_plugin.restoration.generic import restore_frame
from astro_sr_plugin.restoration.light_left import MOST_LEFT, measure_light_left
from astro_sr_plugin.restoration.pipeline import Job
from astro_sr_plugin.restoration.plane import ROWS, NormalisedPlane
from astro_sr_plugin.restoration.psf import PSFLike
from astro_sr_plugin.restoration.result import write_result
from astro_sr_plugin.restoration.target import warn_of_width
from astro_sr_plugin.restoration.trails import TrailLight

__all__ = ["remove_stars"]

_NAMED = 3
"""Trails whose places a warning gives."""
_LEFT_KEYWORD = "ASRLEFT"
_CLEAR = 5.0
"""Light of a star's brightest pixel in noise sigma; what is less is the noise of the sky."""


@pair_function
def remove_stars(
    image: Image,
    *,
    psf: PSFLike = None,
    uncertainty: bool = False,
    model: ModelLike | None = None,
    measured: Quality | None = None,
    mask: MaskLike | None = None,
    device: str | None = None,
    runtime: Runtime | None = None,
    out: str | os.PathLike[str] | None = None,
    stars_out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    hdu: HDUChoice = None,
    force: bool = False,
) -> tuple[CCDData | NDArray, CCDData | NDArray]:
    """Separate the stars of a linear image from everything else.

    The network predicts the noise-free image with and without its stars. The difference is taken
    out of the image, so that sky, nebula and galaxies keep their own pixels, noise included; under
    bright stars, where nothing else was recorded, the predicted nebula stands, with noise like that
    of the sky. Halos and diffraction spikes that the stars have in common are measured, scaled to
    each bright star and taken out before, out to 32 pixels. Long straight lines, such as trails of
    satellites, stay.

    Where more than 2 % of the light of a bright star is left, or missing, a warning says so, and
    ``ASRLEFT`` in the header is the number of these stars.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Linear image, shape (ny, nx), (3, ny, nx) or (n, ny, nx), in any unit and range. Never
        changed.
    psf : number, sequence of numbers, 2D array, PSF model, str or Path, optional
        PSF of the input instead of the measured one, as for `deconvolve`.
    uncertainty : bool
        Whether ``starless`` carries the standard deviation of every pixel, noise included, as
        StdDevUncertainty; also for arrays it is then a CCDData. NaN where a pixel of the input was
        NaN or masked.
    out, stars_out : str or Path, optional
        FITS files to stream both results into, for images larger than the memory.
    overwrite : bool
        Whether these may replace files.

    Returns
    -------
    starless : CCDData or ndarray
        The image without its stars; float32 (float64 for float64).
    stars : CCDData or ndarray
        What was taken out, float64: ``starless + stars`` in float64 is the input, to the last bit
        for images in float32 or integers. 0 where a pixel was NaN or masked: there ``starless`` is
        as the input was.

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
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:128, :128]
    >>> image = rng.normal(100.0, 2.0, (128, 128))
    >>> for xc, yc in rng.uniform(10, 118, (20, 2)):
    ...     image += 500.0 * np.exp(-((x - xc) ** 2 + (y - yc) ** 2) / 4.0)
    >>> starless, stars = asr.remove_stars(image)
    >>> bool(np.allclose(starless + stars, image)), bool(starless.max() < 200)
    (True, True)
    """
    engine = choose_model(model, "remove-stars", uncertainty=uncertainty)
    frame = open_frame(
        image, engine.spec.task, mask=mask, hdu=hdu, force=force, measured=measured, psf=psf
    )
    warn_of_width([plane.psf.moffat for plane in frame.planes], engine.spec)
    header = frame.header(
        engine.spec,
        parameters={"noise_correlation": frame.noise_correlation},
    )
    header[_LEFT_KEYWORD] = (0, "bright stars with light left or missing")
    typical = frame.with_typical_psf()
    trails = _find_trails(frame)
    bare = replace(
        typical,
        planes=tuple(_without_other_light(plane, trails) for plane in typical.planes),
    )
    job = Job(engine, None, choose_runtime(runtime, device), keep_flux=False)

    def fill(sink: NDArray, errors: NDArray | None) -> None:
        restore_frame(bare, job, sink, header=header, errors=errors)
        header[_LEFT_KEYWORD] = _warn_of_light_left(frame, sink)

    starless = write_result(
        frame, fill, header, scale=1, out=out, overwrite=overwrite, uncertainty=uncertainty
    )
    left = starless.data if isinstance(starless, CCDData) else starless

    removed = 0

    def subtract(sink: NDArray, errors: NDArray | None) -> None:
        nonlocal removed
        del errors
        removed = _subtract(frame, left, sink)

    stars = write_result(
        frame,
        subtract,
        header,
        scale=1,
        out=stars_out,
        overwrite=overwrite,
        dtype=np.dtype(np.float64),
    )
    if not removed:
        warn("no stars were found, so none were removed", UnchangedWarning)
    elif not any(plane.measured.psf.known for plane in frame.usable):
        warn("no star could be measured; look at the image of the stars, whether it shows any")
    return starless, stars


def _find_trails(frame: Frame) -> list[Trail]:
    """Return the trails of all planes, and warn of them."""
    trails: list[Trail] = []
    for plane in frame.usable:
        for trail in plane.measured.trails:
            if not any(trail.lies_on(other) for other in trails):
                trails.append(trail)
    if trails:
        ends = [f"({t.x0:.0f}, {t.y0:.0f}) to ({t.x1:.0f}, {t.y1:.0f})" for t in trails]
        named = ", ".join(ends[:_NAMED]) + (", ..." if len(trails) > _NAMED else "")
        subject = "line stays" if len(trails) == 1 else "lines stay"
        warn(
            f"{len(trails)} long straight {subject} in the starless image (pixels {named}): "
            "a trail of a satellite, or a defect of the detector?"
        )
    return trails


def _without_other_light(plane: NormalisedPlane, trails: list[Trail]) -> NormalisedPlane:
    """Return a plane without the light that hides stars from the model."""
    if not plane.usable:
        return plane
    bare = remove_extended_light(plane)
    return replace(bare, trails=TrailLight(plane.measured, trails)) if trails else bare


def _warn_of_light_left(frame: Frame, starless: NDArray) -> int:
    """Return the number of bright stars of which light is left or missing, and warn of them."""
    found = [
        measure_light_left(source, starless[index])
        for index, source in frame.indexed()
        if source.usable and source.measured.psf.known
    ]
    parts = np.concatenate([np.empty(0), *(each.parts for each in found)])
    left = int((parts > MOST_LEFT).sum())
    if left:
        x, y = np.concatenate([each.places for each in found])[int(np.argmax(parts))]
        warn(
            f"more than {MOST_LEFT:.0%} of the light of {left} of {len(parts)} bright stars is "
            "left in the starless image, or too much was taken out "
            f"({parts.max():.1%} at pixel ({x:.0f}, {y:.0f}))",
            UnchangedWarning,
        )
    return left


def _subtract(frame: Frame, starless: NDArray, sink: NDArray) -> int:
    """Fill ``sink`` with the image less ``starless``, 0 where that is not a number.

    Returns the number of pixels from which more than the noise was taken.
    """
    clear = 0
    for (index, source), (_, plane) in zip(
        frame.indexed(), iter_planes(frame.parts.data), strict=True
    ):
        threshold = _CLEAR * source.image_sigma if source.usable else np.inf
        for strip in iter_rows(len(plane), ROWS):
            rows = slice(*strip)
            original = np.asarray(plane[rows], dtype=np.float64)
            with np.errstate(invalid="ignore", over="ignore"):
                difference = original - starless[index][rows]
            difference[~np.isfinite(difference)] = 0.0
            sink[index][rows] = difference
            clear += int(np.count_nonzero(difference > threshold))
        release(sink)
    return clear
