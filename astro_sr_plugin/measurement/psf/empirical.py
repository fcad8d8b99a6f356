"""The empirical PSF: a Moffat profile, and what the stars have beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from astro_sr_plugin.measurement.psf.empirical_stars import FinePSF
from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS, moffat_stamp

__all__ = ["ORDERS", "EmpiricalPSF", "ExtendedPart", "field_terms"]

ORDERS = {0: 1, 1: 3, 2: 6, 3: 10}
"""Number of polynomials over the field for each order."""
_INNER, _OUTER = 0.65, 0.9
"""Radii, in units of that of the fine grid, between which the measured residual fades into the
scaled Moffat profile beyond."""


@dataclass(frozen=True, eq=False)
class ExtendedPart:
    """Halo and diffraction spikes of a star of flux 1, beside its core.

    Attributes
    ----------
    image : ndarray, shape (65, 65)
        Light of each pixel.
    beyond : float
        Flux beyond the image.
    """

    image: NDArray[np.float64]
    beyond: float

    def at(self, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """Interpolate the light at offsets from the middle in pixels."""
        places = np.meshgrid(rows + STAMP_RADIUS, columns + STAMP_RADIUS, indexing="ij")
        return np.asarray(map_coordinates(self.image, places, order=3))


@dataclass(frozen=True, eq=False)
class EmpiricalPSF:
    """Point-spread function measured pixel by pixel: what the pixels record of a star.

    Attributes
    ----------
    moffat : PSFMeasurement
        Moffat profile of the whole field.
    field : PSFField or None
        The profile over the field, where it changes.
    shape : tuple of int
        Shape (ny, nx) of the plane.
    residual : ndarray, shape (t, n, n), or None
        What the PSF has beside the profile and the extended part, on a fine grid: coefficients of
        1, 3, 6 or 10 polynomials over the field. Light per pixel of a star of flux 1. None where
        left-out stars are described as well without it.
    oversampling : int
        Nodes of the fine grid per pixel along each axis.
    wings : float
        Brightness beyond the fine grid in units of that of the profile and the extended part.
    extended : ExtendedPart or None
        Halo and diffraction spikes.
    n_stars : int
        Stars that it comes from.
    residual_fraction : float
        What it leaves of stars that were left out, beyond the noise: the root mean square over
        that of the star; median of the brighter half. NaN if unknown.
    moffat_residual_fraction : float
        The same of the Moffat profile, on the same stars.
    residual_noise : float
        Root mean square of what it leaves of stars that were left out, in units of the noise.
    """

    moffat: PSFMeasurement
    field: PSFField | None
    shape: tuple[int, int]
    residual: NDArray[np.float64] | None = None
    oversampling: int = 1
    wings: float = 1.0
    extended: ExtendedPart | None = None
    n_stars: int = 0
    residual_fraction: float = float("nan")
    moffat_residual_fraction: float = float("nan")
    residual_noise: float = float("nan")

    @property
    def order(self) -> int:
        """Order of the polynomials over the field; 0 where the residual is the same."""
        count = 1 if self.residual is None else len(self.residual)
        return {terms: order for order, terms in ORDERS.items()}[count]

    @property
    def varies(self) -> bool:
        """Whether the PSF changes over the field."""
        return self.field is not None or self.order > 0

    @property
    def centre(self) -> tuple[float, float]:
        """Middle (x, y) of the plane."""
        return (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2

    def profile_at(self, x: float, y: float) -> PSFMeasurement:
        """Return the Moffat profile at a place of the plane."""
        return self.moffat if self.field is None else self.field.psf_at(x, y)

    def image(
        self, x: float, y: float, *, radius: int, oversampling: int = 1
    ) -> NDArray[np.float64]:
        """Render the PSF at a place of the plane, in the middle of a stamp.

        Parameters
        ----------
        x, y : float
            Place in the plane.
        radius : int
            Pixels of the stamp on each side of the middle one.
        oversampling : int
            Values per pixel along each axis: 1, or that of the fine grid.

        Returns
        -------
        ndarray, shape (n, n) with ``n = 2 * radius * oversampling + 1``
            Light that a pixel there records of a star whose flux out to infinity is 1.
        """
        return np.asarray(self._render(x, y, radius, oversampling) / self._total(x, y))

    def star(
        self, x: float, y: float, offset: tuple[float, float], radius: int
    ) -> NDArray[np.float64]:
        """Render a star at ``offset`` (x, y) from the middle of its stamp.

        Its flux is that of the fit, not normalised.
        """
        profile = moffat_stamp(self.profile_at(x, y), *offset, radius)
        axes = (np.arange(-radius, radius + 1.0) - place for place in reversed(offset))
        rows, columns = axes
        if self.extended is not None:
            profile = profile + self.extended.at(rows, columns)
        if self.residual is None:
            return np.asarray(np.maximum(profile, 0.0))
        residual = FinePSF(self._residual_at(x, y), self.oversampling).at(*offset, radius)
        return self._join(profile, residual, rows, columns)

    def _render(self, x: float, y: float, radius: int, oversampling: int) -> NDArray[np.float64]:
        half = radius * oversampling
        axis = np.arange(-half, half + 1) / oversampling
        profile = moffat_stamp(self.profile_at(x, y), 0.0, 0.0, radius, oversampling)
        if self.extended is not None:
            profile = profile + self.extended.at(axis, axis)
        if self.residual is None:
            return np.asarray(np.maximum(profile, 0.0))
        step = self.oversampling // oversampling
        residual = self._residual_at(x, y)[::step, ::step]
        missing = half - len(residual) // 2
        if missing > 0:
            residual = np.pad(residual, missing)
        elif missing < 0:
            residual = residual[-missing:missing, -missing:missing]
        return self._join(profile, residual, axis, axis)

    def _total(self, x: float, y: float) -> float:
        """Flux out to infinity, before it is normalised."""
        inside = float(self._render(x, y, STAMP_RADIUS, 1).sum())
        beyond = 1 - float(moffat_stamp(self.profile_at(x, y), 0.0, 0.0, STAMP_RADIUS).sum())
        if self.extended is not None:
            beyond += self.extended.beyond
        return inside + self.wings * max(0.0, beyond)

    def _residual_at(self, x: float, y: float) -> NDArray[np.float64]:
        assert self.residual is not None
        terms = field_terms(x, y, self.shape, self.order)
        return np.asarray(np.tensordot(terms, self.residual, 1))

    def _join(
        self,
        profile: NDArray[np.float64],
        residual: NDArray[np.float64],
        rows: NDArray[np.float64],
        columns: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        assert self.residual is not None
        reach = self.residual.shape[1] // 2 / self.oversampling
        ramp = np.clip(
            (_OUTER - np.hypot(rows[:, None], columns) / reach) / (_OUTER - _INNER), 0, 1
        )
        near = ramp**2 * (3 - 2 * ramp)
        joined = profile * (near + self.wings * (1 - near)) + residual * near
        return np.asarray(np.maximum(joined, 0.0))


def field_terms(
    x: ArrayLike, y: ArrayLike, shape: tuple[int, int], order: int
) -> NDArray[np.float64]:
    """Evaluate the polynomials over the field (Legendre's) at places: shape (..., terms)."""
    u, v = (
        np.clip((2 * np.asarray(place, dtype=np.float64) + 1) / n - 1, -1.0, 1.0)
        for place, n in ((x, shape[1]), (y, shape[0]))
    )
    u2, v2 = (1.5 * place**2 - 0.5 for place in (u, v))
    u3, v3 = (2.5 * place**3 - 1.5 * place for place in (u, v))
    terms = [np.ones_like(u), u, v, u2, u * v, v2, u3, u2 * v, u * v2, v3]
    return np.stack(terms[: ORDERS[order]], axis=-1)
