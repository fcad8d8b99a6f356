"""What a network took for a contaminant, and the PSF of the plane makes a star.

A cosmic ray or hot pixel is sharper than any star: beside its peak, light is missing that the PSF
asks for. A dot is wider and flatter. Both are held against the PSF that was measured on the plane.
"""

from __future__ import annotations

import math
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_sr_plugin.restoration.plane import NormalisedPlane

__all__ = ["StarVeto"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LEAST_FWHM, _SURE_FWHM = 1.0, 1.3
"""FWHM in pixels below which stars are as sharp as cosmic rays, and from which a PSF cannot
be that of cosmic rays."""
_MOST_RESIDUAL = 1.3
"""What the PSF leaves of stars that were left out, over the noise, up to which it is that of stars
in between: 0.93 to 0.97 on undersampled simulations; cosmic rays are not alike, and leave 1.7 or
more."""
_REACH = 1.5
"""Half side of the window that is compared, in FWHM; a pixel more."""
_RING = 1.2
"""Distance from the peak, in FWHM, from which a window tells the level around a star."""
_LEAST_RADIUS, _MOST_RADIUS = 2, 8
"""Range of that half side in pixels."""
_OFFSETS = np.linspace(-0.5, 0.5, 5)
"""Places of a star within its brightest pixel, along each axis."""
_CORE = 0.15
"""Light of the PSF over that of its peak from which a pixel is compared."""
_PSF_ERROR = 0.05
"""Error of the PSF in units of its peak: that of aberrated and undersampled ones."""
_MOST_MISFIT = 1.5
"""Mean square difference from the PSF, in units of its variance, up to which light is a star's. On
simulated telescopes of 1.6 to 3.2 pixels FWHM, stars have less than 0.5, cosmic rays above 2."""
_LEAST_CONTRAST = 4.0
"""The same of a single bright pixel from which the two can be told; the network decides below."""
_CELL = 128
"""Side in pixels of the parts of a plane in which the PSF is taken for one."""
_NEIGHBOURS = np.ones((3, 3), bool)


class StarVeto:
    """Tells the stars of a plane from contaminants by its PSF.

    Parameters
    ----------
    plane : NormalisedPlane
        The plane; without a measured PSF wider than cosmic rays nothing is a star.
    """

    def __init__(self, plane: NormalisedPlane) -> None:
        self._plane = plane
        self._psf = plane.measured.empirical_psf
        fwhm = self._psf.moffat.fwhm
        alike = self._psf.residual_noise < _MOST_RESIDUAL
        self._known = fwhm >= (_LEAST_FWHM if alike else _SURE_FWHM)
        if self._known:
            radius = math.ceil(_REACH * fwhm) + 1
            self._radius = min(max(radius, _LEAST_RADIUS), _MOST_RADIUS)
            place = np.arange(-self._radius, self._radius + 1)
            self._ring = np.hypot(place[:, None], place) > _RING * fwhm
            self._at = lru_cache(maxsize=64)(self._stars)

    def stars_of_rays(self, found: Mask) -> Mask:
        """Return which pixels of cosmic rays are of stars: no peak there is sharper than the PSF.

        Of a group with other peaks, only the pixels around the stars are.
        """
        if not self._known or not found.any():
            return np.zeros_like(found)
        light, near = self._light, ndimage.binary_dilation(found, _NEIGHBOURS)
        labels, count = ndimage.label(near, _NEIGHBOURS)
        stars, others = np.zeros_like(found), np.zeros(count + 1, bool)
        for y, x in np.argwhere(near & (light >= ndimage.maximum_filter(light, 3))):
            star = self._is_star(light, y, x, sharper=True)
            stars[y, x] = star is True
            others[labels[y, x]] |= star is False
        mixed = others[labels]
        whole = np.zeros(count + 1, bool)
        whole[labels[stars]] = True
        around = ndimage.binary_dilation(stars, iterations=self._radius - 1)
        return found & np.where(mixed, around, whole[labels])

    def stars_of_dots(self, found: Mask) -> Mask:
        """Return which groups of pixels are stars: the PSF fits them within the noise."""
        if not self._known or not found.any():
            return np.zeros_like(found)
        light = self._light
        labels, count = ndimage.label(found, _NEIGHBOURS)
        peaks = ndimage.maximum_position(light, labels, np.arange(1, count + 1))
        stars = np.zeros(count + 1, bool)
        for number, (y, x) in enumerate(peaks, start=1):
            stars[number] = self._is_star(light, y, x, sharper=False) is True
        return np.asarray(stars[labels])

    @cached_property
    def _light(self) -> Array:
        ny, nx = self._plane.shape
        return np.asarray(self._plane.read(0, ny, 0, nx)[0], dtype=np.float64)

    def _stars(self, row: int, column: int) -> Array:
        """Return stars of peak 1 in a cell, one for each place within a pixel."""
        x, y = (place * _CELL + _CELL / 2 for place in (column, row))
        offsets = [(dx, dy) for dy in _OFFSETS for dx in _OFFSETS]
        stars = np.array([self._psf.star(x, y, offset, self._radius) for offset in offsets])
        return stars / stars[:, self._radius, self._radius][:, None, None]

    def _is_star(self, light: Array, y: int, x: int, *, sharper: bool) -> bool | None:
        """Return whether the PSF explains a peak; None where it is too faint to tell.

        With ``sharper``, only light counts that the PSF asks for and is missing: neighbours,
        nebulae and galaxies add some.
        """
        radius = self._radius
        rows, columns = (np.arange(place - radius, place + radius + 1) for place in (y, x))
        window = light.take(rows, 0, mode="clip").take(columns, 1, mode="clip")
        window = window - np.median(window[self._ring])
        stars = self._at(y // _CELL, x // _CELL)
        core = stars > _CORE
        if sharper:
            core[:, radius, radius] = False
            height = np.full(len(stars), window[radius, radius])
        else:
            height = (stars * window).sum((1, 2)) / (stars**2).sum((1, 2))
        asked = height[:, None, None] * stars
        variance = 1 + (_PSF_ERROR * height[:, None, None]) ** 2
        missing = np.minimum(window - asked, 0) if sharper else window - asked
        misfit, contrast = (
            (value**2 / variance).mean((1, 2), where=core) for value in (missing, asked)
        )
        best = int(misfit.argmin())
        if height[best] <= 0 or contrast[best] < _LEAST_CONTRAST:
            return None
        return bool(misfit[best] < _MOST_MISFIT)
