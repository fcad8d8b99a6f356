"""Close pairs of sources: whether two stars explain the light better than one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial import KDTree

from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp

__all__ = ["Pair", "close_pairs"]

_CLOSE = 0.75
"""Distance of two sources in FWHM of the input up to which they may be one; wider pairs are
resolved."""


class Pair(NamedTuple):
    """Two sources of a result that lie closer than the input resolves.

    Attributes
    ----------
    numbers : tuple of int
        Which sources.
    points : ndarray, shape (2, 2)
        Their places ``(x, y)`` in pixels of the input.
    """

    numbers: tuple[int, int]
    points: NDArray[np.float64]

    def gain(
        self,
        flux: NDArray[np.floating],
        residual: NDArray[np.floating],
        variance: NDArray[np.floating],
        profile: MoffatProfile,
    ) -> float:
        """Return by how much two stars fit the input better than one, in chi-square.

        Parameters
        ----------
        flux : ndarray, shape (2,)
            Flux of both in the result, in noise sigma of a pixel.
        residual : ndarray, shape (ny, nx)
            Input less reconvolved result in noise sigma.
        variance : ndarray, shape (ny, nx)
            Of the residual.
        profile : MoffatProfile
            PSF of the input.

        Returns
        -------
        float
            Infinite where the pair lies too near to the edge.
        """
        radius = int(np.ceil(1.5 * profile.fwhm))
        x0, y0 = np.round(self.points.mean(axis=0)).astype(int)
        ny, nx = residual.shape
        if not (radius <= x0 < nx - radius and radius <= y0 < ny - radius):
            return np.inf
        window = np.s_[y0 - radius : y0 + radius + 1, x0 - radius : x0 + radius + 1]
        weight = 1.0 / np.sqrt(variance[window])
        both = [moffat_stamp(profile, x - x0, y - y0, radius) for x, y in self.points]
        data = residual[window] + sum(f * s for f, s in zip(flux, both, strict=True))

        def misfit(stamps: list[NDArray[np.float64]]) -> NDArray[np.float64]:
            terms = np.array([(weight * s).ravel() for s in [*stamps, np.ones_like(data)]]).T
            answer = np.linalg.lstsq(terms, (weight * data).ravel(), rcond=None)[0]
            rest: NDArray[np.float64] = (weight * data).ravel() - terms @ answer
            return rest

        weights = np.maximum(flux, 1e-9)
        start = np.average(self.points, axis=0, weights=weights) - (x0, y0)
        one = least_squares(lambda p: misfit([moffat_stamp(profile, p[0], p[1], radius)]), start)
        return float(2.0 * one.cost - np.sum(misfit(both) ** 2))


def close_pairs(points: NDArray[np.float64], fwhm: float) -> Iterator[Pair]:
    """Yield the pairs of sources that lie closer than 0.75 FWHM of the input.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Places ``(x, y)`` of the sources in pixels of the input.
    fwhm : float
        FWHM of the input in pixels.
    """
    if len(points) < 2:
        return
    for a, b in KDTree(points).query_pairs(_CLOSE * fwhm, output_type="ndarray").tolist():
        yield Pair((a, b), points[[a, b]])
