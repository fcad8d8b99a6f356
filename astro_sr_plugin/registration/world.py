"""The transform that the world coordinates of two images give."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS, NoConvergence
from astropy.wcs.utils import skycoord_to_pixel

from astro_sr_plugin.registration.fitting import Pairs, fit_transform
from astro_sr_plugin.registration.projection import place_grid
from astro_sr_plugin.registration.transform import Transform

__all__ = ["transform_between"]

_ERROR = 0.01
"""Error in pixels of world coordinates: what keywords with five digits of a degree per pixel keep
over a large frame."""
_FEWEST = 20
"""Places in both images that a transform is fitted to."""


def transform_between(
    wcs: WCS, reference: WCS, shape: tuple[int, int], reference_shape: tuple[int, int]
) -> Transform | None:
    """Find the transform that the world coordinates of two images give.

    Parameters
    ----------
    wcs, reference : astropy.wcs.WCS
        World coordinates of the image and of the reference; celestial.
    shape, reference_shape : (int, int)
        Their shapes (ny, nx).

    Returns
    -------
    Transform or None
        None where they do not overlap.
    """
    x, y = place_grid(shape)
    ny, nx = reference_shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)
            u, v = skycoord_to_pixel(wcs.pixel_to_world(x, y), reference)
    except (NoConvergence, ValueError):
        return None
    near = (u > -nx) & (u < 2 * nx) & (v > -ny) & (v < 2 * ny)
    if near.sum() < _FEWEST:
        return None
    error = np.full(int(near.sum()), _ERROR)
    pairs = Pairs(x[near], y[near], u[near], v[near], error)
    mirrored = _turns(wcs) != _turns(reference)
    found = fit_transform(pairs, shape, reference_shape, mirrored=mirrored)
    # No star was looked at.
    return replace(found, residual=np.nan, n_pairs=0)


def _turns(wcs: WCS) -> bool:
    """Whether the axes of the pixels turn as those of the sky do."""
    return bool(np.linalg.det(wcs.pixel_scale_matrix) > 0)
