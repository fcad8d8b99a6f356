"""Dark and bright rings around stars of a result, which the input does not show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import median

from astro_sr_plugin.constants import MAD_TO_SIGMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["find_rings"]

_RADII = np.arange(1.0, 4.5, 0.5)
"""Edges of the rings around a star in FWHM of the result."""
_SECTORS = 8
"""Number of sectors of a ring."""
_RISING_SECTORS = 4
"""Number of sectors in which the light has to rise: a neighbour fills fewer."""
_LEAST_SEEN = 0.5
"""Part of the pixels that a ring has in a sector, outside of all cores, from which it counts."""
_BRIGHT = 100.0
"""Brightest pixel of the stars that are checked, in noise sigma."""
_FAINT = 0.01
"""Fraction of a star's brightest pixel below which a maximum near it may belong to a ring."""
_CORE = 1.25
"""Radius of the core of a star in FWHM of the result."""
_RISE_NOISE, _RISE_FRACTION = 4.0, 0.0004
"""Smallest rise of a ring in noise sigma of a pixel of the input, and as a fraction of the
brightest pixel. Good results of bright stars on simulated fields reach 2.1 sigma and 0.0001, harmed
ones 7 to 23 sigma and 0.0007 to 0.003."""
_RISE_KEPT_NOISE = 4.0
"""The same in sigma of the noise that the result has kept."""
_BLURRED = 0.5
"""Fraction of a rise that is left at the PSF of the input."""


def find_rings(
    result: NDArray[np.float64],
    observed: NDArray[np.float64],
    reconvolve: Callable[[NDArray[np.float64]], NDArray[np.floating]],
    target_fwhm: float,
    places: Sequence[tuple[float, float]],
) -> list[tuple[float, float, float, float]]:
    """Find bright stars around which the light falls and rises again, in the result alone.

    Parameters
    ----------
    result : ndarray, shape (scale * ny, scale * nx)
        The result in noise sigma of the input, sky at 0.
    observed : ndarray, shape (ny, nx)
        The input, the same way.
    reconvolve : callable
        Brings a result to the PSF and the pixels of the input.
    target_fwhm : float
        FWHM of the result's stars in its pixels.
    places : sequence of (x, y)
        All sources of the result, in pixels of the input.

    Returns
    -------
    list of tuple
        ``(x, y, shown, supported)``: rise of the light around the star in the result, and in the
        input less the star, in noise sigma.

    Notes
    -----
    Around a star the light of each of eight sectors can only fall outwards, but for nebulae: the
    cores of all sources are left out. The rise is that from a dark ring to a brighter one outside
    of it, in the pair of rings between which half of the sectors rise most. A nebula rises in the
    input too, once the cores are subtracted as the input shows them. In a crowd stars that are
    not found make the light rise and fall as well, at another distance in each sector: the rise
    has to be larger than the scatter between the sectors.
    """
    scale = result.shape[0] // observed.shape[0]
    fine = (np.reshape(places, (-1, 2)) + 0.5) * scale - 0.5
    peaks = result[tuple(np.round(fine[:, ::-1]).astype(int).T)]
    bright = np.flatnonzero(peaks > _BRIGHT).tolist()
    if not bright:
        return []
    cores = np.zeros(result.shape, dtype=bool)
    for x, y in fine[_are_stars(fine, peaks, _RADII[-1] * target_fwhm)]:
        window, radius, _ = _around(x, y, _CORE * target_fwhm, result.shape)
        cores[window] |= radius < _CORE * target_fwhm
    matched = reconvolve(np.where(cores, result, 0.0))
    rest = (observed - matched).repeat(scale, axis=0).repeat(scale, axis=1)
    sky = result[observed.repeat(scale, axis=0).repeat(scale, axis=1) < 1.0]
    kept_noise = MAD_TO_SIGMA * float(np.median(np.abs(sky - np.median(sky)))) if sky.size else 0.0
    found = []
    for k in bright:
        x, y = fine[k]
        window, radius, angle = _around(x, y, _RADII[-1] * target_fwhm, result.shape)
        ring = np.digitize(radius / target_fwhm, _RADII) - 1
        ring[radius < _CORE * target_fwhm] = -1
        sector = ((angle / (2 * np.pi) + 0.5) * _SECTORS).astype(int) % _SECTORS
        light, other = (_light(im[window], ring, sector, cores[window]) for im in (result, rest))
        shown, given = _rise(light), _rise(other)
        least = max(
            _RISE_NOISE,
            _RISE_FRACTION * float(peaks[k]),
            _RISE_KEPT_NOISE * kept_noise,
            _scatter(light),
        )
        if shown - given / _BLURRED > least:
            found.append((*places[k], shown, given))
    return found


def _are_stars(
    places: NDArray[np.float64], peaks: NDArray[np.float64], reach: float
) -> NDArray[np.bool_]:
    """Return which maxima are sources: not those on the ring of a much brighter star."""
    from scipy.spatial import cKDTree

    tree = cKDTree(places)
    brightest = [peaks[near].max() for near in tree.query_ball_point(places, reach)]
    return np.asarray(peaks > _FAINT * np.array(brightest))


def _around(
    x: float, y: float, reach: float, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], NDArray[np.float64], NDArray[np.float64]]:
    """Return the window about a place, and the distance and the direction of its pixels."""
    half, row, column = int(np.ceil(reach)) + 1, round(y), round(x)
    rows = slice(max(row - half, 0), min(row + half + 1, shape[0]))
    columns = slice(max(column - half, 0), min(column + half + 1, shape[1]))
    dy, dx = np.ogrid[rows, columns]
    return (rows, columns), np.hypot(dx - x, dy - y), np.arctan2(dy - y, dx - x)


def _light(
    image: NDArray[np.float64],
    ring: NDArray[np.int_],
    sector: NDArray[np.int_],
    hidden: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Return the median light of each sector and ring; NaN where most of its pixels are hidden."""
    shape = _SECTORS, len(_RADII) - 1
    size = shape[0] * shape[1]
    cell = np.where((ring >= 0) & (ring < shape[1]), sector * shape[1] + ring, size)
    seen = np.where(hidden, size, cell)
    whole, left = (np.bincount(cells.ravel(), minlength=size)[:size] for cells in (cell, seen))
    counts = (left > 0) & (left >= _LEAST_SEEN * whole)
    light = np.full(size, np.nan)
    light[counts] = median(image, seen, np.flatnonzero(counts))
    return light.reshape(shape)


def _rise(light: NDArray[np.float64]) -> float:
    """Return the largest rise from a ring to another one outside that half of the sectors reach."""
    inner, outer = np.triu_indices(light.shape[1], 1)
    rises = np.sort(np.nan_to_num(light[:, outer] - light[:, inner]), axis=0)
    return max(0.0, float(rises[-_RISING_SECTORS].max()))


def _scatter(light: NDArray[np.float64]) -> float:
    """Return the scatter of the sectors about the median of their ring."""
    seen = light[:, ~np.isnan(light).all(axis=0)]
    if not seen.size:
        return 0.0
    return MAD_TO_SIGMA * float(np.nanmedian(np.abs(seen - np.nanmedian(seen, axis=0))))
