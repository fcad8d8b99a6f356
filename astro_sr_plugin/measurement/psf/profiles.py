"""Profiles of stars: Moffat profiles rendered, what they enclose, and how far they reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MoffatProfile", "StarProfile", "diffraction_wing", "moffat_stamp"]

PIXEL_FWHM = 0.68
"""FWHM in pixels of the Gaussian with the variance of a square pixel: sqrt(8 ln 2 / 12)."""
STAMP_RADIUS = 32
"""Radius in pixels to which stars are rendered; that of the image of the PSF."""
_NODES = np.array([-0.3873, 0.0, 0.3873])
"""Offsets in pixels at which a profile is evaluated within a pixel (3-point Gauss-Legendre)."""
_WEIGHTS = np.array([5.0, 8.0, 5.0]) / 18
"""Weights of these nodes."""


@dataclass(frozen=True)
class MoffatProfile:
    """Elliptical Moffat profile before integration over the pixel.

    Parameters
    ----------
    fwhm : float
        FWHM in pixels, geometric mean of both axes.
    beta : float
        Moffat exponent, above 1.
    ellipticity : float
        1 - b/a.
    theta : float
        Position angle of the major axis in radians, counter-clockwise from +x.
    """

    fwhm: float
    beta: float
    ellipticity: float
    theta: float

    @property
    def alpha(self) -> float:
        """Moffat scale radius in pixels."""
        return _scale_radius(self.fwhm, self.beta)

    def enclosed(self, radius: float) -> float:
        """Fraction of the flux within a radius in pixels, of a round profile."""
        return float(1 - (1 + (radius / self.alpha) ** 2) ** (1 - self.beta))


def moffat_stamp(
    profile: MoffatProfile,
    x: ArrayLike,
    y: ArrayLike,
    radius: int = STAMP_RADIUS,
    oversampling: int = 1,
) -> NDArray[np.float64]:
    """Render a Moffat profile integrated over the pixel.

    Parameters
    ----------
    profile : MoffatProfile
        The shape.
    x, y : float or ndarray
        Offset of the star from the middle of the stamp in pixels; of several, arrays of one shape.
    radius : int
        Pixels of the stamp on each side of the middle one.
    oversampling : int
        Values per pixel along each axis.

    Returns
    -------
    numpy.ndarray, shape (..., n, n) with ``n = 2 * radius * oversampling + 1``
        Light that a pixel there records of a star whose flux out to infinity is 1.

    Examples
    --------
    >>> from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp
    >>> stamp = moffat_stamp(MoffatProfile(3.0, 3.5, 0.0, 0.0), x=0.0, y=0.0, radius=20)
    >>> stamp.shape, round(float(stamp.sum()), 3)
    ((41, 41), 1.0)
    """
    alpha = profile.alpha
    cos, sin = np.cos(profile.theta), np.sin(profile.theta)
    q = np.sqrt(1 - profile.ellipticity)
    grid = np.arange(-radius * oversampling, radius * oversampling + 1.0) / oversampling
    left, top = (np.asarray(place, dtype=np.float64)[..., None, None] for place in (x, y))
    total = np.zeros((*left.shape[:-2], grid.size, grid.size))
    for dy, wy in zip(_NODES, _WEIGHTS, strict=True):
        for dx, wx in zip(_NODES, _WEIGHTS, strict=True):
            u, v = grid[None, :] + dx - left, grid[:, None] + dy - top
            square = ((u * cos + v * sin) * q) ** 2 + ((v * cos - u * sin) / q) ** 2
            total += wx * wy * (1 + square / alpha**2) ** -profile.beta
    return total * (profile.beta - 1) / (np.pi * alpha**2)


def diffraction_wing(radius: int, inner: float) -> NDArray[np.float64]:
    """Render the light of a star far from its core, which falls as ``r**-3`` by diffraction.

    Parameters
    ----------
    radius : int
        The stamp has ``2 * radius + 1`` pixels a side.
    inner : float
        Half side in pixels of the square about the star within which the light is 0.

    Returns
    -------
    numpy.ndarray, shape (2 * radius + 1, 2 * radius + 1)
        Surface brightness, sum 1.

    References
    ----------
    Born & Wolf, "Principles of Optics", section 8.5: the envelope of an Airy pattern.
    """
    grid = np.abs(np.arange(-radius, radius + 1.0))
    x, y = grid[None, :], grid[:, None]
    wing = np.where(np.maximum(x, y) > inner, np.maximum(np.hypot(x, y), 1.0) ** -3, 0.0)
    return np.asarray(wing / wing.sum())


@dataclass(frozen=True)
class StarProfile:
    """Round Moffat profile as seen through pixels.

    Parameters
    ----------
    fwhm : float
        FWHM in pixels before integration over the pixel.
    beta : float
        Moffat exponent, above 1.
    """

    fwhm: float
    beta: float

    @property
    def observed(self) -> float:
        """FWHM in pixels after integration over the pixel."""
        return float(np.hypot(self.fwhm, PIXEL_FWHM))

    @property
    def alpha(self) -> float:
        """Moffat scale radius in pixels of the observed profile."""
        return _scale_radius(self.observed, self.beta)

    @property
    def apertures(self) -> tuple[float, float]:
        """Radii in pixels of the two apertures whose flux ratio separates stars from galaxies.

        About 0.6 and 1.3 FWHM: most of the core, and nearly all of the star.
        """
        return max(0.6 * self.observed, 1.0), max(1.3 * self.observed, 2.2)

    @property
    def peak_fraction(self) -> float:
        """Largest fraction of the flux that one pixel can have."""
        return float(min(1.0, (self.beta - 1) / np.pi / self.alpha**2))

    def enclosed(self, radius: ArrayLike) -> NDArray[np.float64]:
        """Fraction of the flux within a radius in pixels."""
        squared = (np.asarray(radius, dtype=float) / self.alpha) ** 2
        result: NDArray[np.float64] = 1 - (1 + squared) ** (1 - self.beta)
        return result

    def amplitude(self, flux: ArrayLike) -> NDArray[np.float64]:
        """Peak of a star of a given flux."""
        result: NDArray[np.float64] = (
            np.asarray(flux, dtype=float) * (self.beta - 1) / (np.pi * self.alpha**2)
        )
        return result

    def radius(self, contrast: ArrayLike) -> NDArray[np.float64]:
        """Radius in pixels at which the profile has fallen to peak / contrast."""
        return _radius(contrast, self.alpha, self.beta)

    def smoothed_radius(self, contrast: ArrayLike) -> NDArray[np.float64]:
        """Radius at which the profile filtered with `kernel` is at unfiltered peak / contrast."""
        # The filter widens by sqrt(2) and lowers the peak to about a half.
        return _radius(np.asarray(contrast) / 2, self.alpha * np.sqrt(2), self.beta)

    def contrast(self, radius: ArrayLike) -> NDArray[np.float64]:
        """Peak over the value at a radius in pixels, the inverse of `radius`."""
        squared = (np.asarray(radius, dtype=float) / self.alpha) ** 2
        result: NDArray[np.float64] = (1 + squared) ** self.beta
        return result

    def kernel(self, width: float = 1.0) -> NDArray[np.float32]:
        """Gaussian for the matched filter, of `width` times the observed FWHM; sums to 1."""
        fwhm = width * self.observed
        half = int(np.clip(np.ceil(fwhm), 1, 10))
        offset = np.arange(-half, half + 1)
        kernel = np.exp(-4 * np.log(2) * (offset[:, None] ** 2 + offset**2) / fwhm**2)
        normalised: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
        return normalised


def _scale_radius(fwhm: float, beta: float) -> float:
    """Scale radius alpha of a Moffat profile, from its FWHM."""
    return float(fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1)))


def _radius(contrast: ArrayLike, alpha: float, beta: float) -> NDArray[np.float64]:
    ratio = np.maximum(np.asarray(contrast, dtype=float), 1)
    result: NDArray[np.float64] = alpha * np.sqrt(ratio ** (1 / beta) - 1)
    return result
