"""Light that a result lacks or has too much of, as point sources: the CLEAN of its residual."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift

from astro_sr_plugin.constants import FWHM_PER_SIGMA

__all__ = ["BEAM", "Cleaner", "Component", "Patch", "draw"]

_OFFSETS = (-1 / 3, 0.0, 1 / 3)
"""Places of point sources within a pixel along each axis."""
_MOST = 12
"""Number of point sources that a place may take; more are no stars of a wrong light."""
_STAMP = 1.5
"""Radius in FWHM of the part of the PSF that is compared with the residual."""
BEAM = 4.0
"""Radius in standard deviations of the Gaussians that are drawn."""


class Component(NamedTuple):
    """A point source that puts a result right.

    Attributes
    ----------
    row, column : float
        Place in input pixels.
    flux : float
        Light that is added, in noise sigma of an input pixel; negative where it is removed.
    """

    row: float
    column: float
    flux: float


class Patch(NamedTuple):
    """An image of a component.

    Attributes
    ----------
    rows, columns : slice
        Where it lies in the result.
    profile : ndarray
        Its values over its flux.
    """

    rows: slice
    columns: slice
    profile: NDArray[np.float64]


def draw(component: Component, shape: tuple[int, int], target_fwhm: float, scale: int) -> Patch:
    """Draw a component as a star of the result.

    Parameters
    ----------
    component : Component
        The point source.
    shape : tuple of int
        Of the result.
    target_fwhm : float
        FWHM of its Gaussian PSF in its pixels.
    scale : int
        Output pixels per input pixel.

    Returns
    -------
    Patch
        Its image. The place has to be inside of the result.
    """
    sigma = target_fwhm / FWHM_PER_SIGMA
    slices, profiles = [], []
    for place, n in zip(component[:2], shape, strict=True):
        centre = (place + 0.5) * scale - 0.5
        first = int(np.ceil(centre - BEAM * sigma))
        pixels = np.arange(first, int(centre + BEAM * sigma) + 1)
        profile = np.exp(-0.5 * ((pixels - centre) / sigma) ** 2)
        profile *= scale / profile.sum()
        inside = (pixels >= 0) & (pixels < n)
        kept = pixels[inside]
        slices.append(slice(int(kept[0]), int(kept[-1]) + 1))
        profiles.append(profile[inside])
    return Patch(slices[0], slices[1], np.outer(*profiles))


class Cleaner:
    """Finds the point sources that explain a residual.

    Parameters
    ----------
    psf : ndarray, shape (2 * half + 1, 2 * half + 1)
        PSF of the residual, centred.
    fwhm : float
        Its FWHM in pixels.

    References
    ----------
    Hogbom (1974), A&AS 15, 417, with a gain of 1.
    """

    def __init__(self, psf: NDArray[np.floating], fwhm: float) -> None:
        self._places = list(product(_OFFSETS, repeat=2))
        spectrum = np.fft.fft2(np.asarray(psf, dtype=np.float64))
        self._psfs = np.array(
            [np.fft.ifft2(fourier_shift(spectrum, place)).real for place in self._places]
        )
        half = psf.shape[0] // 2
        self._half, self._radius = half, min(half, int(np.ceil(_STAMP * fwhm)))
        inner = slice(half - self._radius, half + self._radius + 1)
        self._stamps = self._psfs[:, inner, inner]
        self._squares = np.sum(self._stamps**2, axis=(1, 2))

    def clean(
        self,
        residual: NDArray[np.floating],
        allowed: NDArray[np.floating],
        centre: tuple[int, int],
        reach: int,
    ) -> list[Component]:
        """Subtract point sources from a residual until what is left around a place is allowed.

        Parameters
        ----------
        residual : ndarray, shape (ny, nx)
            Input less reconvolved result in noise sigma. The sources are subtracted in place, if
            they are few enough.
        allowed : ndarray, shape (ny, nx)
            Flux of a point source that may be left.
        centre : tuple of int
            Row and column of the place.
        reach : int
            Half the side of the square around it that the sources lie in.

        Returns
        -------
        list of Component
            Empty if a dozen of them do not suffice.
        """
        found: list[Component] = []
        radius, half = self._radius, self._half
        rows, columns = (
            slice(max(radius, c - reach), min(n - radius, c + reach + 1))
            for c, n in zip(centre, residual.shape, strict=True)
        )
        # As far as the sources shine.
        top, left = max(0, rows.start - half), max(0, columns.start - half)
        near = np.s_[top : rows.stop + half, left : columns.stop + half]
        rest = residual[near].copy()
        y0, x0 = rows.start - top, columns.start - left
        seen = rest[
            y0 - radius : rows.stop - top + radius, x0 - radius : columns.stop - left + radius
        ]
        windows = sliding_window_view(seen, self._stamps.shape[1:])
        for _ in range(_MOST + 1):
            flux = np.einsum("yxij,kij->kyx", windows, self._stamps, optimize=True)
            flux /= self._squares[:, None, None]
            gain = np.abs(flux) * np.sqrt(self._squares)[:, None, None]
            gain[np.abs(flux) <= allowed[rows, columns]] = 0.0
            number, row, column = (
                int(k) for k in np.unravel_index(int(np.argmax(gain)), gain.shape)
            )
            if not gain[number, row, column]:
                residual[near] = rest
                return found
            light = float(flux[number, row, column])
            self._subtract(rest, number, y0 + row, x0 + column, light)
            dy, dx = self._places[number]
            found.append(Component(rows.start + row + dy, columns.start + column + dx, light))
        return []

    def _subtract(
        self, rest: NDArray[np.floating], number: int, y: int, x: int, light: float
    ) -> None:
        ny, nx = rest.shape
        top, left = y - self._half, x - self._half
        rows = slice(max(0, top), min(ny, y + self._half + 1))
        columns = slice(max(0, left), min(nx, x + self._half + 1))
        psf = self._psfs[number, rows.start - top : rows.stop - top]
        rest[rows, columns] -= light * psf[:, columns.start - left : columns.stop - left]
