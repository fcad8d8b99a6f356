"""Regularised least squares for a fine image from the pixels of many frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array, diags_array, eye_array, kron

__all__ = ["ITERATIONS", "Equations", "Strength", "curvature_of", "make_laplacian"]

_TOLERANCE = 0.02
"""Residual of the equations, over what the noise alone makes of their right side, at which the
iteration ends."""
_MOST_ITERATIONS = 120
"""Iterations after which it ends at last; it takes 10 to 60, and more with very bright stars."""
ITERATIONS = 30
"""Iterations where the strength is tried, which begin with the last solution, and for noise."""
_LOCAL = 1.0
"""Standard deviation in fine pixels of the area over which the curvature is averaged."""


_LEAST_SHARE = 1e-2
"""Least part of the regularisation that stays in the cores of stars."""
_SPACING = 31
"""Distance in fine pixels of points that do not change each other in the normal equations: more
than twice the diameter of a response."""
_LEAST = 1e-4
"""Least response to a wave over the largest one that the preconditioner divides by."""
_TINY = 1e-30
"""What keeps a finished iteration from a division by 0."""


class Strength(NamedTuple):
    """Strength of the regularisation of one colour.

    Attributes
    ----------
    first : float
        Factor of the squared curvature, for a first solution.
    second : float
        The same for the second one, where the first one has no curvature.
    curvature : float
        Mean square of the curvature of the first solution at which that is halved.
    """

    first: float
    second: float
    curvature: float

    def weights(self, curvature: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the factor of the squared curvature at each pixel for the second solution."""
        share = self.curvature / (curvature + self.curvature)
        return np.asarray(self.second * np.maximum(share, _LEAST_SHARE))


class Equations:
    """Normal equations of a fine image.

    Parameters
    ----------
    design : csr_array, shape (samples, pixels)
        From the coefficients of the fine image to the samples.
    values, weights : ndarray, shape (samples,)
        Samples and their inverse variances, 0 for those that are left out.
    shape : (int, int)
        Shape (ny, nx) of the fine image.
    """

    def __init__(
        self,
        design: csr_array,
        values: NDArray[np.floating],
        weights: NDArray[np.floating],
        shape: tuple[int, int],
    ) -> None:
        self.shape = shape
        self.design, self.values, self.weights = design, values, weights
        self.transposed = design.T.tocsr()
        self.normal = self._product(self.transposed, weights)
        self.right = self.transposed @ (weights * values)
        self.density = self.transposed @ weights

    def reweighted(self, weights: NDArray[np.floating]) -> Equations:
        """Return the equations with other weights of some samples."""
        changed = np.flatnonzero(weights != self.weights)
        result = object.__new__(Equations)
        result.shape = self.shape
        result.design, result.values, result.weights = self.design, self.values, weights
        result.transposed, result.normal = self.transposed, self.normal
        if changed.size:
            rows = self.design[changed]
            difference = (weights - self.weights)[changed]
            result.normal = self.normal + self._product(rows.T.tocsr(), difference)
        result.right = self.transposed @ (weights * self.values)
        result.density = self.transposed @ weights
        return result

    def start(self) -> NDArray[np.float64]:
        """Drizzle the samples: the weighted mean of those that a pixel is in; 0 without any."""
        return np.divide(
            self.right, self.density, out=np.zeros_like(self.right), where=self.density > 0
        )

    def solve(
        self,
        laplacian: csr_array,
        penalty: NDArray[np.floating] | float,
        right: NDArray[np.floating],
        start: NDArray[np.floating],
        iterations: int = _MOST_ITERATIONS,
    ) -> NDArray[np.floating]:
        """Solve the equations by conjugate gradients.

        Parameters
        ----------
        laplacian : csr_array, shape (pixels, pixels)
            Of `make_laplacian`.
        penalty : float or ndarray, shape (pixels,)
            Factor of the squared curvature at each pixel.
        right, start : ndarray, shape (pixels,) or (pixels, n)
            Right sides, and where the iteration begins.
        iterations : int
            Largest number of iterations.

        Notes
        -----
        The preconditioner is the same problem with samples and penalty alike everywhere, which is
        solved by Fourier transforms, and scaled by the diagonal.
        """
        weights = np.broadcast_to(penalty, laplacian.shape[:1])
        added = laplacian.T @ diags_array(weights) @ laplacian
        matrix = (self.normal + added).astype(np.float32)
        spectrum = self._spectrum()
        typical = float(np.exp(np.log(weights).mean()))
        filtered = 1 / (spectrum + typical * _squared_curvature(self.shape))

        diagonal = matrix.diagonal()
        local = np.sqrt(np.median(diagonal) / np.where(diagonal > 0, diagonal, np.inf))

        def precondition(values: NDArray[np.float32]) -> NDArray[np.float32]:
            scale = local.reshape((-1,) + (1,) * (values.ndim - 1))
            image = (values * scale).reshape(*self.shape, -1)
            waves = fft.rfft2(image, axes=(0, 1)) * filtered[:, :, None]
            found = fft.irfft2(waves, s=self.shape, axes=(0, 1))
            return np.asarray(found.reshape(values.shape) * scale, np.float32)

        found = np.array(start, dtype=np.float32)
        residual = right.astype(np.float32) - matrix @ found
        search = moved = precondition(residual)
        product = np.sum(residual * moved, axis=0)
        size = self.shape[0] * self.shape[1]
        limit = _TOLERANCE**2 * size * float(np.mean(spectrum * filtered))
        for _ in range(iterations):
            if np.all(product <= limit):
                break
            image = matrix @ search
            length = product / np.maximum(np.sum(search * image, axis=0), _TINY)
            found += length * search
            residual = residual - length * image
            moved = precondition(residual)
            last, product = product, np.sum(residual * moved, axis=0)
            search = moved + product / np.maximum(last, _TINY) * search
        return np.asarray(found)

    def noise(self, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Make right sides of samples that are only noise, shape (pixels, number)."""
        noise = rng.normal(size=(len(self.values), number)).astype(np.float32)
        return np.asarray(self.transposed @ (np.sqrt(self.weights)[:, None] * noise))

    def _spectrum(self) -> NDArray[np.float32]:
        """Mean response of the normal matrix to waves, from that to a grid of points.

        It is that of the diagonal where no sample is near the points.
        """
        ny, nx = self.shape
        count = ny // _SPACING, nx // _SPACING
        points = np.zeros(self.shape, np.float32)
        middle = _SPACING // 2
        area = np.s_[: count[0] * _SPACING, : count[1] * _SPACING]
        points[area][middle::_SPACING, middle::_SPACING] = 1
        image = (self.normal @ points.ravel()).reshape(self.shape)[area]
        if not image.any():
            level = max(float(self.normal.diagonal().mean()), _TINY)
            return np.full((ny, nx // 2 + 1), level, np.float32)
        mean = image.reshape(count[0], _SPACING, count[1], _SPACING).mean(axis=(0, 2))
        whole = np.zeros(self.shape, np.float32)
        whole[:_SPACING, :_SPACING] = mean
        found = fft.rfft2(np.roll(whole, (-middle, -middle), axis=(0, 1))).real
        return np.asarray(np.maximum(found, _LEAST * found.max()), np.float32)

    @staticmethod
    def _product(transposed: csr_array, weights: NDArray[np.floating]) -> csr_array:
        scaled = transposed.copy()
        scaled.data *= weights.astype(scaled.dtype)[scaled.indices]
        return (scaled @ transposed.T.tocsr()).astype(np.float64)


def make_laplacian(shape: tuple[int, int]) -> csr_array:
    """Make the matrix of the curvature of an image of shape (ny, nx): the sum of both axes."""

    def along(n: int) -> csr_array:
        middle = np.full(n, -2.0)
        middle[[0, -1]] = -1.0
        return diags_array([np.ones(n - 1), middle, np.ones(n - 1)], offsets=[-1, 0, 1])

    ny, nx = shape
    return csr_array(kron(eye_array(ny), along(nx)) + kron(along(ny), eye_array(nx)))


def curvature_of(
    laplacian: csr_array, solution: NDArray[np.floating], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the local mean square of the curvature of a solution, flat."""
    square = (laplacian @ solution).reshape(shape) ** 2
    return np.asarray(gaussian_filter(square, _LOCAL, mode="nearest").ravel())


def _squared_curvature(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Squared response of the Laplacian to waves."""
    y, x = fft.fftfreq(shape[0])[:, None], fft.rfftfreq(shape[1])
    curvature = 4 - 2 * np.cos(2 * np.pi * y) - 2 * np.cos(2 * np.pi * x)
    return np.asarray(curvature**2, np.float32)
