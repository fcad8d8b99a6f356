"""Kernels that interpolate between pixels: cubic B-spline, Lanczos, linear.

Each gives values and, from the squares of the same weights, variances at places (x, y) of a strip
of an image. Pixels beyond the edges of the image are mirrored about those at the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

__all__ = ["KERNELS", "WHOLE_PIXELS", "Kernel", "Pixels", "filter_rows"]

Array = NDArray[np.float64]
Pixels = NDArray[np.float32]

_LOBES = 3
"""Half width in pixels of the Lanczos kernel."""
_POLE = np.float32(np.sqrt(3) - 2)
"""Pole of the filter that turns pixels into coefficients of the cubic B-spline (Unser et al. 1993,
IEEE Trans. Signal Process. 41, 821)."""
_GAIN = np.float32(6)
"""Sum of the weights of that filter, from its pole."""
_RESPONSE = 16
"""Rows beyond a strip that its coefficients depend on: the pole to that power is 7e-10."""
_BORDER = 2
"""Pixels by which coefficients are continued beyond the edges: those that a value half a pixel
beyond an edge is made of."""


class Kernel(NamedTuple):
    """A kernel.

    Attributes
    ----------
    support : int
        Pixels along each axis from which a value is made: the nearest ones.
    margin : int
        Rows of a strip beyond those of the support that the values depend on at all.
    prepare : callable
        Turns the pixels of a strip, shape (n, nx), into what `values` takes; once per strip.
    values : callable
        Takes that and places (2, ...) as row and column in pixels; gives values.
    variances : callable
        Takes the variances of the pixels, and places; gives variances of the values.
    """

    support: int
    margin: int
    prepare: Callable[[Pixels], Pixels]
    values: Callable[[Pixels, Array], NDArray[np.floating]]
    variances: Callable[[Array, Array], Array]


def _spline_coefficients(pixels: Pixels) -> Pixels:
    """Coefficients of the B-spline, continued beyond the edges.

    They are those of `scipy.ndimage.spline_filter`, mirrored, in a sixth of its time: whole rows
    are filtered at once.
    """
    down = filter_rows(pixels)
    return np.pad(np.ascontiguousarray(filter_rows(down.T).T), _BORDER, mode="reflect")


def filter_rows(pixels: Pixels) -> Pixels:
    """Filter along the first axis, forwards and backwards."""
    if len(pixels) == 1:
        return pixels
    rows = np.array(pixels, np.float32, order="C")
    rows *= _GAIN
    start = _POLE ** np.arange(min(len(rows), _RESPONSE), dtype=np.float32)
    rows[0] = start @ rows[: start.size]
    step = np.empty_like(rows[0])
    for before, row in pairwise(rows):
        row += np.multiply(before, _POLE, out=step)
    rows[-1] = (rows[-1] + _POLE * rows[-2]) * (_POLE / (_POLE**2 - 1))
    for after, row in pairwise(rows[::-1]):
        np.subtract(after, row, out=row)
        row *= _POLE
    return rows


def _spline_values(coefficients: Pixels, places: Array) -> Pixels:
    """Sum of the 4 x 4 coefficients about each place with their weights.

    This takes a third of the time of `scipy.ndimage.map_coordinates`: each coefficient is taken
    for all places at once.
    """
    width = coefficients.shape[1]
    base = np.floor(places)
    weights_y, weights_x = (_spline_weights(t) for t in (places - base).astype(np.float32))
    row, column = base
    row *= width
    row += column
    # The first of the 16 lies one row and one column before the base.
    row += (_BORDER - 1) * (width + 1)
    index = row.astype(np.intp)
    flat = coefficients.ravel()
    total, line, taken = (np.zeros(index.shape, np.float32) for _ in range(3))
    for y, weight_y in enumerate(weights_y):
        for x, weight_x in enumerate(weights_x):
            # None lies outside; the mode spares a buffer.
            out = taken if x else line
            np.take(flat[y * width + x :], index, out=out, mode="clip")
            out *= weight_x
            if x:
                line += taken
        line *= weight_y
        total += line
    return total


def _spline_weights(t: Pixels) -> list[Pixels]:
    """Weights of the coefficients before, at, after and two after a pixel, at a fraction t."""
    rest, square = 1 - t, t * t
    last = square * t
    last *= np.float32(1 / 6)
    first = rest * rest
    first *= rest
    first *= np.float32(1 / 6)
    before = 3 * last
    before -= square
    before += np.float32(2 / 3)
    after = 1 - first
    after -= last
    after -= before
    return [first, before, after, last]


def _linear_values(pixels: NDArray[np.floating], places: Array) -> Array:
    found: Array = map_coordinates(
        pixels, places, output=np.float64, order=1, mode="mirror", prefilter=False
    )
    return found


def _squared_tent(t: Array) -> Array:
    return (1 - t) ** 2


def _sum_of_tents(t: Array) -> Array:
    return 1 - 2 * t * (1 - t)


def _squared_linear(variance: Array, places: Array) -> Array:
    return _two_taps(variance, places, _squared_tent, _sum_of_tents)


def _squared_spline(variance: Array, places: Array) -> Array:
    """Variance from the two nearest pixels along each axis, scaled to that of all.

    The cardinal spline has 96 % of the sum of its squares there.
    """
    return _two_taps(variance, places, _squared_cardinal, _sum_of_squares)


def _two_taps(
    variance: Array,
    places: Array,
    weight: Callable[[Array], Array],
    total: Callable[[Array], Array],
) -> Array:
    """Interpolate linearly between the nearest pixels, in the ratio of their squared weights."""
    base = np.floor(places)
    fraction = places - base
    first, second = weight(fraction), weight(1 - fraction)
    shifted = base + second / (first + second)
    factor = total(fraction)
    found: Array = _linear_values(variance, shifted) * factor[0] * factor[1]
    return found


def _squared_cardinal(t: Array) -> Array:
    return np.interp(t, _FRACTIONS, _SQUARES)


def _cardinal(t: Array) -> Array:
    """Cardinal cubic spline, the weight of a pixel at distances t >= 0."""
    total = np.zeros_like(t)
    # Coefficients of a single pixel of 1: those of a geometric series about it.
    gain = -6 * _POLE / (1 - _POLE**2)
    near = np.floor(t)
    for step in (-1, 0, 1, 2):
        place = near + step
        total += gain * _POLE ** np.abs(place) * _basis(np.abs(t - place))
    return total


def _basis(t: Array) -> Array:
    """Cubic B-spline at distances t >= 0."""
    inner = 2 / 3 - t**2 + t**3 / 2
    outer = np.maximum(2 - t, 0) ** 3 / 6
    return np.where(t < 1, inner, outer)


def _sum_of_squares(t: Array) -> Array:
    """Sum of the squared weights of all pixels, at fractions t of a pixel."""
    return np.interp(t, _FRACTIONS, _SUMS)


_FRACTIONS = np.linspace(0, 1, 257)
"""Distances from 0 to 1 pixel; between them, squared weights are interpolated to 1e-5."""
_SQUARES = _cardinal(_FRACTIONS) ** 2
"""Squared weights there."""
_SUMS = sum(_cardinal(np.abs(_FRACTIONS - k)) ** 2 for k in range(-11, 13))
"""Sums of the squared weights of all pixels; those left out have less than 1e-12."""


def _lanczos_weights(fraction: Array) -> list[Array]:
    """Weights of the six nearest pixels, of sum 1."""
    offsets = [fraction - k for k in range(1 - _LOBES, _LOBES + 1)]
    weights = [np.sinc(t) * np.sinc(t / _LOBES) for t in offsets]
    total = sum(weights)
    return [weight / total for weight in weights]


def _lanczos_values(pixels: Pixels, places: Array) -> Array:
    return _lanczos(pixels, places, 1)


def _lanczos_variances(variance: Array, places: Array) -> Array:
    return _lanczos(variance, places, 2)


def _lanczos(pixels: NDArray[np.floating], places: Array, power: int) -> Array:
    """Sum of pixels with the weights to the given power."""
    base = np.floor(places)
    weights_y, weights_x = (_lanczos_weights(fraction) for fraction in places - base)
    row, column = base.astype(np.intp)
    rows = [_mirrored(row + k, pixels.shape[0]) for k in range(1 - _LOBES, _LOBES + 1)]
    columns = [_mirrored(column + k, pixels.shape[1]) for k in range(1 - _LOBES, _LOBES + 1)]
    total = np.zeros(row.shape)
    for line, weight_y in zip(rows, weights_y, strict=True):
        inner = np.zeros(row.shape)
        for place, weight_x in zip(columns, weights_x, strict=True):
            inner += weight_x**power * pixels[line, place]
        total += weight_y**power * inner
    return total


def _mirrored(index: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def _as_they_are(pixels: Pixels) -> Pixels:
    return pixels


def _nearest(pixels: NDArray[Any], places: Array) -> NDArray[Any]:
    row, column = places.astype(np.intp)
    found: NDArray[Any] = pixels[
        row.clip(0, pixels.shape[0] - 1), column.clip(0, pixels.shape[1] - 1)
    ]
    return found


WHOLE_PIXELS = Kernel(1, 0, _as_they_are, _nearest, _nearest)
"""What all kernels come to where pixels fall on pixels."""
KERNELS = {
    "bspline": Kernel(4, _RESPONSE, _spline_coefficients, _spline_values, _squared_spline),
    "lanczos": Kernel(2 * _LOBES, 0, _as_they_are, _lanczos_values, _lanczos_variances),
    "linear": Kernel(2, 0, _as_they_are, _linear_values, _squared_linear),
}
"""Kernels by name."""
