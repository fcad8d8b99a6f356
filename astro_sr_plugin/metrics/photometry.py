"""Stars: aperture photometry, its bias and scatter, and half-flux radii."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
from photutils.profiles import CurveOfGrowth

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Photometry",
    "PhotometryScore",
    "aperture_photometry",
    "half_flux_radius",
    "photometric_bias_scatter",
]

_WHOLE = 1e-6
"""Fraction of an aperture that may lie outside of the image: rounding."""
_STEPS = 32
"""Radii of a curve of growth."""


class Photometry(NamedTuple):
    """Aperture photometry of stars, one entry per position.

    Attributes
    ----------
    flux : array of float64
        Sum in the aperture less the local background; NaN outside the image.
    background : array of float64
        Median or mean of the annulus, per pixel.
    area : array of float64
        Used area of the aperture, in pixels.
    """

    flux: NDArray[np.float64]
    background: NDArray[np.float64]
    area: NDArray[np.float64]


class PhotometryScore(NamedTuple):
    """Agreement of magnitudes with the truth.

    Attributes
    ----------
    bias, scatter : float
        Median, and 1.4826 times the median absolute deviation, of the magnitude differences
        output - truth (positive: the output is too faint); NaN without stars.
    stars : int
        Number of isolated stars measured.
    differences : array of float64
        The magnitude difference of each position, NaN for those not used, infinite where the
        output has no positive flux.
    """

    bias: float
    scatter: float
    stars: int
    differences: NDArray[np.float64]


def aperture_photometry(
    data: ArrayLike,
    positions: ArrayLike,
    *,
    radius: float,
    annulus: tuple[float, float] | None = None,
    mask: NDArray[np.bool_] | None = None,
    statistic: Literal["median", "mean"] = "median",
) -> Photometry:
    """Measure stars in circular apertures with exact pixel overlap and a local background.

    The apertures and annuli are those of `photutils.aperture`.

    Parameters
    ----------
    data : array_like
        (ny, nx). NaN counts as masked.
    positions : array_like
        (n, 2) of x, y in pixels.
    radius : float
        Of the aperture, in pixels.
    annulus : (float, float), optional
        Inner and outer radius of the background annulus; default (2, 3) times `radius`.
        (0, 0): no background is subtracted.
    mask : array of bool, optional
        True = excluded; the sum is scaled up to the whole area of the aperture.
    statistic : {'median', 'mean'}
        How the background follows from the pixels of the annulus. The mean is linear: it is
        right for differences of two images, of which only one has noise.

    Returns
    -------
    Photometry
    """
    image, bad = _image(data, mask)
    points = _points(positions)
    inner, outer = (2.0 * radius, 3.0 * radius) if annulus is None else annulus
    if not radius > 0.0 or not 0.0 <= inner <= outer:
        msg = f"radius is {radius} and annulus {(inner, outer)}; both must be positive and ordered"
        raise InputError(msg)
    if len(points) == 0:
        return Photometry(np.empty(0), np.empty(0), np.empty(0))
    aperture = CircularAperture(points, radius)
    # NaN where the aperture lies outside of the image.
    inside = np.nan_to_num(aperture.area_overlap(np.ones(image.shape)))
    used = np.nan_to_num(aperture.area_overlap(np.ones(image.shape), mask=bad))
    total = np.nan_to_num(aperture.do_photometry(image, mask=bad)[0])
    level = np.zeros(len(points))
    if outer > inner:
        ring = ApertureStats(
            image, CircularAnnulus(points, inner, outer), mask=bad, sum_method="center"
        )
        level = np.asarray(ring.median if statistic == "median" else ring.mean)
    whole = (inside > (1.0 - _WHOLE) * aperture.area) & (used > 0.0)
    mean = np.divide(total, used, out=np.full(len(points), np.nan), where=whole)
    return Photometry((mean - level) * aperture.area, level, used)


def photometric_bias_scatter(
    output: ArrayLike,
    truth: ArrayLike,
    positions: ArrayLike,
    *,
    target_fwhm: float,
    neighbours: ArrayLike | None = None,
    annulus: tuple[float, float] | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> PhotometryScore:
    """Magnitudes of isolated stars on the output against those on the noise-free truth.

    Apertures of radius 1.5 target FWHM with a local annulus, at the same place on both images.
    A star is isolated if its nearest neighbour is beyond 3 aperture radii. Stars whose annulus
    leaves the image are left out.

    Parameters
    ----------
    output, truth : array_like
        (ny, nx), both at the target PSF and on the same grid.
    positions : array_like
        (n, 2) of x, y: the stars to be measured.
    target_fwhm : float
        FWHM of the target PSF, in output pixels.
    neighbours : array_like, optional
        (k, 2): all stars that may disturb; default `positions`.
    annulus : (float, float), optional
        Default (2, 3) aperture radii.
    mask : array of bool, optional
        True = excluded, such as saturated cores; stars with a masked pixel are left out.

    Returns
    -------
    PhotometryScore
    """
    from scipy.spatial import cKDTree

    if not target_fwhm > 0.0:
        msg = f"target_fwhm is {target_fwhm}; it must be positive"
        raise InputError(msg)
    points = _points(positions)
    radius = 1.5 * target_fwhm
    rings = (2.0 * radius, 3.0 * radius) if annulus is None else annulus
    ny, nx = np.shape(truth)
    margin = max(radius, rings[1])
    use = np.all((points >= margin) & (points <= (nx - 1 - margin, ny - 1 - margin)), axis=1)
    others = points if neighbours is None else _points(neighbours)
    if len(points) and len(others):
        # The star itself is among the neighbours, at a distance of about nothing.
        near = cKDTree(others).query_ball_point(points, 3.0 * radius)
        use &= np.array([len(found) <= 1 for found in near])
    differences = np.full(len(points), np.nan)
    if use.any():
        got = aperture_photometry(output, points[use], radius=radius, annulus=rings, mask=mask)
        true = aperture_photometry(truth, points[use], radius=radius, annulus=rings, mask=mask)
        whole = np.isclose(true.area, np.pi * radius**2, rtol=1e-3)
        with np.errstate(all="ignore"):
            ratio = np.where(got.flux > 0.0, got.flux / true.flux, 0.0)
            magnitudes = -2.5 * np.log10(ratio)
        differences[use] = np.where(whole & (true.flux > 0.0), magnitudes, np.nan)
    found = differences[~np.isnan(differences)]
    if found.size == 0:
        return PhotometryScore(float("nan"), float("nan"), 0, differences)
    bias = float(np.median(found))
    scatter = MAD_TO_SIGMA * float(np.median(np.abs(found - bias))) if np.isfinite(bias) else np.inf
    return PhotometryScore(bias, scatter, int(found.size), differences)


def half_flux_radius(
    data: ArrayLike,
    positions: ArrayLike,
    *,
    max_radius: float,
    annulus: tuple[float, float] | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Radius of the circle that holds half of the flux of a star, by its curve of growth.

    Parameters
    ----------
    data : array_like
        (ny, nx).
    positions : array_like
        (n, 2) of x, y.
    max_radius : float
        The circle taken for the whole flux, in pixels; about 1.5 to 3 FWHM.
    annulus : (float, float), optional
        Of the local background; default (1.3, 2) times `max_radius`.
    mask : array of bool, optional
        True = excluded.

    Returns
    -------
    array of float64
        In pixels, between 0 and `max_radius`; 0.5 FWHM for a Gaussian. NaN where the total flux
        is not positive or the circle leaves the image.
    """
    points = _points(positions)
    rings = (1.3 * max_radius, 2.0 * max_radius) if annulus is None else annulus
    total = aperture_photometry(data, points, radius=max_radius, annulus=rings, mask=mask)
    image, bad = _image(data, mask)
    radii = np.linspace(0.0, max_radius, _STEPS + 1)[1:]
    result = np.full(len(points), np.nan)
    for index in np.flatnonzero(total.flux > 0.0):
        growth = CurveOfGrowth(image, points[index], radii, mask=bad)
        flux = growth.profile - total.background[index] * growth.area
        result[index] = _half(growth.radius, flux / flux[-1])
    return result


def _half(radius: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Return the radius at which a curve of growth first reaches a half."""
    after = int(np.argmax(share >= 0.5))
    # The flux within a radius grows with the area, so the interpolation is in its square.
    r, s = np.append(0.0, radius**2), np.append(0.0, share)
    part = (0.5 - s[after]) / (s[after + 1] - s[after])
    return float(np.sqrt(r[after] + part * (r[after + 1] - r[after])))


def _image(
    data: ArrayLike, mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    image = np.ascontiguousarray(data, dtype=np.float64)
    if image.ndim != 2:
        msg = f"data has shape {image.shape}; it must be (ny, nx)"
        raise InputError(msg)
    bad = ~np.isfinite(image)
    if mask is not None:
        bad |= np.asarray(mask, dtype=bool)
    return np.where(bad, 0.0, image), bad


def _points(positions: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(positions, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        msg = f"positions has shape {points.shape}; it must be (n, 2), one x and y per row"
        raise InputError(msg)
    return np.ascontiguousarray(points)
