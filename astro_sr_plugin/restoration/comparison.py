"""The checks of a part of a result that was blurred again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from astropy.stats import mad_std
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, label, minimum_filter, uniform_filter
from torch.nn import functional

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.measurement.box_means import box_means
from astro_sr_plugin.measurement.convolution import PeriodicCorrelation
from astro_sr_plugin.measurement.psf.consistency import FAINTEST_LIGHT, PSF_ERROR
from astro_sr_plugin.measurement.psf.matched_filter import (
    SMOOTHING,
    MatchedFilter,
    flux_noise,
    residual_variance,
)
from astro_sr_plugin.measurement.psf.pairs import close_pairs, gains_of_two
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile
from astro_sr_plugin.measurement.psf.reconvolution import REACH
from astro_sr_plugin.models.filters import highest_around
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.restoration.clean import Cleaner, Component
from astro_sr_plugin.restoration.pieces import CELL

__all__ = ["BRIGHT", "Circle", "Comparison", "Place", "StarFilters", "wing_radius"]

_SIGNIFICANT = 6.0
"""Signal-to-noise ratio, through the matched filter, of light that a result lacks or has in excess:
noise reaches 5 in a large frame."""
_LIGHT = 0.1
"""The same as a fraction of the light there; the error of a good PSF is some per cent."""
_LEFT_NOISE, _LEFT_LIGHT = 3.5, 0.03
"""The same of light that point sources leave where they put a result right."""
_DARK_NOISE, _DARK_LIGHT = 1.5, 0.01
"""Depth below the sky of the input that makes a dark ring: in noise sigma of a pixel, as the mean
of 3 x 3 pixels, and as a fraction of the light that the input has there."""
_DARK_PART = 0.2
"""Greatest depth of a dark ring below the sky, as a part of the peak of its star; what is deeper is
a dark cloud."""
_BOX = 3
"""Side in input pixels of the box whose mean is looked at for dark rings and for wrong shapes."""
_SHAPE = 0.12
"""Difference of these means of result and input that makes a wrong shape, as a fraction of the
light there: networks for pictures that leave stars their shape differ by up to 0.1, those that make
discs of them by 0.2 and more."""
_PAIR = 4.0
"""Signal-to-noise ratio from which both sources of a pair count."""
_PAIR_CHI2 = 4.5
"""Improvement of chi-square by a second star below which the input shows one."""
_MOST_PAIRS = 2000
"""Pairs of a piece that are fitted at most."""
_SHOWN, _SUPPORTED = 4.5, 3.2
"""Signal-to-noise ratio from which a source of the result counts, and that which the input must
give it."""
_PIXELS, _TRUNCATE = 2.0, 3.0
"""Large pixels in the width of the Gaussian that gives the light around a source, and the radius in
its widths where it ends."""
_CLEAR = 10.0
"""Signal-to-noise ratio from which a source of the input must not be lost."""
_LOST, _LOST_PART = 4.5, 0.45
"""Signal-to-noise ratio of light that a lost source lacks, and the same as a part of its light."""
_CORE = 1.5
"""Side in FWHM of the box over which the noise of such a source is taken."""
_AROUND = 8.0
"""Side in FWHM of the box whose mean is the light around a source."""
_RING = 4.0
"""Distance in FWHM within which a dark place belongs to a star."""
_STAR = 1.5
"""Distance in FWHM within which missing or excess light belongs to a star."""
_EVERY = 16
"""Of so many pixels of the sky, one takes part in the measurement of its noise."""
BRIGHT = 50.0
"""Signal-to-noise ratio of the sources whose magnitudes are compared."""
_LEAST_RADIUS = 3.0
"""Least radius in FWHM of the place that is mixed; at most, the wings of the star reach so far."""
_LARGEST_RADIUS = 12.0
"""Greatest radius in FWHM of the place that is mixed, where a dark ring is wider than the wings."""
_INNER = (slice(REACH, -REACH), slice(REACH, -REACH))
"""The pixels of a piece without its margin."""

Circle = tuple[float, float, float]
"""Row, column and radius in input pixels."""


class Place(NamedTuple):
    """Where a result and its input contradict each other.

    Attributes
    ----------
    circle : Circle
        Around the source that is wrong.
    row, column : int
        Middle of the pixels that are wrong, which may lie beside it.
    """

    circle: Circle
    row: int
    column: int


def wing_radius(peak: float, conditions: Conditions) -> float:
    """Radius up to which a star of such a peak, in sigma, stands out of the noise."""
    psf = conditions.psf
    half, least = psf.shape[0] // 2, _LEAST_RADIUS * conditions.fwhm
    rows, columns = np.nonzero(psf * (peak / float(psf.max())) > 1)
    radius = float(np.hypot(rows - half, columns - half).max(initial=0.0))
    return max(least, REACH if radius >= half else radius)


class StarFilters:
    """The filters for stars of one PSF. Near the edges of an image they show what is not there.

    Parameters
    ----------
    psf : ndarray
        The PSF.
    matched : MatchedFilter
        For stars of this PSF.

    Attributes
    ----------
    psf : ndarray
        The same.
    kernel_sum, unit : float
        Sum of the kernel, and noise of the flux of a faint star.
    flux, variance : callable
        Give the flux of a star at every pixel in units of that noise, and the mean of a variance.
    """

    def __init__(self, psf: NDArray[np.float32], matched: MatchedFilter) -> None:
        self.psf, self.unit = psf, matched.noise
        self.kernel_sum = matched.kernel.sum()
        self.flux = PeriodicCorrelation((matched.kernel / matched.noise).astype(np.float32))
        self.variance = PeriodicCorrelation(psf)


@dataclass(frozen=True, eq=False)
class Comparison:
    """A part of a result beside its input, all in noise sigma and on the pixels of the input.

    Attributes
    ----------
    observed, reconvolved : ndarray, shape (ny, nx)
        The input, and the result blurred again; the outermost `REACH` pixels are a margin.
    shown : ndarray, shape (scale * ny, scale * nx)
        The result.
    unseen, bad : ndarray of bool, shape (ny, nx)
        Pixels without a value, and these with all that say nothing of the result, such as saturated
        stars.
    conditions : Conditions
        PSF and noise of the input.
    filters : StarFilters
        For the stars of both images.
    profile : MoffatProfile
        Moffat profile of their PSF.
    photons : float
        Variance that one sigma of light adds, in sigma squared.
    finely : bool
        Whether the shapes of stars are compared too, and no pairs and faint sources.
    least : float
        Signal-to-noise ratio from which sources and pairs of the result must be in the input.
    """

    observed: NDArray[np.float32]
    shown: NDArray[np.float32]
    reconvolved: NDArray[np.float32]
    unseen: NDArray[np.bool_]
    bad: NDArray[np.bool_]
    conditions: Conditions
    filters: StarFilters
    profile: MoffatProfile
    photons: float
    finely: bool
    least: float

    @cached_property
    def _filtered(self) -> tuple[NDArray[np.floating], NDArray[np.floating], float]:
        """Residual and input through the matched filter, over its noise; that noise."""
        flux = self.filters.flux
        return flux(self._residual), flux(self.observed), self.filters.unit

    @cached_property
    def _near_bad(self) -> NDArray[np.bool_]:
        return self._near(self.bad)

    def _near(self, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if not marked.any():
            return marked
        return _highest(marked.astype(np.float32), int(np.ceil(_STAR * self._fwhm))) > 0

    @property
    def _fwhm(self) -> float:
        return self.conditions.fwhm

    def places(self) -> list[Place]:
        """Return the places of the sources that are wrong.

        What may be wrong with a source: the result lacks light that the input has, or shows light
        that the input has not, both through the matched filter; it lacks half of a faint source on
        a bright nebula; it shows a faint source that the input does not have, or two stars that are
        one in the input; there is a dark ring around it; or, where that is looked at, it has
        another shape. The light of saturated stars is not
        known, but dark rings around them are wrong too.
        """
        found: list[Place] = []
        dark, depth = self._dark()
        wrong = self._misfit() | self._lost()
        if self.finely:
            wrong |= self._misshapen()
        else:
            wrong |= self._invented() | self._split()
        for marked, reach, least in (
            (wrong & ~self._near_bad, _STAR, np.zeros_like(depth)),
            (dark & ~self._near(self.unseen), _RING, depth / _DARK_PART),
        ):
            found += self._sources(marked, int(np.ceil(reach * self._fwhm)), least)
        return found

    def sky(self, noise: float | None) -> tuple[NDArray[np.float64], float]:
        """Return the sum of the squared residual of the sky and its pixels by cell; its noise."""
        residual, observed = (image[_INNER] for image in self._filtered[:2])
        sky = (self.reconvolved < FAINTEST_LIGHT)[_INNER] & ~self._near_bad[_INNER]
        if noise is None:
            # Noise that is correlated over more than a neighbour is more than the filter expects.
            some = observed[sky][::_EVERY]
            noise = max(1.0, float(mad_std(some))) if len(some) else 1.0
        sums = np.stack([np.where(sky, residual / noise, 0) ** 2, sky], axis=-1)
        for axis in (0, 1):
            starts = np.arange(0, sums.shape[axis], CELL)
            sums = np.add.reduceat(sums, starts, axis=axis, dtype=np.float64)
        return sums, noise

    def stars(self) -> NDArray[np.float64]:
        """Return rows and columns of bright sources, and the part of their light they lack."""
        residual, flux, _ = self._filtered
        top = (flux > BRIGHT) & (flux == self._brightest) & ~self._near_bad
        place = np.nonzero(top[_INNER])
        part = residual[_INNER][place] / flux[_INNER][place]
        return np.column_stack([*place, part.astype(float)])

    @cached_property
    def _brightest(self) -> NDArray[np.floating]:
        """Filtered light around a pixel: the error of the PSF of a star reaches as far as it."""
        return _highest(self._filtered[1], int(np.ceil(self._fwhm)))

    def components(self, places: list[Place]) -> list[Component]:
        """Return the point sources that put places right."""
        if not places:
            return []
        cleaner = Cleaner(self.filters.psf, self._fwhm)
        residual = self._residual.astype(np.float64)
        left = self._allowed(self._brightest, _LEFT_NOISE, _LEFT_LIGHT)
        allowed = self._filtered[2] * left
        found: list[Component] = []
        for (row, column, _), *_ in places:
            reach = int(np.ceil(_STAR * self._fwhm))
            found += cleaner.clean(residual, allowed, (round(row), round(column)), reach)
        return found

    def _allowed(
        self, brightest: NDArray[np.floating], significant: float, part: float
    ) -> NDArray[np.floating]:
        """Light that a result may lack, or have too much of, through the matched filter.

        Never less than is significant.
        """
        flux = np.maximum(brightest, 0.0)
        light = flux * np.float32(self._filtered[2] * self.filters.psf.max())
        noise = np.sqrt(1 + (self.photons / 2) * light + (PSF_ERROR**2 / 2) * light**2)
        return np.asarray(np.maximum(significant * noise, part * flux))

    def _misfit(self) -> NDArray[np.bool_]:
        """Mark where the residual, through the matched filter, is more than noise."""
        residual, observed, _ = self._filtered
        wrong = np.abs(residual) > _SIGNIFICANT
        place = wrong.nonzero()
        if not len(place[0]):
            return wrong
        left, light = residual[place], observed[place]
        beyond = np.abs(left) > self._allowed(self._brightest[place], _SIGNIFICANT, _LIGHT)
        # A dark cloud that is less deep than in the input shows no light that is not there.
        wrong[place] = beyond & ((left > 0) | (light - left > 0))
        return wrong

    def _lost(self) -> NDArray[np.bool_]:
        """Mark sources of which about half is missing, however bright it is around them."""
        residual, observed, unit = self._filtered
        lost = residual > _LOST
        row, column = lost.nonzero()
        if not len(row):
            return lost
        means = partial(box_means, self.observed, round(_AROUND * self._fwhm))
        near = _box(row, column, lost.shape, 3)
        around = np.float32(self.filters.kernel_sum / unit) * means(*near)
        lights = observed[near] - around
        light, highest = lights[:, lights.shape[1] // 2], lights.max(axis=1)
        lost[row, column] = (light > _CLEAR) & (residual[row, column] > _LOST_PART * light)
        some = lost[row, column]
        if not some.any():
            return lost
        row, column, light, highest = row[some], column[some], light[some], highest[some]
        # The noise of the nebula around it is part of that of the sky.
        core = _box(row, column, lost.shape, round(_CORE * self._fwhm) + 1)
        own = residual_variance(self.reconvolved[core] - means(*core), self.photons)
        noise = np.sqrt(own.mean(axis=1))
        least = np.maximum(_CLEAR * noise, highest)
        lost[row, column] = (light >= least) & (residual[row, column] > _LOST * noise)
        return lost

    def _misshapen(self) -> NDArray[np.bool_]:
        """Mark where the residual as the mean of 3 x 3 pixels is more than the noise of one."""
        light = uniform_filter(self.observed, _BOX)
        light = _highest(np.maximum(light, 0.0), int(np.ceil(self._fwhm)))
        noise = np.sqrt(1 + self.photons * light)
        residual = uniform_filter(self._residual, _BOX)
        return np.asarray(np.abs(residual) > np.maximum(_SIGNIFICANT * noise, _SHAPE * light))

    @cached_property
    def _scale(self) -> int:
        return self.shown.shape[0] // self.observed.shape[0]

    def _invented(self) -> NDArray[np.bool_]:
        """Mark the sources of the result that the input does not have.

        If all else is as the result shows it, the input gives a source the flux shown and that of
        the residual.
        """
        points, flux = self._peaks
        marked = np.zeros(self.observed.shape, dtype=bool)
        column, row = np.round(points).astype(int).T
        noise = self._noise[row, column]
        shown = flux / (self._filtered[2] * noise)
        wrong = (shown > _SHOWN) & (shown + self._filtered[0][row, column] / noise < _SUPPORTED)
        wrong &= flux >= self.least * self._filtered[2]
        marked[row[wrong], column[wrong]] = True
        return marked

    def _split(self) -> NDArray[np.bool_]:
        """Mark the middle of pairs of sources that one star of the input explains as well."""
        points, flux = self._peaks
        pairs = close_pairs(points, self.profile.fwhm)
        marked = np.zeros(self.observed.shape, dtype=bool)
        if not len(pairs):
            return marked
        column, row = np.round(points[pairs]).astype(int).transpose(2, 0, 1)
        clear = flux[pairs] > _PAIR * self._filtered[2] * self._noise[row, column]
        column, row = np.round(points[pairs].mean(axis=1)).astype(int).T
        bright = self._brightest[row, column] >= self.least
        pairs = pairs[clear.all(axis=1) & bright]
        # Of a texture of noise, the brightest pairs tell enough.
        pairs = pairs[np.argsort(-flux[pairs].max(axis=1), kind="stable")[:_MOST_PAIRS]]
        gains = gains_of_two(
            points[pairs], flux[pairs], self._residual, self._variance, self.profile
        )
        middle = np.round(points[pairs[gains < _PAIR_CHI2]].mean(axis=1)).astype(int)
        marked[middle[:, 1], middle[:, 0]] = True
        return marked

    @cached_property
    def _peaks(self) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
        """Places ``(x, y)`` of the local maxima of the result less the light around; their flux.

        Only those bright enough for a pair.
        """
        shown, scale, fwhm = self.shown, self._scale, self.conditions.target_fwhm
        area = np.float32(2 * np.pi * (fwhm / FWHM_PER_SIGMA / scale) ** 2)
        light = shown - _smoothed(shown, SMOOTHING * fwhm)
        place = np.flatnonzero(light > _PAIR * self._filtered[2] / area)
        rows, columns = np.unravel_index(place, shown.shape)
        values = light[rows, columns]
        top = values >= light[_box(rows, columns, shown.shape, 3)].max(axis=1, initial=-np.inf)
        rows, columns = rows[top], columns[top]
        y, x = (
            np.clip((place + 0.5) / scale - 0.5, 0, side - 1)
            for place, side in zip((rows, columns), self.observed.shape, strict=True)
        )
        return np.column_stack([x, y]), area * values[top]

    @cached_property
    def _residual(self) -> NDArray[np.floating]:
        return np.asarray(self.observed - self.reconvolved)

    @cached_property
    def _variance(self) -> NDArray[np.floating]:
        """Variance of the residual of a pixel: noise, photons, and the error of the PSF."""
        return residual_variance(self.reconvolved, self.photons)

    @cached_property
    def _noise(self) -> NDArray[np.floating]:
        """Noise of the flux of a star at a pixel over that of a faint one."""
        return flux_noise(self.filters.variance(self._variance))

    def _dark(self) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
        """Mark what is darker than the sky of the input and its noise allow; its depth."""
        scale, shown, shape = self._scale, self.shown, self.observed.shape
        nowhere = np.zeros(shape, dtype=bool), np.zeros(shape, np.float32)
        if shown.min() >= -_DARK_NOISE:
            return nowhere
        if scale > 1:
            shown = shown.reshape(shape[0], scale, shape[1], scale).mean(axis=(1, 3))
        level = uniform_filter(shown, _BOX)
        if level.min() >= -_DARK_NOISE:
            return nowhere
        observed = uniform_filter(self.observed, _BOX)
        darkest = np.minimum(minimum_filter(observed, _BOX), 0.0)
        allowed = darkest - _DARK_NOISE - _DARK_LIGHT * np.maximum(observed, 0.0)
        return level < allowed, np.maximum(-level, 0.0)

    def _sources(
        self, marked: NDArray[np.bool_], reach: int, least: NDArray[np.floating]
    ) -> list[Place]:
        """Return the brightest place around each marked area inside of the margin.

        Only places at least as bright as ``least`` anywhere in the area.
        """
        if not marked.any():
            return []
        regions, _ = label(marked)
        ny, nx = marked.shape
        found = []
        for number, place in enumerate(find_objects(regions), start=1):
            rows, columns = (
                places + axis.start
                for places, axis in zip(np.nonzero(regions[place] == number), place, strict=True)
            )
            row, column = round(float(rows.mean())), round(float(columns.mean()))
            if not (REACH <= row < ny - REACH and REACH <= column < nx - REACH):
                continue
            top, left = max(0, row - reach), max(0, column - reach)
            around = self.observed[top : row + reach + 1, left : column + reach + 1]
            peak = np.unravel_index(int(np.argmax(around)), around.shape)
            y, x = float(top + peak[0]), float(left + peak[1])
            extent = float(np.hypot(rows - y, columns - x).max()) + self._fwhm
            if around.max() < least[rows, columns].max():
                continue
            wings = wing_radius(float(around.max()), self.conditions)
            radius = max(wings, min(extent, _LARGEST_RADIUS * self._fwhm))
            found.append(Place((y, x, radius), row, column))
        return found


def _highest(light: NDArray[np.floating], reach: int) -> NDArray[np.floating]:
    """Return the highest pixel of a box around each, so many pixels to each side."""
    image = torch.from_numpy(np.ascontiguousarray(light))
    return np.asarray(highest_around(image, 2 * reach + 1).numpy())


def _smoothed(image: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    """Return an image under a wide Gaussian, from pixels as large as that allows."""
    step = max(1, int(sigma / _PIXELS))
    fine = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    coarse = functional.avg_pool2d(fine, step, ceil_mode=True)[0, 0].numpy()
    # The variance of a pixel of n is (n^2 - 1) / 12.
    width = np.sqrt(sigma**2 - (step**2 - 1) / 12) / step
    smooth = torch.from_numpy(gaussian_filter(coarse, width, truncate=_TRUNCATE))[None, None]
    if step > 1:
        smooth = functional.interpolate(smooth, scale_factor=step, mode="bilinear")
    return np.asarray(smooth[0, 0, : image.shape[0], : image.shape[1]].numpy())


def _box(
    rows: NDArray[np.intp], columns: NDArray[np.intp], shape: tuple[int, int], side: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of a box around pixels, one row for each; the edges go on outside."""
    place = np.arange(side) - side // 2
    row, column = (grid.ravel() for grid in np.meshgrid(place, place, indexing="ij"))
    return (
        np.clip(rows[:, None] + row, 0, shape[0] - 1),
        np.clip(columns[:, None] + column, 0, shape[1] - 1),
    )
