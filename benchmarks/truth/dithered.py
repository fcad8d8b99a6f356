"""Dithered frames of stars and nebulae, and what a camera of finer pixels would have recorded.

All light is a sum of round Gaussians, so that it is integrated over the pixels exactly, wherever
and however they lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

__all__ = ["DitheredField"]

_MARGIN = 10
"""Pixels beyond the field out to which there are stars."""
_STARS_PER_PIXEL = 1 / 120
_BLOBS_PER_PIXEL = 1 / 1000
_BLOB_FLUX = (2000.0, 40000.0)
_BLOB_SIGMA = (1.5, 8.0)
_PSF = ((0.75, 0.9), (0.2, 1.5), (0.05, 3.0))
"""Parts of the PSF: flux, and width in units of that of a Gaussian of its FWHM; nearly a Moffat
profile of beta 3."""
_FWHM_PER_SIGMA = 2.3548


class DitheredField:
    """A field of stars and nebulae.

    Parameters
    ----------
    size : int
        Side of the frames in pixels.
    seed : int
        Of places and fluxes.
    flux : (float, float)
        Least and largest flux of the stars.
    nebulae : bool
        Whether there are any.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        *,
        flux: tuple[float, float] = (300.0, 30000.0),
        nebulae: bool = True,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.size = size
        self.n_stars = int(_STARS_PER_PIXEL * size**2)
        blobs = int(_BLOBS_PER_PIXEL * size**2) if nebulae else 0
        low, high = -_MARGIN, size + _MARGIN
        self.x, self.y = (
            np.concatenate([rng.uniform(low, high, self.n_stars), rng.uniform(0, size, blobs)])
            for _ in range(2)
        )
        self.flux = np.exp(
            np.concatenate(
                [
                    rng.uniform(*np.log(flux), self.n_stars),
                    rng.uniform(*np.log(_BLOB_FLUX), blobs),
                ]
            )
        )
        widths = np.exp(rng.uniform(*np.log(_BLOB_SIGMA), blobs))
        self.width = np.concatenate([np.zeros(self.n_stars), widths])

    def render(
        self,
        *,
        fwhm: float = 1.5,
        shift: Sequence[float] = (0.0, 0.0),
        angle: float = 0.0,
        scale: int = 1,
        gaussian: bool = False,
    ) -> NDArray[np.float64]:
        """Return a frame without sky and noise.

        Parameters
        ----------
        fwhm : float
            Of the optics, in pixels, before the integration over pixels.
        shift, angle : (float, float), float
            By which the field is moved in pixels, and turned about its middle in degrees.
        scale : int
            Fine pixels per pixel along each axis; surface brightness stays.
        gaussian : bool
            Whether the PSF is a Gaussian of that FWHM.
        """
        middle = (self.size - 1) / 2
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        u, v = self.x - middle, self.y - middle
        x, y = cos * u - sin * v + middle + shift[0], sin * u + cos * v + middle + shift[1]
        edges = np.arange(self.size * scale + 1) / scale - 0.5
        image = np.zeros((self.size * scale,) * 2)
        for share, factor in ((1.0, 1.0),) if gaussian else _PSF:
            sigma = np.hypot(factor * fwhm / _FWHM_PER_SIGMA, self.width) * np.sqrt(2)
            along_x, along_y = (
                np.diff(erf((edges - place[:, None]) / sigma[:, None]) / 2, axis=1)
                for place in (x, y)
            )
            image += (along_y * (share * self.flux)[:, None]).T @ along_x
        return image * scale**2

    def frames(
        self,
        number: int,
        *,
        noise: float,
        sky: float,
        seed: int,
        fwhm: Sequence[float] = (1.5,),
        angle: float = 0.0,
    ) -> list[NDArray[np.float64]]:
        """Return frames with sky and noise, the first one in place, the others dithered.

        `fwhm` of the frames follow each other.
        """
        rng = np.random.default_rng(seed)
        result = []
        for k in range(number):
            shift = rng.uniform(-3, 3, 2) if k else (0.0, 0.0)
            turn = rng.uniform(-angle, angle) if k else 0.0
            light = self.render(fwhm=fwhm[k % len(fwhm)], shift=shift, angle=turn)
            result.append(light + sky + rng.normal(0, noise, light.shape))
        return result
