"""Light along a line: spikes, trails, tails and lanes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["ridge"]

Array = NDArray[np.float64]


def ridge(image: NDArray[np.floating], start: Array, end: Array, half: int) -> tuple[Array, Array]:
    """Follow a line of light.

    Parameters
    ----------
    image : numpy.ndarray
        Less its background.
    start, end : numpy.ndarray
        (x, y) of the line's ends.
    half : int
        How far beside the line is looked.

    Returns
    -------
    level, offset : numpy.ndarray
        At each pixel along the line: mean light within `half` pixels of the line, and the place of
        its centroid across, in pixels from the line.
    """
    length = float(np.hypot(*(end - start)))
    along = np.arange(0.0, length)
    across = np.arange(-half, half + 1.0)
    direction = (end - start) / length
    x = start[0] + along[:, None] * direction[0] - across[None] * direction[1]
    y = start[1] + along[:, None] * direction[1] + across[None] * direction[0]
    cut = ndimage.map_coordinates(np.asarray(image, float), [y, x], order=1, mode="nearest")
    light = np.clip(cut, 0, None)
    with np.errstate(invalid="ignore"):
        offset = (light * across).sum(axis=1) / light.sum(axis=1)
    return cut.mean(axis=1), offset
