"""What a model sees where a plane has no data: holes are filled in, larger areas are mirrored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    correlate1d,
    distance_transform_edt,
    maximum_filter,
    minimum_filter,
)

__all__ = ["HOLE_RADIUS", "MISSING_MARGIN", "fill_holes", "find_missing", "mirror_missing"]

HOLE_RADIUS = 6
"""Pixels around a hole that it is filled from."""
_HOLE_SIGMA = 1.5
"""Gaussian width in pixels of the weights with which a hole is filled."""
_LARGEST_HOLE = 8
"""Side in pixels of the largest square of unusable pixels that is a hole; larger areas lie outside
of the frame as a model sees it."""
_MIRRORED = 48
"""Pixels beyond the edge of missing data up to which the image is mirrored; a Wiener filter reaches
32 pixels."""
_FADING = 16
"""Pixels over which the mirror image fades to the sky at its end."""
MISSING_MARGIN = 2 * _MIRRORED
"""Pixels around a region on which the mirror images in it depend."""


def fill_holes(values: NDArray[np.float32], invalid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill holes with the weighted mean of their neighbourhood, or the sky where there is none."""
    offsets = np.arange(-HOLE_RADIUS, HOLE_RADIUS + 1)
    taps = np.exp(-0.5 * (offsets / _HOLE_SIGMA) ** 2)
    sums = []
    for image in (np.where(invalid, 0.0, values), (~invalid).astype(np.float64)):
        smooth = correlate1d(image.astype(np.float64), taps, axis=0, mode="constant")
        sums.append(correlate1d(smooth, taps, axis=1, mode="constant"))
    # Trust in a mean fades with the weight behind it: the rest is sky.
    mean = sums[0] / (sums[1] + 0.05)
    return np.where(invalid, mean, values).astype(np.float32)


def find_missing(invalid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Separate areas of missing data from holes: a square of 9 x 9 pixels fits into them.

    What lies beyond the window counts as missing, so that a thin rim along the edge of the frame is
    no hole.
    """
    side = _LARGEST_HOLE + 1
    wider = np.pad(invalid.view(np.uint8), side, constant_values=1)
    opened = maximum_filter(minimum_filter(wider, side), side)
    return opened[side:-side, side:-side].astype(bool) & invalid


def mirror_missing(values: NDArray[np.float32], missing: NDArray[np.bool_]) -> None:
    """Continue an image into missing areas, mirrored about their edges, in place."""
    rows, columns = (np.flatnonzero(missing.any(axis=axis)) for axis in (1, 0))
    if not rows.size or missing.all():
        values[missing] = 0.0
        return
    part = tuple(
        slice(max(0, places[0] - MISSING_MARGIN), places[-1] + 1 + MISSING_MARGIN)
        for places in (rows, columns)
    )
    inner, lost = values[part], missing[part]
    distance, nearest = distance_transform_edt(lost, return_indices=True)
    y, x = np.nonzero(lost)
    edge_y, edge_x = nearest[0, y, x], nearest[1, y, x]
    from_y, from_x = 2 * edge_y - y, 2 * edge_x - x
    there = (from_y >= 0) & (from_y < lost.shape[0]) & (from_x >= 0) & (from_x < lost.shape[1])
    there[there] = ~lost[from_y[there], from_x[there]]
    # Across a narrow strip of data the mirror image would be missing too: its edge goes on.
    light = inner[np.where(there, from_y, edge_y), np.where(there, from_x, edge_x)]
    inner[y, x] = light * np.clip((_MIRRORED - distance[y, x]) / _FADING, 0.0, 1.0)
