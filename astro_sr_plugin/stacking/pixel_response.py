"""What the pixels of a frame record of an image on a finer grid.

The fine image is a quadratic spline, which is smooth and needs few coefficients: a pixel of a frame
is its mean over the area of the pixel, wherever that lies and however it is turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import correlate1d
from scipy.sparse import csr_array

__all__ = ["PixelResponse", "make_response", "to_pixels"]

_PHASES = 32
"""Places per fine pixel and axis for which the response is tabulated: places are rounded by 1/128
pixels of a frame at most at a scale of 2, less than the errors of the registration."""
_NEGLIGIBLE = 1e-4
"""Part of the light of a pixel that coefficients at the rim of the response may have."""
_MEANS = np.array([1.0, 4.0, 1.0]) / 6
"""Mean of a quadratic spline over a fine pixel, from the coefficients there and beside it."""


@dataclass(frozen=True, eq=False)
class PixelResponse:
    """Weights of the coefficients about a pixel of a frame.

    Attributes
    ----------
    table : ndarray of float32, shape (phases, phases, n * n)
        For each place y and x of the middle of the pixel, from -1/2 to 1/2 about a coefficient.
    reach : int
        Coefficients on each side of that one: ``n = 2 * reach + 1``.
    """

    table: NDArray[np.float32]
    reach: int

    def inside(
        self, x: NDArray[np.floating], y: NDArray[np.floating], shape: tuple[int, int]
    ) -> NDArray[np.bool_]:
        """Whether all coefficients of pixels at places of the fine grid lie in a shape (ny, nx)."""
        reach, (ny, nx) = self.reach, shape
        column, row = np.rint(x), np.rint(y)
        found: NDArray[np.bool_] = (column >= reach) & (column < nx - reach)
        return found & (row >= reach) & (row < ny - reach)

    def matrix(
        self, x: NDArray[np.floating], y: NDArray[np.floating], shape: tuple[int, int]
    ) -> csr_array:
        """Make the matrix from the coefficients of a fine image to pixels of a frame.

        Parameters
        ----------
        x, y : ndarray, shape (k,)
            Places of the pixels on the fine grid, all of them `inside`.
        shape : (int, int)
            Shape (ny, nx) of the fine grid.
        """
        column, row = np.rint(x).astype(np.int32), np.rint(y).astype(np.int32)
        u = np.rint((x - column + 0.5) * _PHASES).astype(np.intp)
        v = np.rint((y - row + 0.5) * _PHASES).astype(np.intp)
        offset = np.arange(-self.reach, self.reach + 1, dtype=np.int32)
        taps = (offset[:, None] * shape[1] + offset).ravel()
        indices = (row * np.int32(shape[1]) + column)[:, None] + taps
        starts = np.arange(len(column) + 1, dtype=np.int32) * taps.size
        size = (len(column), shape[0] * shape[1])
        return csr_array((self.table[v, u].ravel(), indices.ravel(), starts), shape=size)


def make_response(
    jacobian: NDArray[np.float64], difference: NDArray[np.float64] | None = None
) -> PixelResponse:
    """Tabulate the response of the pixels of a frame.

    Parameters
    ----------
    jacobian : ndarray, shape (2, 2)
        Fine pixels (x, y) per pixel (x, y) of the frame.
    difference : ndarray, odd sides, optional
        What the PSF of the frame has beside that of the fine image, on the fine grid; sum 1.
    """
    half = int(np.ceil(1.5 + np.abs(jacobian).sum(axis=1).max() / 2))
    side = 2 * (half + 1) * _PHASES
    axis = fft.fftfreq(side, 1 / side) / _PHASES
    spline = np.abs(axis)
    spline = np.where(
        spline < 0.5, 0.75 - spline**2, np.where(spline < 1.5, (1.5 - spline) ** 2 / 2, 0)
    )
    inverse = np.linalg.inv(jacobian)
    u = inverse[0, 0] * axis + inverse[0, 1] * axis[:, None]
    v = inverse[1, 0] * axis + inverse[1, 1] * axis[:, None]
    # The rim of a pixel is softened by one step of the table.
    step = np.abs(inverse).sum(axis=1).max() / _PHASES
    area = np.clip((0.5 - np.abs(u)) / step + 0.5, 0, 1)
    area *= np.clip((0.5 - np.abs(v)) / step + 0.5, 0, 1)
    found = fft.irfft2(fft.rfft2(np.outer(spline, spline)) * fft.rfft2(area), s=area.shape)
    phase = np.arange(_PHASES + 1) - _PHASES // 2
    places = (np.arange(-half, half + 1) * _PHASES)[None, :] - phase[:, None]
    table = found[places[:, None, :, None], places[None, :, None, :]]
    if difference is not None:
        table = _spread(table, difference)
    table = _trimmed(table / table.sum(axis=(2, 3), keepdims=True))
    table /= table.sum(axis=(2, 3), keepdims=True)
    count = len(phase)
    return PixelResponse(table.reshape(count, count, -1).astype(np.float32), table.shape[-1] // 2)


def to_pixels(coefficients: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the means over the fine pixels, along the last two axes."""
    rows = correlate1d(coefficients, _MEANS, axis=-2, mode="nearest")
    return np.asarray(correlate1d(rows, _MEANS, axis=-1, mode="nearest"))


def _spread(table: NDArray[np.float64], difference: NDArray[np.float64]) -> NDArray[np.float64]:
    count, side = len(table), table.shape[-1]
    ny, nx = difference.shape
    result = np.zeros((count, count, side + ny - 1, side + nx - 1))
    for row, column in np.ndindex(ny, nx):
        part = result[:, :, row : row + side, column : column + side]
        part += difference[row, column] * table
    return result


def _trimmed(table: NDArray[np.float64]) -> NDArray[np.float64]:
    while table.shape[-1] > 3:
        rim = np.abs(table).sum(axis=(2, 3)) - np.abs(table[:, :, 1:-1, 1:-1]).sum(axis=(2, 3))
        if rim.max() > _NEGLIGIBLE:
            break
        table = table[:, :, 1:-1, 1:-1]
    return np.array(table)
