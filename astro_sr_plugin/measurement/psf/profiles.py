"""The mean profile of the stars of an image: what it encloses, and how far it reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["StarProfile"]

# FWHM of a square pixel as a blur: sqrt(8 ln 2 / 12).
_PIXEL = 0.68


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
        return float(np.hypot(self.fwhm, _PIXEL))

    @property
    def alpha(self) -> float:
        """Moffat scale radius in pixels of the observed profile."""
        return self.observed / (2 * np.sqrt(2 ** (1 / self.beta) - 1))

    @property
    def apertures(self) -> tuple[float, float]:
        """Radii in pixels of the small and the large aperture that tell stars from galaxies."""
        return max(0.6 * self.observed, 1.0), max(1.3 * self.observed, 2.2)

    @property
    def largest_share(self) -> float:
        """Largest share of the flux that one pixel can have."""
        return float(min(1.0, (self.beta - 1) / np.pi / self.alpha**2))

    def enclosed(self, radius: ArrayLike) -> NDArray[np.float64]:
        """Share of the flux within a radius in pixels."""
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

    def kernel(self, share: float = 1.0) -> NDArray[np.float32]:
        """Gaussian for the matched filter, of a share of the observed width; sums to 1."""
        width = share * self.observed
        half = int(np.clip(np.ceil(width), 1, 10))
        offset = np.arange(-half, half + 1)
        kernel = np.exp(-4 * np.log(2) * (offset[:, None] ** 2 + offset**2) / width**2)
        normalised: NDArray[np.float32] = (kernel / kernel.sum()).astype(np.float32)
        return normalised


def _radius(contrast: ArrayLike, alpha: float, beta: float) -> NDArray[np.float64]:
    ratio = np.maximum(np.asarray(contrast, dtype=float), 1)
    result: NDArray[np.float64] = alpha * np.sqrt(ratio ** (1 / beta) - 1)
    return result
