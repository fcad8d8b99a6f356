"""Close pairs of sources: whether two stars explain the light better than one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp

__all__ = ["close_pairs", "gains_of_two"]

_CLOSE = 0.75
"""Distance of two sources in FWHM of the input up to which they may be one; wider pairs are
resolved."""
_RADIUS = 1.5
"""Half side in FWHM of the square around a pair that is fitted."""
_STEP = 0.05
"""Distance in FWHM over which a star is moved to see how its light changes."""
_ROUNDS = 3
"""Gauss-Newton steps of the place of one star."""
_AT_A_TIME = 1000
"""Pairs that are fitted together, which bounds the memory."""


def close_pairs(points: NDArray[np.float64], fwhm: float) -> NDArray[np.intp]:
    """Return the pairs of sources that lie closer than 0.75 FWHM of the input.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Places ``(x, y)`` of the sources in pixels of the input.
    fwhm : float
        FWHM of the input in pixels.

    Returns
    -------
    ndarray of int, shape (n_pairs, 2)
        Indices of the sources.
    """
    if len(points) < 2:
        return np.empty((0, 2), dtype=np.intp)
    found: NDArray[np.intp] = KDTree(points).query_pairs(_CLOSE * fwhm, output_type="ndarray")
    return found


def gains_of_two(
    points: NDArray[np.float64],
    flux: NDArray[np.floating],
    residual: NDArray[np.floating],
    variance: NDArray[np.floating],
    profile: MoffatProfile,
) -> NDArray[np.float64]:
    """Return by how much two stars fit the input better than one, in chi-square.

    Parameters
    ----------
    points : ndarray, shape (n_pairs, 2, 2)
        Places ``(x, y)`` of both sources of each pair in pixels of the input.
    flux : ndarray, shape (n_pairs, 2)
        Flux of both in the result, in noise sigma of a pixel.
    residual : ndarray, shape (ny, nx)
        Input less reconvolved result in noise sigma.
    variance : ndarray, shape (ny, nx)
        Of the residual.
    profile : MoffatProfile
        PSF of the input.

    Returns
    -------
    ndarray, shape (n_pairs,)
        Infinite where a pair lies too near to the edge.
    """
    gains = np.full(len(points), np.inf)
    radius = int(np.ceil(_RADIUS * profile.fwhm))
    middle = np.round(points.mean(axis=1)).astype(int)
    size = np.array(residual.shape[::-1])
    inside = np.flatnonzero(np.all((middle >= radius) & (middle < size - radius), axis=1))
    for first in range(0, len(inside), _AT_A_TIME):
        some = inside[first : first + _AT_A_TIME]
        grid = np.arange(-radius, radius + 1)
        rows = (middle[some, 1, None] + grid)[:, :, None]
        columns = (middle[some, 0, None] + grid)[:, None, :]
        weight = 1.0 / np.sqrt(variance[rows, columns])
        fit = _Fit(residual[rows, columns], weight, points[some] - middle[some, None], profile)
        gains[some] = fit.gains(np.maximum(flux[some], 1e-9))
    return gains


class _Fit:
    """Fits of one and of two stars to squares around pairs."""

    def __init__(
        self,
        rest: NDArray[np.floating],
        weight: NDArray[np.floating],
        places: NDArray[np.float64],
        profile: MoffatProfile,
    ) -> None:
        self._rest, self._weight, self._places = rest, weight, places
        self._profile, self._radius = profile, rest.shape[1] // 2

    def _stamps(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Render stars of flux 1 at places (..., 2) in each square."""
        return moffat_stamp(self._profile, places[..., 0], places[..., 1], self._radius)

    def gains(self, flux: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return chi-square of one star at its best place, less that of two at theirs."""
        both = self._stamps(self._places)
        data = self._rest + np.einsum("pi,piyx->pyx", flux, both)
        two, _ = self._solve([both[:, 0], both[:, 1]], data)
        place = np.einsum("pi,pic->pc", flux, self._places) / flux.sum(axis=1)[:, None]
        step, reach = _STEP * self._profile.fwhm, self._profile.fwhm / 2
        for _ in range(_ROUNDS):
            star = self._stamps(place)
            slopes = [(self._stamps(place + move) - star) / step for move in step * np.eye(2)]
            _, answer = self._solve([star, *slopes], data)
            light = np.where(np.abs(answer[:, :1]) > 1e-9, answer[:, :1], np.inf)
            place = place + np.clip(answer[:, 1:3] / light, -reach, reach)
        one, _ = self._solve([self._stamps(place)], data)
        return np.asarray(one - two)

    def _solve(
        self, stamps: list[NDArray[np.float64]], data: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fit stamps and a constant; return chi-square and the factors."""
        count = len(data)
        terms = [self._weight * stamp for stamp in (*stamps, np.ones_like(data))]
        matrix = np.stack(terms, axis=-1).reshape(count, -1, len(terms))
        target = (self._weight * data).reshape(count, -1, 1)
        answer = np.linalg.pinv(matrix) @ target
        misfit = np.sum((target - matrix @ answer) ** 2, axis=(1, 2))
        return misfit, answer[..., 0]
