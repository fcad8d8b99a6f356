"""Selection of stars for the PSF: sources of the same size and shape (the size locus)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.psf.fitting import MoffatFit, fit_moffat
from astro_sr_plugin.measurement.sources.candidates import Candidates, cut_stamps, distortion_beside

__all__ = ["find_stars", "sky_is_curved"]

_MOST_CANDIDATES = 320
"""Largest number of candidates that are fitted, the brightest first."""
_FIT_PIXELS = 180_000
"""Largest number of pixels of all stamps: it limits the time and the memory."""
_NO_AGREEMENT = 0.01
"""Agreement of the sizes below which the candidates have no size in common."""
_COARSE_WIDTH, _FINE_WIDTH = 0.15, 0.06
"""Gaussian widths in ln FWHM of the density estimates of the sizes: rough ones, and fitted ones."""
_NARROWEST = 0.75
"""FWHM in pixels below which a source is a hot pixel."""
_LARGEST_ERROR, _LARGEST_CHI2 = 0.2, 4.0
"""Error of ln FWHM and mean square residual above which a source is no single star."""
_LARGEST_DISTORTION = 0.38
"""Distortion, beside that of most sources, above which a source is no single star: that of an
ellipticity of 0.55 where stars are round."""
_MODEL_ERROR, _LARGEST_MODEL_ERROR = 0.04, 0.4
"""Error of a Moffat profile in a pixel, relative to the light: usual, and through poor optics."""
_ALIKE, _MOST_OF_THEM, _FEWEST_ALIKE = 0.15, 0.7, 2
"""Sources are alike within this in ln FWHM and distortion; the fraction of the brighter half, and
the number, of which that must hold before their profile counts as one that is no Moffat profile."""
_BRIGHTER_PARTS = (0.5, 0.2)
"""Brighter parts of the sources of which that is asked: the noise hides it in fainter ones."""
_LEAST_USABLE = 0.6
"""Smallest fraction of usable pixels of a stamp."""
_SIZE_TOLERANCE, _SHAPE_TOLERANCE = 0.1, 0.04
"""Scatter of ln FWHM, and of a component of the distortion, at which the agreement is a half."""
_LOCUS_WIDTH, _LOCUS_SIGMA = 0.25, 2.5
"""Largest distance in ln FWHM from the centre of the size locus, absolute and in its scatter."""
_LEAST_SPREAD = 0.02
"""Least scatter of a locus in ln FWHM: the PSF varies a little over the field."""
_WHOLE_START, _BRIGHT_START = 0.15, 0.1
"""Distances in ln FWHM from the densest place within which all sources, and the bright ones, show
the locus at first."""
_ROUNDS = 5
"""Times that what is beside the locus is left out."""
_GOOD, _MUCH_BETTER = 0.3, 4.0
"""Least agreement of a locus of the bright sources, and least ratio to that of all, to take it."""
_MANY, _FEWEST_STARS = 40, 10
"""Number of sources from which the brighter half of them may show a locus of its own, and the least
number of sources on it."""
_HALF, _HALF_ON_NEBULA = 1.6, 2.0
"""Half the side of a stamp in FWHM; the second on curved sky."""
_SKY_SAMPLE = 40
"""Largest number of sources that show whether the sky under them is curved."""
_CURVED, _CURVED_UNDER_FAINTER = 0.8, 0.85
"""Median ratio of the mean square residuals with and without a quadratic sky below which the sky
under the brightest sources, and under fainter ones, is curved."""


def find_stars(candidates: Candidates, ratio: float) -> tuple[Candidates, float]:
    """Keep the candidates on the size locus that look like a single point source.

    Parameters
    ----------
    candidates : Candidates
        Sources of the windows of a plane.
    ratio : float
        Factor by which correlated noise makes the errors of the fits larger.

    Returns
    -------
    stars : Candidates
        Those that are taken for stars.
    agreement : float
        How well they agree, 0..1: the product of 1 / (1 + (scatter beyond the errors /
        tolerance)^2) for the size (10 %) and the two components of the distortion (0.04), and of
        the fraction of plausible candidates on the locus, as far as it is below a quarter.
        Where next to nothing agrees, the narrowest candidates are returned.
    """
    if not len(candidates):
        return candidates, 0.0
    guess = _densest(np.log(np.clip(candidates.size, 1, 15)), _COARSE_WIDTH)
    fwhm = float(np.clip(np.exp(guess), 1.2, 12))
    curved_sky = sky_is_curved(candidates, fwhm)
    half = _half(fwhm, curved_sky)
    most = max(60, min(_MOST_CANDIDATES, _FIT_PIXELS // (2 * half + 1) ** 2))
    if len(candidates) > most:
        candidates = candidates.select(np.argsort(-candidates.snr)[:most])
    stamps, usable = cut_stamps(candidates, half)
    complete = usable[:, half - 1 : half + 2, half - 1 : half + 2].all(axis=(1, 2)) & (
        usable.mean(axis=(1, 2)) > _LEAST_USABLE
    )
    fit = _fit_each(stamps, usable, fwhm, curved_sky)
    typical = max(_typical_chi2(fit, candidates.snr, complete, part) for part in _BRIGHTER_PARTS)
    if typical > _LARGEST_CHI2:
        # The sources have the same profile, but it is no Moffat profile.
        scaled = min(_LARGEST_MODEL_ERROR, _MODEL_ERROR * float(np.sqrt(typical)))
        fit = _fit_each(stamps, usable, fwhm, curved_sky, scaled)
    fit_errors = fit.errors * max(1.0, ratio)
    centred = np.hypot(fit.x - half, fit.y - half) < max(1.5, 0.5 * fwhm)
    plausible = (
        centred
        & complete
        & (fit.fwhm > _NARROWEST)
        & (fit.fwhm < 3.0 * half)
        & (fit_errors[:, 0] < _LARGEST_ERROR)
        & (_distortion_beside(fit, candidates.snr, complete) < _LARGEST_DISTORTION)
        & (fit.chi2 < _LARGEST_CHI2)
    )
    if not plausible.any():
        return candidates.select(plausible), 0.0
    sources = np.flatnonzero(plausible)
    sizes, errors = fit.log_fwhm[sources], fit_errors[sources, 0]
    near = _whole_locus(sizes, errors)
    chosen, agreement = _agreeing(fit, fit_errors, sources, near)
    if len(sources) >= _MANY:
        bright = candidates.snr[sources] >= np.median(candidates.snr[sources])
        near = _bright_locus(sizes, errors, bright)
        others, better = _agreeing(fit, fit_errors, sources, near)
        # Stars whose size changes over the field do not agree well either, and are all needed.
        if len(others) >= _FEWEST_STARS and better > max(_GOOD, _MUCH_BETTER * agreement):
            chosen, agreement = others, better
    if agreement < _NO_AGREEMENT and sizes.size > 2:
        # Galaxies have no common size; the narrowest sources among them are stars.
        chosen = sources[sizes < np.partition(sizes, 1)[1] + 0.2]
    return candidates.select(chosen), agreement


def _whole_locus(sizes: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the sources on the size locus that all of them show."""
    centre, spread = _find_locus(sizes, errors, _WHOLE_START, _spread)
    return _within(sizes - centre, spread, errors)


def _bright_locus(
    sizes: NDArray[np.float64], errors: NDArray[np.float64], bright: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Mark the sources on the size locus that the brighter ones show.

    Among the faint ones, galaxies may outnumber the stars. They widen the upper side of the locus:
    its width is that of the narrower side.
    """
    centre, spread = _find_locus(sizes[bright], errors[bright], _BRIGHT_START, _narrower_spread)
    return _within(sizes - centre, spread, errors)


def _find_locus(
    sizes: NDArray[np.float64],
    errors: NDArray[np.float64],
    start: float,
    spread_of: Callable[[NDArray[np.float64]], float],
) -> tuple[float, float]:
    """Return the centre and the scatter of the size locus, by leaving out what is beside it."""
    centre, spread = _densest(sizes, _FINE_WIDTH), 0.0
    near = np.abs(sizes - centre) <= max(start, float(np.abs(sizes - centre).min()))
    for _ in range(_ROUNDS):
        centre = float(np.median(sizes[near]))
        spread = spread_of(sizes[near] - centre)
        near = _within(sizes - centre, spread, errors)
    return centre, spread


def _spread(distance: NDArray[np.float64]) -> float:
    return MAD_TO_SIGMA * float(np.median(np.abs(distance)))


def _narrower_spread(distance: NDArray[np.float64]) -> float:
    return min(_spread(distance[distance <= 0]), _spread(distance[distance >= 0]))


def _within(
    distance: NDArray[np.float64], spread: float, errors: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Mark what lies on a locus of this scatter; the nearest if nothing does."""
    distance = np.abs(distance)
    near = distance < _LOCUS_SIGMA * np.hypot(max(spread, _LEAST_SPREAD), errors)
    near &= distance < _LOCUS_WIDTH
    return near if near.any() else distance <= distance.min()


def _agreeing(
    fit: MoffatFit,
    errors: NDArray[np.float64],
    sources: NDArray[np.intp],
    near: NDArray[np.bool_],
) -> tuple[NDArray[np.intp], float]:
    """Return the sources of a locus that fit well, and their agreement; see `find_stars`."""
    chosen = sources[near]
    quality = fit.chi2[chosen]
    chosen = chosen[quality <= 3 * max(float(np.median(quality)), 1.0)]
    agreement = min(1.0, 4 * float(near.sum()) / near.size)
    for values, error, tolerated in (
        (fit.log_fwhm, errors[:, 0], _SIZE_TOLERANCE),
        (fit.g1, errors[:, 2], _SHAPE_TOLERANCE),
        (fit.g2, errors[:, 3], _SHAPE_TOLERANCE),
    ):
        agreement /= 1 + _excess(values[chosen], error[chosen]) / tolerated**2
    return chosen, agreement


def sky_is_curved(candidates: Candidates, fwhm: float) -> bool:
    """Whether the sky under the sources is curved by a nebula.

    Sources are detected preferably on the crests of a nebula, which look like wings of the stars.
    The sky under the brightest sources and that under some of the fainter half have to be curved:
    what the optics do is as faint as the star.
    """
    order = np.argsort(-candidates.snr)
    fainter = order[len(order) // 2 :]
    return all(
        _gain_of_a_curve(candidates.select(some[:_SKY_SAMPLE]), fwhm) < limit
        for some, limit in ((order, _CURVED), (fainter, _CURVED_UNDER_FAINTER))
    )


def _gain_of_a_curve(sources: Candidates, fwhm: float) -> float:
    """Return the median ratio of the residuals with a quadratic sky to those with a flat one."""
    stamps, usable = cut_stamps(sources, _half(fwhm, True))
    flat, curved = (_fit_each(stamps, usable, fwhm, sky).chi2 for sky in (False, True))
    return float(np.median(curved / np.maximum(flat, 1e-30)))


def _half(fwhm: float, curved_sky: bool) -> int:
    """Half the side of a stamp; a curved sky needs some of it around the star."""
    return int(np.clip(np.ceil((_HALF_ON_NEBULA if curved_sky else _HALF) * fwhm), 4, 20))


def _typical_chi2(
    fit: MoffatFit, snr: NDArray[np.float64], complete: NDArray[np.bool_], part: float
) -> float:
    """Median mean square residual of the brightest sources, if they have the same size and shape.

    ``part`` is how many of the complete ones these are.
    """
    bright = _brighter(snr, complete, part)
    if bright.sum() < _FEWEST_ALIKE:
        return 1.0
    sizes = fit.log_fwhm[bright]
    alike = np.abs(sizes - np.median(sizes)) < _ALIKE
    alike &= _distortion_beside(fit, snr, complete)[bright] < _ALIKE
    if alike.mean() < _MOST_OF_THEM:
        return 1.0
    return float(np.median(fit.chi2[bright][alike]))


def _distortion_beside(
    fit: MoffatFit, snr: NDArray[np.float64], complete: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Distortion of each source beside the one that the brighter ones have in common."""
    return distortion_beside(fit.g1 + 1j * fit.g2, _brighter(snr, complete))


def _brighter(
    snr: NDArray[np.float64], complete: NDArray[np.bool_], part: float = 0.5
) -> NDArray[np.bool_]:
    """Mark the brightest part of the complete sources."""
    if not complete.any():
        return complete
    return complete & (snr >= np.quantile(snr[complete], 1 - part))


def _fit_each(
    stamps: NDArray[np.float64],
    usable: NDArray[np.bool_],
    fwhm: float,
    curved_sky: bool,
    model_error: float = _MODEL_ERROR,
) -> MoffatFit:
    """Fit every source by itself, all with the same beta."""
    return fit_moffat(
        stamps,
        usable,
        sigma=1.0,
        fwhm=fwhm,
        groups=np.arange(len(stamps)),
        fit_beta=False,
        model_error=model_error,
        iterations=12,
        curved_sky=curved_sky,
    )


def _excess(values: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """Robust variance of values in excess of that of their errors."""
    if values.size < 3:
        return 0.0
    return max(0.0, _spread(values - np.median(values)) ** 2 - float(np.median(errors)) ** 2)


def _densest(values: NDArray[np.float64], width: float) -> float:
    """Find the lowest mode of a kernel density estimate with a Gaussian of a given width."""
    if values.size < 3:
        return float(np.median(values))
    places = np.linspace(values.min(), values.max(), 400)
    density = np.exp(-0.5 * ((places[:, None] - values) / width) ** 2).sum(axis=1)
    peaks = np.flatnonzero(density >= 0.6 * density.max())
    # From the lower end of the first dense stretch, climb to its top.
    ends = np.flatnonzero(np.diff(peaks) > 1)
    first = peaks[: ends[0] + 1] if ends.size else peaks
    return float(places[first[np.argmax(density[first])]])
