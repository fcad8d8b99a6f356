"""Stars: aperture photometry, its bias and scatter, and half-flux radii."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

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


class Photometry(NamedTuple):
    """Aperture photometry of stars, one entry per position.

    Attributes
    ----------
    flux : array of float64
        Sum in the aperture less the local background; NaN outside the image.
    background : array of float64
        Median of the annulus, per pixel.
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
) -> Photometry:
    """Measure stars in circular apertures with exact pixel overlap and a local background.

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

    Returns
    -------
    Photometry
    """
    import sep

    image, bad = _image(data, mask)
    points = _points(positions)
    inner, outer = (2.0 * radius, 3.0 * radius) if annulus is None else annulus
    if not radius > 0.0 or not 0.0 <= inner <= outer:
        msg = f"radius is {radius} and annulus {(inner, outer)}; both must be positive and ordered"
        raise InputError(msg)
    flux, _, flags = sep.sum_circle(image, points[:, 0], points[:, 1], radius, mask=bad, subpix=0)
    covered, _, _ = sep.sum_circle(
        np.where(bad, 0.0, 1.0), points[:, 0], points[:, 1], radius, subpix=0
    )
    level = np.zeros(len(points))
    if outer > 0.0:
        level = np.array([_annulus_median(image, bad, p, inner, outer) for p in points])
    # SEP itself scales the sum of a masked aperture up to the full area.
    full = np.pi * radius**2
    lost = (np.asarray(flags) & sep.APER_TRUNC) != 0
    lost |= (np.asarray(flags) & sep.APER_ALLMASKED) != 0
    return Photometry(np.where(lost, np.nan, flux - full * level), level, np.asarray(covered))


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
    scatter = 1.4826 * float(np.median(np.abs(found - bias))) if np.isfinite(bias) else np.inf
    return PhotometryScore(bias, scatter, int(found.size), differences)


def half_flux_radius(
    data: ArrayLike,
    positions: ArrayLike,
    *,
    max_radius: float,
    annulus: tuple[float, float] | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Radius of the circle that holds half of the flux of a star.

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
    radii = np.linspace(0.0, max_radius, 65)
    growth = np.zeros((len(radii), len(points)))
    for row, radius in zip(growth[1:], radii[1:], strict=True):
        sums = aperture_photometry(data, points, radius=radius, annulus=(0.0, 0.0), mask=mask)
        row[...] = sums.flux - np.pi * radius**2 * total.background
    result = np.full(len(points), np.nan)
    for index, flux in enumerate(total.flux):
        if not flux > 0.0:
            continue
        share = growth[:, index] / flux
        after = int(np.argmax(share >= 0.5))
        # A flux grows with the area, so the interpolation is in the square of the radius.
        low, high = radii[after - 1] ** 2, radii[after] ** 2
        part = (0.5 - share[after - 1]) / (share[after] - share[after - 1])
        result[index] = np.sqrt(low + part * (high - low))
    return result


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


def _annulus_median(
    image: NDArray[np.float64],
    bad: NDArray[np.bool_],
    point: NDArray[np.float64],
    inner: float,
    outer: float,
) -> float:
    x, y = point
    y0, y1 = max(0, int(y - outer)), min(image.shape[0], int(y + outer) + 2)
    x0, x1 = max(0, int(x - outer)), min(image.shape[1], int(x + outer) + 2)
    if y0 >= y1 or x0 >= x1:
        return float("nan")
    rows, columns = np.ogrid[y0:y1, x0:x1]
    distance = np.hypot(rows - y, columns - x)
    ring = (distance >= inner) & (distance <= outer) & ~bad[y0:y1, x0:x1]
    return float(np.median(image[y0:y1, x0:x1][ring])) if ring.any() else float("nan")
