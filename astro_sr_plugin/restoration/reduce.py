"""Reduce images whose stars are wider than the models need."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import block_reduce

from astro_sr_plugin.data.nddata import HDUChoice, Image, MaskLike, Unpacked
from astro_sr_plugin.data.wcs import scale_wcs, scale_wcs_header
from astro_sr_plugin.exceptions import InputError, warn
from astro_sr_plugin.measurement.plane import open_planes
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.restoration.frame import Frame, open_frame
from astro_sr_plugin.restoration.psf import PSFLike, normalise_planes

__all__ = ["open_reduced", "reduce_image"]

_WIDEST = 6.0
"""FWHM in pixels above which ``auto_scale`` reduces an image."""


def open_reduced(
    image: Image,
    task: str,
    *,
    mask: MaskLike | None,
    hdu: HDUChoice,
    force: bool,
    measured: Quality | None,
    psf: PSFLike,
    auto_scale: bool,
) -> Frame:
    """Take an image apart, and reduce it if that is asked for and needed.

    Parameters
    ----------
    image, task, mask, hdu, force, measured, psf
        As for `open_frame`.
    auto_scale : bool
        Average blocks of pixels until the stars are at most 6 pixels wide.

    Raises
    ------
    InputError
        If ``auto_scale`` meets a given PSF, whose pixels would no longer be those of the image.
    """
    if auto_scale and psf is not None:
        msg = "auto_scale=True measures the stars itself; leave out psf, or reduce the image before"
        raise InputError(msg)
    frame = open_frame(image, task, mask=mask, hdu=hdu, force=force, measured=measured, psf=psf)
    if not (auto_scale and frame.fwhm > _WIDEST):
        return frame
    factor = math.ceil(frame.fwhm / _WIDEST)
    warn(
        f"stars are {frame.fwhm:.1f} px wide: the image is reduced {factor} times, "
        f"to stars of {frame.fwhm / factor:.1f} px"
    )
    parts = reduce_image(frame, factor)
    return Frame(parts, normalise_planes(open_planes(parts)))


def reduce_image(frame: Frame, factor: int) -> Unpacked:
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
    for index, source in frame.indexed():
        plane, good = parts.data[index], ~np.asarray(source.mask)
        light = block_reduce(np.where(good, plane, 0.0), factor)
        count = block_reduce(good.astype(int), factor)
        with np.errstate(invalid="ignore", divide="ignore"):
            data[index] = np.where(count * 2 >= factor**2, light / count, np.nan)
    scale = 1 / factor
    meta: Header | dict[str, Any] = parts.meta
    if isinstance(meta, Header):
        meta = scale_wcs_header(meta, scale, shape=data.shape)
    return replace(
        parts,
        data=data,
        mask=None,
        flags=None,
        uncertainty=None,
        wcs=scale_wcs(parts.wcs, scale),
        meta=meta,
    )
