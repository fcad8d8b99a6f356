"""Thin-plate splines: displacements of short wavelengths, which no polynomial follows.

A smoothing spline (Wahba 1990, Spline Models for Observational Data) is fitted to what a polynomial
leaves. It is as smooth as makes it predict each star best from the others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates, spline_filter

from astro_sr_plugin.registration.distortion import Distortion

__all__ = ["ThinPlate", "fit_thin_plate"]

Array = NDArray[np.float64]

_MOST_KNOTS = 400
"""Stars that the spline is fitted to: those of the largest weights; the time goes with the cube."""
_STIFFNESSES = 10.0 ** np.arange(-2, 5)
"""Variance of noise over that of the bending, in the unit of the kernel, that are tried."""
_NODES = 96
"""Places along each axis between which a map of the spline is interpolated."""
_AT_ONCE = 1000
"""Places at which the spline is evaluated at a time."""
_MARGIN = 0.1
"""Width of the area around the stars in which the spline is evaluated, over that of theirs."""


@dataclass(frozen=True, eq=False)
class ThinPlate:
    """Displacements in pixels of the image: a polynomial, and a spline with a knot at each star.

    Parameters
    ----------
    polynomial : Distortion or None
        The polynomial.
    knots : ndarray, shape (n, 2)
        Places in the reference, in units of `radius` about `centre`.
    weights : ndarray, shape (n + 3, 2)
        Weights of the knots, and of 1, u and v, in pixels.
    centre : (float, float)
        Place (x, y) in the reference in pixels.
    radius : float
        In pixels.

    Notes
    -----
    Beside the area of the stars the displacement is that at its rim.
    """

    polynomial: Distortion | None
    knots: Array
    weights: Array
    centre: tuple[float, float]
    radius: float

    def moved(self, x: int, y: int) -> ThinPlate:
        """Give the same in coordinates that begin at a place of the reference."""
        polynomial = None if self.polynomial is None else self.polynomial.moved(x, y)
        centre = self.centre[0] - x, self.centre[1] - y
        return replace(self, polynomial=polynomial, centre=centre)

    def at(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Evaluate the displacements in x and y in pixels."""
        u, v = np.broadcast_arrays(
            (np.asarray(x, dtype=np.float64) - self.centre[0]) / self.radius,
            (np.asarray(y, dtype=np.float64) - self.centre[1]) / self.radius,
        )
        (u0, u1), (v0, v1) = self._area
        u, v = np.clip(u, u0, u1), np.clip(v, v0, v1)
        if u.size <= _NODES**2:
            found = _evaluate(self.knots, self.weights, u.ravel(), v.ravel())
            dx, dy = found.T.reshape(2, *u.shape)
        else:
            places = np.stack([(v - v0) / (v1 - v0), (u - u0) / (u1 - u0)]) * (_NODES - 1)
            dx, dy = (
                map_coordinates(plane, places, order=3, mode="mirror", prefilter=False)
                for plane in self._map
            )
        if self.polynomial is None:
            return dx, dy
        px, py = self.polynomial.at(x, y)
        return dx + px, dy + py

    def slopes(self, x: ArrayLike, y: ArrayLike) -> list[NDArray[Any]]:
        """Evaluate their derivatives: dx/dx, dx/dy, dy/dx, dy/dy."""
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        right, left = self.at(x + 0.5, y), self.at(x - 0.5, y)
        above, below = self.at(x, y + 0.5), self.at(x, y - 0.5)
        return [right[0] - left[0], above[0] - below[0], right[1] - left[1], above[1] - below[1]]

    @cached_property
    def _area(self) -> tuple[tuple[float, float], tuple[float, float]]:
        low, high = self.knots.min(axis=0), self.knots.max(axis=0)
        margin = _MARGIN * np.maximum(high - low, 1e-6)
        (u0, v0), (u1, v1) = low - margin, high + margin
        return (float(u0), float(u1)), (float(v0), float(v1))

    @cached_property
    def _map(self) -> Array:
        """Coefficients of a cubic spline through the displacements on a grid."""
        u, v = (np.linspace(*limits, _NODES) for limits in self._area)
        rows, columns = np.meshgrid(v, u, indexing="ij")
        found = _evaluate(self.knots, self.weights, columns.ravel(), rows.ravel())
        planes = found.T.reshape(2, _NODES, _NODES)
        return np.stack([spline_filter(plane, order=3, mode="mirror") for plane in planes])


def fit_thin_plate(
    places: Array,
    displacements: Array,
    variance: Array,
    polynomial: Distortion | None,
    centre: tuple[float, float],
    radius: float,
) -> ThinPlate:
    """Fit a spline to displacements of stars.

    Parameters
    ----------
    places : ndarray, shape (n, 2)
        In the reference, in units of `radius` about `centre`.
    displacements : ndarray, shape (n, 2)
        In pixels, less those of the polynomial.
    variance : ndarray, shape (n,)
        Relative ones of the displacements; not finite ones are not used.
    polynomial, centre, radius
        As of `ThinPlate`.
    """
    used = np.flatnonzero(np.isfinite(variance))
    used = np.sort(used[np.argsort(variance[used], kind="stable")[:_MOST_KNOTS]])
    knots, target, variance = places[used], displacements[used], variance[used]
    variance = variance / np.median(variance)
    count = len(knots)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(knots[:, 0], knots[:, 1], knots)
    system[:count, count:] = np.column_stack([np.ones(count), knots])
    system[count:, :count] = system[:count, count:].T
    right = np.concatenate([target, np.zeros((3, 2))])
    best, least = np.zeros_like(right), np.inf
    for stiffness in _STIFFNESSES:
        trial = system.copy()
        trial[np.arange(count), np.arange(count)] += stiffness * variance / count
        inverse = np.linalg.inv(trial)
        weights = inverse @ right
        # Distance of each star from the spline of all others (Rippa 1999).
        alone = weights[:count] / np.diag(inverse)[:count, None]
        loss = float(np.median(np.hypot(*alone.T) ** 2 / variance))
        if loss < least:
            best, least = weights, loss
    return ThinPlate(polynomial, knots, best, centre, radius)


def _evaluate(knots: Array, weights: Array, u: Array, v: Array) -> Array:
    """Displacements at places, shape (n, 2); in parts that fit into memory."""
    count = max(1, u.size // _AT_ONCE)
    parts = [
        _kernel(a, b, knots) @ weights[:-3]
        for a, b in zip(np.array_split(u, count), np.array_split(v, count), strict=True)
    ]
    plane = np.column_stack([np.ones_like(u), u, v]) @ weights[-3:]
    return np.asarray(np.concatenate(parts) + plane)


def _kernel(u: Array, v: Array, knots: Array) -> Array:
    """r^2 log r of the distances of places from the knots."""
    squared = (u[:, None] - knots[:, 0]) ** 2 + (v[:, None] - knots[:, 1]) ** 2
    result: Array = 0.5 * squared * np.log(np.maximum(squared, 1e-30))
    return result
