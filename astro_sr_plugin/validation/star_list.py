"""The isolated stars of a plane on which an image and a result are compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from astro_sr_plugin.measurement.plane import DETECTION_NSIGMA, MeasuredPlane
from astro_sr_plugin.measurement.psf.moffat import PSFMeasurement
from astro_sr_plugin.measurement.psf.profiles import StarProfile

__all__ = ["ANNULUS", "APERTURE", "list_isolated_stars"]

APERTURE = 2.0
"""Radius of the photometric aperture in FWHM; it holds 96 % of a Moffat star of beta 3."""
ANNULUS = (3.0, 4.4)
"""Radii of the annulus of the local background in FWHM."""

_SNR = 20.0
"""Signal-to-noise ratio of the faintest stars. In the aperture, which is wider than the matched
filter, it is about 9: an error of 0.12 mag."""
_REACH = APERTURE + 1.0
"""Distance in FWHM within which a star has no neighbour: one whose core ends at the aperture."""
_NEIGHBOUR = 0.1
"""Flux of a neighbour over that of the star from which it counts. It is the same on both images,
so that it only lowers the difference of magnitudes by that fraction."""
_LARGEST_NUMBER = 200
"""Stars of a plane, the brightest first: their median has an error of some 0.01 mag or less."""


def list_isolated_stars(
    plane: MeasuredPlane, moffat: PSFMeasurement, fwhm: float
) -> NDArray[np.void]:
    """List the isolated stars of a plane, by the star finder of the package.

    Parameters
    ----------
    plane : MeasuredPlane
        The plane.
    moffat : PSFMeasurement
        Its PSF, with a finite FWHM.
    fwhm : float
        FWHM that the radii `APERTURE` and `ANNULUS` refer to, in pixels.

    Returns
    -------
    ndarray
        Rows of `MeasuredPlane.sources`, brightest first, at most 200: stars that are neither
        saturated nor blended nor extended, of a signal-to-noise ratio of at least 20, whose annulus
        lies in the image, and that have no source of over 10 % of their flux within 3 FWHM.
    """
    profile = StarProfile(moffat.fwhm, moffat.beta)
    if profile == plane.star_profile:
        found = plane.sources
    else:
        found = plane.find_sources(DETECTION_NSIGMA, plane.saturation, profile)
    if not found.size:
        return found
    places = np.column_stack([found["x"], found["y"]])
    margin = ANNULUS[1] * fwhm
    far_end = np.array(plane.shape[::-1]) - 1 - margin
    inside = ((places >= margin) & (places <= far_end)).all(axis=1)
    usable = inside & ~(found["extended"] | found["saturated"] | found["blended"])
    stars = np.flatnonzero(usable & (found["snr"] >= _SNR))
    near = KDTree(places).query_ball_point(places[stars], _REACH * fwhm)
    isolated = [
        not np.any(np.delete(found["flux"][others], others.index(star)) > limit)
        for star, others, limit in zip(stars, near, _NEIGHBOUR * found["flux"][stars], strict=True)
    ]
    chosen: NDArray[np.void] = found[stars[np.array(isolated, dtype=bool)]]
    return chosen[:_LARGEST_NUMBER]
