"""Two images of one field on pixel grids that fit into each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, Unpacked, iter_planes, unpack
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.plane import MeasuredPlane, open_planes
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sky.windows import iterate_strips

__all__ = ["ImagePair", "pair_images"]


@dataclass(frozen=True, eq=False)
class ImagePair:
    """An image and a result made from it.

    Attributes
    ----------
    before, after : Unpacked
        The image and the result.
    planes : tuple of MeasuredPlane
        Measurement of `before`, one entry per plane; each part is measured at first use.
    scale : int
        Pixels of `after` per pixel of `before` along an axis.
    flux_scale : int
        Factor on the pixels of `after` that gives the surface brightness of `before`: the square
        of `scale` where `after` keeps the sum of the pixels, else 1.
    """

    before: Unpacked
    after: Unpacked
    planes: tuple[MeasuredPlane, ...]
    scale: int
    flux_scale: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of a plane of `before`."""
        return self.planes[0].shape

    def results(self) -> Iterator[tuple[NDArray[np.generic], NDArray[np.bool_] | None]]:
        """Yield the planes of `after`, each with its mask."""
        for index, plane in iter_planes(self.after.data):
            yield plane, None if self.after.mask is None else self.after.mask[index]

    def flux_ratio(self) -> float:
        """Return the total flux of `after` over that of `before`, at equal surface brightness.

        Pixels that are unusable in either image count in neither. NaN without usable pixels, or if
        their sum is 0.
        """
        sums = np.zeros(2)
        for plane, (result, mask) in zip(self.planes, self.results(), strict=True):
            for window in iterate_strips(plane.shape):
                sums += self._sums(plane, result, mask, slice(window.y0, window.y1))
        return float(sums[1] / sums[0]) if sums[0] else float("nan")

    def _sums(
        self,
        plane: MeasuredPlane,
        result: NDArray[np.generic],
        mask: NDArray[np.bool_] | None,
        rows: slice,
    ) -> tuple[float, float]:
        """Return the sums of both images over the usable pixels of some rows of `before`."""
        s = self.scale
        fine = slice(s * rows.start, s * rows.stop)
        given = np.asarray(plane.data[rows], dtype=np.float64) * plane.unit
        shown = np.asarray(result[fine], dtype=np.float64)
        usable = np.isfinite(shown) if mask is None else np.isfinite(shown) & ~mask[fine]
        blocks = len(given), s, given.shape[1], s
        good = ~plane.unusable[rows] & usable.reshape(blocks).all(axis=(1, 3))
        mean = np.where(usable, shown, 0.0).reshape(blocks).mean(axis=(1, 3))
        return float(given[good].sum()), float(mean[good].sum()) * self.flux_scale


def pair_images(
    before: Image,
    after: Image,
    *,
    conserve_flux: bool = False,
    measured: Quality | None = None,
    hdu: HDUChoice = None,
) -> ImagePair:
    """Take two images of one field apart, once, and check that their grids fit.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        Images of shape (ny, nx) or (n, ny, nx); `after` may be larger by a whole factor.
    conserve_flux : bool
        Whether a larger `after` keeps the sum of the pixels instead of the surface brightness.
    measured : Quality, optional
        What `measure` found on `before`, to be used again.
    hdu : int, str or (str, int), optional
        Which image of the file `before`.

    Raises
    ------
    InputError
        If the shapes do not fit, or `measured` belongs to another image.
    """
    first, second = unpack(before, hdu=hdu), unpack(after)
    low, high = first.data.shape, second.data.shape
    scale = high[-1] // low[-1]
    if scale < 1 or high != (*low[:-2], *(scale * side for side in low[-2:])):
        msg = (
            f"after has shape {high} and before {low}; after must be as large, or larger by the "
            "same whole factor on both axes, with the same number of channels"
        )
        raise InputError(msg)
    planes = open_planes(first) if measured is None else measured.planes_of(first)
    return ImagePair(first, second, planes, scale, scale**2 if conserve_flux else 1)
