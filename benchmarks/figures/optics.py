"""Figures of results on stars that are no Moffat profiles: split stars, dark rings, places."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.truth.scene import SCALES, Scene

__all__ = ["aligned", "optics_figures"]

Array = NDArray[np.float64]

_BRIGHT = 30.0
"""Least SNR of the stars that are looked at."""
_SECOND = 0.1
"""Peak of a second maximum over that of the star, from which a star is split."""
_FAINT_PEAK = 5.0
"""Least peak of such a maximum in noise sigma of the place."""
_MOST_SHIFT = 0.4
"""Largest shift over the FWHM by which two centres of one star may differ."""
_LIGHT = 0.01
"""Part of the light at a place that a ring may lack."""


def optics_figures(scene: Scene, task: str, output: NDArray[Any]) -> dict[str, float]:
    """Measure a result.

    Parameters
    ----------
    scene : Scene
        Of `benchmarks.truth.optics`.
    task : str
        "deconvolve" or "super-resolve".
    output : numpy.ndarray
        On the grid of the task's truth, background included.

    Returns
    -------
    dict
        All of `evaluate_outputs`, after the truth was moved to where the stars of the output are:
        the centre of an aberrated star is a convention. ``shift``: by how many input pixels.
        ``split``: isolated stars of SNR above 30 that show a second maximum, of a tenth of the
        first, where the truth has one alone. ``ring``: darkest ring around any of these stars, by
        which the median of a ring 1 pixel wide is below that of truth and noise-free input, over
        1 sigma and 1 % of the light there. ``false_light``: light of the output above the truth
        in places where truth and input have none, beyond 3 sigma, over all light of the truth.
    """
    moved, shift = aligned(scene, task, output)
    figures = evaluate_outputs(moved, task, output)
    scale = SCALES[task]
    out, true = moved.excess(output, scale), moved.excess(moved.truth(task), scale)
    clean = moved.excess(moved.truth_denoise).repeat(scale, 0).repeat(scale, 1)
    noise = np.sqrt(1.0 + float(moved.poisson / moved.sigma) * np.maximum(clean, 0.0))
    stars = _bright(moved, task)
    target = moved.target_fwhm(task)
    split = sum(
        _maxima(out, noise, *star, moved.fwhm * scale, target)
        > _maxima(true, noise, *star, moved.fwhm * scale, target)
        for star in stars
    )
    rings = [_ring(out, true, clean, *star, moved.fwhm * scale, scale) for star in stars]
    dark = np.maximum(true, clean) < 1.0
    false = out[dark & (out - true > 3.0)].sum()
    return figures | {
        "shift": float(np.hypot(*shift)),
        "split": float(split),
        "ring": max(rings, default=float("nan")),
        "false_light": float(false / np.maximum(true, 0).sum()),
    }


def aligned(scene: Scene, task: str, output: NDArray[Any]) -> tuple[Scene, Array]:
    """Move the truth of a task to the stars of an output.

    Returns
    -------
    scene : Scene
        With the moved truth, and the places of its stars.
    shift : numpy.ndarray
        (x, y) in input pixels; the median over isolated bright stars. The truth stays where it is
        if this is more than 0.4 FWHM.
    """
    scale = SCALES[task]
    out, true = scene.excess(output, scale), scene.excess(scene.truth(task), scale)
    radius = 1.5 * scene.target_fwhm(task)
    found = []
    for x, y in _bright(scene, task):
        places = [_centroid(image, x, y, radius) for image in (out, true)]
        found.append(places[0] - places[1])
    if not found:
        return scene, np.zeros(2)
    shift = np.nanmedian(np.array(found), axis=0) / scale
    if not np.hypot(*shift) <= _MOST_SHIFT * scene.fwhm:
        # So far off is no convention, but a wrong result.
        return scene, shift
    spectrum = ndimage.fourier_shift(
        np.fft.fft2(np.asarray(scene.truth(task), float)), shift[::-1] * scale
    )
    moved = np.fft.ifft2(spectrum).real.astype(np.float32)
    name = {"deconvolve": "truth_deconvolve", "super-resolve": "truth_x2"}[task]
    x, y = (
        np.clip(place + step, 0.0, scene.observed.shape[0] - 1.0)
        for place, step in zip((scene.x, scene.y), shift, strict=True)
    )
    changed: dict[str, Any] = {name: moved, "x": x, "y": y}
    return replace(scene, **changed), np.asarray(shift)


def _bright(scene: Scene, task: str) -> list[tuple[float, float]]:
    """Return (x, y) on the output of isolated bright stars away from the edges."""
    scale, edge = SCALES[task], 4 * scene.fwhm
    size = scene.observed.shape[0]
    use = scene.isolated(task) & (scene.snr >= _BRIGHT) & (scene.neighbour > 3 * scene.fwhm)
    use &= (np.minimum(scene.x, scene.y) > edge) & (np.maximum(scene.x, scene.y) < size - 1 - edge)
    places = (np.column_stack([scene.x, scene.y])[use] + 0.5) * scale - 0.5
    return [(float(x), float(y)) for x, y in places]


def _stamp(image: Array, x: float, y: float, half: int) -> tuple[Array, Array]:
    """Return the pixels around a place, and their distances from it."""
    rows = slice(max(0, round(y) - half), round(y) + half + 1)
    columns = slice(max(0, round(x) - half), round(x) + half + 1)
    part = image[rows, columns]
    yy, xx = np.indices(part.shape)
    return part, np.hypot(xx + columns.start - x, yy + rows.start - y)


def _centroid(image: Array, x: float, y: float, radius: float) -> Array:
    """Return the centroid of a star, in an aperture that follows it."""
    place = np.array([x, y])
    yy: Array
    xx: Array
    yy, xx = np.indices(image.shape, dtype=float)
    half = int(np.ceil(radius)) + 2
    for _ in range(4):
        rows, columns = (slice(max(0, round(c) - half), round(c) + half + 1) for c in place[::-1])
        part, dx, dy = image[rows, columns], xx[rows, columns], yy[rows, columns]
        weight = np.where(np.hypot(dx - place[0], dy - place[1]) <= radius, part.clip(0), 0.0)
        if weight.sum() <= 0:
            return np.array([np.nan, np.nan])
        place = np.array([(weight * dx).sum(), (weight * dy).sum()]) / weight.sum()
    return place


def _maxima(image: Array, noise: Array, x: float, y: float, fwhm: float, target: float) -> int:
    """Count the maxima within a star that a person would take for stars."""
    half = int(np.ceil(1.5 * fwhm))
    part, away = _stamp(image, x, y, half)
    level, _ = _stamp(noise, x, y, half)
    inside = away <= 1.25 * fwhm
    highest = ndimage.maximum_filter(part, 2 * round(target / 2) + 1) == part
    least = np.maximum(_SECOND * part[inside].max(), _FAINT_PEAK * level)
    return int(np.count_nonzero(highest & inside & (part > least)))


def _ring(
    out: Array, true: Array, clean: Array, x: float, y: float, fwhm: float, scale: int
) -> float:
    """Return the darkest ring around a star over what it may lack."""
    half = int(np.ceil(6 * fwhm))
    darkest = np.minimum(true, clean)
    (part, away), (level, _), (light, _) = (_stamp(a, x, y, half) for a in (out, darkest, clean))
    depths = []
    for inner in np.arange(0.5 * fwhm, 6 * fwhm, scale):
        ring = (away >= inner) & (away < inner + scale)
        allowed = 1.0 + _LIGHT * max(float(np.median(light[ring])), 0.0)
        depths.append(float(np.median((level - part)[ring])) / allowed)
    return max(depths)
