"""The pixels of the frames as they are: normalised, compared with the stack, not interpolated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from astro_sr_plugin.data.cfa import ColorFilterArray
from astro_sr_plugin.stacking.bands import Light, StackSettings, area_of, widths_of
from astro_sr_plugin.stacking.combination import Combined
from astro_sr_plugin.stacking.drizzle_package import FAR_AWAY
from astro_sr_plugin.stacking.measuring import read_calibrated
from astro_sr_plugin.stacking.rejection import DEFAULT_LIMITS, hysteresis
from astro_sr_plugin.stacking.star_light import find_stars

__all__ = ["Samples", "StackModel", "filter_mask", "read_samples"]

_GROWTH = 1
"""Pixels by which what was rejected grows over neighbours that deviate too."""


class Samples(NamedTuple):
    """Pixels of one colour of a frame.

    Attributes
    ----------
    x, y : ndarray, shape (ny, nx)
        Their places in the reference.
    data : ndarray, shape (ny, nx)
        Values on the scale of the reference; NaN where there is none.
    variance : ndarray, shape (ny, nx)
        Variances of their noise.
    valid, accepted : ndarray of bool, shape (ny, nx)
        Whether there is a value, and whether it agrees with the stack.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    data: NDArray[np.float32]
    variance: NDArray[np.float64]
    valid: NDArray[np.bool_]
    accepted: NDArray[np.bool_]


class StackModel:
    """The stack of one colour, with which frames are compared.

    Parameters
    ----------
    stack : Combined
        The stack on the grid of the reference.
    settings : StackSettings
        How it was made.
    lights : list of Light
        The frames.
    plane : int
        Number of the colour.
    """

    def __init__(
        self, stack: Combined, settings: StackSettings, lights: list[Light], plane: int
    ) -> None:
        level = np.float32(settings.level[plane])
        data = np.where(np.isfinite(stack.data), stack.data, level)
        self.level = level
        self.coefficients = spline_filter(data, order=3, output=np.float32, mode="mirror")
        error = np.sqrt(np.nan_to_num(stack.variance))
        self.stars, self.around = find_stars(data - level, error, widths_of(lights))

    def at(self, x: NDArray, y: NDArray, share: NDArray[np.float32]) -> tuple[NDArray, NDArray]:
        """Value at places of the reference, and the deviation that is allowed there."""
        places = np.stack([y, x])
        value = map_coordinates(self.coefficients, places, order=3, prefilter=False, mode="mirror")
        stars, around = (
            map_coordinates(plane, places, order=1, mode="nearest")
            for plane in (self.stars, self.around)
        )
        return value, share[0] * stars + share[1] * around


def read_samples(
    light: Light,
    settings: StackSettings,
    models: list[StackModel],
    shares: NDArray[np.float32],
    rows: tuple[int, int],
    columns: tuple[int, int] | None = None,
) -> list[Samples]:
    """Read pixels of a frame, and compare them with the stack.

    Parameters
    ----------
    light : Light
        The frame.
    settings : StackSettings
        How the frames are combined.
    models : list of StackModel
        The stack, for each colour.
    shares : ndarray, shape (planes, 2)
        Deviation that is allowed in the light of stars, of `star_shares`.
    rows, columns : (int, int)
        First row or column of the frame, and the one after the last; all columns by default.

    Returns
    -------
    list of Samples
        For each colour.
    """
    nx = light.frame.shape[-1]
    left, right = columns or (0, nx)
    values = read_calibrated(light.frame, light.masters, *rows)
    bounds = np.searchsorted(light.excluded, [rows[0] * nx, rows[1] * nx])
    spoilt = light.excluded[bounds[0] : bounds[1]] - rows[0] * nx
    if spoilt.size:
        values.reshape(*values.shape[:-2], -1)[..., spoilt] = np.nan
    values = values[..., left:right]
    v, u = np.mgrid[rows[0] : rows[1], left:right].astype(np.float64)
    x, y = light.transform.to_reference(u, v)
    known = np.isfinite(x) & np.isfinite(y)
    x[~known] = y[~known] = FAR_AWAY
    gain = light.normalisation.scale * area_of(light.transform)
    found = []
    for plane, model in enumerate(models):
        own = values if values.ndim == 2 else values[plane]
        data = own * np.float32(gain)
        data += settings.offset_at(light, plane, x, y)
        valid = np.isfinite(data) & known
        if settings.cfa is not None:
            valid &= filter_mask(settings.cfa, plane, rows, (left, right))
        variance = np.full(own.shape, (gain * light.noise[plane]) ** 2)
        expected, tolerance = model.at(x, y, shares[plane])
        if light.gain is not None:
            variance += np.maximum(expected - model.level, 0) * gain / light.gain
        accepted = valid
        if settings.rejection != "none":
            accepted = valid & ~_outliers(data - expected, np.sqrt(variance), tolerance, settings)
        found.append(Samples(x, y, data, variance, valid, accepted))
    return found


def filter_mask(
    cfa: ColorFilterArray, plane: int, rows: tuple[int, int], columns: tuple[int, int]
) -> NDArray[np.bool_]:
    """Mark the pixels behind the filter of a colour, in rows and columns of a frame."""
    side = len(cfa.filters)
    y, x = np.arange(*rows) % side, np.arange(*columns) % side
    mask: NDArray[np.bool_] = cfa.filters[np.ix_(y, x)] == "RGB"[plane]
    return mask


def _outliers(
    deviation: NDArray[np.floating],
    sigma: NDArray[np.floating],
    tolerance: NDArray[np.floating],
    settings: StackSettings,
) -> NDArray[np.bool_]:
    low, high = DEFAULT_LIMITS["noise"]
    if settings.rejection == "noise" and settings.limits is not None:
        low, high = settings.limits
    size = (np.abs(np.nan_to_num(deviation)) - tolerance) / sigma
    below = deviation < 0
    found: NDArray[np.bool_] = hysteresis(np.where(below, size, 0), low, _GROWTH)
    return found | hysteresis(np.where(below, 0, size), high, _GROWTH)
