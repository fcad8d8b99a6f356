"""Stars of the empirical PSF: their stamps, and flux, place and sky of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, spline_filter

from astro_sr_plugin.measurement.sources.candidates import Candidates, cut_stamps

__all__ = [
    "FIRST_ERROR",
    "PSF_ERROR",
    "FinePSF",
    "StarStamps",
    "cut_star_stamps",
    "fit_stars",
    "huber_weight",
    "noise_variance",
]

FIRST_ERROR, PSF_ERROR = 0.1, 0.02
"""Error of the PSF in a pixel, relative to the light there: before it is fitted, and after."""
_PHOTON_VARIANCE = 0.1
"""Variance of a pixel per unit of its light, in noise of the sky: a typical photon noise."""
_OUTLIER = 3.0
"""Deviation in its own error from which a pixel loses weight (Huber)."""
_PADDING = 4
"""Zeros beyond the fine grid: the splines at its edge."""
_LARGEST_STEP = 0.5
"""Largest change of a place in one step, in pixels."""
_SKY_ERROR = 1.0
"""1-sigma error of the sky under a star, in noise sigma of a pixel."""
_CURVATURE = 2
"""Order of the polynomial of the sky under stars on a nebula."""


@dataclass(frozen=True, eq=False)
class StarStamps:
    """Stars with the pixels around them, in units of the noise.

    Attributes
    ----------
    values : ndarray, shape (n, side, side)
        Pixels without the sky, 0 where they cannot be used.
    usable : ndarray of bool, shape (n, side, side)
        False leaves a pixel out.
    columns, rows : ndarray of int, shape (n,)
        Pixel of the plane in the middle of each stamp.
    x, y : ndarray, shape (n,)
        Offset of the star from there in pixels.
    flux : ndarray, shape (n,)
        Flux; 0 before it is fitted.
    sky : ndarray, shape (n, 1 or 6)
        Coefficients of the polynomial of the sky that is left under each star.
    """

    values: NDArray[np.float64]
    usable: NDArray[np.bool_]
    columns: NDArray[np.int_]
    rows: NDArray[np.int_]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    sky: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    @property
    def radius(self) -> int:
        """Pixels of a stamp on each side of the middle one."""
        return self.values.shape[1] // 2

    @cached_property
    def sky_terms(self) -> NDArray[np.float64]:
        """Polynomials of the sky on a stamp, shape (terms, side, side)."""
        axis = np.linspace(-1, 1, self.values.shape[1])
        v, u = np.meshgrid(axis, axis, indexing="ij")
        order = _CURVATURE if self.sky.shape[1] > 1 else 0
        terms = [u**p * v**q for p in range(order + 1) for q in range(order + 1 - p)]
        return np.stack(terms)

    def select(self, chosen: NDArray[np.int_] | NDArray[np.bool_]) -> StarStamps:
        """Keep some of the stars."""
        names = ("values", "usable", "columns", "rows", "x", "y", "flux", "sky")
        return StarStamps(*(getattr(self, name)[chosen] for name in names))


class FinePSF:
    """PSF on a fine grid: light per pixel of a star of flux 1.

    Parameters
    ----------
    image : ndarray, shape (n, n)
        Values at nodes about the middle one, n odd.
    oversampling : int
        Nodes per pixel along each axis.
    """

    def __init__(self, image: NDArray[np.float64], oversampling: int) -> None:
        self.image, self.oversampling = image, oversampling

    def at(self, x: float, y: float, radius: int) -> NDArray[np.float64]:
        """Render a star at an offset from the middle of a stamp; 0 beyond the nodes."""
        return self.with_slopes(x, y, radius)[0]

    def with_slopes(self, x: float, y: float, radius: int) -> NDArray[np.float64]:
        """Render a star, and its derivatives along its x and y: shape (3, side, side)."""
        (rows, along), (columns, across) = self._sample(y, radius), self._sample(x, radius)
        strips = np.tensordot(along, self._coefficients[rows], ((1,), (1,)))
        stars = np.tensordot(strips[:, :, columns], across, ((3,), (1,)))
        return np.stack([stars[0, ..., 0], stars[0, ..., 1], stars[1, ..., 0]])

    @cached_property
    def _coefficients(self) -> NDArray[np.float64]:
        return np.pad(spline_filter(self.image, order=3, mode="nearest"), _PADDING)

    def _sample(self, place: float, radius: int) -> tuple[NDArray[np.int_], NDArray[np.float64]]:
        """Splines under each pixel of an axis, (side, 4); their values, and derivatives: (2, 4)."""
        start = self.image.shape[0] // 2 - (radius + place) * self.oversampling
        first, t = int(np.floor(start)), float(start % 1)
        nodes = first - 1 + _PADDING + self.oversampling * np.arange(2 * radius + 1)
        last = len(self._coefficients) - 1
        values = [(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * (t + t**2 - t**3), t**3]
        slopes = [-3 * (1 - t) ** 2, 9 * t**2 - 12 * t, 3 + 6 * t - 9 * t**2, 3 * t**2]
        weights = np.array([values, [-self.oversampling * slope for slope in slopes]]) / 6
        return np.clip(nodes[:, None] + np.arange(4), 0, last), weights


def noise_variance(light: NDArray[np.float64], psf_error: float) -> NDArray[np.float64]:
    """Variance of pixels: the noise of the sky, of the light, and the error of the PSF."""
    light = np.maximum(light, 0.0)
    return np.asarray(1 + _PHOTON_VARIANCE * light + (psf_error * light) ** 2)


def huber_weight(deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of deviations in units of their errors (Huber 1964, Ann. Math. Stat. 35, 73)."""
    return np.asarray(_OUTLIER / np.maximum(np.abs(deviation), _OUTLIER))


def cut_star_stamps(stars: Candidates, radius: int, *, curved_sky: bool) -> StarStamps:
    """Cut the stamps of stars; the pixels of other sources, and those beside them, are left out.

    Parameters
    ----------
    stars : Candidates
        The stars.
    radius : int
        Pixels of a stamp on each side of the middle one.
    curved_sky : bool
        Give each star a quadratic sky instead of a constant one.
    """
    values, usable = cut_stamps(stars, radius)
    beside = np.stack([binary_dilation(~good) for good in usable])
    columns, rows = np.round(stars.x).astype(int), np.round(stars.y).astype(int)
    zero = np.zeros(len(stars))
    terms = (_CURVATURE + 1) * (_CURVATURE + 2) // 2 if curved_sky else 1
    return StarStamps(
        values,
        usable & ~beside,
        columns,
        rows,
        stars.x - columns,
        stars.y - rows,
        zero,
        np.zeros((len(stars), terms)),
    )


def fit_stars(
    stars: StarStamps, psfs: Sequence[FinePSF], *, radius: int, psf_error: float, steps: int
) -> tuple[StarStamps, NDArray[np.float64]]:
    """Fit flux, place and sky of each star by Gauss-Newton steps.

    Parameters
    ----------
    stars : StarStamps
        The stars, with what the fit starts from.
    psfs : sequence of FinePSF
        The PSF of each star, or a single one of all.
    radius : int
        Radius in pixels within which the residuals are judged.
    psf_error : float
        Error of the PSF in a pixel, relative to the light there.
    steps : int
        Number of steps.

    Returns
    -------
    stars : StarStamps
        The same with new flux, place and sky.
    residuals : ndarray, shape (n, 2)
        Robust chi-squared of each star; and the square of what the PSF leaves of it beyond the
        noise, over that of the star.
    """
    x, y, flux = (np.array(values) for values in (stars.x, stars.y, stars.flux))
    sky, residuals = np.array(stars.sky), np.zeros((len(stars), 2))
    axis = np.arange(-stars.radius, stars.radius + 1)
    judged = np.hypot(axis[:, None], axis) <= radius
    for k in range(len(stars)):
        psf = psfs[min(k, len(psfs) - 1)]
        good = stars.usable[k]
        data, under = stars.values[k][good], stars.sky_terms[:, good]
        for _ in range(steps):
            star, *slopes = psf.with_slopes(x[k], y[k], stars.radius)[:, good]
            basis = np.concatenate([star[None], under])
            weight = 1 / noise_variance(data, psf_error)
            if flux[k] > 0:
                basis = np.concatenate([basis, flux[k] * np.stack(slopes)])
                weight = _weight(data - sky[k] @ under, flux[k] * star, psf_error)
            solution = _solve(basis, weight, data, len(under))
            flux[k], sky[k] = solution[0], solution[1 : len(under) + 1]
            if len(basis) > len(under) + 1:
                x[k], y[k] = (x[k], y[k]) + np.clip(solution[-2:], -_LARGEST_STEP, _LARGEST_STEP)
        near = judged[good]
        star = flux[k] * psf.at(x[k], y[k], stars.radius)[good]
        residuals[k] = _judge((data - sky[k] @ under - star)[near], star[near])
    return replace(stars, x=x, y=y, flux=flux, sky=sky), residuals


def _weight(
    data: NDArray[np.float64], light: NDArray[np.float64], psf_error: float
) -> NDArray[np.float64]:
    variance = noise_variance(light, psf_error)
    return np.asarray(huber_weight((data - light) / np.sqrt(variance)) / variance)


def _solve(
    basis: NDArray[np.float64], weight: NDArray[np.float64], data: NDArray[np.float64], sky: int
) -> NDArray[np.float64]:
    normal = (basis * weight) @ basis.T
    diagonal = np.einsum("ii->i", normal)
    diagonal[1 : sky + 1] += _SKY_ERROR**-2
    # What the pixels do not determine stays near 0.
    diagonal += 1e-9 * diagonal + 1e-12
    return np.asarray(np.linalg.solve(normal, (basis * weight) @ data))


def _judge(rest: NDArray[np.float64], light: NDArray[np.float64]) -> tuple[float, float]:
    deviation = np.abs(rest) / np.sqrt(noise_variance(light, PSF_ERROR))
    near = np.minimum(deviation, _OUTLIER)
    chi2 = float((near * (2 * deviation - near)).sum())
    beyond = float((rest**2 - noise_variance(light, 0.0)).sum())
    return chi2, beyond / max(float((light**2).sum()), 1e-30)
