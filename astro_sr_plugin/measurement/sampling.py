"""How finely an image is sampled: the size of a pixel on the sky, the width of stars in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from astro_sr_plugin.data.keywords import read_number

__all__ = ["judge_sampling", "measure_pixel_scale"]


def measure_pixel_scale(wcs: WCS | None, meta: Mapping[str, Any]) -> float | None:
    """Return the side of a pixel on the sky in arcseconds; None if it is not known.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or None
        World coordinates of the image.
    meta : mapping
        Header, whose FOCALLEN (mm) and XPIXSZ (micrometres) serve where the WCS gives no scale.
    """
    if wcs is not None and wcs.has_celestial:
        sides = proj_plane_pixel_scales(wcs.celestial)
        scale = float(np.sqrt(np.prod(sides))) * 3600
        if np.isfinite(scale) and scale > 0:
            return scale
    focal_length, pixel_size = read_number(meta, "FOCALLEN"), read_number(meta, "XPIXSZ")
    if focal_length and pixel_size and focal_length > 0 and pixel_size > 0:
        return 206.264806 * pixel_size / focal_length
    return None


def judge_sampling(fwhm: tuple[float, ...], confidence: tuple[str, ...]) -> str:
    """Return a verdict on the sampling, with advice.

    Parameters
    ----------
    fwhm : tuple of float
        FWHM of the stars in pixels, one per plane; NaN if unknown.
    confidence : tuple of str
        How certain they are, as in `PSFMeasurement`.
    """
    known = [value for value in fwhm if np.isfinite(value)]
    if not known:
        return "unknown: the image has no stars that could be measured"
    width = float(np.median(known))
    remark = "" if {"high", "medium"} & set(confidence) else " (uncertain, few stars)"
    size = f"stars are {width:.1f} pixels wide{remark}"
    if width < 2:
        return f"undersampled: {size}; drizzle dithered frames to gain resolution"
    if width <= 4:
        return f"well sampled: {size}"
    if width <= 5:
        return f"slightly oversampled: {size}; nothing needs to be done"
    factor = max(2, round(width / 3))
    if width <= 8:
        return f"oversampled: {size}; binning by {factor} loses nothing and is faster"
    return (
        f"strongly oversampled: {size}, wider than the 8 pixels that the models are trained for; "
        f"bin by {factor} first"
    )
