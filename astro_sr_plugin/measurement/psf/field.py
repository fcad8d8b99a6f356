"""A point-spread function that changes over the field: one smooth model of its width and shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.psf.fitting import fit_moffat
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement, small_windows
from astro_sr_plugin.measurement.psf.selection import sky_is_curved
from astro_sr_plugin.measurement.sources.candidates import CandidateFinder, Candidates, cut_stamps

__all__ = ["PSFField", "fit_psf_field"]

_MOST_STARS = 160
"""Largest number of stars that are fitted, over all windows."""
_FEWEST_STARS = 40
"""Smallest number of good stars for 3 x 6 coefficients."""
_CELLS = 3
"""The frame is divided in 3 x 3 cells, each of which must hold stars."""
_FEWEST_IN_CELL = 3
"""Smallest number of stars in a cell."""
_NARROWEST = 1.0
"""FWHM in pixels below which the pixels do not resolve the shape of a star."""
_TURNS = 8
"""Rounds of a robust fit."""
_LARGEST_CHANGE = 0.5
"""Largest difference of ln FWHM of a star from that of the whole field."""
_SMALLEST_CHANGE = 0.05
"""Range of ln FWHM over the field from which the PSF counts as variable."""
_SMALLEST_STRETCH = 0.05
"""Range of the ellipticity over the field from which the PSF counts as variable."""
_LEAST_GAIN = 60.0
"""Gain in chi-squared per quantity, above the 5 that noise gives to 5 more parameters."""
_SAMPLES = 9
"""Places along each axis at which the field is sampled for its range."""
_MEAN = np.array([1, 0, 0, 1 / 3, 0, 1 / 3])
"""Mean of the polynomials over the frame."""


@dataclass(frozen=True, eq=False)
class PSFField:
    """Moffat profile of the stars as a function of the place in a plane.

    The logarithm of the FWHM and both components of the distortion are polynomials of the second
    order; beta is constant.

    Attributes
    ----------
    shape : tuple of int
        Shape (ny, nx) of the plane.
    beta : float
        Moffat exponent.
    coefficients : numpy.ndarray, shape (3, 6)
        Of ln FWHM and of the distortion ``g (cos 2 theta, sin 2 theta)``, ``g = (a - b)/(a + b)``,
        in 1, u, v, u^2, u v, v^2, where u and v run from -1 to 1 along x and y.
    n_stars : int
        Stars that it comes from.
    error : float
        Relative 1-sigma error of the FWHM, in the mean over the field.
    """

    shape: tuple[int, int]
    beta: float
    coefficients: NDArray[np.float64]
    n_stars: int
    error: float

    def at(
        self, x: ArrayLike, y: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """FWHM in pixels, ellipticity and angle at places of the plane (clipped to it)."""
        log_fwhm, g1, g2 = np.moveaxis(_terms(x, y, self.shape) @ self.coefficients.T, -1, 0)
        g = np.minimum(np.hypot(g1, g2), 0.5)
        return np.exp(log_fwhm), 1 - (1 - g) / (1 + g), 0.5 * np.arctan2(g2, g1)

    def psf_at(self, x: float, y: float) -> PSFMeasurement:
        """Return the profile at one place, as if it had been measured there."""
        fwhm, ellipticity, theta = (float(value) for value in self.at(x, y))
        return self._measured(fwhm, ellipticity, theta)

    def mean(self) -> PSFMeasurement:
        """Return the mean profile of the field."""
        log_fwhm, g1, g2 = self.coefficients @ _MEAN
        g = float(np.hypot(g1, g2))
        theta = float(0.5 * np.arctan2(g2, g1))
        return self._measured(float(np.exp(log_fwhm)), 1 - (1 - g) / (1 + g), theta)

    def fwhm_range(self) -> tuple[float, float]:
        """Return the smallest and the largest FWHM of the field in pixels."""
        fwhm = self.at(*_mesh(self.shape))[0]
        return float(fwhm.min()), float(fwhm.max())

    def _measured(self, fwhm: float, ellipticity: float, theta: float) -> PSFMeasurement:
        error = self.error * fwhm
        return PSFMeasurement(fwhm, self.beta, ellipticity, theta, self.n_stars, error, "high", 1.0)


def fit_psf_field(
    finder: CandidateFinder, psf: PSFMeasurement
) -> tuple[PSFField, Candidates] | None:
    """Measure how the point-spread function changes over the field, if it does.

    Stars of the whole field are fitted one by one, with the beta of `psf`, and polynomials go
    through their widths and distortions, outliers (galaxies, blends) left out. A quantity varies if
    its polynomial explains the stars far better than one value does, against their own scatter, and
    by more than 5 % of the FWHM, or 0.05 in ellipticity, over the field.

    Parameters
    ----------
    finder : CandidateFinder
        Sources of the plane.
    psf : PSFMeasurement
        The profile of the whole field.

    Returns
    -------
    PSFField, Candidates, or None
        The field, and the stars that agree with it. None if one profile serves for the whole
        field: fewer than 40 stars, a ninth of the frame with fewer than 3, stars narrower than a
        pixel, or no variation that counts.
    """
    if not (finder.sigma > 0 and psf.fwhm >= _NARROWEST) or psf.n_stars < _FEWEST_STARS // 2:
        return None
    shape = finder.shape
    windows = small_windows(shape)
    stars = finder.find(windows, most=-(-_MOST_STARS // len(windows)))
    if not _covers(stars.x, stars.y, shape):
        return None
    stars, values, errors = _fit_stars(stars, psf)
    x, y = stars.x, stars.y
    terms = _terms(x, y, shape)
    near = np.abs(values[:, 0] - np.log(psf.fwhm)) < _LARGEST_CHANGE
    good = near & (errors[:, 0] < 0.1)
    if good.any():
        weights = _trust(terms, values, errors, good)
        good &= weights.min(axis=1) > 0
    if good.sum() < _FEWEST_STARS or not _covers(x[good], y[good], shape):
        return None
    fits = [_fit(terms[good], values[good, k], errors[good, k]) for k in range(3)]
    (size, *distortion), gains = [fit[0] for fit in fits], [fit[2] for fit in fits]
    everywhere = _terms(*_mesh(shape), shape)
    changes = np.ptp(everywhere @ size) > _SMALLEST_CHANGE and gains[0] > _LEAST_GAIN
    # An ellipticity is about twice the distortion.
    stretch = max(np.ptp(everywhere @ part) for part in distortion) * 2
    turns = stretch > _SMALLEST_STRETCH and sum(gains[1:]) > 2 * _LEAST_GAIN
    if not (changes or turns):
        return None
    coefficients = np.zeros((3, terms.shape[1]))
    for k, varies in enumerate((changes, turns, turns)):
        if varies:
            coefficients[k] = fits[k][0]
        else:
            coefficients[k, 0] = fits[k][1]
    left = np.std(values[good, 0] - terms[good] @ coefficients[0])
    count = int(good.sum())
    error = float(left * np.sqrt(terms.shape[1] / count))
    return PSFField(shape, psf.beta, coefficients, count, error), stars.select(good)


def _terms(x: ArrayLike, y: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Evaluate the polynomials: shape (..., 6)."""
    u, v = (
        np.clip((2 * np.asarray(place) + 1) / n - 1, -1.0, 1.0)
        for place, n in ((x, shape[1]), (y, shape[0]))
    )
    return np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)


def _mesh(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places that sample the plane from edge to edge: x and y, flat."""
    y, x = np.meshgrid(*(np.linspace(0, n - 1, _SAMPLES) for n in shape), indexing="ij")
    return x.ravel(), y.ravel()


def _covers(x: NDArray[np.float64], y: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether there are stars in every part of the frame."""
    counts, _, _ = np.histogram2d(
        y, x, bins=_CELLS, range=[(-0.5, shape[0] - 0.5), (-0.5, shape[1] - 0.5)]
    )
    return bool(counts.min() >= _FEWEST_IN_CELL)


def _fit_stars(
    stars: Candidates, psf: PSFMeasurement
) -> tuple[Candidates, NDArray[np.float64], NDArray[np.float64]]:
    """Fit every star by itself; return the good ones, ln FWHM and distortion (n, 3), and errors."""
    half = int(np.clip(np.ceil(1.8 * psf.fwhm), 4, 20))
    stamps, usable = cut_stamps(stars, half)
    fit = fit_moffat(
        stamps,
        usable,
        sigma=1.0,
        fwhm=psf.fwhm,
        groups=np.arange(len(stars)),
        inverse_beta=1 / psf.beta,
        fit_beta=False,
        model_error=0.02,
        iterations=12,
        curved_sky=sky_is_curved(stars, psf.fwhm),
    )
    good = (
        (np.hypot(fit.x - half, fit.y - half) < max(1.5, 0.5 * psf.fwhm))
        & usable[:, half - 1 : half + 2, half - 1 : half + 2].all(axis=(1, 2))
        & (usable.mean(axis=(1, 2)) > 0.6)
        & (fit.chi2 < 3 * max(1.0, float(np.median(fit.chi2))))
    )
    values = np.stack([fit.log_fwhm, fit.g1, fit.g2], axis=1)
    return stars.select(good), values[good], fit.errors[good][:, [0, 2, 3]]


def _trust(
    terms: NDArray[np.float64],
    values: NDArray[np.float64],
    errors: NDArray[np.float64],
    good: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return 1 for stars that agree with the smooth model of each quantity, else 0."""
    trusted = np.repeat(good[:, None], values.shape[1], axis=1)
    for _ in range(_TURNS):
        for k in range(values.shape[1]):
            kept = trusted.all(axis=1)
            if kept.sum() <= 2 * terms.shape[1]:
                return np.zeros(trusted.shape)
            fitted, _, _ = _fit(terms[kept], values[kept, k], errors[kept, k])
            deviation = values[:, k] - terms @ fitted
            spread = MAD_TO_SIGMA * np.median(np.abs(deviation[kept]))
            trusted[:, k] = good & (
                np.abs(deviation) < 3 * np.hypot(max(spread, 0.01), errors[:, k])
            )
    return trusted.astype(float)


def _fit(
    terms: NDArray[np.float64], values: NDArray[np.float64], errors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, float]:
    """Fit a polynomial and a constant, robustly; return both and the gain in chi-squared."""
    extra = 0.0
    for _ in range(_TURNS):
        weight = 1 / (errors**2 + extra)
        fitted = _solve(terms, values, weight)
        deviation = values - terms @ fitted
        spread = MAD_TO_SIGMA * float(np.median(np.abs(deviation)))
        extra = max(1e-6, spread**2 - float(np.median(errors)) ** 2)
    mean = float((weight * values).sum() / weight.sum())
    free = terms.shape[1] - 1
    scatter = max(1.0, float((weight * deviation**2).sum()) / max(1, values.size - free - 1))
    gain = float((weight * ((values - mean) ** 2 - deviation**2)).sum()) / scatter - free
    return fitted, mean, gain


def _solve(
    terms: NDArray[np.float64], values: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    # A term that the stars do not determine stays near 0.
    normal = (terms.T * weight) @ terms + 1e-6 * weight.sum() * np.eye(terms.shape[1])
    solution: NDArray[np.float64] = np.linalg.solve(normal, terms.T @ (weight * values))
    return solution
