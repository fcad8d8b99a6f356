"""Polynomials of second and higher order in the coordinates of a reference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Distortion", "polynomial_terms"]


def polynomial_terms(order: int) -> list[tuple[int, int]]:
    """Exponents (i, j) of the terms ``u**i * v**j`` of second to the given order."""
    return [(total - j, j) for total in range(2, order + 1) for j in range(total + 1)]


@dataclass(frozen=True, eq=False)
class Distortion:
    """Displacements in pixels of the image, as polynomials in the place in the reference.

    Parameters
    ----------
    order : int
        Order of the polynomials, 2 or more.
    coefficients : ndarray, shape (2, number of terms)
        Of the displacements in x and y in pixels, for the `polynomial_terms`.
    centre : (float, float)
        Place (x, y) in the reference in pixels where u and v are 0.
    radius : float
        Distance in pixels from there at which they are 1.
    """

    order: int
    coefficients: NDArray[np.float64]
    centre: tuple[float, float]
    radius: float

    def moved(self, x: int, y: int) -> Distortion:
        """Give the same in coordinates that begin at a place of the reference."""
        return replace(self, centre=(self.centre[0] - x, self.centre[1] - y))

    def at(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Evaluate the displacements in x and y in pixels."""
        u, v = self._normalised(x, y)
        dx, dy = self._tables
        return np.polynomial.polynomial.polyval2d(u, v, dx), np.polynomial.polynomial.polyval2d(
            u, v, dy
        )

    def slopes(self, x: ArrayLike, y: ArrayLike) -> list[NDArray[Any]]:
        """Evaluate their derivatives: dx/dx, dx/dy, dy/dx, dy/dy."""
        u, v = self._normalised(x, y)
        polynomial = np.polynomial.polynomial
        return [
            np.asarray(polynomial.polyval2d(u, v, polynomial.polyder(table, axis=axis)))
            / self.radius
            for table in self._tables
            for axis in (0, 1)
        ]

    def _normalised(
        self, x: ArrayLike, y: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        u = (np.asarray(x, dtype=np.float64) - self.centre[0]) / self.radius
        v = (np.asarray(y, dtype=np.float64) - self.centre[1]) / self.radius
        u, v = np.broadcast_arrays(u, v)
        return u, v

    @cached_property
    def _tables(self) -> NDArray[np.float64]:
        """Coefficients by exponent, shape (2, order + 1, order + 1)."""
        tables = np.zeros((2, self.order + 1, self.order + 1))
        for number, (i, j) in enumerate(polynomial_terms(self.order)):
            tables[:, i, j] = self.coefficients[:, number]
        return tables
