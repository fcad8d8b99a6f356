"""The gain of an image, from its header or from how the noise grows with the brightness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import correlate1d

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.data.keywords import read_number
from astro_sr_plugin.measurement.sky.windows import check_plane, cut_window, spread_windows

__all__ = ["estimate_gain", "read_gain"]

_PATCH = 16
"""Side in pixels of the patches whose level and noise are compared."""
_BINS = 8
"""Bins of brightness through which the line is fitted."""
_DIFFERENCES = np.array([1, -2, 1]) / np.sqrt(6)
"""Second differences, variance 1 in white noise. Along both axes they are blind to slopes, and
nearly so to what the optics let pass."""


def read_gain(meta: Mapping[str, Any]) -> float | None:
    """Read the gain in electrons per data number (e-/adu) from a header.

    ``EGAIN`` is taken as it is. ``GAIN`` is often the setting of a camera, a bare number without
    a unit; it is taken only where its comment names electrons, or where it is a fraction from 0.01
    to 20 as gains in e-/adu are.

    Parameters
    ----------
    meta : mapping
        Header or dictionary.

    Returns
    -------
    float or None
        Gain in e-/adu.
    """
    value = read_number(meta, "EGAIN")
    if value is not None and value > 0:
        return value
    value = read_number(meta, "GAIN")
    if value is None or not 0.01 <= value <= 20:
        return None
    comments = getattr(meta, "comments", None)
    comment = str(comments["GAIN"]).lower() if comments is not None else ""
    if any(word in comment for word in ("e-/", "electron", "e/adu", "e/dn")):
        return value
    return None if float(value).is_integer() else value


def estimate_gain(
    plane: ArrayLike, *, mask: ArrayLike | None = None, sigma: float, correlation: float
) -> float | None:
    """Estimate the gain by photon transfer: the slope of the variance over the brightness.

    Works on images with extended bright areas whose noise is stronger than that of the sky. The
    noise of each small patch is taken from second differences; where noise is correlated, these are
    scaled so that the sky has the standard deviation `sigma`. In a mean of N frames the result is
    N times the gain of the camera.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units, with or without a pedestal.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    sigma : float
        Measured noise of the sky, in image units.
    correlation : float
        Measured correlation of the noise of neighbouring pixels.

    Returns
    -------
    float or None
        Electrons per image unit; None where the brightness varies too little, or the noise does
        not follow it.

    Raises
    ------
    InputError
        If the plane is unusable.
    """
    data, excluded = check_plane(plane, mask)
    if not sigma > 0 or min(data.shape) < 4 * _PATCH:
        return None
    levels, scatters = [], []
    for window in spread_windows(data.shape, 512, 12):
        values, bad = cut_window(data, excluded, window)
        level, scatter = _patches(values, bad)
        levels.append(level)
        scatters.append(scatter)
    level, scatter = np.concatenate(levels), np.concatenate(scatters)
    if level.size < 20 * _BINS:
        return None
    return _slope(level, scatter, sigma if abs(correlation) > 0.05 else None)


def _patches(
    values: NDArray[np.float32], bad: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Level and robust scatter of the second differences of each complete patch."""
    differences = values - values.mean()
    for axis in (0, 1):
        differences = correlate1d(differences, _DIFFERENCES, axis, mode="constant")
    rows, columns = values.shape[0] // _PATCH, values.shape[1] // _PATCH

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        part = array[: rows * _PATCH, : columns * _PATCH]
        blocks = part.reshape(rows, _PATCH, columns, _PATCH).swapaxes(1, 2)
        return blocks.reshape(-1, _PATCH * _PATCH)

    complete = ~cut(bad).any(axis=1)
    level = np.median(cut(values)[complete], axis=1)
    second = np.abs(cut(differences)[complete])
    scatter = MAD_TO_SIGMA * np.median(second, axis=1)
    # A star in a patch makes the noise of that patch uncertain.
    even = second.max(axis=1, initial=0) < 7 * scatter
    return level[even].astype(float), scatter[even].astype(float)


def _slope(
    level: NDArray[np.float64], scatter: NDArray[np.float64], sigma: float | None
) -> float | None:
    low, high = np.percentile(level, [2, 99])
    edges = np.linspace(low, high, _BINS + 1)
    index = np.digitize(level, edges) - 1
    centres, variances, errors = [], [], []
    for number_of_bin in range(_BINS):
        members = index == number_of_bin
        if members.sum() < 10:
            continue
        squares = scatter[members] ** 2
        centres.append(float(np.median(level[members])))
        variances.append(float(np.median(squares)))
        spread = MAD_TO_SIGMA * float(np.median(np.abs(squares - variances[-1])))
        errors.append(1.25 * spread / np.sqrt(members.sum()) + 0.02 * variances[-1])
    if len(centres) < 4:
        return None
    x, y, weight = np.array(centres), np.array(variances), 1 / np.array(errors)
    coefficients, covariance = np.polyfit(x, y, 1, w=weight, cov="unscaled")
    slope, error = float(coefficients[0]), float(np.sqrt(covariance[0, 0]))
    residual = np.sqrt(np.mean(((y - np.polyval(coefficients, x)) * weight) ** 2))
    if slope <= 8 * error or y[-1] < 1.3 * y[0] or residual > 3:
        return None
    return 1 / slope if sigma is None else float(y[0] / sigma**2 / slope)
