"""A result held against its input: where they contradict each other, a safer estimate stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, label
from torch.nn import functional

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.data.strips import release
from astro_sr_plugin.measurement.psf.reconvolution import REACH
from astro_sr_plugin.models.classical.interpolated import DOUBLE_BORDER, double
from astro_sr_plugin.models.filters import without_border
from astro_sr_plugin.models.spec import Conditions, ModelSpec
from astro_sr_plugin.restoration.agreement import Agreement, Comparer, psf_of, smoothing_of
from astro_sr_plugin.restoration.clean import BEAM, Component, draw
from astro_sr_plugin.restoration.comparison import Circle
from astro_sr_plugin.restoration.pieces import Piece, split, windows_around
from astro_sr_plugin.restoration.plane import NormalisedPlane
from astro_sr_plugin.restoration.safer import richardson_lucy
from astro_sr_plugin.restoration.threads import map_in_threads
from astro_sr_plugin.restoration.verdict import Verdict

__all__ = ["Contradictions", "blended_error", "is_guarded", "settle_contradictions"]

_ROUNDS = 2
"""Times that the safer estimate is mixed in: where it meets the result, both may disagree."""
_NARROW = 2.5
"""FWHM in pixels of undersampled stars, around which Richardson-Lucy iterations make rings."""
_MARGIN = 6.0
"""Width in FWHM of the rim around a place that the safer estimate is made with."""
_CORE = 0.6
"""Part of the radius of a place up to which the safer estimate alone stands."""
_TRUNCATE = 4.0
"""Radius of a Gaussian that smooths, in sigma."""
_SMOOTH_STEPS = 4
"""Steps in which finer pixels are brought to the means that were recorded; each halves what is
left."""
_FEWEST_FOR_PSF = 5
"""Number of stars below which an uncertain PSF may be that of galaxies."""

Part = TypeVar("Part")


@dataclass(frozen=True, eq=False)
class Contradictions:
    """Places where a result and its input contradict each other.

    Attributes
    ----------
    rows, columns, radii : ndarray of float64
        Circles in input pixels, rows in ascending order.
    """

    rows: NDArray[np.float64]
    columns: NDArray[np.float64]
    radii: NDArray[np.float64]

    @classmethod
    def of(cls, circles: Iterable[Circle]) -> Contradictions:
        """Gather circles."""
        return cls(*np.array(sorted(circles), dtype=np.float64).reshape(-1, 3).T)

    def weight(self, piece: Piece, scale: int) -> NDArray[np.float32] | None:
        """Weight of what stands in for the result on a piece of it, 0 to 1; None if all are 0."""
        y0, y1, x0, x1 = piece
        reach = self.radii.max(initial=0.0)
        near = range(*np.searchsorted(self.rows, (y0 - reach, y1 + reach)))
        if not near:
            return None
        total = np.zeros(((y1 - y0) * scale, (x1 - x0) * scale), np.float32)
        y, x = (
            (np.arange(start * scale, stop * scale) + 0.5) / scale - 0.5
            for start, stop in ((y0, y1), (x0, x1))
        )
        for k in near:
            row, column, radius = self.rows[k], self.columns[k], self.radii[k]
            rows, columns = (
                slice(*np.searchsorted(place, (centre - radius, centre + radius)))
                for place, centre in ((y, row), (x, column))
            )
            distance = np.hypot(y[rows, None] - row, x[None, columns] - column) / radius
            ramp = np.clip((1 - distance) / (1 - _CORE), 0, 1)
            window = total[rows, columns]
            np.maximum(window, ramp**2 * (3 - 2 * ramp), out=window)
        return total if total.any() else None


def is_guarded(spec: ModelSpec) -> bool:
    """Whether results of a model are held against their input: those of networks, with stars."""
    return bool(spec.sha256) and spec.task not in ("remove-stars", "colorize", "remove-artifacts")


def settle_contradictions(
    source: NormalisedPlane,
    result: NDArray,
    conditions: Conditions,
    target_fwhm: float | None,
    scale: int,
    *,
    of_mean_star: bool = False,
    errors: NDArray | None = None,
    correct_flux: Callable[[], None] | None = None,
) -> Verdict:
    """Put a result right where it contradicts its input, or put a safer estimate there.

    Among barely sampled stars, point sources are added or subtracted as CLEAN finds them. What they
    do not put right becomes a Richardson-Lucy estimate where the result is sharper than the input
    and its stars are sampled well, and else the input as recorded, smoothed to the PSF of the
    result where that is wider.

    Parameters
    ----------
    source : NormalisedPlane
        The input as the model saw it.
    result : ndarray, shape (scale * ny, scale * nx)
        The result in noise sigma, sky at 0, without the excess of hot pixels; changed in place.
    conditions : Conditions
        PSF and noise of the input.
    target_fwhm : float or None
        FWHM of the Gaussian PSF of the result in its pixels; None if it has that of the input.
    scale : int
        Output pixels per input pixel.
    of_mean_star : bool
        Whether the PSF of the result is only that of its mean star. Then the shapes of stars are
        compared too, and the safer estimate is the input as recorded everywhere.
    errors : ndarray of float32, optional
        Standard deviation of the result in noise sigma; changed in place.
    correct_flux : callable, optional
        Gives the result the flux of the input; called if anything was changed.

    Returns
    -------
    Verdict
        How many places there were, and how well the result agrees with the input now.
    """
    guard = _Guard(source, result, errors, conditions, target_fwhm, scale, of_mean_star)
    pieces = list(split(source.shape, conditions))
    agreement = guard.look(pieces, mended=guard.mends)
    mended: set[Circle] = set()
    if any(part.components for part in agreement.values()):
        mended = _places(agreement)
        agreement = guard.mend(agreement)
    replaced: set[Circle] = set()
    for _ in range(_ROUNDS):
        found = _places(agreement) - replaced
        if not found:
            break
        replaced |= found
        contradictions = Contradictions.of(found)
        changed = guard.mix(contradictions, pieces)
        agreement |= guard.look_again(agreement, changed, found, noisy=guard.as_recorded)
    wrong, beyond = ({circle[:2] for circle in circles} for circles in (mended, replaced))
    counts = len(wrong | beyond), len(wrong - beyond)
    kinds = {"as_recorded": guard.as_recorded, "uncertain": guard.uncertain}
    verdict = Verdict.of(*counts, list(agreement.values()), **kinds)
    if counts[0] and correct_flux is not None:
        correct_flux()
        if verdict.fault:
            verdict = Verdict.of(*counts, list(guard.look(pieces).values()), **kinds)
    return verdict


def _places(agreement: Mapping[Piece, Agreement]) -> set[Circle]:
    return {place.circle for part in agreement.values() for place in part.places}


@dataclass(frozen=True, eq=False)
class _Guard:
    """A result beside its input; see `settle_contradictions`."""

    source: NormalisedPlane
    result: NDArray
    errors: NDArray | None
    conditions: Conditions
    target_fwhm: float | None
    scale: int
    of_mean_star: bool

    @property
    def as_recorded(self) -> bool:
        """Whether the safer estimate is the input as recorded."""
        narrow = self.conditions.fwhm < _NARROW
        return self.of_mean_star or self.target_fwhm is None or narrow

    @property
    def uncertain(self) -> bool:
        """Whether the PSF may be that of galaxies."""
        moffat = self.source.psf.moffat
        return moffat.confidence == "low" and moffat.n_stars < _FEWEST_FOR_PSF

    @property
    def mends(self) -> bool:
        """Whether point sources may put the result right."""
        known = self.target_fwhm is not None and not self.of_mean_star
        return known and self.conditions.fwhm < _NARROW

    def look(self, pieces: list[Piece], *, mended: bool = False) -> dict[Piece, Agreement]:
        """Compare pieces of the result with the input."""
        return self._each(partial(self._comparer.compare, mended=mended), pieces)

    def look_again(
        self,
        agreement: Mapping[Piece, Agreement],
        pieces: list[Piece],
        changed: Collection[tuple[float, float, float]],
        *,
        noisy: bool = False,
    ) -> dict[Piece, Agreement]:
        """Compare pieces again where the result was changed, in squares around these places."""

        def held(piece: Piece) -> Agreement:
            part = agreement[piece]
            for window in windows_around(piece, changed):
                noise = None if window == piece else part.noise
                again = self._comparer.compare(piece, window, noise=noise, noisy=noisy)
                part = part.with_window(piece, window, again)
            return part

        return self._each(held, pieces)

    @cached_property
    def _comparer(self) -> Comparer:
        return Comparer(
            self.source,
            self.result,
            self.conditions,
            self.target_fwhm,
            self.scale,
            finely=self.of_mean_star,
        )

    def _each(
        self, held: Callable[[Piece], Agreement], pieces: list[Piece]
    ) -> dict[Piece, Agreement]:
        return dict(zip(pieces, self._map(held, pieces), strict=True))

    def _map(self, work: Callable[[Piece], Part], pieces: list[Piece]) -> list[Part]:
        """Do some work on pieces in threads; pages of files are handed back after each."""

        def released(piece: Piece) -> Part:
            part = work(piece)
            self._release()
            return part

        return map_in_threads(released, pieces)

    def mend(self, agreement: dict[Piece, Agreement]) -> dict[Piece, Agreement]:
        """Add the point sources that were found to the result, unless it agrees no better then."""
        for part in agreement.values():
            self._add(part.components, 1)
        reach = BEAM * (self.target_fwhm or 0.0) / FWHM_PER_SIGMA / self.scale
        changed = [(c.row, c.column, reach) for part in agreement.values() for c in part.components]
        after = self.look_again(agreement, list(agreement), changed)
        for piece, part in agreement.items():
            if part.components and len(after[piece].places) >= len(part.places):
                self._add(part.components, -1)
                after[piece] = part
        return after

    def _add(self, components: Sequence[Component], sign: int) -> None:
        if self.target_fwhm is None or not components:
            return
        for component in components:
            rows, columns, profile = draw(
                component, self.result.shape, self.target_fwhm, self.scale
            )
            self.result[rows, columns] += sign * component.flux * profile
            if self.errors is not None and sign > 0:
                part = np.float32(1) - profile / profile.max()
                self.errors[rows, columns] = blended_error(self.errors[rows, columns], part)
        self._release()

    def mix(self, found: Contradictions, pieces: list[Piece]) -> list[Piece]:
        """Mix the result with the safer estimate; return the pieces in which anything changed."""

        def mixed(piece: Piece) -> bool:
            return _mix(found, piece, self.safer, self.result, self.scale, self.errors)

        changed = self._map(mixed, pieces)
        return [piece for piece, there in zip(pieces, changed, strict=True) if there]

    def _release(self) -> None:
        """Hand pages of files back."""
        for array in (self.result, self.source.plane, self.errors):
            if array is not None:
                release(array)

    def safer(self, piece: Piece) -> NDArray[np.float32]:
        """Return the safer estimate of a piece."""
        estimate = self._without_excess(piece)
        if self.source.cores is not None:
            self.source.cores.stars.add_excess(estimate, piece[0], self.scale, piece[2])
        return estimate

    def _without_excess(self, piece: Piece) -> NDArray[np.float32]:
        source, scale = self.source, self.scale
        if self.as_recorded or self.target_fwhm is None:
            width = 0.0 if self.of_mean_star else smoothing_of(source, self.target_fwhm, scale)
            return _on_finer_pixels(source, piece, scale, width)
        y0, y1, x0, x1 = piece
        margin = min(REACH, math.ceil(_MARGIN * self.conditions.fwhm))
        shown = self.result[y0 * scale : y1 * scale, x0 * scale : x1 * scale]
        values, _ = source.read(y0 - margin, y1 + margin, x0 - margin, x1 + margin)
        sky = min(0.0, float(np.median(shown)))
        psf = psf_of(self.conditions, piece)
        estimate = richardson_lucy(values, psf, self.target_fwhm, scale, sky)
        inner = slice(margin * scale, -margin * scale)
        return estimate[inner, inner]


def _mix(
    found: Contradictions,
    piece: Piece,
    estimate: Callable[[Piece], NDArray[np.float32]],
    result: NDArray,
    scale: int,
    errors: NDArray | None,
) -> bool:
    """Mix a piece of a result with an estimate, in place; return whether anything changed."""
    weight = found.weight(piece, scale)
    if weight is None:
        return False
    # Circles that touch are one part.
    parts, _ = label(weight, np.ones((3, 3)))
    for number, (rows, columns) in enumerate(find_objects(parts), start=1):
        y0, y1 = _to_input(piece[0], rows, scale)
        x0, x1 = _to_input(piece[2], columns, scale)
        place = np.s_[y0 * scale : y1 * scale, x0 * scale : x1 * scale]
        within = tuple(
            slice(part.start - first * scale, part.stop - first * scale)
            for part, first in zip(place, (piece[0], piece[2]), strict=True)
        )
        own = np.where(parts[within] == number, weight[within], 0)
        result[place] += own * (estimate((y0, y1, x0, x1)) - result[place])
        if errors is not None:
            errors[place] = blended_error(errors[place], 1 - own)
    return True


def _to_input(first: int, part: slice, scale: int) -> tuple[int, int]:
    """Return the input rows that hold some output rows, counted from ``scale * first``."""
    return first + part.start // scale, first - (-part.stop // scale)


def blended_error(error: NDArray, part: NDArray[np.float32] | float) -> NDArray[np.float64]:
    """Give the standard deviation of a mixture of the input and the result, in noise sigma.

    The error of a mean over what may be true does not depend on the data, and so its covariance
    with that of the data is its own variance.
    """
    own = np.asarray(error, np.float64) ** 2
    noise = np.maximum(1.0, own)
    blended: NDArray[np.float64] = np.sqrt((1 - part) ** 2 * noise + part * (2 - part) * own)
    return blended


def _on_finer_pixels(
    source: NormalisedPlane, piece: Piece, scale: int, width: float
) -> NDArray[np.float32]:
    """Return a piece as recorded, in noise sigma, at the output pixels, whose means it is.

    It is smoothed with a Gaussian of this width, in input pixels.
    """
    y0, y1, x0, x1 = piece
    rim = math.ceil(_TRUNCATE * width)
    margin = DOUBLE_BORDER * (scale - 1) + rim
    values = source.read(y0 - margin, y1 + margin, x0 - margin, x1 + margin)[0]
    if rim:
        values = gaussian_filter(values, width, truncate=_TRUNCATE)[rim:-rim, rim:-rim]
    coarse = finer = torch.from_numpy(values)[None, None]
    doublings = round(math.log2(scale))
    if 2**doublings == scale:
        for _ in range(doublings):
            finer = double(finer)
    else:
        finer = functional.interpolate(finer, scale_factor=scale, mode="bicubic")
    finer = without_border(finer, (finer.shape[-2] - (y1 - y0) * scale) // 2)
    coarse = without_border(coarse, margin - rim)
    # The mean of the finer pixels is what was recorded, so that nothing is lost.
    for mode in (*["bilinear"] * _SMOOTH_STEPS, "nearest"):
        left = coarse - functional.avg_pool2d(finer, scale)
        finer = finer + functional.interpolate(left, scale_factor=scale, mode=mode)
    recorded: NDArray[np.float32] = finer[0, 0].numpy()
    return recorded
