"""The last layers of a network in strips of rows, for less memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["in_strips"]

_PIXELS = 2**16
"""Input pixels of a strip: 270 MB for each layer of 64 channels on a grid four times as fine."""


def in_strips(
    enlarge: Callable[[Tensor], Tensor], features: Tensor, reach: int, pixels: int = _PIXELS
) -> Tensor:
    """Enlarge features in strips of rows, with the result of the whole.

    Parameters
    ----------
    enlarge : callable
        Layers that make an image from features, ``(B, C, H, W)`` to ``(B, C', s H, s W)``.
    features : Tensor
        What they get.
    reach : int
        Rows of the features around one on which its result depends.
    pixels : int
        Pixels of the features in a strip.

    Returns
    -------
    Tensor
    """
    rows, columns = features.shape[-2:]
    step = max(1, pixels // columns)
    if rows <= step + 2 * reach:
        return enlarge(features)
    strips = []
    for first in range(0, rows, step):
        last = min(first + step, rows)
        start, stop = max(0, first - reach), min(rows, last + reach)
        strip = enlarge(features[..., start:stop, :])
        scale = strip.shape[-2] // (stop - start)
        strips.append(strip[..., (first - start) * scale : (last - start) * scale, :])
    return torch.cat(strips, -2)
