"""Colours of stars in a result against those of its truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import ndimage

from astro_sr_plugin.metrics import aperture_photometry
from benchmarks.truth.scene import Scene

__all__ = [
    "BRIGHT_SNR",
    "FAINT",
    "LEAST_SNR",
    "VISIBLE",
    "colour_figures",
    "lonely_maxima",
]

Array = NDArray[np.float64]
Pixels = NDArray[np.floating]
LEAST_SNR = 50.0
"""Signal-to-noise ratio in every plane from which colours are compared."""
BRIGHT_SNR = 200.0
"""The same for fringes."""
_TOTAL = 8.0  # radius in input pixels of the aperture of the total light
_STAR = 6.0  # input pixels around a star in which fringes are sought
FAINT = (1.0, 5.0)
"""Height of faint maxima above the sky around them, in the noise of a pixel of the input."""
_SKY = 32  # input pixels; side of the cells of the sky
_BESIDE = 1.5  # input pixels within which a maximum of another plane is the same one
_SEEN = 0.3  # its least height over that of the maximum
VISIBLE = 0.05
"""Part of the peak of a star from which a difference of colours is a fringe."""


def colour_figures(scene: Scene, task: str, output: Pixels, truth: Pixels) -> dict[str, float]:
    """Measure the colours of an image against those of its truth.

    Parameters
    ----------
    scene : Scene
        From `make_colour_scene`.
    task : str
        Sets the aperture.
    output, truth : ndarray, shape (3, s ny, s nx)
        The image and what it should be.

    Returns
    -------
    dict
        ``core`` and ``total``: largest of the two pairs of planes of the absolute median colour
        error (mag), in apertures of 1.5 target FWHM and of 8 input pixels; ``core_scatter`` and
        ``total_scatter`` the largest 1.4826 MAD about it. ``fringe``: median share of the light of
        a star by which the difference of the outer planes is not that of the truth.
        ``reach``, ``true_reach``: median radius (input pixels) up to which the outer planes differ
        by more than 5 % of the peak. ``flux``: largest relative error of the sum of a plane.
        ``db``: -20 log10 of the error of asinh(I / 3 sigma); ``colour_db`` that of its differences
        between planes.
    """
    scale = output.shape[-1] // scene.observed.shape[-1]
    inner = (scene.snr.min(0) > LEAST_SNR) & (scene.neighbour > 4)
    edge = 14
    size = scene.observed.shape[-1]
    inner &= (np.minimum(scene.x, scene.y) > edge) & (np.maximum(scene.x, scene.y) < size - edge)
    places = (np.column_stack([scene.x, scene.y])[inner] + 0.5) * scale - 0.5
    target = scene.target_fwhm(task) * scale / (2 if task == "super-resolve" else 1)
    figures: dict[str, float] = {"stars": float(inner.sum())}
    for name, radius in (("core", 1.5 * target), ("total", _TOTAL * scale)):
        errors = _colours(output, places, radius) - _colours(truth, places, radius)
        bias = np.median(errors, axis=1)
        figures[name] = float(np.abs(bias).max())
        scatter = 1.4826 * np.median(np.abs(errors - bias[:, None]), axis=1)
        figures[f"{name}_scatter"] = float(scatter.max())
    bright = places[scene.snr.min(0)[inner] > BRIGHT_SNR]
    fringes = [_fringe(output, truth, place, scale, target) for place in bright]
    for name, values in zip(("fringe", "reach", "true_reach"), np.transpose(fringes), strict=True):
        figures[name] = float(np.median(values))
    sums, before = output.sum((1, 2), dtype=float), scene.observed.sum((1, 2), dtype=float)
    figures["flux"] = float(np.abs(sums / scale**2 / before - 1).max())
    unit = 3 * np.asarray(scene.sigma)[:, None, None]
    sky = scene.background if scale == 1 else scene.background_x2
    a, b = np.arcsinh((output - sky) / unit), np.arcsinh((truth - sky) / unit)
    figures["db"] = float(-10 * np.log10(np.mean((a - b) ** 2)))
    c, d = a[[0, 2]] - a[1], b[[0, 2]] - b[1]
    figures["colour_db"] = float(-10 * np.log10(np.mean((c - d) ** 2)))
    return figures


def _colours(image: Pixels, places: Array, radius: float) -> Array:
    """Colours (mag) of the outer planes against the middle one, shape (2, n)."""
    ring = (1.15 * radius + 1, 1.5 * radius + 3)
    flux = [aperture_photometry(p, places, radius=radius, annulus=ring).flux for p in image]
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = -2.5 * np.log10(np.maximum(flux, 1e-3))
    return np.asarray(magnitude[[0, 2]] - magnitude[1])


def _fringe(
    output: Pixels, truth: Pixels, place: Array, scale: int, target: float
) -> tuple[float, float, float]:
    """Return wrong share of light and the reach of fringes, in the output and in the truth."""
    column, row = np.round(place).astype(int)
    half = 7 * scale
    offset = np.arange(-half, half + 1)
    distance = np.hypot(*np.meshgrid(column + offset - place[0], row + offset - place[1])) / scale
    differences, peak = [], 0.0
    for image in (output, truth):
        planes = []
        for plane in image[[0, 2]]:
            star = aperture_photometry(plane, [place], radius=1.5 * target)
            cut = plane[row - half : row + half + 1, column - half : column + half + 1]
            planes.append((cut - star.background[0]) / star.flux[0])
        differences.append(planes[0] - planes[1])
        peak = float(np.max(planes))
    wrong = np.abs(differences[0] - differences[1])[distance < _STAR].sum() / 2
    reaches = [
        np.max(distance[(np.abs(d) > VISIBLE * peak) & (distance < _STAR)], initial=0.0)
        for d in differences
    ]
    return float(wrong), float(reaches[0]), float(reaches[1])


def lonely_maxima(image: Pixels, sigma: Sequence[float], scale: int) -> tuple[int, int]:
    """Count faint maxima of a colour image, and those that stand in one plane alone.

    Stars shine in all planes; noise does not.

    Parameters
    ----------
    image : ndarray, shape (3, ny, nx)
        A result.
    sigma : sequence of float
        Noise of a pixel of the input in each plane.
    scale : int
        Its pixels per input pixel along each axis.
    """
    heights, tops = [], []
    for plane, noise in zip(image, sigma, strict=True):
        values = np.ascontiguousarray(plane, np.float32)
        sky = sep.Background(values, bw=_SKY * scale, bh=_SKY * scale).back()
        heights.append((values - sky) / noise)
        tops.append(values == ndimage.maximum_filter(values, 2 * scale + 1))
    reach = int(np.ceil(_BESIDE * scale))
    offsets = np.arange(-reach, reach + 1)
    around = np.hypot(offsets[:, None], offsets) <= _BESIDE * scale
    beside = [
        ndimage.maximum_filter(np.where(top, height, -np.inf), footprint=around)
        for top, height in zip(tops, heights, strict=True)
    ]
    count = lonely = 0
    for k, height in enumerate(heights):
        faint = tops[k] & (height > FAINT[0]) & (height < FAINT[1])
        others = np.maximum(*(beside[j] for j in range(3) if j != k))
        count += int(faint.sum())
        lonely += int((faint & (others <= _SEEN * height)).sum())
    return count, lonely
