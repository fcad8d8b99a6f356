"""Resampling of an image onto the pixels of its reference, band by band."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter

from astro_sr_plugin.exceptions import check_choice
from astro_sr_plugin.registration.kernels import KERNELS, WHOLE_PIXELS, Kernel
from astro_sr_plugin.registration.transform import Transform

__all__ = ["Resampled", "check_kernel", "resample_rows", "rows_needed"]

_LINEAR = KERNELS["linear"]
"""The kernel beside saturated pixels."""
_SWING = 4
"""Distance in pixels out to which kernels swing beside an edge: by 1 % of its height there."""
_GRID = 32
"""Spacing in pixels of the places that a band's input rows are looked up at."""
_WHOLE = 1e-6
"""Distance in pixels from whole pixels within which these are copied, and no mask grows."""


class Resampled(NamedTuple):
    """A band of rows on the pixels of the reference.

    Attributes
    ----------
    data : ndarray of float32, shape (rows, nx)
        NaN where the image has no pixel, or one that is not finite within the kernel.
    mask : ndarray of bool, shape (rows, nx)
        True where the image has no pixel, or an unusable one within the kernel.
    variance : ndarray of float32, shape (rows, nx), or None
        Of the noise of single pixels; neighbours are correlated.
    """

    data: NDArray[np.float32]
    mask: NDArray[np.bool_]
    variance: NDArray[np.float32] | None


def check_kernel(kernel: str) -> Kernel:
    """Look a kernel up by its name.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    check_choice("kernel", kernel, KERNELS)
    return KERNELS[kernel]


def rows_needed(
    transform: Transform, rows: tuple[int, int], *, kernel: str = "bspline"
) -> tuple[int, int]:
    """Say which rows of the image a band of the result is made from.

    Parameters
    ----------
    transform : Transform
        From the image to the reference.
    rows : (int, int)
        First row of the band, and the one after its last.
    kernel : str
        As in `apply_transform`.

    Returns
    -------
    first, last : int
        First row, and the one after the last; equal where the band lies beside the image.
    """
    chosen = check_kernel(kernel)
    first, last = rows
    nx = transform.reference_shape[1]
    # The extremes of a smooth map lie on the rim of the band, to within its curvature between the
    # places looked at; a row is added for that.
    xs = np.unique(np.append(np.arange(0, nx, _GRID), nx - 1))
    ys = np.unique(np.append(np.arange(first, last, _GRID), last - 1))
    y, x = np.meshgrid(ys, xs, indexing="ij")
    _, row = transform.to_image(x, y)
    row = row[np.isfinite(row)]
    if not row.size:
        return 0, 0
    reach = chosen.support // 2 + chosen.margin + 1
    low = max(int(np.floor(row.min())) - reach, 0)
    high = min(int(np.ceil(row.max())) + reach + 1, transform.shape[0])
    return (low, high) if low < high else (0, 0)


def resample_rows(
    strip: NDArray[Any],
    transform: Transform,
    rows: tuple[int, int],
    *,
    first: int = 0,
    kernel: str = "bspline",
    mask: NDArray[np.bool_] | None = None,
    variance: NDArray[Any] | None = None,
    saturated: NDArray[np.bool_] | None = None,
    conserve_flux: bool = True,
) -> Resampled:
    """Make a band of the result from a strip of the image.

    Parameters
    ----------
    strip : ndarray, shape (n, nx)
        Rows ``first`` to ``first + n`` of the image, at least those of `rows_needed`. Pixels that
        are not finite are not used.
    transform : Transform
        From the image to the reference.
    rows : (int, int)
        First row of the band, and the one after its last.
    first : int
        Row of the image that the strip begins with.
    kernel : str
        As in `apply_transform`.
    mask : ndarray of bool, shape (n, nx), optional
        True marks pixels that are not used.
    variance : ndarray, shape (n, nx), optional
        Variance of each pixel.
    saturated : ndarray of bool, shape (n, nx), optional
        True marks saturated pixels: within 4 pixels of them values are interpolated linearly, for
        other kernels swing beside the edge of a plateau.
    conserve_flux : bool
        Whether pixels are multiplied by the area that they cover in the image: the flux of a star
        stays. Otherwise surface brightness stays.

    Returns
    -------
    Resampled
        Of shape (rows, columns of the reference).

    Notes
    -----
    Unusable pixels take the value of the nearest usable one before, so that they reach no farther
    than the kernel. Saturated pixels do not show in the variance.
    """
    chosen = check_kernel(kernel)
    y0, y1 = rows
    columns, (ny, nx) = transform.reference_shape[1], transform.shape
    y, x = np.arange(y0, y1, dtype=np.float64)[:, None], np.arange(columns, dtype=np.float64)
    u, v = transform.to_image(x, y)
    covered = (u >= -0.5) & (u <= nx - 0.5) & (v >= -0.5) & (v <= ny - 0.5)
    result = np.full(u.shape, np.nan, dtype=np.float32)
    noise = None if variance is None else np.full(u.shape, np.nan, dtype=np.float32)
    excluded = ~covered
    if not strip.size or not covered.any():
        return Resampled(result, excluded, noise)
    pixels = np.asarray(strip, dtype=np.float64)
    missing = ~np.isfinite(pixels)
    bad = missing if mask is None else missing | mask
    if bad.all():
        return Resampled(result, np.ones_like(excluded), noise)
    # All of the band, unless parts lie beside the image: indexing costs more than interpolating.
    inside = np.s_[:] if covered.all() else covered
    places = np.stack([v[inside] - first, u[inside]])
    area = transform.area(x, y)[inside] if conserve_flux else None
    if np.abs(places - np.rint(places)).max() < _WHOLE:
        chosen, places = WHOLE_PIXELS, np.rint(places)
    filled = _filled(pixels, bad)
    values = chosen.values(chosen.prepare(filled), places)
    if saturated is not None and chosen.support > _LINEAR.support and saturated.any():
        edge = _touched(saturated, places, 2 * _SWING)
        values[edge] = _LINEAR.values(filled, places[:, edge])
    result[inside] = values if area is None else values * area
    if noise is not None:
        spread = np.asarray(variance, dtype=np.float64)
        known = _filled(spread, bad | ~np.isfinite(spread))
        found = np.maximum(chosen.variances(known, places), 0)
        noise[inside] = found if area is None else found * area**2
    if bad.any():
        excluded[inside] |= _touched(bad, places, chosen.support)
    if missing.any():
        result[inside] = np.where(_touched(missing, places, chosen.support), np.nan, result[inside])
    return Resampled(result, excluded, noise)


def _filled(pixels: NDArray[np.float64], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give bad pixels the value of the nearest good one."""
    if not bad.any():
        return pixels
    if bad.all():
        return np.zeros_like(pixels)
    nearest = distance_transform_edt(bad, return_distances=False, return_indices=True)
    filled: NDArray[np.float64] = pixels[tuple(nearest)]
    return filled


def _touched(
    bad: NDArray[np.bool_], places: NDArray[np.float64], support: int
) -> NDArray[np.bool_]:
    """Whether a bad pixel lies among the nearest ones that a value is made of."""
    if support > 1:
        # A value between pixels p and p + 1 has half of the support on each side.
        bad = maximum_filter(bad, size=support, mode="constant", origin=-1)
    row, column = np.floor(places).astype(np.intp)
    row, column = row.clip(0, bad.shape[0] - 1), column.clip(0, bad.shape[1] - 1)
    found: NDArray[np.bool_] = bad[row, column]
    return found
