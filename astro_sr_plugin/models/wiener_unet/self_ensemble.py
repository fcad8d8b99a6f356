"""Turn and mirror images in the eight ways of a self-ensemble, and back.

References
----------
Timofte et al. (2016), arXiv:1511.02228 (self-ensemble, "enhanced prediction").
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["ORIENTATIONS", "orient", "undo_orient"]

ORIENTATIONS = 8
"""Ways to turn and mirror an image on its pixel grid (the dihedral group of the square)."""

_FLIP_COLUMNS, _FLIP_ROWS, _TRANSPOSE = 1, 2, 4
"""Bits of the number of an orientation."""


def orient(image: Tensor, orientation: int, scale: int = 1) -> Tensor:
    """Turn and mirror an image.

    Parameters
    ----------
    image : Tensor
        Shape ``(..., H, W)``; with ``scale > 1`` shape ``(B, K, scale**2, H, W)``, whose third axis
        holds the subpixels, which move along.
    orientation : int
        0, which changes nothing, to ``ORIENTATIONS - 1``.
    scale : int
        Output pixels per input pixel.
    """
    if orientation == 0:
        return image
    has_subpixels = scale > 1
    if has_subpixels:
        image = image.unflatten(2, (scale, scale))
    for bit, axes in ((_FLIP_COLUMNS, (-1, 3)), (_FLIP_ROWS, (-2, 2))):
        if orientation & bit:
            image = image.flip(axes if has_subpixels else axes[:1])
    if orientation & _TRANSPOSE:
        image = image.transpose(-1, -2)
        if has_subpixels:
            image = image.transpose(2, 3)
    return image.flatten(2, 3) if has_subpixels else image


def undo_orient(image: Tensor, orientation: int) -> Tensor:
    """Undo `orient` on an image ``(..., H, W)`` without an axis of subpixels."""
    if orientation & _TRANSPOSE:
        image = image.transpose(-1, -2)
    axes = [axis for bit, axis in ((_FLIP_COLUMNS, -1), (_FLIP_ROWS, -2)) if orientation & bit]
    return image.flip(axes) if axes else image
