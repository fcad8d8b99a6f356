"""The pixels of a stack: those of the reference, of all frames, or that all frames share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from astro_sr_plugin.registration.transform import Transform

__all__ = ["OUTPUT_FRAMES", "Box", "OutputFrame", "find_box"]

OutputFrame = Literal["reference", "union", "intersection"]
OUTPUT_FRAMES: tuple[OutputFrame, ...] = get_args(OutputFrame)
"""Names of the pixels that a stack can have."""

_RIM = 33
"""Places along each side of a frame that are looked up in the reference."""
_SHARED = 400
"""Largest number of places along each axis of the reference at which frames are compared."""


class Box(NamedTuple):
    """Rows and columns of the grid of the reference; both may go beyond it."""

    y: int
    x: int
    ny: int
    nx: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx)."""
        return self.ny, self.nx


def find_box(transforms: Sequence[Transform], frame: OutputFrame) -> Box:
    """Find the pixels of a stack.

    Parameters
    ----------
    transforms : sequence of Transform
        Of the frames, all to one reference.
    frame : {"union", "intersection"}
        All that any frame covers, or the largest rectangle of those that all of them cover, as far
        as it is found by taking off sides.

    Returns
    -------
    Box
        In pixels of the reference; empty if no pixel is shared.
    """
    return _around(transforms) if frame == "union" else _within(transforms)


def _around(transforms: Sequence[Transform]) -> Box:
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for transform in transforms:
        ny, nx = transform.shape
        along = np.linspace(-0.5, 0.5, _RIM)
        x = np.concatenate([along, along, np.full(_RIM, -0.5), np.full(_RIM, 0.5)])
        y = np.concatenate([np.full(_RIM, -0.5), np.full(_RIM, 0.5), along, along])
        found = transform.to_reference((x + 0.5) * nx - 0.5, (y + 0.5) * ny - 0.5)
        places = np.array(found)[::-1]
        low, high = (
            np.fmin(low, np.nanmin(places, axis=1)),
            np.fmax(high, np.nanmax(places, axis=1)),
        )
    # A pixel reaches half a pixel beyond its middle; errors of 1/100 pixel are of the registration.
    first, last = np.ceil(low - 0.01).astype(int), np.floor(high + 0.01).astype(int)
    return Box(int(first[0]), int(first[1]), *(int(n) for n in last - first + 1))


def _within(transforms: Sequence[Transform]) -> Box:
    ny, nx = transforms[0].reference_shape
    step = max(1, -(-max(ny, nx) // _SHARED))
    rows, columns = np.arange(0, ny, step), np.arange(0, nx, step)
    x, y = np.meshgrid(columns, rows)
    covered = np.ones(x.shape, bool)
    for transform in transforms:
        u, v = transform.to_image(x, y)
        covered &= (u >= 0) & (u <= transform.shape[1] - 1)
        covered &= (v >= 0) & (v <= transform.shape[0] - 1)
    top, bottom, left, right = 0, len(rows), 0, len(columns)
    while top < bottom and left < right and not covered[top:bottom, left:right].all():
        part = covered[top:bottom, left:right]
        # The side with the most pixels that are not covered is taken off.
        covered_parts = [part[0].mean(), part[-1].mean(), part[:, 0].mean(), part[:, -1].mean()]
        worst = int(np.argmin(covered_parts))
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    if top >= bottom or left >= right:
        return Box(0, 0, 0, 0)
    first, last = (rows[top], columns[left]), (rows[bottom - 1], columns[right - 1])
    sides = (int(b - a) + 1 for a, b in zip(first, last, strict=True))
    return Box(int(first[0]), int(first[1]), *sides)
