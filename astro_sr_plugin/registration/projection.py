"""World coordinates of an image from those of its reference: a tangential projection with SIP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.registration.distortion import polynomial_terms

__all__ = ["fit_wcs", "is_celestial", "place_grid"]

Map = Callable[[Any, Any], tuple[NDArray[np.float64], NDArray[np.float64]]]

_GRID = 16
"""Places along each side of an image at which coordinates are compared."""
_PRECISION = 0.005
"""Rms distance in pixels from which a tangential projection takes SIP polynomials."""
_SIP_ORDERS = (2, 3, 4, 5)
"""Orders of the SIP polynomials, tried in turn."""


def is_celestial(wcs: WCS | None) -> bool:
    """Whether world coordinates are two of the sky."""
    return wcs is not None and wcs.naxis == 2 and wcs.has_celestial


def fit_wcs(shape: tuple[int, int], to_reference: Map, reference: WCS) -> WCS:
    """Give the world coordinates of an image from those of its reference.

    Parameters
    ----------
    shape : (int, int)
        Shape (ny, nx) of the image.
    to_reference : callable
        Takes x and y of pixels of the image, and gives those in the reference.
    reference : astropy.wcs.WCS
        World coordinates of the reference.

    Returns
    -------
    astropy.wcs.WCS
        A tangential projection about the middle of the image, with SIP polynomials where it needs
        them.

    Raises
    ------
    InputError
        If the world coordinates of the reference are not those of the sky.
    """
    if not is_celestial(reference):
        msg = "the reference has no world coordinates of the sky"
        raise InputError(msg)
    x, y = place_grid(shape)
    u, v = to_reference(x, y)
    known = np.isfinite(u) & np.isfinite(v)
    x, y = x[known], y[known]
    sky = reference.pixel_to_world(u[known], v[known]).icrs
    middle = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    centre = reference.pixel_to_world(*to_reference(*middle)).icrs
    plane = _tangential([centre.ra.deg, centre.dec.deg], np.eye(2), (0.0, 0.0))
    # Degrees in the tangential plane.
    target = np.stack(plane.wcs_world2pix(sky.ra.deg, sky.dec.deg, 1), axis=1)
    side = max(shape)
    a, b = (x - middle[0]) / side, (y - middle[1]) / side
    for order in (1, *_SIP_ORDERS):
        terms = polynomial_terms(order)
        columns = [np.ones_like(a), a, b, *(a**i * b**j for i, j in terms)]
        design = np.stack(columns, axis=1)
        solution = np.linalg.lstsq(design, target, rcond=None)[0].T
        matrix = solution[:, 1:3] / side
        off = np.linalg.solve(matrix, (target - design @ solution.T).T)
        if np.sqrt((off**2).sum(axis=0).mean()) < _PRECISION:
            break
    # What is left at the middle moves the pixel there that the projection is about.
    start = np.array(middle) + 1 - np.linalg.solve(matrix, solution[:, 0])
    found = _tangential([centre.ra.deg, centre.dec.deg], matrix, start)
    if terms:
        tables = np.zeros((2, order + 1, order + 1))
        moved = np.linalg.solve(matrix, solution[:, 3:])
        for number, (i, j) in enumerate(terms):
            tables[:, i, j] = moved[:, number] / side ** (i + j)
        found.sip = Sip(*tables, None, None, start)
        found.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
        found.wcs.set()
    found.pixel_shape = shape[::-1]
    return found


def _tangential(
    centre: list[float], matrix: NDArray[np.float64], pixel: NDArray[np.float64] | tuple[float, ...]
) -> WCS:
    """Make a tangential projection about a place on the sky in degrees (ICRS)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.radesys = ["RA---TAN", "DEC--TAN"], "ICRS"
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cd = centre, pixel, matrix
    wcs.wcs.set()
    return wcs


def place_grid(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """List places x and y in pixels all over an image of shape (ny, nx)."""
    ny, nx = shape
    x, y = np.meshgrid(np.linspace(0, nx - 1, _GRID), np.linspace(0, ny - 1, _GRID))
    return x.ravel(), y.ravel()
