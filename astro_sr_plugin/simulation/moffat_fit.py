"""Fit of a Moffat profile to the image of a PSF."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

__all__ = ["MoffatShape", "fit_moffat"]

_REACH = 2.5
"""Radius in FWHM of the circle that is fitted."""
_LEAST_REACH = 4.0
"""Least radius in pixels of that circle."""
_BETA = (1.2, 12.0)
"""Least and greatest exponent."""
_MOST_PLACES = 3000
"""Samples that are fitted at most; of larger circles every second or third row and column."""


@dataclass(frozen=True)
class MoffatShape:
    """A fitted Moffat profile.

    Attributes
    ----------
    x, y : float
        Its centre, in detector pixels from the middle of the image.
    fwhm, beta, ellipticity, theta : float
        FWHM (geometric mean of the axes) in pixels, exponent, ``1 - minor/major``, and angle of the
        major axis from +x in radians.
    """

    x: float
    y: float
    fwhm: float
    beta: float
    ellipticity: float
    theta: float


def fit_moffat(image: NDArray[np.float64], step: float, fwhm: float) -> MoffatShape | None:
    """Fit an elliptical Moffat profile by least squares, as stars in the noise of the sky are.

    Parameters
    ----------
    image : ndarray
        A PSF with the star near the middle; odd sides.
    step : float
        Its pixels in detector pixels.
    fwhm : float
        First guess in detector pixels; it also sets the circle that is fitted.

    Returns
    -------
    MoffatShape or None
        None if the fit does not converge within its bounds.
    """
    reach = max(_REACH * fwhm, _LEAST_REACH)
    skip = max(1, round(math.sqrt(math.pi * (reach / step) ** 2 / _MOST_PLACES)))
    half = image.shape[0] // 2
    index = np.arange(half % skip, image.shape[0], skip)
    axis = (index - half) * step
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x, y) <= reach
    x, y = x[inside], y[inside]
    values = image[np.ix_(index, index)][inside]
    values = values / values.max()

    def residual(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        profile = _profile(numbers, x, y)
        # The amplitude is linear: its best value follows from the others.
        return np.asarray(profile * (profile @ values / (profile @ profile)) - values)

    peak = int(np.argmax(values))
    start = np.array([0.5 * x[peak], 0.5 * y[peak], math.log(fwhm), math.log(3.0), 0.0, 0.0])
    limits = np.array([reach, reach, math.log(fwhm) + 1.2, math.log(_BETA[1]), 0.8, 0.8])
    least = np.array([-reach, -reach, math.log(fwhm) - 1.2, math.log(_BETA[0]), -0.8, -0.8])
    found = optimize.least_squares(residual, start, bounds=(least, limits), xtol=1e-5, max_nfev=60)
    if not found.success and found.status != 0:
        return None
    x0, y0, log_fwhm, log_beta, e1, e2 = found.x.tolist()
    shear = math.hypot(e1, e2)
    if abs(log_fwhm - math.log(fwhm)) > 1.1 or shear > 0.79:
        return None
    return MoffatShape(
        x0,
        y0,
        math.exp(log_fwhm),
        math.exp(log_beta),
        1 - math.exp(-2 * shear),
        0.5 * math.atan2(e2, e1) % math.pi,
    )


def _profile(
    numbers: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a Moffat profile of peak 1; the axes are ``exp(+-shear)`` times the mean one."""
    x0, y0, log_fwhm, log_beta, e1, e2 = numbers
    beta = math.exp(log_beta)
    shear, angle = math.hypot(e1, e2), 0.5 * math.atan2(e2, e1)
    dx, dy = x - x0, y - y0
    cos, sin = math.cos(angle), math.sin(angle)
    major = (dx * cos + dy * sin) * math.exp(-shear)
    minor = (dy * cos - dx * sin) * math.exp(shear)
    alpha = math.exp(log_fwhm) / (2 * math.sqrt(2 ** (1 / beta) - 1))
    return np.asarray((1 + (major**2 + minor**2) / alpha**2) ** -beta)
