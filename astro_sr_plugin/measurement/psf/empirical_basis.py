"""A basis of splines for the residual of a PSF, fine in the core and coarse in the wings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import cho_factor
from scipy.linalg.lapack import dpotri

__all__ = ["SplineBasis", "invert", "make_basis"]

_DEGREE = 3
"""Degree of the splines: cubic."""
_CORE_STEP = 1 / 8
"""Distance of the knots in the core in FWHM: structure of the optics under the seeing is wider."""
_FINEST_STEP = 0.25
"""Smallest distance of the knots in pixels: the pixel blurs what is finer."""
_CORE_RADIUS = 0.8
"""Radius in FWHM of the core."""
_GROWTH = 1.5
"""Factor from one distance of knots to the next, outside of the core."""
_WIDENED = 1.5
"""Width of the profile of the prior over that of the PSF: aberrations spread the light."""
_FLOOR = 1e-5
"""Prior standard deviation far from the core, as a part of that in the middle."""
_NUGGET = 0.05
"""Part of the prior variance that is not correlated from spline to spline."""
_SMOOTH = 0.3
"""Correlation length of the prior in FWHM."""
_ROUND, _ROUND_SMOOTH = 0.6, 0.7
"""Variance that the prior has beside it all around the star, as halos have, in units of it; and its
correlation length in the logarithm of 1 + the radius in FWHM."""


@dataclass(frozen=True, eq=False)
class SplineBasis:
    """Tensor products of cubic B-splines on a square about the star.

    Attributes
    ----------
    splines : ndarray, shape (n, m)
        Values of the m splines of an axis at the n nodes of the fine grid.
    precision : ndarray, shape (m * m, m * m)
        Inverse of the prior covariance of the coefficients, for an amplitude of 1.
    """

    splines: NDArray[np.float64]
    precision: NDArray[np.float64]

    def image(self, coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
        """Evaluate functions of shape (..., m * m) at the nodes: (..., n, n)."""
        m = self.splines.shape[1]
        grid = coefficients.reshape(*coefficients.shape[:-1], m, m)
        return np.asarray(self.splines @ grid @ self.splines.T)

    def project(self, image: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums of images (..., n, n) at the nodes times each function: (..., m * m)."""
        sums = self.splines.T @ image @ self.splines
        return np.asarray(sums.reshape(*image.shape[:-2], -1))

    def normal(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the normal matrix for weights at the nodes."""
        n, m = self.splines.shape
        pairs = (self.splines[:, :, None] * self.splines[:, None, :]).reshape(n, m * m)
        matrix = (pairs.T @ weight @ pairs).reshape(m, m, m, m)
        return np.ascontiguousarray(matrix.transpose(0, 2, 1, 3)).reshape(m * m, m * m)


def make_basis(width: float, radius: int, oversampling: int) -> SplineBasis:
    """Make the basis for a PSF.

    Parameters
    ----------
    width : float
        Observed FWHM in pixels.
    radius : int
        Half the side of the square in pixels.
    oversampling : int
        Nodes per pixel along each axis.
    """
    knots = _knots(width, radius)
    nodes = np.arange(-radius * oversampling, radius * oversampling + 1) / oversampling
    inside = np.clip(nodes, knots[_DEGREE], knots[-_DEGREE - 1])
    splines = BSpline.design_matrix(inside, knots, _DEGREE).toarray()
    # The outermost splines are left out: the residual fades to zero at the edge.
    splines = splines[:, 2:-2]
    centres = np.array([knots[k + 1 : k + 1 + _DEGREE].mean() for k in range(knots.size - 4)])[2:-2]
    return SplineBasis(splines, _precision(centres, width))


def _knots(width: float, radius: int) -> NDArray[np.float64]:
    step = max(_CORE_STEP * width, _FINEST_STEP)
    places = list(np.arange(0.5 * step, _CORE_RADIUS * width + step, step))
    while places[-1] < radius:
        step *= _GROWTH
        places.append(places[-1] + step)
    half = np.array(places)
    half *= radius / half[-1] if half[-1] > radius else 1.0
    inner = np.concatenate([-half[::-1], half])
    return np.concatenate([[inner[0]] * _DEGREE, inner, [inner[-1]] * _DEGREE])


def _precision(centres: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    y, x = (axis.ravel() for axis in np.meshgrid(centres, centres, indexing="ij"))
    radius = np.hypot(x, y) / width
    scale = (1 + (radius / _WIDENED) ** 2) ** -3.5 + _FLOOR
    square = ((x[:, None] - x) ** 2 + (y[:, None] - y) ** 2) / width**2
    correlation = (1 - _NUGGET) * np.exp(-0.5 * square / _SMOOTH**2)
    outwards = np.log1p(radius)
    correlation += _ROUND * np.exp(-0.5 * ((outwards[:, None] - outwards) / _ROUND_SMOOTH) ** 2)
    correlation[np.diag_indices_from(correlation)] += _NUGGET
    covariance = correlation * scale[:, None] * scale
    return invert(cho_factor(covariance))


def invert(factor: tuple[NDArray[np.float64], bool]) -> NDArray[np.float64]:
    """Return the inverse of the symmetric matrix whose Cholesky factor this is."""
    matrix, lower = factor
    inverse, _ = dpotri(matrix, lower)
    triangle = np.tril(inverse) if lower else np.triu(inverse)
    return np.asarray(triangle + triangle.T - np.diag(np.diagonal(inverse)))
