"""Pixel values that files store as a curve of the light: asinh, logarithms, magnitudes, roots.

Pan-STARRS stacks are turned back to light when they are read, by the formula of their pipeline
(Waters et al. 2020, ApJS 251, 4, and the page "asinh compression" of the IPP)::

    flux = BOFFSET + BSOFTEN * (exp(value / a) - exp(-value / a)),  a = 2.5 log10(e)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io.fits import Header
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.units.function import FunctionUnitBase
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_strips
from astro_sr_plugin.exceptions import warn

__all__ = ["find_curved_unit", "is_asinh_compressed", "undo_asinh"]

# Pogson's ratio: magnitudes per factor e of light.
_POGSON = 2.5 * np.log10(np.e)
# Above this stored value the light would be more than 1e16 times BSOFTEN: the pixels are linear
# already, and the keywords a remainder.
_HIGHEST_ASINH = 40.0
_CURVED_UNITS = re.compile(
    r"\b(mag|mags|magnitudes?|dex|db|decibels?|luptitudes?)\b|\b(log|log10|ln|sqrt|asinh|arcsinh)\b"
    r"|\*\*\s*\(?\s*(0?\.5|1/2)\)?|\^\s*\(?\s*(0?\.5|1/2)\)?",
    re.IGNORECASE,
)


def is_asinh_compressed(meta: Mapping[str, Any], data: NDArray) -> bool:
    """Whether pixels are asinh-compressed as those of Pan-STARRS stacks.

    Parameters
    ----------
    meta : mapping or fits.Header
        Compressed images have BSOFTEN and BOFFSET.
    data : ndarray
        The pixels.

    Returns
    -------
    bool
        False where the values are too large for an asinh, so that the keywords are a remainder.
    """
    if _asinh_constants(meta) is None:
        return False
    return not any(np.any(np.abs(strip) > _HIGHEST_ASINH) for strip in iter_strips(data))


def undo_asinh(image: CCDData, source: str) -> CCDData:
    """Turn an asinh-compressed image back to light; leave others as they are.

    Parameters
    ----------
    image : CCDData
        As read from a file.
    source : str
        Name of the file, for the warning.

    Returns
    -------
    CCDData
        `image` itself, or the linear image without BSOFTEN and BOFFSET; a standard deviation is
        multiplied by the slope of the curve, any other uncertainty is left out.

    Warns
    -----
    AstroSRWarning
        If the image was compressed.
    """
    constants = _asinh_constants(image.meta)
    if constants is None:
        return image
    softening, offset = constants
    meta = image.meta.copy()
    for keyword in ("BSOFTEN", "BOFFSET"):
        meta.remove(keyword, ignore_missing=True)
    if not is_asinh_compressed(image.meta, image.data):
        image.meta = meta
        return image
    data = np.empty(image.data.shape, np.float64 if image.data.dtype.itemsize > 4 else np.float32)
    for stored, light in zip(iter_strips(image.data), iter_strips(data), strict=True):
        light[...] = offset + 2 * softening * np.sinh(stored.astype(np.float64) / _POGSON)
    uncertainty = None
    if isinstance(image.uncertainty, StdDevUncertainty):
        slope = 2 * softening / _POGSON * np.cosh(np.asarray(image.data, np.float64) / _POGSON)
        uncertainty = StdDevUncertainty(image.uncertainty.array * slope)
    text = f"BSOFTEN = {softening:.9g}, BOFFSET = {offset:.9g}"
    meta.add_history(f"astro_sr_plugin: asinh pixels made linear, {text}")
    # The integers of the file are those of the curve.
    for keyword in ("ASRBSCAL", "ASRBZERO", "ASRBLANK"):
        meta.remove(keyword, ignore_missing=True)
    meta["ASRDTYPE"] = data.dtype.name
    msg = f"{source}: the pixels are compressed by asinh ({text}); they were made linear"
    warn(msg)
    return CCDData(
        data,
        unit=image.unit,
        mask=image.mask,
        flags=image.flags,
        uncertainty=uncertainty,
        wcs=image.wcs,
        meta=meta,
    )


def find_curved_unit(meta: Mapping[str, Any], unit: u.UnitBase | None) -> str:
    """Give the unit of an image if its values are not proportional to light.

    Parameters
    ----------
    meta : mapping or fits.Header
        With BUNIT, whose spelling is also looked at.
    unit : astropy unit or None
        Of the image.

    Returns
    -------
    str
        A magnitude, logarithm or root; empty for units of light.
    """
    if isinstance(unit, FunctionUnitBase):
        return str(unit)
    for text in ("" if unit is None else str(unit), str(meta.get("BUNIT", ""))):
        if _CURVED_UNITS.search(text.replace("_", " ")):
            return text.strip()
    return ""


def _asinh_constants(meta: Header | Mapping[str, Any]) -> tuple[float, float] | None:
    values = [meta.get(keyword) for keyword in ("BSOFTEN", "BOFFSET")]
    if not all(isinstance(v, int | float) and np.isfinite(v) for v in values):
        return None
    softening, offset = (float(v) for v in values if v is not None)
    return (softening, offset) if softening > 0 else None
