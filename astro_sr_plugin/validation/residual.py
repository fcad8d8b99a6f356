"""Sources of a result that its input contradicts: spurious, missed, split, or ringed."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, gaussian_filter, maximum_filter

from astro_sr_plugin.measurement.psf.matched_filter import (
    SMOOTHING,
    MatchedFilter,
    correlate,
    flux_noise,
    photon_variance,
    residual_variance,
)
from astro_sr_plugin.measurement.psf.pairs import close_pairs, gains_of_two
from astro_sr_plugin.validation.matching import Cut, MatchedPlane, enlarge
from astro_sr_plugin.validation.rings import find_rings

__all__ = ["Finding", "Kind", "Residual", "Source"]

_SHOWN = 5.0
"""Signal-to-noise ratio from which a source of the result counts as a detection."""
_SUPPORTED = 3.0
"""Signal-to-noise ratio that the input gives a source below which it is spurious: 3 sigma of a
Gaussian are exceeded by chance once in 700."""
_CLEAR = 10.0
"""Signal-to-noise ratio of the sources of the input whose absence counts."""
_MISSED_FRACTION = 0.5
"""Fraction of the flux of a source that a result has to lack."""
_OF_BAD_PIXELS = 0.05
"""Light in noise sigma of bad pixels, blurred again, from which the sky around them is unknown."""
_UNCHANGED = 1e-3
"""Change in noise sigma up to which a pixel is as recorded: rounding is less."""
_KEPT, _KEPT_PART = 0.01, 0.06
"""The same, and as a part of the light, of areas that are as recorded but for the flux that is put
back at large scales."""
_SPLIT_CHI2 = 4.0
"""Improvement of chi-square by a second star (two degrees of freedom more) that supports it."""

Kind = Literal["spurious", "missed", "split", "ringed"]
"""What is wrong with a source; see `Source`."""
Finding = tuple[float, float, float, float]
"""``(x, y, shown, supported)`` of a source in pixels of a piece; the last two as in `Source`."""


class Source(NamedTuple):
    """A source on which input and result do not agree.

    Attributes
    ----------
    kind : {'spurious', 'missed', 'split', 'ringed'}
        In the result without support in the input; in the input alone; one source shown as two; a
        star with a dark and a bright ring that the input does not show.
    plane : int
        Number of the plane (colour channel), from 0.
    x, y : float
        Position in pixels of the input, 0-based.
    shown, supported : float
        Flux of the source in the result, and the flux that the input supports, both as
        signal-to-noise ratio of the matched filter in the input. Of a split star: by how much two
        stars instead of one improve chi-square. Of a star with rings: the rise of the light around
        it, in noise sigma of a pixel.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> source = asr.Source("spurious", 0, 31.5, 40.2, 7.0, 0.4)
    >>> source.supported < 3 < 5 < source.shown
    True
    """

    kind: Kind
    plane: int
    x: float
    y: float
    shown: float
    supported: float


class Residual:
    """A piece of the input less the reconvolved result, and the tests of its sources.

    Parameters
    ----------
    plane : MatchedPlane
        The plane.
    cut : Cut
        The piece.
    matched_filter : MatchedFilter
        Of the plane.

    Attributes
    ----------
    reconvolved : ndarray of float64, shape (ny, nx)
        The result at the PSF and on the pixels of the input, in noise sigma of the input.
    residual : ndarray of float64, shape (ny, nx)
        Input less `reconvolved`.
    filtered : ndarray of float64, shape (ny, nx)
        `residual` through the matched filter, in units of the filter's noise: flux of a star that
        the result lacks.
    unknown : ndarray of bool, shape (ny, nx)
        Where `reconvolved` holds light of bad pixels: that of hot ones did not come through the
        optics, and that of saturated ones is not recorded. Also of those that the result leaves as
        recorded: they have come through the optics once.

    Notes
    -----
    If all other sources are as the result shows them, the input gives a source the flux shown plus
    that of the matched filter of the residual at its position.
    """

    def __init__(self, plane: MatchedPlane, cut: Cut, matched_filter: MatchedFilter) -> None:
        self._plane, self._cut, self._unit = plane, cut, matched_filter.noise
        self.reconvolved = np.asarray(plane.reconvolution(cut.result), dtype=np.float64)
        self.residual = cut.observed - self.reconvolved
        self.filtered = correlate(self.residual, matched_filter.kernel / self._unit)
        self._change = self._find_change(cut)
        limit = _KEPT + _KEPT_PART * np.abs(cut.observed)
        # Where the profiles of sharp and of blurred stars cross, single pixels are the same.
        self._recorded = binary_opening(self._change < limit, np.ones((3, 3)))
        self.unknown = self._find_unknown(cut.bad | self._recorded)
        self._variance = residual_variance(self.reconvolved, photon_variance(plane.plane))
        self._noise = flux_noise(correlate(self._variance, plane.matched_psf))
        self._local = correlate(cut.observed, matched_filter.local_kernel / self._unit)
        self._peaks = self._find_peaks(cut.result)

    def _find_change(self, cut: Cut) -> NDArray[np.float64]:
        """Return the change of every pixel of the input."""
        s, (ny, nx) = self._plane.scale, cut.observed.shape
        means = cut.result.reshape(ny, s, nx, s).mean(axis=(1, 3))
        return np.asarray(np.abs(means - cut.observed))

    def _find_unknown(self, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if not (self._plane.gaussian and bad.any()):
            return np.zeros_like(bad)
        light = np.where(enlarge(bad, self._plane.scale), self._cut.result, 0.0)
        return np.asarray(np.abs(self._plane.reconvolution(light)) > _OF_BAD_PIXELS)

    def positions(self) -> list[tuple[float, float]]:
        """Return ``(x, y)`` of the sources of the result of 5 sigma or more."""
        return list(zip(self._peaks[0].tolist(), self._peaks[1].tolist(), strict=True))

    def spurious(self) -> list[Finding]:
        """Return the sources of the result that the input does not support."""
        x, y, shown = self._peaks
        row, column = np.round(y).astype(int), np.round(x).astype(int)
        noise = self._noise[row, column]
        supported = shown + self.filtered[row, column] / noise
        spurious = supported < _SUPPORTED
        return list(zip(*(v[spurious].tolist() for v in (x, y, shown, supported)), strict=True))

    def missed(self) -> list[Finding]:
        """Return the clear sources of the input of whose flux the result lacks over a half.

        Clear: a maximum of 10 sigma of the matched filter, less the light around it. One that the
        result left as recorded is there, though wider than those around it.
        """
        local = self._local
        top = (local == maximum_filter(local, size=3)) & (local > _CLEAR * self._noise)
        row, column = np.nonzero(top)
        noise, there = self._noise[row, column], local[row, column]
        missing = self.filtered[row, column]
        gone = (missing > _SHOWN * noise) & (missing > _MISSED_FRACTION * there)
        gone &= ~self._recorded[row, column]
        values = column, row, (there - missing) / noise, there / noise
        return list(zip(*(v[gone].astype(float).tolist() for v in values), strict=True))

    def split(self) -> list[Finding]:
        """Return the pairs closer than 0.75 FWHM that one star explains as well as two.

        A pair in an area that the result left as recorded is the input's own. Both figures are the
        improvement of chi-square by the second star.
        """
        x, y, shown = self._peaks
        points = np.column_stack([x, y])
        pairs = close_pairs(points, self._plane.profile.fwhm)
        column, row = np.round(points[pairs]).astype(int).transpose(2, 0, 1)
        pairs = pairs[~self._recorded[row, column].all(axis=1)]
        column, row = np.round(points[pairs]).astype(int).transpose(2, 0, 1)
        flux = shown[pairs] * self._noise[row, column] * self._unit
        gains = gains_of_two(
            points[pairs], flux, self.residual, self._variance, self._plane.profile
        )
        wrong = gains < _SPLIT_CHI2
        middle = points[pairs[wrong]].mean(axis=1)
        return [
            (float(x), float(y), float(gain), float(gain))
            for (x, y), gain in zip(middle, gains[wrong], strict=True)
        ]

    def ringed(self) -> list[Finding]:
        """Return the bright stars with rings that the input does not show."""
        plane, cut = self._plane, self._cut
        found = find_rings(
            cut.result, cut.observed, plane.reconvolution, plane.target_fwhm, self.positions()
        )
        return [star for star in found if self._change[round(star[1]), round(star[0])] > _UNCHANGED]

    def _find_peaks(
        self, result: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return positions (input pixels) and signal-to-noise ratios of the result's sources."""
        fwhm, scale = self._plane.target_fwhm, self._plane.scale
        detail = result - gaussian_filter(result, SMOOTHING * fwhm)
        row, column = np.nonzero((detail == maximum_filter(detail, size=3)) & (detail > 0.0))
        x, y = (column + 0.5) / scale - 0.5, (row + 0.5) / scale - 0.5
        ny, nx = self.residual.shape
        x, y = np.clip(x, 0.0, nx - 1.0), np.clip(y, 0.0, ny - 1.0)
        area = 2.0 * np.pi * (fwhm * gaussian_fwhm_to_sigma / scale) ** 2
        flux = detail[row, column] * area / self._unit
        shown = flux / self._noise[np.round(y).astype(int), np.round(x).astype(int)]
        clear = shown > _SHOWN
        return x[clear], y[clear], shown[clear]
