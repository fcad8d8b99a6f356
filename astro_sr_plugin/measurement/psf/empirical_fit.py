"""Fit of what a PSF has beside its Moffat profile, by regularised least squares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.sparse.linalg import LinearOperator, cg

from astro_sr_plugin.measurement.psf.empirical_basis import SplineBasis, invert
from astro_sr_plugin.measurement.psf.empirical_stars import (
    FinePSF,
    StarStamps,
    huber_weight,
    noise_variance,
)

__all__ = ["Equations", "Model", "NodeSums", "sum_at_nodes"]

_ITERATIONS = 30
"""Largest number of conjugate gradients for a PSF that changes over the field."""
_TOLERANCE = 1e-3
"""What they may leave of the right side of the equations, relative to its norm."""


@dataclass(frozen=True, eq=False)
class Model:
    """PSF of stars: Moffat profiles, and terms of the residual.

    Attributes
    ----------
    profiles : ndarray, shape (p, n, n)
        Moffat profiles on the fine grid; light per pixel.
    shares : ndarray, shape (stars, p)
        Share of each profile in the PSF of each star.
    terms : ndarray, shape (stars, t)
        Polynomials of the place in the field at each star, the first one 1.
    residual : ndarray, shape (t, n, n)
        Image of each term.
    oversampling : int
        Nodes of the fine grid per pixel along each axis.
    """

    profiles: NDArray[np.float64]
    shares: NDArray[np.float64]
    terms: NDArray[np.float64]
    residual: NDArray[np.float64]
    oversampling: int

    def psfs(self) -> list[FinePSF]:
        """Return the PSF of each star; a single one if it is the same for all."""
        if self.shares.shape[1] == 1 and self.terms.shape[1] == 1:
            return [FinePSF(self.profiles[0] + self.residual[0], self.oversampling)]
        images = np.tensordot(self.shares, self.profiles, 1)
        images += np.tensordot(self.terms, self.residual, 1)
        return [FinePSF(image, self.oversampling) for image in images]

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int_]) -> Model:
        """Return the model of some of the stars."""
        return Model(
            self.profiles, self.shares[chosen], self.terms[chosen], self.residual, self.oversampling
        )


@dataclass(frozen=True, eq=False)
class NodeSums:
    """Pixels of groups of stars, gathered at the nodes of the fine grid.

    Attributes
    ----------
    weight : ndarray, shape (groups, t, t, n, n)
        Sums of the weights times the products of two terms.
    value : ndarray, shape (groups, t, n, n)
        Sums of the weights times a term times the residual from the Moffat profile.
    """

    weight: NDArray[np.float64]
    value: NDArray[np.float64]

    def without(self, group: int | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the sums of all groups but one."""
        kept = np.arange(len(self.weight)) != group
        return self.weight[kept].sum(axis=0), self.value[kept].sum(axis=0)


def sum_at_nodes(
    stars: StarStamps, model: Model, groups: NDArray[np.int_], psf_error: float
) -> NodeSums:
    """Gather the pixels of stars at the nearest nodes of the fine grid.

    The difference of the model between a pixel and its node is taken into account, so that the
    rounding of the places vanishes as the model approaches the stars.
    """
    n, t = model.profiles.shape[1], model.terms.shape[1]
    weight, value = [], []
    for group in range(int(groups.max()) + 1):
        own = np.flatnonzero((groups == group) & (stars.flux > 0))
        sums = np.zeros((2, len(own), n * n))
        psfs = model.select(own).psfs()
        for i, k in enumerate(own.tolist()):
            sums[:, i] = _sum_star(stars, k, psfs[min(i, len(psfs) - 1)], psf_error)
        terms = model.terms[own]
        pairs = (terms[:, :, None] * terms[:, None, :]).reshape(-1, t * t)
        weight.append((pairs.T @ sums[0]).reshape(t, t, n, n))
        value.append((terms.T @ sums[1]).reshape(t, n, n))
        value[-1] += (weight[-1] * model.residual).sum(axis=1)
    return NodeSums(np.stack(weight), np.stack(value))


def _sum_star(stars: StarStamps, k: int, psf: FinePSF, psf_error: float) -> NDArray[np.float64]:
    """Sum the weights of the pixels of a star at each node, and the weighted residuals."""
    n, radius = psf.image.shape[0], stars.radius
    light = stars.flux[k] * psf.at(stars.x[k], stars.y[k], radius)
    variance = noise_variance(light, psf_error)
    rest = stars.values[k] - np.tensordot(stars.sky[k], stars.sky_terms, 1) - light
    weight = huber_weight(rest / np.sqrt(variance)) * stars.flux[k] ** 2 / variance
    grid = np.arange(-radius, radius + 1.0)
    rows, columns = (
        np.rint((grid - place) * psf.oversampling).astype(int) + n // 2
        for place in (stars.y[k], stars.x[k])
    )
    inside = ((rows >= 0) & (rows < n))[:, None] & ((columns >= 0) & (columns < n))
    inside &= stars.usable[k]
    nodes, weight = (rows[:, None] * n + columns)[inside], weight[inside]
    rest = rest[inside] / stars.flux[k]
    return np.stack([np.bincount(nodes, weight, n * n), np.bincount(nodes, weight * rest, n * n)])


class Equations:
    """Normal equations of the residual of each term.

    Parameters
    ----------
    basis : SplineBasis
        The splines, and their prior.
    weight, value : ndarray, shapes (t, t, n, n) and (t, n, n)
        Sums at the nodes.
    """

    def __init__(
        self, basis: SplineBasis, weight: NDArray[np.float64], value: NDArray[np.float64]
    ) -> None:
        self.basis, self.weight, self.value = basis, weight, value

    def solve(self, prior: tuple[float, float]) -> NDArray[np.float64]:
        """Solve for the residual that is most probable, given its prior.

        Parameters
        ----------
        prior : (float, float)
            Prior standard deviation of the residual in the core, 0 gives none; and that of the
            terms that change over the field.

        Returns
        -------
        ndarray, shape (t, n, n)
            The residual of each term.
        """
        if not prior[0] > 0:
            return np.zeros_like(self.value)
        sizes = np.array([prior[0]] + [prior[1]] * (len(self.value) - 1))
        # Mixtures of the terms that are nearly orthogonal over the stars, each with a prior of 1.
        _, mixtures = eigh(self.weight.sum(axis=(2, 3)), np.diag(1 / sizes**2))
        weight = np.einsum("ij,ikab,kl->jlab", mixtures, self.weight, mixtures, optimize=True)
        vectors = self.basis.project(np.tensordot(mixtures.T, self.value, 1))
        precision = self.basis.precision
        factors = [
            cho_factor(self.basis.normal(weight[j, j]) + precision, check_finite=False)
            for j in range(len(weight))
        ]

        def normal(flat: NDArray[np.float64]) -> NDArray[np.float64]:
            terms = flat.reshape(vectors.shape)
            light = np.einsum("jkab,kab->jab", weight, self.basis.image(terms))
            return np.asarray((self.basis.project(light) + terms @ precision).ravel())

        def alone(flat: NDArray[np.float64]) -> NDArray[np.float64]:
            terms = zip(factors, flat.reshape(vectors.shape), strict=True)
            return np.concatenate([cho_solve(*of_term, check_finite=False) for of_term in terms])

        solution, _ = cg(
            LinearOperator((vectors.size,) * 2, normal),
            vectors.ravel(),
            rtol=_TOLERANCE,
            maxiter=_ITERATIONS,
            M=LinearOperator((vectors.size,) * 2, alone),
        )
        return np.tensordot(mixtures, self.basis.image(solution.reshape(vectors.shape)), 1)

    def expected_gain(self, amplitude: float) -> float:
        """Estimate by how much the first term lowers the chi-squared of stars beside the fitted.

        References
        ----------
        Mallows (1973), Technometrics 15, 661.
        """
        normal, vector = self._first
        factor = cho_factor(normal + self.basis.precision / amplitude**2, check_finite=False)
        fitted = cho_solve(factor, vector, check_finite=False)
        parameters = float(np.vdot(invert(factor), normal))
        return float(2 * vector @ fitted - fitted @ normal @ fitted) - 2 * parameters

    @cached_property
    def _first(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Normal matrix and right side of the first term alone."""
        return self.basis.normal(self.weight[0, 0]), self.basis.project(self.value[0])
