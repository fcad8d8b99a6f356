"""Figures of networks of other projects: how they fail, and what they make of other pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, zoom
from skimage import data

from astro_sr_plugin.metrics import invented_and_completeness, star_peak_threshold

__all__ = [
    *("FAILURES", "PROBES", "failure_figures", "make_failure", "make_probe"),
    *("probe_figures", "seam_figures"),
]

Array = NDArray[np.float64]

SKY, SIGMA, FWHM = 500.0, 5.0, 3.2
"""Level and noise (ADU) of the images of this module, and FWHM of their stars (pixels)."""
_SPAN = 2000.0
"""Range (ADU) of a photograph from black to white."""
_SECOND = 0.1
"""Peak over that of the star from which a maximum beside it counts as a second star."""

FAILURES = ("big star", "spikes", "gray ramp", "seams")
"""Images on which networks trained on pictures are known to fail."""
PROBES = ("flat", "noise", "camera", "astronaut", "coffee")
"""Images without stars: two of the sky alone, and photographs that scikit-image has."""


def _noise(shape: tuple[int, int], seed: int) -> Array:
    return np.random.default_rng(seed).normal(0.0, SIGMA, shape)


def _star(side: int, fwhm: float, peak: float) -> Array:
    y, x = np.indices((side, side)) - (side - 1) / 2
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
    return np.asarray(peak * (1 + (x**2 + y**2) / alpha**2) ** -3)


def make_failure(kind: str, side: int, seed: int = 1) -> tuple[Array, Array]:
    """Return an image on which such networks fail, and the same without noise."""
    small = _star(side, FWHM, 1.0)
    if kind == "big star":
        # Twelve pixels wide, bright, not saturated.
        clean = SKY + _star(side, 12.0, 8000.0)
    elif kind == "spikes":
        y, x = np.abs(np.indices((side, side)) - (side - 1) / 2)
        spikes = np.exp(-0.5 * (np.minimum(x, y) / 1.2) ** 2) / (1 + np.maximum(x, y) / 6)
        clean = SKY + 20000.0 * small + 600.0 * spikes
    elif kind == "seams":
        # A nebula across the edges of the tiles, with stars on it.
        clean = SKY + _star(side, 60.0, 300.0)
        rng = np.random.default_rng(7)
        for top, left in rng.integers(-side // 2 + 4, side // 2 - 4, (24, 2)):
            clean += np.roll(small, (top, left), (0, 1)) * rng.uniform(100.0, 3000.0)
    else:
        ramp = np.linspace(0.0, 400.0, side) * np.ones((side, 1))
        clean = np.broadcast_to(SKY + ramp, (3, side, side)).copy()
    noise = [_noise((side, side), seed + k) for k in range(3)]
    return clean + (np.stack(noise) if clean.ndim == 3 else noise[0]), clean


def failure_figures(kind: str, clean: Array, result: Array) -> dict[str, float]:
    """Measure a result: stars in the place of one, the spikes' smoothness, the shift of colours.

    Returns
    -------
    dict
        ``maxima`` of the big star above a tenth of its peak (1 is right). ``broken``: scatter of
        the light along the spikes over that of the noise-free image, as a part of it (0 is right).
        ``colour``: largest difference of two planes of a gray ramp, smoothed, over its range.
    """
    scale = result.shape[-1] / clean.shape[-1]
    if kind == "big star":
        light = result - SKY
        tops = (light == maximum_filter(light, size=5)) & (light > _SECOND * light.max())
        return {"maxima": float(tops.sum())}
    if kind == "spikes":
        centre = (result.shape[-1] - 1) / 2
        row = slice(int(centre - scale), int(centre + scale) + 1)
        columns = slice(int(centre + 8 * scale), int(centre + 28 * scale))
        got = result[row, columns].max(axis=0) - SKY
        n = clean.shape[-1]
        place = (np.arange(columns.start, columns.stop) + 0.5) / scale - 0.5
        line = clean[n // 2 - 1 : n // 2 + 1].max(axis=0) - SKY
        ratio = got / np.interp(place, np.arange(n), line)
        return {"broken": float(ratio.std() / ratio.mean())}
    rim = round(8 * scale)
    rows = result[:, rim:-rim, rim:-rim].mean(axis=1)
    block = round(16 * scale)
    means = rows[:, : rows.shape[1] // block * block].reshape(3, -1, block).mean(axis=2)
    return {"colour": float(np.ptp(means, axis=0).max() / 400.0)}


def seam_figures(tiles: Array, whole: Array) -> dict[str, float]:
    """Return the largest difference of a result in tiles to that of the whole image, in sigma.

    Both are the middle of the image: networks differ at its edges.
    """
    return {"seams": float(np.abs(tiles - whole).max() / SIGMA)}


def make_probe(kind: str, side: int) -> tuple[Array, Array]:
    """Return an image without stars, and the same without noise."""
    if kind in ("flat", "noise"):
        clean = np.full((side, side), SKY)
        return clean + (0.02 if kind == "flat" else 1.0) * _noise(clean.shape, 3), clean
    picture: Any = getattr(data, kind)()
    gray = picture / 255.0 if picture.ndim == 2 else picture.mean(axis=2) / 255.0
    top, left = ((n - side) // 2 for n in gray.shape)
    clean = SKY + _SPAN * gray[top : top + side, left : left + side]
    return clean + _noise(clean.shape, 3), clean


def probe_figures(clean: Array, result: Array, sigma: float = SIGMA) -> dict[str, float]:
    """Count the point sources of a result that the image does not have, and its change of level.

    Returns
    -------
    dict
        ``invented``: maxima per million pixels of the input that stand out of the noise-free
        image, interpolated, by more than the peak of a star of 5 sigma. ``level``: largest change
        of the mean of a block of 16 x 16 pixels, in sigma.
    """
    scale = round(result.shape[-1] / clean.shape[-1])
    finer = clean if scale == 1 else zoom(clean, scale, order=3, mode="reflect", grid_mode=True)
    threshold = star_peak_threshold(sigma, FWHM, FWHM * scale, scale=scale)
    score = invented_and_completeness(
        result - SKY, finer - SKY, threshold=threshold, target_fwhm=FWHM * scale
    )
    n = clean.shape[-1] // 16 * 16
    blocks = [
        image[: n * k, : n * k].reshape(n // 16, 16 * k, n // 16, 16 * k).mean(axis=(1, 3))
        for image, k in ((result, scale), (clean, 1))
    ]
    return {
        "invented": score.false * score.detections / (clean.size / 1e6),
        "level": float(np.abs(blocks[0] - blocks[1]).max() / sigma),
    }
