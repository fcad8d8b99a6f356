"""How many of the best frames are worth stacking: sharpness and noise against their number."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astro_sr_plugin.stacking.planetary.combining import Sums
from astro_sr_plugin.stacking.planetary.disc import Disc
from astro_sr_plugin.stacking.planetary.filters import Plane, band_pass
from astro_sr_plugin.stacking.planetary.frames import FrameAligner
from astro_sr_plugin.stacking.planetary.sharpening import GAINS, sharpen

__all__ = ["study_counts"]

_STEPS_PER_DOUBLING = 2
"""Numbers of frames that are studied between a number and its double."""
_FEWEST = 4
"""Smallest number: each half of the frames needs two."""
_INNER = 0.85
"""Part of the radius of a disc inside of which everything is measured."""
_EDGE = 16
"""Pixels along the edges of a surface that are left out."""


def study_counts(aligner: FrameAligner, ranked: list[int]) -> Table:
    """Measure stacks of the best 4, 6, 8, 11, 16, ... frames, with equal weights.

    The noise follows from the difference of the stacks of every other frame, so that it needs no
    model. The sharpening is that of wavelet layers by the default gains, without thresholds.

    Parameters
    ----------
    aligner : FrameAligner
        With its reference.
    ranked : list of int
        The frames, the best one first.

    Returns
    -------
    astropy.table.Table
        Columns ``frames``, ``sharpness``, ``noise``, ``sharpness_sharpened`` and
        ``noise_sharpened``. Sharpness is the RMS of structures of 4 to 12 pixels without the noise
        in them, noise that of single pixels; both over the mean brightness.
    """
    table = Table(
        names=("frames", "sharpness", "noise", "sharpness_sharpened", "noise_sharpened"),
        dtype=(int, float, float, float, float),
    )
    _, first = next(aligner.luminances(ranked[:1]))
    halves = [Sums((1, *first.shape)) for _ in range(2)]
    region = _region(aligner.home_disc, first.shape)
    done = 0
    for count in _counts(len(ranked)):
        part = ranked[done:count]
        half_of = {number: (done + k) % 2 for k, number in enumerate(part)}
        for frame in aligner.frames(part, colours=False):
            halves[half_of[frame.number]].add(frame, 1.0)
        done = count
        planes = [aligner.finished(half.result().data[0]) for half in halves]
        sharpened = [sharpen(plane, "wavelet", gains=GAINS, nsigma=0) for plane in planes]
        brightness = float(np.mean([plane[region].mean() for plane in planes]))
        table.add_row(
            (count, *_measure(planes, region, brightness), *_measure(sharpened, region, brightness))
        )
    return table


def _counts(number: int) -> list[int]:
    exponents = np.arange(np.log2(_FEWEST), np.log2(max(number, 2)), 1 / _STEPS_PER_DOUBLING)
    counts = {int(round(2**exponent)) for exponent in exponents} | {number}
    return sorted(count for count in counts if min(_FEWEST, number) <= count <= number)


def _region(disc: Disc, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    if disc.found:
        return np.asarray(np.hypot(x - disc.x, y - disc.y) < _INNER * disc.radius)
    edge = min(_EDGE, min(shape) // 4)
    inside = np.zeros(shape, bool)
    inside[edge:-edge, edge:-edge] = True
    return inside


def _measure(
    planes: list[Plane], region: NDArray[np.bool_], brightness: float
) -> tuple[float, float]:
    """Return sharpness and noise of the mean of two independent planes."""
    bands = [band_pass(np.asarray(plane, np.float32))[region] for plane in planes]
    # The noise of the halves is independent: their product holds that of the structures alone.
    power = float(np.mean(bands[0] * bands[1]))
    difference = (planes[0] - planes[1])[region] / 2
    return np.sqrt(max(power, 0.0)) / brightness, float(difference.std()) / brightness
