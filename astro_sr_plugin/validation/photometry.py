"""PSF-matched aperture photometry of the same stars on an image and on a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.psf.reconvolution import REACH
from astro_sr_plugin.measurement.sky.windows import Window
from astro_sr_plugin.metrics import aperture_photometry, half_flux_radius
from astro_sr_plugin.validation.matching import Cut, MatchedPlane
from astro_sr_plugin.validation.star_list import ANNULUS, APERTURE, list_isolated_stars

__all__ = ["StarPhotometry", "StarSummary", "measure_stars", "summarise_stars"]


class StarPhotometry(NamedTuple):
    """A star on both images.

    Attributes
    ----------
    plane : int
        Number of the plane, from 0.
    x, y : float
        Position in pixels of the input.
    flux_before, flux_after : float
        Flux on the input, and on the result brought to the PSF and the pixels of the input; both in
        units of the input times its pixels.
    difference : float
        Magnitude on the result minus that on the input, in mag; positive: fainter.
    fwhm_before, fwhm_after : float
        Twice the half-flux radius on the input and on the result as it is, in pixels of the input;
        NaN if not asked for.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> star = asr.StarPhotometry(0, 31.5, 40.2, 1000.0, 1100.0, -0.103, 3.1, 2.2)
    >>> star.fwhm_after / star.fwhm_before < 1
    True
    """

    plane: int
    x: float
    y: float
    flux_before: float
    flux_after: float
    difference: float
    fwhm_before: float
    fwhm_after: float


class StarSummary(NamedTuple):
    """Figures of all stars; NaN without stars.

    Attributes
    ----------
    n_stars : int
        Number of stars.
    magnitude_difference, magnitude_scatter : float
        Median of the differences in mag, and their robust standard deviation.
    fwhm_before, fwhm_after : float
        Medians in pixels of the input.
    """

    n_stars: int
    magnitude_difference: float
    magnitude_scatter: float
    fwhm_before: float
    fwhm_after: float


def measure_stars(
    planes: Iterable[MatchedPlane], *, widths: bool = False
) -> tuple[StarPhotometry, ...]:
    """Measure the isolated stars of all planes on both images.

    The result is reconvolved to the PSF of the input, so that the same aperture holds the same
    part of a star's light on both. The annulus gives the mean, not the median: only the input has
    noise, and the median of noisy pixels takes faint light for sky.

    Parameters
    ----------
    planes : iterable of MatchedPlane
        From `match_planes`.
    widths : bool
        Measure the half-flux radii too.

    Returns
    -------
    tuple of StarPhotometry
        Brightest first. Stars with an unusable, saturated or hot pixel within their annulus, and
        those without positive flux on both images, are left out.
    """
    rows = []
    for plane in planes:
        for star in list_isolated_stars(plane.plane, plane.moffat, plane.widest_fwhm):
            row = _measure_star(plane, float(star["x"]), float(star["y"]), widths=widths)
            if row is not None:
                rows.append(row)
    return tuple(sorted(rows, key=lambda row: -row.flux_before))


def summarise_stars(stars: Sequence[StarPhotometry]) -> StarSummary:
    """Return medians and scatter of a list of stars."""
    if not stars:
        return StarSummary(0, *[float("nan")] * 4)
    differences = np.array([star.difference for star in stars])
    middle = float(np.median(differences))
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(differences - middle)))
    widths = np.array([(star.fwhm_before, star.fwhm_after) for star in stars])
    medians = [
        float(np.median(w[np.isfinite(w)])) if np.isfinite(w).any() else float("nan")
        for w in widths.T
    ]
    return StarSummary(len(stars), middle, scatter, *medians)


def _measure_star(
    plane: MatchedPlane, x: float, y: float, *, widths: bool
) -> StarPhotometry | None:
    """Measure one star on a cut-out of both images; None if it cannot be measured."""
    fwhm = plane.widest_fwhm
    annulus = (ANNULUS[0] * fwhm, ANNULUS[1] * fwhm)
    reach = int(np.ceil(annulus[1])) + 1 + REACH
    row, column = round(y), round(x)
    window = Window(row - reach, row + reach + 1, column - reach, column + reach + 1)
    cut = plane.cut(window)
    place = (x - window.x0, y - window.y0)
    if cut.bad[REACH:-REACH, REACH:-REACH].any():
        return None
    before, after = (
        float(
            aperture_photometry(
                image, [place], radius=APERTURE * fwhm, annulus=annulus, statistic="mean"
            ).flux[0]
        )
        for image in (cut.observed, plane.reconvolution(cut.result))
    )
    if not (before > 0.0 and after > 0.0):
        return None
    unit = plane.plane.sigma * plane.plane.unit
    sizes = _widths(cut, place, plane.scale, fwhm) if widths else (float("nan"), float("nan"))
    difference = -2.5 * float(np.log10(after / before))
    return StarPhotometry(plane.number, x, y, before * unit, after * unit, difference, *sizes)


def _widths(cut: Cut, place: tuple[float, float], scale: int, fwhm: float) -> tuple[float, float]:
    """Return twice the half-flux radius on both images, in pixels of the input."""
    radii = []
    for image, s in ((cut.observed, 1), (cut.result, scale)):
        # Pixel j of the finer grid lies at (j + 0.5) / scale - 0.5 of the coarser one.
        there = [tuple((c + 0.5) * s - 0.5 for c in place)]
        size = half_flux_radius(
            image,
            there,
            max_radius=APERTURE * fwhm * s,
            annulus=(ANNULUS[0] * fwhm * s, ANNULUS[1] * fwhm * s),
        )
        radii.append(2.0 * float(size[0]) / s)
    return radii[0], radii[1]
