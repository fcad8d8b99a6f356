"""Star removal by inpainting of the star mask of the package: the sky put in from around it."""

from __future__ import annotations

import warnings

import numpy as np
from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans
from numpy.typing import NDArray
from skimage.restoration import inpaint_biharmonic

import astro_sr_plugin as asr

__all__ = ["biharmonic", "interpolated"]


def biharmonic(image: NDArray[np.float32]) -> NDArray[np.floating]:
    """Fill the star mask by the biharmonic equation (scikit-image)."""
    mask = asr.star_mask(image)
    return np.asarray(inpaint_biharmonic(image.astype(float), mask, split_into_regions=True))


def interpolated(image: NDArray[np.float32]) -> NDArray[np.floating]:
    """Fill the star mask with the mean around it, of a Gaussian as wide as it takes (Astropy)."""
    holes = np.where(asr.star_mask(image), np.nan, image.astype(float))
    width = 2.0
    while np.isnan(holes).any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the kernel was too small for some holes
            holes = interpolate_replace_nans(holes, Gaussian2DKernel(width), boundary="extend")
        width *= 2
    return np.asarray(holes)
