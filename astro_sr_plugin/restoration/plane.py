"""A plane normalised for a model: in noise sigma, sky at 0, holes filled, mirrored at its edges."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.inference.tiling import pick, reflect_indices
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.model import PlanePSF
from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.measurement.sky.pixels import ScaledPlane
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.restoration.cores import Cores, fit_cores
from astro_sr_plugin.restoration.missing import (
    HOLE_RADIUS,
    MISSING_MARGIN,
    fill_holes,
    find_missing,
    mirror_missing,
)
from astro_sr_plugin.restoration.trails import TrailLight

__all__ = ["ExtendedLight", "ROWS", "NormalisedPlane", "enlarge", "finer_level"]

ROWS = 256
"""Rows of a plane that are worked with at a time."""
_LEAST_NOISE = 0.1
"""Least noise of a pixel, relative to that of the plane, where weights make it vary."""


@dataclass(frozen=True, eq=False)
class ExtendedLight:
    """What bright stars have beside the profile of their cores.

    Attributes
    ----------
    rows, columns : ndarray of int, shape (n,)
        Pixels that the stamps are centred on, rows in ascending order.
    stamps : ndarray of float32, shape (n, side, side)
        Light of each star, in image units.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    stamps: NDArray[np.float32]

    def on(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.float32]:
        """Return the light on rows ``y0:y1`` and columns ``x0:x1`` of the plane."""
        side = self.stamps.shape[1]
        reach = side // 2
        # A margin takes what lies beyond.
        canvas = np.zeros((y1 - y0 + 2 * side, x1 - x0 + 2 * side), np.float32)
        for k in range(*np.searchsorted(self.rows, (y0 - reach, y1 + reach))):
            top, left = self.rows[k] - y0 + side - reach, self.columns[k] - x0 + side - reach
            if 0 <= left <= canvas.shape[1] - side:
                canvas[top : top + side, left : left + side] += self.stamps[k]
        return canvas[side:-side, side:-side]


@dataclass(frozen=True, eq=False)
class NormalisedPlane:
    """A plane with the PSF that it is restored with.

    Attributes
    ----------
    measured : MeasuredPlane
        The plane.
    psf : PlanePSF
        Its PSF: measured, given, or that of another plane.
    usable : bool
        False for a plane without data, or constant: it comes back as it is.
    cores : Cores or None
        What stands for saturated and hot pixels.
    extended_light : ExtendedLight or None
        Halos and spikes of bright stars, which are subtracted.
    trails : TrailLight or None
        Trails, which are subtracted, and added again as the background is.
    """

    measured: MeasuredPlane
    psf: PlanePSF
    usable: bool = True
    cores: Cores | None = None
    extended_light: ExtendedLight | None = None
    trails: TrailLight | None = None

    @property
    def plane(self) -> NDArray:
        """Pixels in the unit of the plane; never changed, converted piece by piece."""
        pixels: NDArray = self.measured.data
        return pixels

    @property
    def mask(self) -> UnusablePixels:
        """Pixels without data."""
        return self.measured.unusable

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx)."""
        return self.measured.shape

    @property
    def background(self) -> Background:
        """Level that is subtracted: the models were trained on light above the sky only."""
        return self.measured.lowered_background

    @property
    def sigma(self) -> float:
        """Noise of a pixel, in the unit of the plane."""
        return self.measured.sigma

    @property
    def image_sigma(self) -> float:
        """Noise of a pixel, in image units."""
        return self.measured.sigma * self.measured.unit

    @property
    def noise_correlation(self) -> float:
        """Correlation of the noise of neighbouring pixels; 0 where it is not known."""
        correlation = self.measured.noise.correlation
        return correlation if math.isfinite(correlation) else 0.0

    @cached_property
    def saturation(self) -> float:
        """Level from which pixels are saturated, in the unit of the plane; infinite if none are."""
        level = self.measured.saturation
        return math.inf if level is None else float(level)

    def read(
        self, y0: int, y1: int, x0: int, x1: int, *, mirrored: bool = True
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give a region that may reach beyond the plane, and what its pixels are.

        1 where a pixel is saturated or filled in, -1 beyond the edges of the plane and in large
        areas without data, 0 elsewhere. These areas hold the mirror image of what is beside them,
        or, with ``mirrored=False``, nothing.
        """
        ny, nx = self.plane.shape
        rows, columns = reflect_indices(y0, y1, ny), reflect_indices(x0, x1, nx)
        ends = [(int(index.min()), int(index.max()) + 1) for index in (rows, columns)]
        margin = HOLE_RADIUS
        if mirrored and self.mask[slice(*ends[0]), slice(*ends[1])].any():
            margin = MISSING_MARGIN
        (low_y, high_y), (low_x, high_x) = (
            (max(0, low - margin), min(length, high + margin))
            for (low, high), length in zip(ends, (ny, nx), strict=True)
        )
        values, invalid, saturated = self.window(low_y, high_y, low_x, high_x)
        if self.cores is not None:
            self.cores.fill(values, saturated, low_y, low_x)
        kinds = (invalid | saturated).astype(np.float32)
        if invalid.any():
            missing = find_missing(invalid)
            values = fill_holes(values, invalid)
            if mirrored:
                mirror_missing(values, missing)
            kinds[missing] = -1.0
        values, kinds = (pick(part, rows - low_y, columns - low_x) for part in (values, kinds))
        for axis, (first, last, length) in enumerate(((y0, y1, ny), (x0, x1, nx))):
            place = np.arange(first, last)
            beyond = (place < 0) | (place >= length)
            kinds[(slice(None),) * axis + (beyond,)] = -1.0
        return values, kinds

    def read_as_planes(
        self, y0: int, y1: int, x0: int, x1: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give what `read` gives as images of one plane, as a `Predictor` reads them."""
        values, kinds = self.read(y0, y1, x0, x1)
        return values[None], kinds[None]

    def invalid(self, y0: int, y1: int) -> NDArray[np.bool_]:
        """Pixels of rows ``y0:y1`` that are not used."""
        return self.mask[y0:y1]

    def recorded(self, y0: int, y1: int) -> NDArray:
        """Give rows ``y0:y1`` in the unit of the image, as they are in it."""
        plane: Any = self.plane
        plane = plane.base if isinstance(plane, ScaledPlane) else plane
        return np.asarray(plane[y0:y1])

    def noise(
        self, y0: int, y1: int, x0: int, x1: int, scale: int = 1
    ) -> NDArray[np.float64] | float:
        """Give the noise of a pixel, at the output pixels of a part of the plane."""
        varying = self.measured.noise_map
        if varying is None:
            return self.sigma
        relative = finer_level(varying, y0, y1, self.shape, scale)[:, x0 * scale : x1 * scale]
        return self.sigma * np.maximum(relative / varying.level, _LEAST_NOISE)

    def saturated(self, y0: int, y1: int, scale: int) -> NDArray[np.float32] | None:
        """Saturated output pixels of input rows ``y0:y1``, as 0 and 1; None if none can be."""
        if not math.isfinite(self.saturation):
            return None
        with np.errstate(invalid="ignore"):
            above = np.asarray(self.plane[y0:y1]) >= self.saturation
        return enlarge((above & ~self.invalid(y0, y1)).astype(np.float32), scale)

    def with_cores(self, conditions: Conditions, *, stars: bool) -> NormalisedPlane:
        """Return the plane with hot pixels, and the cores of saturated stars, filled."""
        psf = conditions.psf if conditions.nodes is None else conditions.nodes.at
        cores = fit_cores(self.window, self.shape, psf, conditions.fwhm, ROWS, stars=stars)
        return replace(self, cores=cores)

    def window(
        self, y0: int, y1: int, x0: int, x1: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Give a part of the plane as recorded, and what is invalid and what is saturated in it."""
        raw = np.asarray(self.plane[y0:y1, x0:x1])
        if raw.dtype.kind != "f" or not raw.dtype.isnative:
            raw = raw.astype(np.float64 if raw.dtype.itemsize > 4 else np.float32)
        invalid = self.mask[y0:y1, x0:x1]
        level = self.background.level_at(y0, y1, x0, x1)
        if self.extended_light is not None:
            level = level + self.extended_light.on(y0, y1, x0, x1)
        if self.trails is not None:
            level = level + self.trails.on(y0, y1, x0, x1)
        with np.errstate(invalid="ignore", over="ignore"):
            values = ((raw - level) / self.noise(y0, y1, x0, x1)).astype(np.float32)
            saturated = raw >= self.saturation
        values[invalid] = 0.0
        return values, invalid, saturated & ~invalid


def enlarge(image: NDArray, scale: int) -> NDArray:
    """Repeat each pixel ``scale`` times along both axes."""
    return image if scale == 1 else image.repeat(scale, 0).repeat(scale, 1)


def finer_level(
    background: Background, first: int, last: int, shape: tuple[int, int], scale: int
) -> NDArray[np.float64]:
    """Sky level at the output pixels of input rows ``first:last``, linear between input pixels."""
    if scale == 1:
        return background.level_at(first, last, 0, shape[1]).astype(np.float64)
    low, high = max(0, first - 1), min(shape[0], last + 1)
    level = background.level_at(low, high, 0, shape[1]).astype(np.float64)
    for axis, (start, stop, origin) in enumerate(((first, last, low), (0, shape[1], 0))):
        n = level.shape[axis]
        if n == 1:
            level = level.repeat((stop - start) * scale, axis)
            continue
        place = (np.arange(start * scale, stop * scale) + 0.5) / scale - 0.5 - origin
        left = np.clip(np.floor(place).astype(int), 0, n - 2)
        weight = place - left
        weight = weight[:, None] if axis == 0 else weight[None, :]
        level = level.take(left, axis) * (1 - weight) + level.take(left + 1, axis) * weight
    return level
