"""Photometry of the same stars on two images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astro_sr_plugin.metrics import aperture_photometry, half_flux_radius
from astro_sr_plugin.validation.comparison import Comparison, block_mean, compare_images, luminance
from astro_sr_plugin.validation.regions import Stars, find_stars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "StarRow",
    "StarSummary",
    "comparison_figures",
    "photometry",
    "summarise_stars",
    "total_flux",
]

#: About as many values make the blocks of the total flux.
_SAMPLE = 1 << 22


class StarRow(NamedTuple):
    """A star on both images.

    Attributes
    ----------
    x, y : float
        Position in the image before.
    before, after : float
        Flux, in units of the image before times its pixels.
    difference : float
        Magnitude after minus before; positive: fainter.
    fwhm_before, fwhm_after : float
        Twice the half-flux radius, in pixels of the image before.
    """

    x: float
    y: float
    before: float
    after: float
    difference: float
    fwhm_before: float
    fwhm_after: float


class StarSummary(NamedTuple):
    """What the table of stars comes to; NaN without stars.

    Attributes
    ----------
    stars : int
        Stars measured on both images.
    difference, scatter : float
        Median of the differences in magnitudes, and their robust standard deviation.
    fwhm_before, fwhm_after : float
        Medians, in pixels of the image before.
    """

    stars: int
    difference: float
    scatter: float
    fwhm_before: float
    fwhm_after: float


def photometry(pair: Comparison, stars: Stars, *, limit: int = 40) -> list[StarRow]:
    """Measure the same stars on both images, in the same circle on the sky.

    Circles of twice the FWHM of the image before, with a local annulus, so that both hold nearly
    all of the light though the images differ in sharpness.

    Parameters
    ----------
    pair : Comparison
        The images.
    stars : Stars
        In pixels of the image before.
    limit : int, optional
        Most stars to be measured.

    Returns
    -------
    list of StarRow
        Brightest first; stars with a flux on one image only are left out.
    """
    points = stars.positions[:limit]
    if len(points) == 0:
        return []
    radius = 2.0 * stars.fwhm
    first = np.array([_star(pair.before, x, y, radius) for x, y in points])
    # Pixel j of the larger grid lies at (j + 0.5) / scale - 0.5 of the smaller one.
    s = pair.scale
    there = (points + 0.5) * s - 0.5
    second = np.array([_star(pair.after, x, y, radius * s) for x, y in there]) / (s**2, s)
    rows = []
    for (x, y), (before, fwhm), (after, other) in zip(points, first, second, strict=True):
        if before > 0.0 and after > 0.0:
            difference = -2.5 * float(np.log10(after / before))
            rows.append(StarRow(x, y, before, after, difference, fwhm, other))
    return rows


def summarise_stars(rows: Sequence[StarRow]) -> StarSummary:
    """Return the medians of a table of stars."""
    if not rows:
        return StarSummary(0, *[float("nan")] * 4)
    differences = np.array([row.difference for row in rows])
    middle = float(np.median(differences))
    scatter = 1.4826 * float(np.median(np.abs(differences - middle)))
    widths = np.array([(row.fwhm_before, row.fwhm_after) for row in rows])
    return StarSummary(len(rows), middle, scatter, *np.nanmedian(widths, axis=0).tolist())


def comparison_figures(before: Any, after: Any) -> dict[str, float]:
    """Measure what a page of before and after tells in numbers.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        Two images of one field; `after` may be larger by a whole factor.

    Returns
    -------
    dict
        ``scale``, ``flux_ratio`` (total, after over before), and of isolated stars ``stars``,
        ``magnitude_difference``, ``magnitude_scatter``, ``fwhm_before``, ``fwhm_after`` (in pixels
        of the image before).
    """
    pair = compare_images(before, after)
    summary = summarise_stars(photometry(pair, find_stars(pair)))
    return {
        "scale": pair.scale,
        "flux_ratio": total_flux(pair),
        "stars": summary.stars,
        "magnitude_difference": summary.difference,
        "magnitude_scatter": summary.scatter,
        "fwhm_before": summary.fwhm_before,
        "fwhm_after": summary.fwhm_after,
    }


def _star(data: NDArray[Any], x: float, y: float, radius: float) -> tuple[float, float]:
    """Flux and FWHM of one star, measured on a cut-out."""
    reach = int(2.2 * radius) + 3
    x0, y0 = max(0, round(x) - reach), max(0, round(y) - reach)
    image = luminance(data[..., y0 : y0 + 2 * reach, x0 : x0 + 2 * reach])
    place, rings = [(x - x0, y - y0)], (1.5 * radius, 2.2 * radius)
    flux = aperture_photometry(image, place, radius=radius, annulus=rings).flux[0]
    size = half_flux_radius(image, place, max_radius=radius, annulus=rings)[0]
    return float(flux), 2.0 * float(size)


def total_flux(pair: Comparison) -> float:
    """Return the total flux of the image after over that of the image before.

    Surface brightness counts: an image on finer pixels should give 1.
    """
    factor = max(1, int(np.ceil(np.sqrt(pair.before.size / _SAMPLE))))
    first = block_mean(pair.before, factor)
    second = block_mean(pair.after, factor * pair.scale)
    good = np.isfinite(first) & np.isfinite(second)
    total = float(first[good].sum())
    return float(second[good].sum()) / total if total else float("nan")
