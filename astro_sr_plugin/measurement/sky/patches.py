"""Patches of empty sky: cut out between the sources, flattened, and the quietest chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.measurement.sky.background import Background
from astro_sr_plugin.measurement.sky.coarse import clip_limit, mask_sources
from astro_sr_plugin.measurement.sky.separation import make_surfaces
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import Window, cut_window
from astro_sr_plugin.measurement.sources.extraction import extract_sources

__all__ = ["PATCH", "cut_patches", "find_quietest", "flatten_patches"]

PATCH = 24
"""Side in pixels of the patches of sky."""
_NARROWEST = 1.45
"""FWHM in pixels below which a source is no star."""
_CLIPPING = 4.0
"""Residuals from a patch beyond so many of its standard deviations are left out."""
_FAINT_WIDTHS = (1.2, 2.4)
"""Gaussian widths in pixels to which the image is smoothed to find faint sources."""
_FAINT_MIDDLE = 4.0
"""Threshold of the middle of a faint source, in sigma of the smooth image. Lower ones would take
noise for sources."""
_FAINT_EDGE = 1.5
"""Threshold of its edge."""


def cut_patches(
    data: NDArray[np.generic],
    excluded: UnusablePixels,
    window: Window,
    background: Background,
    step: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Cut a window into patches, with True where a pixel is usable sky.

    Also returns the widths (FWHM in pixels) of the sources in it, from their flux and peak.
    """
    values, bad = cut_window(data, excluded, window)
    values -= background.level_at(*window)
    sky = values[~bad]
    side = min(PATCH, *values.shape)
    sizes = np.empty(0)
    if not sky.size or side < 6:
        return np.empty((0, side, side), np.float32), np.empty((0, side, side), bool), sizes
    scale = MAD_TO_SIGMA * float(np.median(np.abs(sky - np.median(sky))))
    if step > 0:
        bad |= mask_sources(values, bad, step)
    elif scale > 0:
        values[bad] = 0
        objects, segments = extract_sources(
            values, bad, 4 * scale, minimum_area=4, levels=1, contrast=1.0
        )
        strong = objects[(objects["peak"] > 12 * scale) & (objects["flag"] == 0)]
        sizes = np.sqrt(strong["flux"] / strong["peak"] / 1.133)
        # Hot pixels and cosmic rays are no measure of the optics.
        sizes = sizes[sizes > _NARROWEST]
        sources = binary_dilation(segments > 0, iterations=3)
        bad |= sources | _find_faint(values, bad | sources)
    rows, columns = values.shape[0] // side, values.shape[1] // side
    area = np.s_[: rows * side, : columns * side]

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        blocks = array[area].reshape(rows, side, columns, side)
        return blocks.swapaxes(1, 2).reshape(-1, side, side)

    return cut(values), ~cut(bad), sizes


def _find_faint(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find sources that are too faint to stand out before the image is smoothed to their size.

    Parameters
    ----------
    values : ndarray, shape (ny, nx)
        Sky near 0.
    known : ndarray of bool, shape (ny, nx)
        Bright sources and unusable pixels.

    Returns
    -------
    ndarray of bool
        True on the sources.
    """
    rest = np.where(known, 0, values)
    found = np.zeros_like(known)
    for width in _FAINT_WIDTHS:
        smooth = gaussian_filter(rest, width, truncate=3.0)
        smooth -= gaussian_filter(rest, 3 * width, truncate=2.0)
        # A ninth of the pixels suffices: neighbours in the smooth image are correlated.
        sky = smooth[::3, ::3][~known[::3, ::3]]
        if not sky.size:
            continue
        middle = float(np.median(sky))
        scale = MAD_TO_SIGMA * float(np.median(np.abs(sky - middle)))
        found |= binary_dilation(
            (smooth > middle + _FAINT_MIDDLE * scale) & ~known,
            iterations=int(np.ceil(2 * width)),
            mask=smooth > middle + _FAINT_EDGE * scale,
        )
    return binary_dilation(found)


def flatten_patches(
    values: NDArray[np.float32], used: NDArray[np.bool_], step: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Subtract a quadratic surface from each patch, leaving out outliers.

    Returns the residuals, the pixels used, the standard deviations and the numbers of degrees of
    freedom.
    """
    count, side, _ = values.shape
    basis = make_surfaces(side).reshape(6, -1)
    products = (basis[:, None] * basis[None]).reshape(36, -1)
    flat = values.reshape(count, -1).astype(np.float64)
    weights = used.reshape(count, -1).copy()
    for _ in range(3):
        normal = (weights @ products.T).reshape(count, 6, 6) + 1e-9 * np.eye(6)
        right = (flat * weights) @ basis.T
        surfaces = np.linalg.solve(normal, right[..., None])[..., 0] @ basis
        residuals = flat - surfaces
        degrees = np.maximum(weights.sum(axis=1) - 6, 1)
        scatter = np.sqrt((residuals**2 * weights).sum(axis=1) / degrees)
        limits = np.maximum(_CLIPPING * scatter, clip_limit(0.0, step))
        outliers = weights & (np.abs(residuals) > limits[:, None])
        if not outliers.any():
            break
        weights &= ~outliers
    residuals *= weights
    return (
        residuals.reshape(values.shape).astype(np.float32),
        weights.reshape(values.shape),
        scatter,
        degrees.astype(np.float64),
    )


def find_quietest(scatter: NDArray[np.float64], degrees: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Choose the patches that agree with the quiet end of the distribution.

    The centre starts at a low percentile, and moves to the mean of the patches that lie within
    the statistical error around it, until it stays.
    """
    if scatter.size < 5:
        return scatter <= 2 * scatter.min()
    # Correlated noise has fewer independent pixels; a factor of 2 covers interpolation.
    error = 2 / np.sqrt(2 * degrees)
    centre = float(np.percentile(scatter, 10)) * (1 + 1.28 * float(np.median(error)) / 2)
    near = np.abs(scatter - centre) < 2 * error * centre
    for _ in range(30):
        near = np.abs(scatter - centre) < 2 * error * centre
        if near.sum() < 3:
            return scatter <= np.percentile(scatter, 20)
        moved = float(np.median(scatter[near]))
        if abs(moved - centre) < 1e-4 * centre:
            break
        centre = moved
    return near
