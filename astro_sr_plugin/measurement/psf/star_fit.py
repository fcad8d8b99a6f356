"""Fit of a star to the usable pixels: the PSF, moved to its place, and the sky under it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift, spline_filter

from astro_sr_plugin.measurement.psf.consistency import PSF_ERROR
from astro_sr_plugin.measurement.sky.windows import Window

__all__ = ["SplinePSF", "cut_around", "fit_star", "light_weight"]

_PHOTON_VARIANCE = 0.1
"""Variance of a pixel per unit of its light, in noise of the sky: a typical photon noise."""
_LARGEST_CONDITION = 1e12
"""Condition number of the normal equations above which the pixels do not determine the
star: float64 leaves four digits there."""


class SplinePSF:
    """Image of a PSF that is moved by fractions of a pixel with cubic splines.

    Parameters
    ----------
    image : ndarray, shape (2 * reach + 1, 2 * reach + 1)
        The PSF, centred.
    """

    def __init__(self, image: NDArray[np.floating]) -> None:
        self.reach = image.shape[0] // 2
        # The splines are computed once: many stars share them.
        self._coefficients = spline_filter(image.astype(np.float64), order=3, mode="constant")

    def moved(self, along_y: float, along_x: float) -> NDArray[np.float64]:
        """Return the PSF moved by fractions of a pixel."""
        moved = shift(self._coefficients, (along_y, along_x), order=3, prefilter=False)
        return np.asarray(moved)


def cut_around(
    row: int, column: int, radius: int, reach: int, shape: tuple[int, int]
) -> tuple[Window, tuple[slice, slice]]:
    """Cut a square about a pixel that stays within a plane.

    Parameters
    ----------
    row, column : int
        The pixel.
    radius : int
        The square has ``2 * radius + 1`` pixels a side, and fewer at the edges of the plane.
    reach : int
        Radius of the image of the PSF, at least `radius`.
    shape : tuple of int
        Shape (ny, nx) of the plane.

    Returns
    -------
    window : Window
        The square in the plane.
    part : tuple of slice
        The same pixels in an image of the PSF that is centred on the pixel.
    """
    y0, y1 = max(0, row - radius), min(shape[0], row + radius + 1)
    x0, x1 = max(0, column - radius), min(shape[1], column + radius + 1)
    part = np.s_[reach + y0 - row : reach + y1 - row, reach + x0 - column : reach + x1 - column]
    return Window(y0, y1, x0, x1), part


def light_weight(data: NDArray[np.floating]) -> NDArray[np.floating]:
    """Weights of pixels, in noise sigma, for the fit of a star.

    The inverse of the variance: noise of the sky and of the light, and the error of the PSF.
    """
    return 1 / (1 + _PHOTON_VARIANCE * np.maximum(data, 0) + (PSF_ERROR * data) ** 2)


def fit_star(
    data: NDArray[np.floating],
    weight: NDArray[np.floating],
    *terms: NDArray[np.floating],
    sky_error: float = np.inf,
) -> tuple[NDArray[np.float64], float] | None:
    """Fit a star and the sky under it by weighted linear least squares.

    Parameters
    ----------
    data : ndarray, shape (n,)
        Usable pixels.
    weight : ndarray, shape (n,)
        Inverse of their variances.
    *terms : ndarray, shape (n,)
        The PSF at these pixels; its slopes too, if the position is fitted.
    sky_error : float
        1-sigma error of the sky, which was subtracted: infinity leaves it free, 0 takes it as 0.

    Returns
    -------
    amplitudes : ndarray, shape (number of terms,)
        Flux of the star; then minus the flux times the shift along each slope.
    sky : float
        The sky, in the unit of the data.
        None instead of both if the pixels do not determine them.
    """
    shapes = [*terms, np.ones_like(terms[0])] if sky_error > 0 else list(terms)
    basis = np.stack(shapes)
    normal = (basis * weight) @ basis.T
    if 0 < sky_error < np.inf:
        normal[-1, -1] += sky_error**-2
    # Of scaled terms, so that the unit of the flux does not matter.
    scale = np.sqrt(np.diag(normal))
    if not (scale > 0).all():
        return None
    if not np.linalg.cond(normal / np.outer(scale, scale)) < _LARGEST_CONDITION:
        return None
    solution = np.linalg.solve(normal, (basis * weight) @ data)
    if sky_error > 0:
        return solution[:-1], float(solution[-1])
    return solution, 0.0
