"""Shape of the stars on a grid over the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.psf.fitting import fit_moffat
from astro_sr_plugin.measurement.psf.moffat import (
    LARGE_WINDOW,
    LARGE_WINDOW_COUNT,
    MOST_IN_WINDOW,
    PSFMeasurement,
)
from astro_sr_plugin.measurement.psf.selection import find_stars, sky_is_curved
from astro_sr_plugin.measurement.sky.noise import Noise
from astro_sr_plugin.measurement.sky.windows import Window, spread_windows
from astro_sr_plugin.measurement.sources.candidates import CandidateFinder, cut_stamps

__all__ = ["PSFGrid", "measure_psf_grid"]

_FEWEST_IN_CELL = 3
"""Smallest number of stars for the shape in a cell of the grid."""
_MOST_IN_CELL = 30
"""Largest number of stars of a cell, the brightest first."""


@dataclass(frozen=True, eq=False)
class PSFGrid:
    """Shape of the stars on a grid over the field; each array has the shape (gy, gx).

    Attributes
    ----------
    fwhm : numpy.ndarray
        FWHM in pixels; NaN in a cell with fewer than 3 stars.
    ellipticity : numpy.ndarray
        1 - b/a; NaN in a cell with fewer than 3 stars.
    theta : numpy.ndarray
        Position angle of the major axis in radians, counter-clockwise from +x.
    n_stars : numpy.ndarray of int
        Number of stars used.
    """

    fwhm: NDArray[np.float64]
    ellipticity: NDArray[np.float64]
    theta: NDArray[np.float64]
    n_stars: NDArray[np.int_]


def measure_psf_grid(
    finder: CandidateFinder, noise: Noise, profile: PSFMeasurement, grid: tuple[int, int]
) -> PSFGrid:
    """Fit the width and the ellipticity of each cell, with the beta of the whole field.

    Parameters
    ----------
    finder : CandidateFinder
        Sources of the plane.
    noise : Noise
        Noise of the plane.
    profile : PSFMeasurement
        Profile of the whole field.
    grid : tuple of int
        Number of cells (gy, gx), each at least 1.

    Raises
    ------
    InputError
        If `grid` is not two whole numbers of at least 1.
    """
    if len(grid) != 2 or min(grid) < 1:
        msg = f"grid is {grid}, but it must be two whole numbers of at least 1, (gy, gx)"
        raise InputError(msg)
    counts = np.zeros(grid[0] * grid[1], dtype=int)
    fwhm = np.full(counts.size, np.nan)
    ellipticity, theta = fwhm.copy(), fwhm.copy()
    if np.isfinite(profile.fwhm):
        shape = finder.shape
        candidates = finder.find(_windows_of_cells(shape, grid), most=MOST_IN_WINDOW)
        rows = np.clip((candidates.y + 0.5) * grid[0] / shape[0], 0, grid[0] - 1).astype(int)
        columns = np.clip((candidates.x + 0.5) * grid[1] / shape[1], 0, grid[1] - 1).astype(int)
        cells = rows * grid[1] + columns
        half = int(np.clip(np.ceil(2 * profile.fwhm), 5, 22))
        for cell in range(counts.size):
            stars, _ = find_stars(candidates.select(cells == cell), noise.correlated_sigma_ratio)
            counts[cell] = len(stars)
            if len(stars) < _FEWEST_IN_CELL:
                continue
            stars = stars.select(np.argsort(-stars.snr)[:_MOST_IN_CELL])
            stamps, usable = cut_stamps(stars, half)
            local = fit_moffat(
                stamps,
                usable,
                sigma=1.0,
                fwhm=profile.fwhm,
                inverse_beta=1 / profile.beta,
                fit_beta=False,
                curved_sky=sky_is_curved(stars, profile.fwhm),
            )
            fwhm[cell] = local.fwhm[0]
            ellipticity[cell], theta[cell] = local.ellipticity[0], local.theta[0]
    return PSFGrid(*(values.reshape(grid) for values in (fwhm, ellipticity, theta, counts)))


def _windows_of_cells(shape: tuple[int, int], grid: tuple[int, int]) -> list[Window]:
    ny, nx = shape
    cells = grid[0] * grid[1]
    side = int(min(LARGE_WINDOW, LARGE_WINDOW * np.sqrt(LARGE_WINDOW_COUNT / cells)))
    windows: list[Window] = []
    for row in range(grid[0]):
        for column in range(grid[1]):
            cell = Window(
                row * ny // grid[0],
                (row + 1) * ny // grid[0],
                column * nx // grid[1],
                (column + 1) * nx // grid[1],
            )
            windows.extend(
                Window(w.y0 + cell.y0, w.y1 + cell.y0, w.x0 + cell.x0, w.x1 + cell.x0)
                for w in spread_windows(cell.shape, side, 1)
                if min(w.shape) >= 9
            )
    return windows
