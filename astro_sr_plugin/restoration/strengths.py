"""Strengths from 0 to 1, for the whole image or for stars and the rest apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.stars.mask import mask_planes

__all__ = ["check_strength", "make_blend"]


def check_strength(name: str, value: float) -> None:
    """Raise InputError unless ``value`` is 0 to 1."""
    if not 0 <= value <= 1:
        msg = f"{name}={value} is out of range; allowed is 0 (the input) to 1 (the full effect)"
        raise InputError(msg)


def make_blend(
    planes: Sequence[MeasuredPlane], stars: float, extended: float, fwhm: float
) -> NDArray[np.float32] | float:
    """Fraction of the restored image per pixel: ``stars`` on stars, ``extended`` elsewhere.

    Parameters
    ----------
    planes : sequence of MeasuredPlane
        The image.
    stars, extended : float
        Strengths, 0 to 1.
    fwhm : float
        FWHM of the stars; the transition is as wide.

    Returns
    -------
    ndarray of float32, shape (ny, nx), or float
    """
    if stars == extended:
        return float(stars)
    soft = gaussian_filter(mask_planes(planes).astype(np.float32), max(1.0, fwhm / 2))
    return (extended + (stars - extended) * np.clip(soft, 0, 1)).astype(np.float32)
