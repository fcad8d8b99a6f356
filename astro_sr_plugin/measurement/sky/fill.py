"""Find the areas of a plane that are filled with a constant because no frame has data there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_propagation, distance_transform_edt, label

from astro_sr_plugin.constants import MAD_TO_SIGMA

__all__ = ["FillArea", "constant_blocks", "find_fill_areas", "nearly"]

_BLOCK = 4
"""Side in pixels of a block; areas of fill hold at least one block of equal pixels."""
_LINE = 32
"""Equal pixels in a row along an edge of the frame that are a thin rim of fill."""
_FEWEST_INSIDE = 4
"""Blocks of an area that does not touch the edge of the frame: 8 x 8 pixels."""
_FEWEST_AT_EDGE = 2
"""Blocks of an area that touches the edge of the frame."""
_MOST_VALUES = 16
"""Largest number of values, the most frequent first, that are tested: it limits the time."""
_MOST_AREAS = 64
"""Largest number of areas of a value, the largest first, that are tested."""
_MOST_REFUSED = 4
"""Areas of a value, the largest first, after which smaller ones are no fill either."""
_MOST_WINDOWS = 24
"""Largest number of windows in which the edge of an area is looked at."""
_HALF_WINDOW = 20
"""Half side in pixels of the windows in which the surroundings of an area are looked at."""
_FAR = (5.5, 12.0)
"""Distances in pixels of what the edge of an area is compared with."""
_CHANCE = 0.3
"""Fraction of the pixels beyond the edge that have the value of the area from which it may be
chance.

16 equal pixels then have a probability of 4e-9."""
_FADING = (0.25, 0.5, 0.5)
"""Data fade into their constant areas: 1, 2 and 3 pixels away they are this much nearer to the
value than farther out. Interpolation blends half of the light of the pixels next to fill, on
average, with it."""
_STEPS = 1.5
"""Plateaus of coarse integers differ from what is beside them by one step."""
_SMALLEST_JUMP = 1e-6
"""Of the largest distance from the value in the surroundings: rounding of a model's wing."""
_WINGS, _WINGED = 0.05, 0.1
"""Light of a saturated star 3 pixels beyond its core, relative to it, and fraction of its edge."""
_CLEAR = 4.0
"""Wings are brighter than that many times the scatter."""
_BLEEDING = 8
"""Width in blocks below which an area may be the bleeding column of a saturated star, whose edge is
abrupt but at the star: one place with wings is enough."""
_BLENDED = 0.5
"""Shift of a rim, in the scatter of what lies beyond, from which it is blended with the fill."""
_RIM = 3
"""Widest blended rim in pixels; that of cubic interpolation has 2."""


class FillArea(NamedTuple):
    """An area of fill.

    Attributes
    ----------
    value : float
        Its value.
    rows, columns : numpy.ndarray of int
        Constant blocks of 4 x 4 pixels of which it consists, counted in blocks.
    rim : int
        Width in pixels of the data around it that interpolation has blended with the fill.
    """

    value: float
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    rim: int


def nearly(values: NDArray[Any], value: float) -> NDArray[np.bool_]:
    """Return where pixels equal a value; floats but for rounding."""
    if values.dtype.kind != "f":
        return np.asarray(values == value)
    slack = _rounding(values.dtype) * abs(value)
    low, high = (values.dtype.type(value + sign * slack) for sign in (-1, 1))
    return np.asarray((values >= low) & (values <= high))


def _rounding(dtype: np.dtype[Any]) -> float:
    """Return the relative difference of numbers that rounding makes; 0 for integers."""
    return 2 * float(np.finfo(dtype.newbyteorder("=")).eps) if dtype.kind == "f" else 0.0


def constant_blocks(
    strip: NDArray[Any], first_row: int, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the blocks of 4 x 4 equal pixels in a strip, and long equal runs along the frame's edge.

    Parameters
    ----------
    strip : numpy.ndarray, shape (rows, nx)
        Rows of a plane.
    first_row : int
        Row of the plane that it begins with; a multiple of 4.
    shape : tuple of int
        Shape (ny, nx) of the plane.

    Returns
    -------
    places : numpy.ndarray of int, shape (n, 2)
        Row and column of each block, counted in blocks.
    values : numpy.ndarray of float64, shape (n,)
        Their values.
    """
    ny, nx = (length // _BLOCK * _BLOCK for length in strip.shape)
    corner = strip[0:ny:_BLOCK, 0:nx:_BLOCK]
    last = _BLOCK - 1
    slack = _rounding(strip.dtype)
    opposite = strip[last:ny:_BLOCK, last:nx:_BLOCK]
    same = corner == opposite
    if slack:
        same |= np.abs(corner - opposite) <= slack * np.abs(corner)
    rows, columns = np.nonzero(same)
    values = corner[rows, columns]
    for k in range(1, _BLOCK**2 - 1):
        if not rows.size:
            break
        other = strip[rows * _BLOCK + k // _BLOCK, columns * _BLOCK + k % _BLOCK]
        equal = np.abs(values - other) <= slack * np.abs(values) if slack else values == other
        rows, columns, values = rows[equal], columns[equal], values[equal]
    places = [np.stack([rows, columns], axis=1) + (first_row // _BLOCK, 0)]
    found = [values.astype(np.float64)]
    for line, along, fixed in (
        (strip[:, 0], 0, 0),
        (strip[:, -1], 0, shape[1] - 1),
        (strip[0] if first_row == 0 else strip[0, :0], 1, 0),
        (strip[-1] if first_row + len(strip) == shape[0] else strip[0, :0], 1, shape[0] - 1),
    ):
        at = np.unique(_equal_runs(line) // _BLOCK * _BLOCK)
        if at.size:
            here = at // _BLOCK + (0 if along else first_row // _BLOCK)
            beside = np.full(at.size, fixed // _BLOCK)
            places.append(np.stack([beside, here] if along else [here, beside], axis=1))
            found.append(line[at].astype(np.float64))
    return np.concatenate(places).astype(np.int64), np.concatenate(found)


def _equal_runs(line: NDArray[Any]) -> NDArray[np.int64]:
    """Return the places of a line that lie in runs of `_LINE` or more equal pixels."""
    if line.size < _LINE:
        return np.empty(0, np.int64)
    breaks = np.flatnonzero(line[1:] != line[:-1]) + 1
    edges = np.concatenate([[0], breaks, [line.size]])
    long = np.diff(edges) >= _LINE
    return np.concatenate(
        [np.arange(a, b) for a, b in zip(edges[:-1][long], edges[1:][long], strict=True)]
        or [np.empty(0, np.int64)]
    )


def find_fill_areas(
    plane: Any,
    mask: NDArray[np.bool_] | None,
    limits: tuple[float, float],
    blocks: NDArray[np.int64],
    values: NDArray[np.float64],
) -> list[FillArea]:
    """Choose the constant areas that are fill.

    An area is fill if its value is rare beyond its edge, so that it is no chance, and if the edge
    is abrupt: data fade into the constant sky of a model, into a clipped sky and into saturated
    cores.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        The plane.
    mask : numpy.ndarray of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    limits : tuple of float
        Least and largest value that can be data.
    blocks, values : numpy.ndarray
        From `constant_blocks`, of the whole plane.

    Returns
    -------
    list of FillArea
    """
    areas: list[FillArea] = []
    if not values.size:
        return areas
    shape = (-(-plane.shape[0] // _BLOCK), -(-plane.shape[1] // _BLOCK))
    constant = np.zeros(shape, dtype=bool)
    constant[blocks[:, 0], blocks[:, 1]] = True
    values = _without_rounding(values, _rounding(plane.dtype))
    distinct, counts = np.unique(values, return_counts=True)
    for value in distinct[np.argsort(-counts)][:_MOST_VALUES].tolist():
        own = np.zeros(shape, dtype=bool)
        own[tuple(blocks[values == value].T)] = True
        labels, count = label(own, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        border = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
        least = np.full(count + 1, _FEWEST_INSIDE)
        least[border] = _FEWEST_AT_EDGE
        least[0] = sizes[0] + 1
        chosen = np.flatnonzero(sizes >= least)
        found: list[tuple[int, int]] = []
        largest_first = chosen[np.argsort(-sizes[chosen])]
        for tried, number in enumerate(largest_first[:_MOST_AREAS].tolist()):
            if tried == _MOST_REFUSED and not found:
                break
            area = labels == number
            rim = _rim_of_fill(_Surroundings(plane, mask, limits, constant), area, value)
            if rim is not None:
                found.append((number, rim))
        if found:
            rows, columns = np.nonzero(np.isin(labels, [number for number, _ in found]))
            areas.append(FillArea(value, rows, columns, max(rim for _, rim in found)))
    return areas


def _without_rounding(values: NDArray[np.float64], rounding: float) -> NDArray[np.float64]:
    """Give values that differ by rounding alone that of the middle one of them."""
    distinct, places = np.unique(values, return_inverse=True)
    starts = np.diff(distinct) > rounding * np.abs(distinct[1:])
    groups = np.concatenate([[0], np.cumsum(starts)])
    first = np.searchsorted(groups, groups, side="left")
    last = np.searchsorted(groups, groups, side="right") - 1
    return np.asarray(distinct[(first + last) // 2][places.reshape(values.shape)])


class _Surroundings(NamedTuple):
    """A plane with what is known of it."""

    plane: Any
    mask: NDArray[np.bool_] | None
    limits: tuple[float, float]
    constant: NDArray[np.bool_]

    def around(
        self, area: NDArray[np.bool_], value: float, row: int, column: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixels within a window around a block, and their distances from the area."""
        centre = np.array([row, column]) * _BLOCK + _BLOCK // 2
        # Windows begin and end at whole blocks.
        low = np.maximum(centre - _HALF_WINDOW, 0) // _BLOCK * _BLOCK
        high = np.minimum(centre + _HALF_WINDOW, self.plane.shape[:2])
        window = slice(low[0], high[0]), slice(low[1], high[1])
        raw = np.asarray(self.plane[window])
        place = tuple(slice(a // _BLOCK, -(-b // _BLOCK)) for a, b in zip(low, high, strict=True))
        seeds, others = (
            part[place].repeat(_BLOCK, 0).repeat(_BLOCK, 1)[: raw.shape[0], : raw.shape[1]]
            for part in (area, self.constant & ~area)
        )
        same = nearly(raw, value)
        inside = binary_propagation(seeds & same, np.ones((3, 3)), mask=same)
        data = raw.astype(np.float64)
        usable = (data >= self.limits[0]) & (data <= self.limits[1]) & ~inside & ~others
        if self.mask is not None:
            usable &= ~self.mask[window]
        distance = distance_transform_edt(~inside)
        return data[usable], distance[usable]


def _rim_of_fill(around: _Surroundings, area: NDArray[np.bool_], value: float) -> int | None:
    """Return the width of the blended rim of an area; None if the area is data."""
    edge = np.argwhere(area & ~binary_erosion(area, np.ones((3, 3)), border_value=1))
    if not edge.size:
        return None
    step = -(-len(edge) // _MOST_WINDOWS)
    windows = [around.around(area, value, *place) for place in edge[step // 2 :: step]]
    data = np.concatenate([values for values, _ in windows])
    distance = np.concatenate([distances for _, distances in windows])
    far = data[(distance > _FAR[0]) & (distance < _FAR[1])]
    rings = [data[np.abs(distance - d) < 0.5] for d in range(1, _RIM + 1)]
    if not far.size or not all(ring.size for ring in rings):
        # Islands among missing data, and planes of one value, show no edge.
        return None
    jumps = [_median(np.abs(ring - value)) for ring in (*rings, far)]
    if np.mean(far == value) > _CHANCE:
        return None
    if any(jump < part * jumps[-1] for jump, part in zip(jumps, _FADING, strict=False)):
        return None
    distinct = np.unique(data)
    quantum = _median(np.diff(distinct)) if distinct.size > 1 else 0.0
    if jumps[0] <= max(_STEPS * quantum, _SMALLEST_JUMP * np.abs(data - value).max()):
        return None
    level = _median(far)
    rows, columns = np.nonzero(area)
    thin = min(np.ptp(rows), np.ptp(columns)) < _BLEEDING
    scatter = MAD_TO_SIGMA * _median(np.abs(far - level))
    least = max(_WINGS * (value - level), _CLEAR * scatter)
    winged = 0.0 if thin else _WINGED
    if value > level and _share_with_wings(windows, level, least) > winged:
        return None
    rim = 0
    for width, ring in enumerate(rings, 1):
        error = 1.25 * scatter / np.sqrt(ring.size)
        if abs(_median(ring) - level) <= max(_BLENDED * scatter, 4 * error):
            break
        rim = width
    return rim


def _share_with_wings(
    windows: list[tuple[NDArray[np.float64], NDArray[np.float64]]], level: float, least: float
) -> float:
    """Fraction of the windows in which an area is surrounded by light like a saturated core.

    That is where a fifth of the pixels 3 pixels beyond its edge are more than ``least`` brighter
    than the level of what lies around the area.
    """
    rings = [values[np.abs(distance - _RIM) < 0.5] for values, distance in windows]
    return float(np.mean([np.percentile(r, 80) - level > least for r in rings if r.size]))


def _median(values: NDArray[np.float64]) -> float:
    return float(np.median(values))
