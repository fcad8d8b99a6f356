"""Cubic B-spline interpolation in two passes where an image is turned by little.

Rows are moved along themselves first, columns then (Catmull & Smith 1980, Comput. Graph. 14, 279):
4 + 4 coefficients instead of 16 make a value, and no pixel is looked up on its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.registration.kernels import Pixels, filter_rows
from astro_sr_plugin.registration.transform import Transform

__all__ = ["interpolate_upright", "is_upright"]

_LARGEST_SHEAR = 0.1
"""Pixels by which neighbouring rows, or columns, are moved apart at most."""
_LARGEST_STRETCH = 1e-3
"""Difference from 1 of the scale of a pass at most: an image is turned by 2.5 degrees then."""
_ASTRAY = 0.02
"""Distance in pixels out to which a piece of the spline stands for the next one: they differ with
its third power, by 1e-5 of the fourth difference of the coefficients there."""
_BORDER = 4
"""Pixels by which coefficients are continued beyond the edges."""
_PIXELS, _LONGEST = 16384, 1024
"""Pixels that are made at a time, and their number along an axis: they stay in the cache."""


class _Pass(NamedTuple):
    """Where the pixel x of line r was in it before: at ``scale * x + shear * r + start``."""

    scale: float
    shear: float
    start: float


def is_upright(transform: Transform) -> bool:
    """Whether two passes can be used: shifts, and small rotations, of an image as large.

    It may be turned by 180 degrees, or mirrored.
    """
    if not transform.is_linear:
        return False
    (a, b, _), (d, e, _), _ = transform.matrix / transform.matrix[2, 2]
    if not a or not e:
        return False
    scales = np.abs([a - b * d / e, e])
    return bool(
        np.all(np.abs(scales - 1) <= _LARGEST_STRETCH) and max(abs(b / e), abs(d)) <= _LARGEST_SHEAR
    )


def interpolate_upright(
    pixels: Pixels, transform: Transform, rows: tuple[int, int], first: int
) -> Pixels:
    """Interpolate a strip of an image at the pixels of rows of its reference.

    Parameters
    ----------
    pixels : ndarray of float32, shape (n, nx)
        Rows of the image.
    transform : Transform
        For which `is_upright` holds.
    rows : (int, int)
        First row of the reference, and the one after the last.
    first : int
        Row of the image that the strip begins with.

    Returns
    -------
    ndarray of float32, shape (rows, columns of the reference)
        Beyond half a pixel from the edges of the strip, values have no meaning.
    """
    (a, b, c), (d, e, f), _ = (transform.matrix / transform.matrix[2, 2]).tolist()
    ny, nx = transform.shape
    if a < 0:
        pixels, a, b, c = pixels[:, ::-1], -a, -b, nx - 1 - c
    if e < 0:
        pixels, d, e, f, first = pixels[::-1], -d, -e, ny - 1 - f, ny - first - len(pixels)
    along_rows, along_columns = _Pass(a - b * d / e, b / e, c - b * f / e), _Pass(e, d, f)
    columns = 0, transform.reference_shape[1]
    moved = _interpolate(filter_rows(pixels.T).T, 1, along_rows, columns, (first, 0))
    return _interpolate(filter_rows(moved), 0, along_columns, rows, (first, 0))


def _interpolate(
    coefficients: Pixels, axis: int, where: _Pass, span: tuple[int, int], origin: tuple[int, int]
) -> Pixels:
    """Interpolate along an axis at the pixels of a span of it.

    `origin` is the row and the column of the image that the coefficients begin with. A value does
    not depend on it.
    """
    border = [(0, 0), (0, 0)]
    border[axis] = _BORDER, _BORDER
    coefficients = np.pad(coefficients, border, mode="reflect")
    number, size = coefficients.shape[1 - axis], coefficients.shape[axis]
    shape = [number, number]
    shape[axis] = span[1] - span[0]
    result = np.zeros(shape, np.float32)
    shift = where.shear * (origin[1 - axis] + np.arange(number)) + where.start
    stretch = where.scale - 1
    step = int(min(_LONGEST, max(1, 2 * _ASTRAY / max(abs(stretch), 1e-9))))
    for block in range(span[0] // step * step, span[1], step):
        # On all of these pixels the same coefficients are used in a line.
        base = np.floor(shift + stretch * (block + (step - 1) / 2))
        for start, stop in _runs(base):
            near = int(base[start]) + _BORDER - origin[axis]
            low = max(block, span[0], 1 - near)
            high = min(block + step, span[1], size - 2 - near)
            if low >= high:
                continue
            fractions = [(stretch * np.arange(low, high)).astype(np.float32)] * 2
            fractions[1 - axis] = (shift[start:stop] - base[start]).astype(np.float32)
            taken, target = [slice(start, stop)] * 2, [slice(start, stop)] * 2
            taken[axis] = slice(low + near - 1, high + near + 2)
            target[axis] = slice(low - span[0], high - span[0])
            _fill(result[tuple(target)], coefficients[tuple(taken)], axis, *fractions)
    return result


def _fill(
    result: Pixels,
    coefficients: Pixels,
    axis: int,
    down: Pixels,
    across: Pixels,
) -> None:
    """Interpolate at a place between the second and the third of each four coefficients.

    Its distance from the second one is a sum of one part for each row and one for each column.
    """
    for low, high in iter_rows(len(result), max(1, _PIXELS // result.shape[1])):
        t = np.add.outer(down[low:high], across)
        taken = coefficients[low : high if axis else high + 3]
        result[low:high] = _values(taken, axis, t)


def _values(coefficients: Pixels, axis: int, t: Pixels) -> Pixels:
    """Sum of four coefficients with their weights, the second one a fraction t before the place.

    ``c1 + t (c2 - c1) + ((1 - t)^3 q1 + t^3 q2) / 6`` with the second differences q.
    """
    n = t.shape[axis]

    def part(array: Pixels, first: int, length: int = n) -> Pixels:
        piece = slice(first, first + length)
        return array[piece] if axis == 0 else array[:, piece]

    slopes = part(coefficients, 1, n + 2) - part(coefficients, 0, n + 2)
    bends = part(slopes, 1, n + 1) - part(slopes, 0, n + 1)
    cube = t * t
    cube *= t
    rest = 1 - t
    other = rest * rest
    other *= rest
    other *= part(bends, 0)
    cube *= part(bends, 1)
    other += cube
    other *= np.float32(1 / 6)
    t *= part(slopes, 1)
    t += part(coefficients, 1)
    t += other
    return t


def _runs(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First index, and the one after the last, of runs of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(pairwise(edges))
