"""Estimate of the empirical PSF from stars, cross-validated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from threadpoolctl import threadpool_limits

from astro_sr_plugin.measurement.psf.empirical import ORDERS, EmpiricalPSF, field_terms
from astro_sr_plugin.measurement.psf.empirical_basis import SplineBasis, make_basis
from astro_sr_plugin.measurement.psf.empirical_centre import centred
from astro_sr_plugin.measurement.psf.empirical_fit import Equations, Model, sum_at_nodes
from astro_sr_plugin.measurement.psf.empirical_stars import (
    FIRST_ERROR,
    PSF_ERROR,
    StarStamps,
    cut_star_stamps,
    fit_stars,
)
from astro_sr_plugin.measurement.psf.profiles import PIXEL_FWHM, moffat_stamp
from astro_sr_plugin.measurement.psf.selection import sky_is_curved
from astro_sr_plugin.measurement.sources.candidates import Candidates

__all__ = ["estimate_psf"]

_REACH, _REACH_ON_NEBULA = 5.0, 3.0
"""Radius in FWHM to which the residual goes; the second on curved sky."""
_LARGEST_RADIUS = 32
"""The same in pixels at most."""
_JUDGED = 2.5
"""Radius in FWHM within which the residuals of stars are judged."""
_NODES_PER_FWHM, _MOST_OVERSAMPLING = 12.0, 4
"""Nodes of the fine grid per FWHM, and the largest number per pixel."""
_FEWEST_STARS = 3
"""Smallest number of stars."""
_MOST_STARS = 200
"""Largest number of stars, the brightest first."""
_ROUNDS = 3
"""Rounds in which stars and PSF are fitted in turn."""
_AMPLITUDES = (0.02, 0.06, 0.2, 0.6)
"""Prior standard deviations of the residual in units of the peak of the Moffat profile, from which
the cross-validation chooses."""
_CHANGES = _AMPLITUDES[1:]
"""The same of the change over the field."""
_FIRST_AMPLITUDE = 0.2
"""The one of the first rounds."""
_FOLDS = 5
"""Groups of stars that are left out in turn."""
_MOST_JUDGED = 60
"""Largest number of stars, the brightest first, that judge a PSF when they are left out."""
_LEAST_GAIN = 20.0
"""Gain in chi-squared of left-out stars from which the residual, and its change over the field, is
taken."""
_AGREEMENT = 0.6
"""Fraction of the brighter half of them that have to be described better."""
_SUPPORT = 0.5
"""Fraction of them that a halo has to describe better: else it is that of some galaxies among them,
or of their neighbours."""
_FEWEST_FOR_ORDER = {1: 6, 2: 12, 3: 20}
"""Fewest stars for a change over the field of each order; the prior does the rest."""
_CHANGING_ROUNDS = 4
"""Rounds in which stars and a PSF that changes are fitted in turn."""
_FEW_LEFT = 0.5
"""Largest part of what the Moffat profile leaves of left-out stars that a residual may leave, where
the stars are too few to show whether it changes over the field."""
_FIELD_NODES = 5
"""Nodes along each axis of the plane at which a profile that changes is rendered."""
_MISFIT = 3.0
"""Misfit of a star, in units of that of the others, from which it is none, or has neighbours."""
_EXPLAINED = 1.1
"""Typical mean square residual of the brighter half, in that of the noise, below which nothing is
left to explain."""
_RIM = 0.64, 0.8
"""Radii, in units of that of the fine grid, between which the wings are measured."""
_MOST_WINGS = 1.5
"""Largest brightness of the wings in units of that of the Moffat profile: what is above it shows
beyond the grid as the halo."""


# The threads of BLAS wait in a loop for each other, longer than products of such matrices take.
@threadpool_limits.wrap(limits=1, user_api="blas")
def estimate_psf(stars: Candidates | None, first: EmpiricalPSF) -> EmpiricalPSF:
    """Estimate what a PSF has beside its Moffat profile, halo and spikes.

    1. The PSF so far is fitted to each star: flux, place, sky.
    2. The residuals of all stars, each at its own sub-pixel place, go into one regularised least
       squares fit of a smooth image on a fine grid. Its prior is zero, with a variance that follows
       the profile. Pixels that deviate have less weight. Stars and image are fitted in turn.
    3. A halo that describes less than half of the brighter stars better is left out.
    4. Cross-validation with left-out stars chooses the variance of the prior and the order of the
       polynomials over the field. It is left out where the residuals of the first step show that
       no image of them can gain anything.

    Parameters
    ----------
    stars : Candidates or None
        Stars of the whole field, if there are any.
    first : EmpiricalPSF
        The profile, and the extended part.

    Returns
    -------
    EmpiricalPSF
        With the residual; without one for fewer than 3 stars, and where it would not describe
        left-out stars significantly better.

    References
    ----------
    Anderson & King (2000), PASP 112, 1360 (effective PSF); Bertin (2011), ADASS XX, 435
    (regularised residual); Jarvis et al. (2021), MNRAS 501, 1282 (change over the field).
    """
    first = replace(first, oversampling=_oversampling(first.moffat.fwhm))
    if stars is None or len(stars) < _FEWEST_STARS:
        return first
    estimate = _Estimate.start(stars, first)
    if len(estimate.stars) < _FEWEST_STARS:
        return first
    plain = estimate.as_it_is()
    if first.extended is not None:
        bare = replace(first, extended=None)
        other = _Estimate.start(stars, bare)
        judged = other.as_it_is()
        if judged.contradicts(plain):
            first, estimate, plain = bare, other, judged
    if not plain.may_gain() and not plain.may_change():
        return plain.result(first)
    for turn in range(_ROUNDS):
        estimate = estimate.refined(FIRST_ERROR if turn == 0 else PSF_ERROR)
        if turn == 0:
            estimate = estimate.without_misfits()
    estimate = estimate.with_best_amplitude()
    if estimate.may_change():
        estimate = estimate.with_change()
    return estimate.result(first)


_Prior = tuple[float, float]


@dataclass(frozen=True, eq=False)
class _Estimate:
    """State of the estimate.

    ``prior`` are the standard deviations of the residual and of its change over the field, in units
    of the peak of the Moffat profile.
    ``judged`` are the stars that are left out in turn; ``residuals`` what the PSF then leaves of
    them, and ``first`` what the Moffat profile does.
    """

    stars: StarStamps
    model: Model
    basis: SplineBasis
    peak: float
    near: int
    shape: tuple[int, int]
    prior: _Prior = (_FIRST_AMPLITUDE, 0.0)
    residuals: NDArray[np.float64] | None = None
    first: NDArray[np.float64] | None = None

    @classmethod
    def start(cls, candidates: Candidates, first: EmpiricalPSF) -> _Estimate:
        moffat = first.moffat
        width = float(np.hypot(moffat.fwhm, PIXEL_FWHM))
        curved = sky_is_curved(candidates, moffat.fwhm)
        reach = _REACH_ON_NEBULA if curved else _REACH
        radius = min(_LARGEST_RADIUS, int(np.ceil(reach * width)))
        near = min(radius, int(np.ceil(_JUDGED * width)))
        oversampling = first.oversampling
        if len(candidates) > _MOST_STARS:
            candidates = candidates.select(np.argsort(-candidates.snr)[:_MOST_STARS])
        stars = cut_star_stamps(candidates, radius, curved_sky=curved)
        # One pixel more than the stamps, since stars are not in their middle.
        profiles, shares = _profiles(stars, first, radius + 1)
        residual = np.zeros((1, *profiles.shape[1:]))
        model = Model(profiles, shares, np.ones((len(stars), 1)), residual, oversampling)
        stars, _ = fit_stars(stars, model.psfs(), radius=near, psf_error=FIRST_ERROR, steps=4)
        good = (stars.flux > 0) & (np.hypot(stars.x, stars.y) < max(1.5, 0.5 * width))
        basis = make_basis(width, radius + 1, oversampling)
        return cls(
            stars.select(good),
            model.select(good),
            basis,
            float(profiles.max()),
            near,
            first.shape,
        )

    def as_it_is(self) -> _Estimate:
        """Judge the PSF without a residual."""
        judged = self._judged()
        _, residuals = self._fit(self.stars.select(judged), self.model.select(judged), steps=0)
        return replace(self, prior=(0.0, 0.0), residuals=residuals, first=residuals)

    def contradicts(self, other: _Estimate) -> bool:
        """Whether most of the brighter stars are described better than by another PSF."""
        if len(other._judgement) != len(self._judgement):
            return False
        gain = _brighter_half(other._judgement[:, 0] - self._judgement[:, 0])
        return bool((gain > 0).mean() > 1 - _SUPPORT)

    def may_gain(self) -> bool:
        """Whether any residual can be expected to describe left-out stars better."""
        one = np.zeros(len(self.stars), int)
        sums = sum_at_nodes(self.stars, self.model, one, PSF_ERROR)
        equations = Equations(self.basis, *sums.without(None))
        return any(equations.expected_gain(size * self.peak) > 0 for size in _AMPLITUDES)

    def refined(self, psf_error: float) -> _Estimate:
        """Fit the residual to the stars, and the stars to the new PSF."""
        sums = sum_at_nodes(self.stars, self.model, np.zeros(len(self.stars), int), psf_error)
        equations = Equations(self.basis, *sums.without(None))
        residual = equations.solve(self._scaled(self.prior))
        stars, model = centred(self.stars, replace(self.model, residual=residual), self.near)
        stars, _ = self._fit(stars, model)
        return replace(self, stars=stars, model=model)

    def without_misfits(self) -> _Estimate:
        """Leave out what does not look like the other stars: galaxies, blends."""
        _, residuals = self._fit(self.stars, self.model, steps=0)
        chi2, fraction = residuals.T
        misfit = (chi2 > _MISFIT * np.median(chi2)) & (
            fraction > _MISFIT**2 * max(0.0, float(np.median(fraction)))
        )
        good = ~misfit & (self.stars.flux > 0)
        return replace(self, stars=self.stars.select(good), model=self.model.select(good))

    def with_best_amplitude(self) -> _Estimate:
        """Choose the prior by cross-validation; 0 if the Moffat profile does as well."""
        priors: list[_Prior] = [(size, 0.0) for size in (0.0, *_AMPLITUDES)]
        found = self._cross_validate(priors)
        best = _least(found)
        if not _is_better(found[best], found[0]) or not (
            self._may_show_change() or _left(found[best]) <= _FEW_LEFT * _left(found[0])
        ):
            best = 0
        chosen = replace(self, prior=priors[best], residuals=found[best], first=found[0])
        return chosen.refined(PSF_ERROR) if best else chosen

    def may_change(self) -> bool:
        """Whether stars are left that a change over the field could describe better."""
        unexplained = float(np.median(_brighter_half(self._chi2()))) > _EXPLAINED
        return unexplained and self._may_show_change()

    def with_change(self) -> _Estimate:
        """Let the residual change over the field, as long as left-out stars are described better.

        The third order is tried where the second was better.
        """
        estimate, count = self, len(self.stars)
        orders = [2 if count >= _FEWEST_FOR_ORDER[2] else 1]
        if count >= _FEWEST_FOR_ORDER[3]:
            orders.append(3)
        for order in orders:
            changed = estimate._changed(order)
            if not _is_better(changed._judgement, estimate._judgement):
                break
            estimate = changed
        return estimate if estimate is self else estimate.refined(PSF_ERROR)

    def _changed(self, order: int) -> _Estimate:
        """Fit polynomials of an order over the field, with the prior that is best for them.

        Stars and PSF start from the Moffat profile again: those of a constant residual hold on to
        it for many rounds.
        """
        places = self.stars.columns + self.stars.x, self.stars.rows + self.stars.y
        terms = field_terms(*places, self.shape, order)
        none = np.zeros((ORDERS[order], *self.model.residual.shape[1:]))
        model = replace(self.model, terms=terms, residual=none)
        stars, _ = self._fit(self.stars, model, steps=4)
        # A mean of zero may still change over the field.
        mean, _ = self.prior
        first = mean or _FIRST_AMPLITUDE, _CHANGES[0]
        varying = replace(self, stars=stars, model=model, prior=first)
        for _ in range(_CHANGING_ROUNDS):
            varying = varying.refined(PSF_ERROR)
        priors: list[_Prior] = [(mean or size, size) for size in _CHANGES]
        found = varying._cross_validate(priors)
        best = _least(found)
        return replace(varying, prior=priors[best], residuals=found[best])

    def _may_show_change(self) -> bool:
        return len(self.stars) >= _FEWEST_FOR_ORDER[1]

    @property
    def _judgement(self) -> NDArray[np.float64]:
        assert self.residuals is not None
        return self.residuals

    def _chi2(self) -> NDArray[np.float64]:
        """Mean square of what is left of left-out stars, in the noise of their pixels."""
        axis = np.arange(-self.stars.radius, self.stars.radius + 1)
        near = np.hypot(axis[:, None], axis) <= self.near
        pixels = self.stars.usable[self._judged()][:, near].sum(axis=1)
        return np.asarray(self._judgement[:, 0] / np.maximum(pixels, 1))

    def result(self, first: EmpiricalPSF) -> EmpiricalPSF:
        """Return the PSF and its quality; ``first`` is the one without the residual."""
        assert self.first is not None
        fraction, without = _left(self._judgement), _left(self.first)
        measured = replace(
            first,
            n_stars=len(self.stars),
            residual_fraction=fraction,
            moffat_residual_fraction=without,
            residual_noise=float(np.sqrt(np.median(self._chi2()))),
        )
        if not self.prior[0] > 0:
            return measured
        return replace(
            measured,
            residual=self.model.residual,
            wings=self._wings(),
        )

    def _wings(self) -> float:
        """Brightness at the rim of the fine grid in units of that of the Moffat profile."""
        n = self.model.residual.shape[1]
        grid = np.arange(n) - n // 2
        rim = np.hypot(grid[:, None], grid) / (n // 2)
        rim = (rim > _RIM[0]) & (rim < _RIM[1])
        profile = float(self.model.profiles.mean(axis=0)[rim].sum())
        excess = float(self.model.residual[0][rim].sum()) / max(profile, 1e-30)
        return float(np.clip(1 + excess, 0.0, _MOST_WINGS))

    def _fit(
        self, stars: StarStamps, model: Model, steps: int = 2
    ) -> tuple[StarStamps, NDArray[np.float64]]:
        return fit_stars(stars, model.psfs(), radius=self.near, psf_error=PSF_ERROR, steps=steps)

    def _scaled(self, prior: _Prior) -> _Prior:
        return prior[0] * self.peak, prior[1] * self.peak

    def _judged(self) -> NDArray[np.int_]:
        return np.argsort(-self.stars.flux)[:_MOST_JUDGED]

    def _cross_validate(self, priors: Sequence[_Prior]) -> list[NDArray[np.float64]]:
        """Fit the PSF without each group of stars, and let them judge it: (stars, 2) of each."""
        judged = self._judged()
        groups = np.empty(len(self.stars), dtype=int)
        groups[np.argsort(-self.stars.flux)] = np.arange(len(groups)) % min(_FOLDS, len(groups))
        sums = sum_at_nodes(self.stars, self.model, groups, PSF_ERROR)
        found = [np.zeros((len(judged), 2)) for _ in priors]
        for group in range(groups.max() + 1):
            out = groups[judged] == group
            left = self.stars.select(judged[out])
            equations = Equations(self.basis, *sums.without(group))
            for prior, residuals in zip(priors, found, strict=True):
                residual = equations.solve(self._scaled(prior))
                model = replace(self.model.select(judged[out]), residual=residual)
                _, residuals[out] = self._fit(left, model, steps=1)
        return found


def _oversampling(fwhm: float) -> int:
    nodes = _NODES_PER_FWHM / max(float(np.hypot(fwhm, PIXEL_FWHM)), 1.0)
    return int(np.clip(np.ceil(nodes), 1, _MOST_OVERSAMPLING)) if np.isfinite(nodes) else 1


def _least(found: Sequence[NDArray[np.float64]]) -> int:
    """Index of what describes the stars best."""
    return int(np.argmin([residuals[:, 0].sum() for residuals in found]))


def _left(residuals: NDArray[np.float64]) -> float:
    """Return what is left of the brighter stars beyond the noise, over the stars."""
    return float(np.sqrt(max(0.0, np.median(_brighter_half(residuals)[:, 1]))))


def _brighter_half(of_stars: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what belongs to the brighter half of stars, the brightest first."""
    return of_stars[: -(-len(of_stars) // 2)]


def _is_better(new: NDArray[np.float64], old: NDArray[np.float64]) -> bool:
    """Whether stars that were left out, the brightest first, are described better."""
    gain = old[:, 0] - new[:, 0]
    return bool(gain.sum() > _LEAST_GAIN and (_brighter_half(gain) > 0).mean() > _AGREEMENT)


def _profiles(
    stars: StarStamps, first: EmpiricalPSF, radius: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Render the PSF so far at nodes of the plane: (p, n, n); and the stars' shares of them."""
    rows, columns = (np.linspace(0, side - 1, _FIELD_NODES) for side in first.shape)
    if first.field is None:
        rows, columns = rows[:1], columns[:1]
    oversampling = first.oversampling
    profiles = np.stack(
        [
            moffat_stamp(first.profile_at(x, y), 0.0, 0.0, radius, oversampling)
            for y in rows
            for x in columns
        ]
    )
    if first.extended is not None:
        axis = np.arange(-radius * oversampling, radius * oversampling + 1) / oversampling
        profiles += first.extended.at(axis, axis)
    if first.field is None:
        return profiles, np.ones((len(stars), 1))
    along_y, along_x = (
        CubicSpline(nodes, np.eye(_FIELD_NODES))(np.clip(places, nodes[0], nodes[-1]))
        for nodes, places in ((rows, stars.rows + stars.y), (columns, stars.columns + stars.x))
    )
    return profiles, np.einsum("ka,kb->kab", along_y, along_x).reshape(len(stars), -1)
