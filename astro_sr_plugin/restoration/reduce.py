"""Reduce images whose stars are wider than the models need."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import block_reduce
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, iter_planes
from astro_sr_plugin.data.wcs import scale_wcs, scale_wcs_header
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.restoration.frame import Frame, open_frame
from astro_sr_plugin.restoration.plane import PlaneMeasurement, warn
from astro_sr_plugin.restoration.psf import PSFLike, measure_planes

__all__ = ["WIDEST", "open_measured", "reduce_frame"]

WIDEST = 6.0
"""FWHM in pixels above which ``auto_scale`` reduces an image."""


def open_measured(
    image: Image,
    *,
    mask: NDArray | None,
    hdu: HDUChoice,
    psf: PSFLike,
    auto_scale: bool,
    task: str,
    force: bool = False,
) -> tuple[Frame, list[PlaneMeasurement]]:
    """Take an image apart, measure it, and reduce it if that is asked for and needed.

    Parameters
    ----------
    image, mask, hdu, psf, force
        As for the verbs.
    auto_scale : bool
        Average blocks of pixels until the stars are at most `WIDEST` pixels wide.
    task : str
        Name of the verb.

    Raises
    ------
    InputError
        If ``auto_scale`` meets a given PSF, whose pixels would no longer be those of the image.
    """
    frame = open_frame(image, mask=mask, hdu=hdu, task=task, force=force)
    if auto_scale and psf is not None:
        msg = "auto_scale=True measures the stars itself; leave out psf, or reduce the image before"
        raise InputError(msg)
    found = measure_planes(frame, psf)
    widest = max(m.fwhm for m in found)
    if not (auto_scale and widest > WIDEST):
        return frame, found
    factor = math.ceil(widest / WIDEST)
    warn(
        f"stars are {widest:.1f} px wide: the image is reduced {factor} times, "
        f"to stars of {widest / factor:.1f} px"
    )
    frame = reduce_frame(frame, factor)
    return frame, measure_planes(frame)


def reduce_frame(frame: Frame, factor: int) -> Frame:
    """Average blocks of ``factor`` x ``factor`` pixels; rows and columns left over are cut off.

    The mean of a block is that of its usable pixels; one with fewer than half of them is NaN. Unit
    and surface brightness stay, and the world coordinates follow.
    """
    parts = frame.parts
    *planes, ny, nx = parts.data.shape
    data = np.empty((*planes, ny // factor, nx // factor), frame.dtype)
    if data.size == 0:
        msg = f"an image of {nx} x {ny} pixels cannot be reduced {factor} times"
        raise InputError(msg)
    for (index, plane), pixels in zip(iter_planes(parts.data), frame.pixels, strict=True):
        good = ~np.asarray(pixels.unusable)
        light = block_reduce(np.where(good, plane, 0.0), factor)
        count = block_reduce(good.astype(int), factor)
        with np.errstate(invalid="ignore", divide="ignore"):
            data[index] = np.where(count * 2 >= factor**2, light / count, np.nan)
    scale = 1 / factor
    meta: Header | dict[str, Any] = parts.meta
    if isinstance(meta, Header):
        meta = scale_wcs_header(meta, scale, shape=data.shape)
    return replace(
        frame,
        parts=replace(
            parts,
            data=data,
            mask=None,
            flags=None,
            wcs=scale_wcs(parts.wcs, scale),
            meta=meta,
        ),
    )
