"""Dark surroundings of bright stars, which sharpening twice digs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.scene import SCALES, Scene, planes_of

__all__ = ["BRIGHT_SNR", "dark_rims"]

BRIGHT_SNR = 50.0
"""Least signal-to-noise ratio of the stars around which dark rims are looked for."""

_RINGS = ((0.75, 1.25), (1.25, 1.75), (1.75, 2.5), (2.5, 3.5))  # radii in FWHM of the result


def dark_rims(scene: Scene, task: str, output: NDArray[np.floating]) -> float:
    """Return the part of bright stars whose surroundings are darker than the truth.

    A star of SNR 50 or more counts if the mean error in one of four rings, 0.75 to 3.5 FWHM of the
    result from it, is below -1 noise sigma and below -2 % of the light within 1 FWHM per pixel.
    """
    scale = SCALES[task]
    fwhm = scene.target_fwhm(task)
    planes = zip(
        planes_of(scene.excess(output, scale)),
        planes_of(scene.excess(scene.truth(task), scale)),
        np.atleast_2d(scene.snr),
        strict=True,
    )
    dark, count = 0, 0
    for plane, truth, snr in planes:
        rows, columns = np.indices(plane.shape)
        for x, y in _bright_stars(scene, snr):
            x, y = (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5
            away = np.hypot(columns - x, rows - y) / fwhm
            error = plane - truth
            light = truth[away < 1].mean()
            rings = [error[(away >= low) & (away < high)].mean() for low, high in _RINGS]
            dark += min(rings) < -max(1.0, 0.02 * light)
            count += 1
    return dark / count if count else float("nan")


def _bright_stars(scene: Scene, snr: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    side = scene.observed.shape[-1]
    edge = 4 * scene.fwhm
    for x, y, value in zip(scene.x, scene.y, snr, strict=True):
        inside = edge < min(x, y) and max(x, y) < side - 1 - edge
        if inside and value > BRIGHT_SNR and not scene.excluded[round(y), round(x)]:
            yield float(x), float(y)
