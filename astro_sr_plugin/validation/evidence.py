"""Sources of a result held against the input: made up, lost, split, or ringed without a reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from astro_sr_plugin.measurement.psf.profiles import moffat_stamp
from astro_sr_plugin.validation.rings import find_rings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
    from astro_sr_plugin.validation.reconvolution import Reblur

__all__ = ["Evidence", "Optics", "Source"]

_SHOWN = 5.0
_DOUBTED = 3.0
_CLEAR = 10.0
_LOST_SHARE = 0.5
_TOUCHING = 0.75
_SPLIT_GAIN = 4.0
_SMOOTHING = 2.5
# Noise grows with the light: photons where the gain is not known, and what the PSF leaves.
_PHOTONS = 0.05
_PSF_ERROR = 0.03
_FWHM_PER_SIGMA = 2.0 * float(np.sqrt(2.0 * np.log(2.0)))


class Source(NamedTuple):
    """A source that input and result do not agree on.

    Attributes
    ----------
    kind : {'new', 'lost', 'split', 'ringed'}
        Shown without support in the input; in the input alone; one source shown as two; a star
        with a dark and a bright ring that the input does not show.
    plane : int
        Colour channel, from 0.
    x, y : float
        Position in pixels of the input.
    shown, supported : float
        Its flux in the result, and what the input says of its flux, in sigma of the input's noise.
        For one that is split: what two stars instead of one improve in chi-square. For one with
        rings: how much the light around it falls and rises again, in sigma of a pixel.
    """

    kind: str
    plane: int
    x: float
    y: float
    shown: float
    supported: float


@dataclass(frozen=True)
class Optics:
    """What is known of a plane.

    Attributes
    ----------
    psf : ndarray
        PSF of the input on its pixels, odd sides, sum 1.
    profile : PSFMeasurement
        Its Moffat profile.
    target_fwhm : float
        FWHM of the result in output pixels.
    scale : int
        Output pixels per input pixel along an axis.
    correlation : float
        Of the noise of neighbouring pixels of the input.
    photons : float or None
        Variance that each sigma of light adds, in sigma squared; None if the gain is not known.
    """

    psf: NDArray[np.float64]
    profile: PSFMeasurement
    target_fwhm: float
    scale: int
    correlation: float
    photons: float | None

    @cached_property
    def matched_filter(self) -> NDArray[np.float64]:
        """The filter that tells the flux of a star."""
        return np.asarray(self.psf / np.sum(self.psf**2))

    @cached_property
    def matched_noise(self) -> float:
        """The noise of the matched filter: 1-sigma flux error of a faint star."""
        kernel = self.matched_filter
        c = max(0.0, self.correlation)
        total = float(np.sum(kernel**2))
        for dy, dx, weight in ((0, 1, c), (1, 0, c), (1, 1, c * c), (1, -1, c * c)):
            shifted = np.roll(kernel, (dy, dx), (0, 1))
            total += 2.0 * weight * float(np.sum(kernel * shifted))
        return float(np.sqrt(total))

    @cached_property
    def local_filter(self) -> NDArray[np.float64]:
        """The matched filter less the mean light around it."""
        kernel = self.matched_filter
        radius = kernel.shape[0] // 2
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        wide = np.exp(-0.5 * (x**2 + y**2) / (_SMOOTHING * self.profile.fwhm) ** 2)
        return np.asarray(kernel - kernel.sum() * wide / wide.sum())


class Evidence:
    """A piece of the input and of the result, with all that the tests need.

    Parameters
    ----------
    observed : ndarray, shape (ny, nx)
        Input in sigma of its noise, sky at 0.
    result : ndarray, shape (scale * ny, scale * nx)
        The result, the same way.
    reblur : Reblur
        Gives what the input shows of a result.
    optics : Optics
        Of the plane.

    Notes
    -----
    The flux that the input gives a source, if all others are as the result shows them, is that in
    the result plus that of the matched filter of the residual at its place. Where the result shows
    a source at 5 sigma, and the input less than 3 of it, the source is made up.
    """

    def __init__(
        self,
        observed: NDArray[np.float64],
        result: NDArray[np.float64],
        reblur: Reblur,
        optics: Optics,
    ) -> None:
        self.optics, self.seen = optics, np.asarray(reblur(result), dtype=np.float64)
        self._observed, self._result, self._reblur = observed, result, reblur
        self.residual = observed - self.seen
        self._unit = optics.matched_noise
        self.excess = _convolve(self.residual, optics.matched_filter / self._unit)
        """Light that the result lacks, through the matched filter, in sigma."""
        light = np.maximum(self.seen, 0.0)
        photons = _PHOTONS if optics.photons is None else optics.photons
        self._variance = 1.0 + photons * light + (_PSF_ERROR * light) ** 2
        self._noise = np.sqrt(np.maximum(_convolve(self._variance, optics.psf), 1.0))
        self._local = _convolve(observed, optics.local_filter / self._unit)
        self._peaks = self._find_peaks(result)

    def positions(self) -> list[tuple[float, float]]:
        """Return ``(x, y)`` of the sources that the result shows at 5 sigma or more."""
        return list(zip(self._peaks[0].tolist(), self._peaks[1].tolist(), strict=True))

    def new(self) -> list[tuple[float, float, float, float]]:
        """Return ``(x, y, shown, supported)`` of the sources that the input does not support."""
        x, y, shown = self._peaks
        row, column = np.round(y).astype(int), np.round(x).astype(int)
        noise = self._noise[row, column]
        supported = shown + self.excess[row, column] / noise
        doubted = supported < _DOUBTED
        return list(zip(*(v[doubted].tolist() for v in (x, y, shown, supported)), strict=True))

    def lost(self) -> list[tuple[float, float, float, float]]:
        """Return ``(x, y, shown, supported)`` of clear sources of which over half is not shown.

        Clear: a maximum of the matched filter, less the light around it, of 10 sigma.
        """
        from scipy.ndimage import maximum_filter

        local = self._local
        top = (local == maximum_filter(local, size=3)) & (local > _CLEAR * self._noise)
        row, column = np.nonzero(top)
        noise, there = self._noise[row, column], local[row, column]
        missing = self.excess[row, column]
        gone = (missing > _SHOWN * noise) & (missing > _LOST_SHARE * there)
        values = column, row, (there - missing) / noise, there / noise
        return list(zip(*(v[gone].astype(float).tolist() for v in values), strict=True))

    def split(self) -> list[tuple[float, float, float, float]]:
        """Return ``(x, y, gain, gain)`` of pairs that the input shows as one star just as well.

        Pairs closer than 0.75 FWHM; ``gain`` is what the second star improves in chi-square.
        """
        from scipy.spatial import cKDTree

        x, y, shown = self._peaks
        if len(x) < 2:
            return []
        points = np.column_stack([x, y])
        found = []
        reach = _TOUCHING * self.optics.profile.fwhm
        for a, b in cKDTree(points).query_pairs(reach, output_type="ndarray").tolist():
            two = points[[a, b]]
            column, row = np.round(two).astype(int).T
            flux = shown[[a, b]] * self._noise[row, column] * self._unit
            gain = self._gain_of_two(two, flux)
            if gain < _SPLIT_GAIN:
                middle = two.mean(axis=0)
                found.append((float(middle[0]), float(middle[1]), gain, gain))
        return found

    def ringed(self) -> list[tuple[float, float, float, float]]:
        """Return ``(x, y, shown, supported)`` of bright stars with rings that are not there."""
        target = self.optics.target_fwhm
        return find_rings(self._result, self._observed, self._reblur, target, self.positions())

    def _find_peaks(
        self, result: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Positions in input pixels and flux in local sigma of the sources that are shown."""
        from scipy.ndimage import gaussian_filter, maximum_filter

        fwhm, scale = self.optics.target_fwhm, self.optics.scale
        detail = result - gaussian_filter(result, _SMOOTHING * fwhm)
        row, column = np.nonzero((detail == maximum_filter(detail, size=3)) & (detail > 0.0))
        x, y = (column + 0.5) / scale - 0.5, (row + 0.5) / scale - 0.5
        ny, nx = self.residual.shape
        x, y = np.clip(x, 0.0, nx - 1.0), np.clip(y, 0.0, ny - 1.0)
        area = 2.0 * np.pi * (fwhm / _FWHM_PER_SIGMA / scale) ** 2
        flux = detail[row, column] * area / self._unit
        shown = flux / self._noise[np.round(y).astype(int), np.round(x).astype(int)]
        clear = shown > _SHOWN
        return x[clear], y[clear], shown[clear]

    def _gain_of_two(self, points: NDArray[np.float64], flux: NDArray[np.float64]) -> float:
        """Return how much better two stars fit the input than one, in chi-square."""
        from scipy.optimize import least_squares

        profile = self.optics.profile
        radius = int(np.ceil(1.5 * profile.fwhm))
        x0, y0 = np.round(points.mean(axis=0)).astype(int)
        ny, nx = self.residual.shape
        if not (radius <= x0 < nx - radius and radius <= y0 < ny - radius):
            return np.inf
        window = np.s_[y0 - radius : y0 + radius + 1, x0 - radius : x0 + radius + 1]
        weight = 1.0 / np.sqrt(self._variance[window])
        both = [moffat_stamp(profile, x - x0, y - y0, radius) for x, y in points]
        data = self.residual[window] + sum(f * s for f, s in zip(flux, both, strict=True))

        def misfit(stamps: list[NDArray[np.float64]]) -> NDArray[np.float64]:
            terms = np.array([(weight * s).ravel() for s in [*stamps, np.ones_like(data)]]).T
            answer = np.linalg.lstsq(terms, (weight * data).ravel(), rcond=None)[0]
            rest: NDArray[np.float64] = (weight * data).ravel() - terms @ answer
            return rest

        start = np.average(points, axis=0, weights=np.maximum(flux, 1e-9)) - (x0, y0)
        one = least_squares(lambda p: misfit([moffat_stamp(profile, p[0], p[1], radius)]), start)
        return float(2.0 * one.cost - np.sum(misfit(both) ** 2))


def _convolve(image: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlate with a kernel, an image mirrored at its edges."""
    from scipy.signal import oaconvolve

    radius = kernel.shape[0] // 2
    padded = np.pad(image, radius, mode="symmetric")
    return np.asarray(oaconvolve(padded, kernel[::-1, ::-1], mode="valid"))
