"""The measurements of one plane in the order in which each needs those before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.measurement.psf.extended import measure_wings
from astro_sr_plugin.measurement.psf.field import PSFField, fit_psf_field
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement, detection_sigma, fit_psf
from astro_sr_plugin.measurement.sky.background import Background, measure_background
from astro_sr_plugin.measurement.sky.noise import Noise, measure_noise
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.measurement.sky.windows import check_plane, iterate_strips
from astro_sr_plugin.measurement.sources.candidates import CandidateFinder
from astro_sr_plugin.measurement.unusable import UnusablePixels

__all__ = ["Sky", "measure_sky"]

_FAINTEST_TONE = 1e-4


@dataclass(frozen=True, eq=False)
class Sky:
    """What was measured on a plane, in image units and pixels.

    Attributes
    ----------
    background : Background
        Smooth level of the sky.
    noise : Noise
        Of a pixel, as measured; its `sigma` may be 0 or NaN.
    sigma : float
        That of `noise`. Of a picture without noise, its faintest tones: the scatter about the
        background, or 1e-4 of its range; 0 for a constant plane.
    saturation : float or None
        Value from which pixels are saturated; None if none are.
    psf : PSFMeasurement
        Moffat profile of the stars; where `field` is known, its mean.
    wings : numpy.ndarray of float32, shape (65, 65), or None
        The PSF pixel by pixel, where a Moffat profile does not say all and it was asked for.
    field : PSFField or None
        The profile over the field, where it changes and was asked for.
    """

    background: Background
    noise: Noise
    sigma: float
    saturation: float | None
    psf: PSFMeasurement
    wings: NDArray[np.float32] | None
    field: PSFField | None = None


def measure_sky(
    plane: NDArray[Any],
    *,
    mask: NDArray[np.bool_] | UnusablePixels | None = None,
    saturation: float | None = None,
    psf_grid: tuple[int, int] | None = None,
    wings: bool = True,
    field: bool = False,
) -> Sky:
    """Measure background, noise, saturation and point-spread function of a plane.

    Parameters
    ----------
    plane : numpy.ndarray, shape (ny, nx)
        Image in linear units.
    mask : numpy.ndarray of bool or UnusablePixels, shape (ny, nx), optional
        True marks pixels to leave out.
    saturation : float, optional
        Level of saturation that the header tells; a lower one found in the plane replaces it.
    psf_grid : tuple of int, optional
        Number of cells (gy, gx) of a map of the stars' shape over the field.
    wings : bool
        Whether to measure the point-spread function pixel by pixel too.
    field : bool
        Whether to measure how it changes over the field.

    Returns
    -------
    Sky
        The figures.

    Raises
    ------
    InputError
        If the plane is unusable or has no usable pixel.
    """
    data, unusable = check_plane(plane, mask)
    background = measure_background(data, mask=unusable)
    noise = measure_noise(data, mask=unusable, background=background)
    sigma = noise.sigma
    if not (np.isfinite(sigma) and sigma > 0):
        sigma = background.rms if background.rms > 0 else _FAINTEST_TONE * _range(data, unusable)
    found = find_saturation(
        data, mask=unusable, level=background.level, rms=background.rms, step=noise.step
    )
    if found is not None and (saturation is None or found < saturation):
        saturation = found
    level = detection_sigma(data, unusable, noise)
    finder = CandidateFinder(data, unusable, background, level, saturation)
    psf = fit_psf(finder, noise, psf_grid)
    varying = image = None
    if field:
        varying = fit_psf_field(finder, psf)
    if varying is not None:
        psf = varying.mean()
    if wings:
        image = measure_wings(
            data,
            psf if varying is None else varying,
            background=background,
            sigma=sigma,
            mask=unusable,
            saturation=saturation,
        )
    return Sky(background, noise, float(sigma), saturation, psf, image, varying)


def _range(plane: NDArray[Any], unusable: UnusablePixels) -> float:
    low, high = np.inf, -np.inf
    for y0, y1, _, _ in iterate_strips((plane.shape[0], plane.shape[1])):
        rows = np.asarray(plane[y0:y1], dtype=np.float64)
        good = ~unusable[y0:y1]
        if good.any():
            low, high = min(low, rows[good].min()), max(high, rows[good].max())
    return float(high - low)
