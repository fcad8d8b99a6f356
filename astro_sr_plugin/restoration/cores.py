"""Saturated cores of stars and hot pixels, replaced by what is fitted to the light around them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter, label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.measurement.psf.star_fit import SplinePSF, cut_around, fit_star, light_weight
from astro_sr_plugin.measurement.sources.hot_pixels import Window, find_hot_pixels

__all__ = ["Cores", "fit_cores"]

PSFSource = NDArray[np.float32] | Callable[[float, float], NDArray[np.float32]]
"""PSF on the pixels of the plane, odd sides, sum 1 or less; or what gives it at a place."""

_Part = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]
"""Pixels (row, column), the light that replaces them, and the recorded light in excess of it."""

_MOST_PIXELS = 200_000
"""Saturated pixels of a plane above which no star is fitted: the level must be wrong, and the time
is limited."""
_PLATEAU = 0.88
"""Light over that of the saturated pixels of a star from which its pixels beside them are full too:
registration of the frames of a stack leaves plateaus that are not flat."""
_PLATEAU_REACH = 8
"""Pixels beside the saturated ones among which they are looked for."""
_STEPS = 5
"""Rounds of the fit of the position."""
_LARGEST_STEP = 0.5
"""Largest shift of a round in pixels."""
_FEWEST_PIXELS = 30
"""Smallest number of usable pixels for the fit of a star."""
_LARGEST_RESIDUAL = 0.15
"""Mean absolute residual, over the mean light, each weighted with the profile, above which the
source is no star."""
_LEAST_PEAK = 0.9
"""Fitted peak over the median of the saturated pixels below which the source is no star."""
_RIM = 0.7
"""Radius, in that of the window, from which pixels show the light of a nebula."""
_LEAST_SKY_ERROR = 0.3
"""Smallest 1-sigma error of the sky under a star, in noise sigma of a pixel."""
_LARGEST_SIDE = 400
"""Side in pixels above which an area is larger than any star."""
_WIDTHS = (1.5, 3.0, 6.0, 12.0)
"""Gaussian widths in pixels with which an area is filled, from its edge inwards."""
_LEAST_WEIGHT = 0.1
"""Weight of known pixels from which a mean of them is taken."""


@dataclass(frozen=True, eq=False)
class Cores:
    """Pixels whose recorded value is replaced before a plane is sharpened.

    Attributes
    ----------
    rows, columns : ndarray of int
        The pixels, rows in ascending order.
    values : ndarray of float32
        Light that replaces them before the filter, in noise sigma.
    excess : ndarray of float32
        Recorded light less these values; it is added again after the filter, that of hot pixels,
        which is no light, at the very end.
    hot : ndarray of bool
        Whether it is a hot pixel, not the core of a star.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float32]
    excess: NDArray[np.float32]
    hot: NDArray[np.bool_]

    def fill(
        self,
        values: NDArray[np.float32],
        saturated: NDArray[np.bool_],
        first_row: int,
        first_column: int,
    ) -> None:
        """Put the values into a window of the plane, in place, and unmark them as saturated."""
        near = slice(*np.searchsorted(self.rows, (first_row, first_row + len(values))))
        rows, columns = self.rows[near] - first_row, self.columns[near] - first_column
        inside = (columns >= 0) & (columns < values.shape[1])
        place = rows[inside], columns[inside]
        values[place] = self.values[near][inside]
        saturated[place] = False

    @cached_property
    def stars(self) -> Cores:
        """The cores of stars."""
        return self._select(~self.hot)

    @cached_property
    def hot_pixels(self) -> Cores:
        """The hot pixels."""
        return self._select(self.hot)

    def _select(self, chosen: NDArray[np.bool_]) -> Cores:
        return Cores(
            self.rows[chosen],
            self.columns[chosen],
            self.values[chosen],
            self.excess[chosen],
            self.hot[chosen],
        )

    def add_excess(
        self, result: NDArray[np.float32], first_row: int, scale: int, first_column: int = 0
    ) -> None:
        """Add the excess to a part of the result that begins at a pixel of the input, in place."""
        shape = len(result) // scale, result.shape[1] // scale
        near = slice(*np.searchsorted(self.rows, (first_row - 1, first_row + shape[0] + 1)))
        columns = self.columns[near] - first_column + 1
        inside = (columns >= 0) & (columns < shape[1] + 2)
        if not inside.any():
            return
        light = np.zeros((shape[0] + 2, shape[1] + 2), np.float32)
        light[self.rows[near][inside] - first_row + 1, columns[inside]] = self.excess[near][inside]
        finer = torch.nn.functional.interpolate(
            torch.from_numpy(light)[None, None], scale_factor=scale, mode="bilinear"
        )
        result += finer[0, 0, scale:-scale, scale:-scale].numpy()


def fit_cores(
    window: Window,
    shape: tuple[int, int],
    psf: PSFSource,
    fwhm: float,
    rows: int = 256,
    *,
    stars: bool = True,
) -> Cores | None:
    """Prepare saturated stars and hot pixels for a filter.

    A sharpening filter leaves rings around a clipped core, which does not match its wings. The PSF
    is therefore fitted to the light around the core and replaces it; the recorded light in excess
    of it (bleeding columns) is kept and added again after the filter. Where no star fits (double
    stars, cores of galaxies), the place is filled smoothly, and its light is kept in the same way:
    it stays as recorded. So do hot pixels, which a filter would turn into rings.

    Parameters
    ----------
    window : callable
        Gives a part of the plane, in noise sigma.
    shape : tuple of int
        Shape (ny, nx) of the plane.
    psf : ndarray or callable
        PSF on the pixels of the plane, odd sides, sum 1 or less; or what gives it at a row and a
        column.
    fwhm : float
        Its FWHM in pixels.
    rows : int
        Rows that are searched at a time.
    stars : bool
        Whether saturated stars are looked for, and not hot pixels alone.

    Returns
    -------
    Cores or None
        None if nothing is saturated or hot.
    """
    places = np.concatenate(
        [
            np.argwhere(window(first, last, 0, shape[1])[2]) + (first, 0)
            for first, last in iter_rows(shape[0] if stars else 0, rows)
        ]
        or [np.empty((0, 2), dtype=np.int64)]
    )
    centre = psf((shape[0] - 1) / 2, (shape[1] - 1) / 2) if callable(psf) else psf
    hot = find_hot_pixels(window, shape, centre, rows)
    parts = [] if hot is None else [hot]
    spline = SplinePSF(centre)
    fitted: set[bytes] = set()
    for core in _connected(places) if 0 < len(places) <= _MOST_PIXELS else ():
        blob = _with_plateau(window, shape, core)
        # One plateau may hold several groups of saturated pixels.
        if blob.tobytes() in fitted:
            continue
        fitted.add(blob.tobytes())
        if callable(psf):
            spline = SplinePSF(psf(*blob.mean(axis=0)))
        part = _fit_core(window, shape, blob, spline, fwhm)
        if part is None:
            part = _smooth_over(window, shape, blob, fwhm)
        if part is not None:
            parts.append(part)
    if not parts:
        return None
    pixels, values, excess = (np.concatenate([part[k] for part in parts]) for k in range(3))
    # Places of two blobs that lie close together belong to the first.
    _, first = np.unique(pixels, axis=0, return_index=True)
    n_hot = 0 if hot is None else len(hot[0])
    return Cores(pixels[first, 0], pixels[first, 1], values[first], excess[first], first < n_hot)


def _connected(places: NDArray[np.int64]) -> Iterable[NDArray[np.int64]]:
    """Group pixels that touch, diagonally too."""
    pairs = cKDTree(places).query_pairs(1.5, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(places), len(places)))
    count, label = connected_components(links, directed=False)
    order = np.argsort(label, kind="stable")
    return np.split(places[order], np.searchsorted(label[order], np.arange(1, count)))


def _with_plateau(
    window: Window, shape: tuple[int, int], blob: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Add the pixels that touch saturated ones and are nearly as bright."""
    low = np.maximum(blob.min(axis=0) - _PLATEAU_REACH, 0)
    high = np.minimum(blob.max(axis=0) + _PLATEAU_REACH + 1, shape)
    data, invalid, _ = window(low[0], high[0], low[1], high[1])
    own = tuple((blob - low).T)
    groups, _ = label((data > _PLATEAU * data[own].min()) & ~invalid, np.ones((3, 3)))
    return np.argwhere(np.isin(groups, np.unique(groups[own]))) + low


def _fit_core(
    window: Window,
    shape: tuple[int, int],
    blob: NDArray[np.int64],
    psf: SplinePSF,
    fwhm: float,
) -> _Part | None:
    """Fit a star to the light around the saturated pixels ``blob``; None if none fits."""
    y, x = blob.mean(axis=0)
    row, column = round(y), round(x)
    around = 2 * fwhm + np.sqrt(len(blob) / np.pi)
    furthest = np.abs(blob - (row, column)).max() + 2
    radius = min(math.ceil(max(around, furthest)), psf.reach - 2)
    place, part = cut_around(row, column, radius, psf.reach, shape)
    own = blob - (place.y0, place.x0)
    if np.any(own < 0) or np.any(own >= place.shape):
        return None
    data, invalid, saturated = window(*place)
    saturated[tuple(own.T)] = True
    usable = ~binary_dilation(saturated | invalid)
    if usable.sum() < _FEWEST_PIXELS:
        return None
    weight = light_weight(data[usable])
    # A nebula may lie under the star; the pixels at the rim limit its brightness.
    rows, columns = np.indices(data.shape)
    rim = usable & (np.hypot(rows - (y - place.y0), columns - (x - place.x0)) > _RIM * radius)
    sky_error = _LEAST_SKY_ERROR + (abs(float(np.median(data[rim]))) if rim.any() else 0.0)
    for _ in range(_STEPS):
        moved = psf.moved(y - row, x - column)
        terms = (image[part][usable] for image in (moved, *np.gradient(moved)))
        fit = fit_star(data[usable], weight, *terms, sky_error=sky_error)
        if fit is None:
            return None
        (flux, along_y, along_x), sky = fit
        if not flux > 0:
            return None
        # A star that moves by d changes by -d times its slope.
        y -= np.clip(along_y / flux, -_LARGEST_STEP, _LARGEST_STEP)
        x -= np.clip(along_x / flux, -_LARGEST_STEP, _LARGEST_STEP)
        if max(abs(y - row), abs(x - column)) > 0.5 * radius:
            return None
    model = psf.moved(y - row, x - column)[part] * flux
    left = np.abs(data - sky - model)[usable] @ model[usable]
    left /= np.abs(data - sky)[usable] @ model[usable]
    inside = model[own[:, 0], own[:, 1]] + sky
    recorded = data[own[:, 0], own[:, 1]]
    if left > _LARGEST_RESIDUAL or inside.max() < _LEAST_PEAK * np.median(recorded):
        return None
    light = inside.astype(np.float32)
    return blob, light, np.maximum(recorded - light, 0)


def _smooth_over(
    window: Window, shape: tuple[int, int], blob: NDArray[np.int64], fwhm: float
) -> _Part | None:
    """Fill ``blob`` and a little more from around it; None if it is larger than any star."""
    grown = math.ceil(fwhm) + 1
    margin = grown + math.ceil(_WIDTHS[-1])
    low = np.maximum(blob.min(axis=0) - margin, 0)
    high = np.minimum(blob.max(axis=0) + margin + 1, shape)
    if (high - low).max() > _LARGEST_SIDE:
        return None
    data, invalid, saturated = window(low[0], high[0], low[1], high[1])
    own = np.zeros(data.shape, dtype=bool)
    own[tuple((blob - low).T)] = True
    own = binary_dilation(own, iterations=grown)
    good = ~(own | binary_dilation(saturated, iterations=grown) | invalid)
    filled = np.zeros(data.shape)
    missing = own & ~invalid
    for width in _WIDTHS:
        weight = gaussian_filter(good.astype(float), width, mode="constant")
        mean = gaussian_filter(np.where(good, data, 0.0), width, mode="constant")
        here = missing & (weight > _LEAST_WEIGHT)
        filled[here] = mean[here] / weight[here]
        missing &= ~here
    place = np.nonzero(own & ~invalid)
    light = filled[place].astype(np.float32)
    return np.stack(place, axis=1) + low, light, data[place] - light
