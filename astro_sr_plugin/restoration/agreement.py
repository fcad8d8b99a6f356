"""A piece of a result blurred again and compared with its input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, label

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.inference.tiling import pick, reflect_indices
from astro_sr_plugin.measurement.psf.matched_filter import MatchedFilter, photon_variance
from astro_sr_plugin.measurement.psf.reconvolution import (
    REACH,
    Reconvolution,
    lacking_width,
    smooth_stamp,
)
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.restoration.clean import Component
from astro_sr_plugin.restoration.comparison import (
    BRIGHT,
    Comparison,
    Place,
    StarFilters,
    wing_radius,
)
from astro_sr_plugin.restoration.pieces import CELL, Piece
from astro_sr_plugin.restoration.plane import NormalisedPlane

__all__ = ["Agreement", "Comparer", "psf_of", "smoothing_of"]

_STARLIT = 50.0
"""Light in noise sigma beside a hot pixel from which it lies on a star."""


class Agreement(NamedTuple):
    """How a piece of a result agrees with the input.

    Attributes
    ----------
    places : tuple of Place
        What does not.
    sky : ndarray, shape (ny, nx, 2)
        Sum of the squared residual of the sky through the matched filter, and number of pixels, in
        each cell.
    noise : float
        Noise of the sky that this residual is over.
    stars : ndarray, shape (n, 3)
        Row, column and the part of their light that bright sources lack.
    components : tuple of Component
        Point sources that put places right, where that was asked for.
    """

    places: tuple[Place, ...]
    sky: NDArray[np.float64]
    noise: float
    stars: NDArray[np.float64]
    components: tuple[Component, ...] = ()

    def with_window(self, piece: Piece, window: Piece, part: Agreement) -> Agreement:
        """Return the agreement of the piece where a window of it was looked at again."""
        if window == piece:
            return part
        y0, y1, x0, x1 = window
        kept = [p for p in self.places if not (y0 <= p.row < y1 and x0 <= p.column < x1)]
        row, column = self.stars[:, :2].T
        outside = (row < y0) | (row >= y1) | (column < x0) | (column >= x1)
        sky, (height, width) = self.sky.copy(), part.sky.shape[:2]
        top, left = (y0 - piece[0]) // CELL, (x0 - piece[2]) // CELL
        sky[top : top + height, left : left + width] = part.sky
        return Agreement(
            (*kept, *part.places),
            sky,
            self.noise,
            np.concatenate([self.stars[outside], part.stars]),
        )


def psf_of(conditions: Conditions, piece: Piece) -> NDArray[np.float32]:
    """Return the PSF in the middle of a piece."""
    y0, y1, x0, x1 = piece
    if conditions.nodes is None:
        return conditions.psf
    return conditions.nodes.at((y0 + y1) / 2, (x0 + x1) / 2)


def smoothing_of(source: NormalisedPlane, target_fwhm: float | None, scale: int) -> float:
    """Gaussian width in input pixels that undersampled stars lack to those of the result, or 0."""
    return 0.0 if target_fwhm is None else lacking_width(source.psf.moffat, target_fwhm / scale)


class _Optics(NamedTuple):
    """What brings a result to its input, and the filters for the stars of both."""

    filters: StarFilters
    reconvolution: Reconvolution


@dataclass(frozen=True, eq=False)
class Comparer:
    """Blurs parts of a result again, and compares them with the input.

    Where the stars of the result are the wider ones, the input is smoothed to their width instead.

    Attributes
    ----------
    source : NormalisedPlane
        The input.
    result : ndarray
        The result in noise sigma.
    conditions : Conditions
        PSF and noise of the input.
    target_fwhm : float or None
        FWHM of the Gaussian PSF of the result in its pixels; None if it has that of the input.
    scale : int
        Output pixels per input pixel.
    finely : bool
        Whether the shapes of stars are compared too, for results that were made to agree in the
        light of stars, whatever their shapes.
    """

    source: NormalisedPlane
    result: NDArray
    conditions: Conditions
    target_fwhm: float | None
    scale: int
    finely: bool = False

    def compare(
        self,
        piece: Piece,
        window: Piece | None = None,
        *,
        noise: float | None = None,
        mended: bool = False,
        noisy: bool = False,
    ) -> Agreement:
        """Compare a piece, or a window of it with the noise of its sky.

        ``mended`` looks for point sources that put places right; ``noisy`` is for a safer estimate
        with the noise of the input, which shows faint stars as several: of pairs only bright ones
        count where it stands already, or may stand because the result keeps the PSF.
        """
        source, (ny, nx) = self.source, self.source.shape
        y0, y1, x0, x1 = piece if window is None else window
        window = (y0 - REACH, y1 + REACH, x0 - REACH, x1 + REACH)
        observed, kinds = source.read(*window)
        # Results that are written to FITS files have another byte order.
        shown = _mirrored(self.result, window, self.scale).astype(np.float32, copy=False)
        unseen = kinds != 0
        bad = unseen | _left_as_recorded(source, window, self.conditions)
        profile, width = source.psf.moffat, self._width
        if width:
            observed = gaussian_filter(observed, width)
            wider = float(np.hypot(profile.fwhm, width * FWHM_PER_SIGMA))
            profile = replace(profile, fwhm=wider)
        optics = self._optics(piece) if self.conditions.nodes is not None else self._only_optics
        part = Comparison(
            observed=observed,
            shown=shown,
            reconvolved=optics.reconvolution(shown),
            unseen=unseen,
            bad=bad,
            conditions=self.conditions,
            filters=optics.filters,
            profile=profile,
            photons=photon_variance(source.measured),
            finely=self.finely,
            least=BRIGHT if noisy or self.target_fwhm is None else 0.0,
        )
        found, top, left = part.places(), window[0], window[2]
        components = [
            Component(row + top, column + left, flux)
            for row, column, flux in (part.components(found) if mended else ())
        ]
        return Agreement(
            tuple(
                Place(
                    (place.circle[0] + top, place.circle[1] + left, place.circle[2]),
                    place.row + top,
                    place.column + left,
                )
                for place in found
            ),
            *part.sky(noise),
            part.stars() + (y0, x0, 0),
            # Those beyond the edges are the mirrored images of others.
            tuple(c for c in components if 0 <= c.row <= ny - 1 and 0 <= c.column <= nx - 1),
        )

    @cached_property
    def _width(self) -> float:
        return smoothing_of(self.source, self.target_fwhm, self.scale)

    @cached_property
    def _only_optics(self) -> _Optics:
        return self._optics((0, 0, 0, 0))

    def _optics(self, piece: Piece) -> _Optics:
        smooth = partial(smooth_stamp, width=self._width)
        psf, conditions = smooth(psf_of(self.conditions, piece)), self.conditions
        matched = MatchedFilter(psf, conditions.fwhm, conditions.noise_correlation, smooth)
        return _Optics(StarFilters(psf, matched), Reconvolution(psf, self.target_fwhm, self.scale))


def _mirrored(image: NDArray, window: Piece, scale: int) -> NDArray:
    """Return a part of a result, in input pixels; it may reach beyond it, where it is mirrored."""
    y0, y1, x0, x1 = (scale * place for place in window)
    rows, columns = (
        reflect_indices(*ends, length)
        for ends, length in zip(((y0, y1), (x0, x1)), image.shape, strict=True)
    )
    top, left = rows.min(), columns.min()
    part = np.asarray(image[top : rows.max() + 1, left : columns.max() + 1])
    return pick(part, rows - top, columns - left)


def _left_as_recorded(
    source: NormalisedPlane, window: tuple[int, int, int, int], conditions: Conditions
) -> NDArray[np.bool_]:
    """Mark saturated stars as far as their wings: they keep the recorded light.

    So do stars with a hot pixel: what they have there is not known.
    """
    y0, y1, x0, x1 = window
    light = np.zeros((y1 - y0, x1 - x0), np.float32)
    if source.cores is None:
        return light > 0
    rows, columns = source.cores.rows - y0, source.cores.columns - x0
    inside = (rows >= 0) & (rows < y1 - y0) & (columns >= 0) & (columns < x1 - x0)
    inside &= ~source.cores.hot | (source.cores.values > _STARLIT)
    light[rows[inside], columns[inside]] = np.maximum(source.cores.values[inside], 1.0)
    regions, _ = label(light, np.ones((3, 3)))
    marked = np.zeros(light.shape, dtype=bool)
    for place in find_objects(regions):
        reach = int(np.ceil(wing_radius(float(light[place].max()), conditions)))
        marked[tuple(slice(max(0, s.start - reach), s.stop + reach) for s in place)] = True
    return marked
