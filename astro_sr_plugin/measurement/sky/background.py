"""The level and the rms of the sky on a coarse mesh, evaluated smoothly on any window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import sep
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    gaussian_filter,
    median_filter,
)

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.sky.coarse import (
    ROUNDING,
    Steps,
    clip_limit,
    dither,
    find_steps,
    mask_sources,
)
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import Window, check_plane, cut_window, iterate_strips

__all__ = ["Background", "lower_background", "measure_background", "measure_noise_map"]

_CLIPPING = 0.9866
"""Standard deviation of a Gaussian that sep has clipped at 3 sigma, over that of the whole."""
_MINIMUM_COVERAGE = 0.2
"""Fraction of usable pixels below which a box takes its value from its neighbours."""
_BLOCK = 4
"""Side in pixels of the blocks in which dark clouds are looked for."""
_BLOCK_SMOOTHING = 0.75
"""Gaussian width in blocks to which their means are smoothed: 3 pixels."""
_DEPTH_IGNORED = 1.0
"""Depth below the background, in noise sigma of a pixel, that is left to the noise."""
_ROWS, _COLUMNS = 4, 1024
"""Pixels that are evaluated at a time: OpenBLAS gives larger products to threads, which wait for
work at full speed, for longer than this takes."""
_LARGEST_LOWERING = 50.0
"""Largest lowering of the background in noise sigma of a pixel."""


@dataclass(frozen=True, eq=False)
class Background:
    """Sky level and rms on a coarse mesh.

    Attributes
    ----------
    shape : tuple of int
        Shape (ny, nx) of the measured plane.
    level : float
        Median of the mesh, in image units.
    rms : float
        Median scatter of the pixels about the mesh, in image units. It contains unresolved
        structure; see `astro_sr_plugin.measurement.sky.noise` for the noise alone.
    mesh, rms_mesh : numpy.ndarray of float64, shape (my, mx)
        Level and scatter of each box, in image units.
    y_nodes, x_nodes : numpy.ndarray of float64
        Pixel coordinates of the centres of the boxes.
    steps : Steps or None
        Steps between the values of the plane; None where they were not looked for.
    """

    shape: tuple[int, int]
    level: float
    rms: float
    mesh: NDArray[np.float64]
    rms_mesh: NDArray[np.float64]
    y_nodes: NDArray[np.float64]
    x_nodes: NDArray[np.float64]
    steps: Steps | None = None

    def level_at(self, y0: int, y1: int, x0: int, x1: int) -> NDArray[np.float32]:
        """Evaluate the smooth sky level on rows ``y0:y1`` and columns ``x0:x1``."""
        return self._evaluate(self.mesh, self.level, y0, y1, x0, x1)

    def full(self) -> NDArray[np.float32]:
        """Evaluate the sky level on the whole plane; shape (ny, nx), float32."""
        result = np.empty(self.shape, dtype=np.float32)
        for strip in iterate_strips(self.shape):
            result[strip.y0 : strip.y1] = self.level_at(*strip)
        return result

    @cached_property
    def _bases(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        along_x = _basis(self.x_nodes, self.shape[1])
        return _basis(self.y_nodes, self.shape[0]), np.ascontiguousarray(along_x.T)

    def _evaluate(
        self, mesh: NDArray[np.float64], middle: float, y0: int, y1: int, x0: int, x1: int
    ) -> NDArray[np.float32]:
        along_y, along_x = self._bases
        # Without the middle, float32 sums keep a small run of a high sky.
        rows = along_y[y0:y1] @ (mesh - middle).astype(np.float32)
        values = np.empty((y1 - y0, x1 - x0), np.float32)
        for left in range(x0, x1, _COLUMNS):
            right = min(left + _COLUMNS, x1)
            for first, last in iter_rows(y1 - y0, _ROWS):
                part = np.s_[first:last, left - x0 : right - x0]
                np.matmul(rows[first:last], along_x[:, left:right], out=values[part])
        values += np.float32(middle)
        return values


def measure_background(
    plane: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    box_size: int | None = None,
    every: int = 1,
) -> Background:
    """Measure the sky level and its scatter in boxes, not following stars.

    The mode of the pixels of each box is estimated by sep (the method of SExtractor: clipping at
    3 sigma, then 2.5 median - 1.5 mean, or the median in a crowded box); single outlying boxes
    are replaced by the median of their 3 x 3 neighbours. The image is read box row by box row.
    Integers are spread over their steps before. Where these are as large as the noise (photon
    counts, 8-bit data), the mean of the pixels outside sources is taken.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units; not-finite pixels are left out.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    box_size : int, optional
        Side of a box in pixels, at least 1; by default 128, and less for a small plane.
    every : int
        One row of so many is looked at.

    Returns
    -------
    Background
        The mesh; call its ``level_at`` or ``full`` for a smooth map (bicubic spline).

    Raises
    ------
    InputError
        If the plane is unusable or has no usable pixel, or `box_size` is below 1.
    """
    data, excluded = check_plane(plane, mask)
    ny, nx = data.shape
    if box_size is None:
        box_size = int(np.clip(min(ny, nx) // 6, 64, 128))
    if box_size < 1:
        msg = f"box_size is {box_size}, but it must be at least 1 pixel"
        raise InputError(msg)
    count = max(1, round(ny / box_size))
    edges = np.linspace(0, ny, count + 1).round().astype(int)
    width = -(-nx // max(1, round(nx / box_size)))
    # The centre of an odd box is a pixel, where the map of sep is exactly the value of the box.
    width += 1 - width % 2
    starts = np.arange(0, nx, width)
    stops = np.minimum(starts + width, nx)

    steps = find_steps(data, excluded)
    mesh = np.full((count, starts.size), np.nan)
    rms_mesh = np.full_like(mesh, np.nan)
    for row, (y0, y1) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        values, bad = cut_window(data, excluded, Window(int(y0), int(y1), 0, nx))
        if every > 1:
            values, bad = values[::every].copy(), bad[::every].copy()
        if steps.coarse:
            _measure_coarse_row(values, bad, steps.size, starts, stops, mesh[row], rms_mesh[row])
            continue
        if steps.size > 0:
            values = dither(values, steps.size, seed=row)
        _measure_row(values, bad, starts, width, mesh[row], rms_mesh[row])
        rms_mesh[row] = np.sqrt(np.maximum(rms_mesh[row] ** 2 - (ROUNDING * steps.size) ** 2, 0))
    if not np.isfinite(mesh).any():
        msg = "plane has no usable pixel: all are masked or not finite"
        raise InputError(msg)
    mesh, rms_mesh = _smooth(_fill(mesh)), _smooth(_fill(rms_mesh))
    positive = rms_mesh[rms_mesh > 0]
    return Background(
        shape=(ny, nx),
        level=float(np.median(mesh)),
        rms=float(np.median(positive)) if positive.size else 0.0,
        mesh=mesh,
        rms_mesh=rms_mesh,
        y_nodes=(edges[:-1] + edges[1:] - 1) / 2,
        x_nodes=(starts + stops - 1) / 2,
        steps=steps,
    )


def measure_noise_map(
    error: ArrayLike, *, mask: ArrayLike | UnusablePixels | None = None, box_size: int = 64
) -> Background:
    """Measure how the noise runs over the field, from the standard deviation of each pixel.

    Parameters
    ----------
    error : array_like, shape (ny, nx)
        Standard deviations in any unit; pixels that are not finite or not above 0 are left out.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    box_size : int, optional
        Side in pixels of the boxes whose medians are the mesh: stars leave no trace in them.

    Returns
    -------
    Background
        Its level is the median of the mesh; 0 if no pixel can be used.
    """
    values = np.asarray(error)
    ny, nx = values.shape
    if mask is not None and not isinstance(mask, UnusablePixels):
        mask = np.asarray(mask)
    y_edges, x_edges = (
        np.linspace(0, length, max(1, round(length / box_size)) + 1).round().astype(int)
        for length in (ny, nx)
    )
    mesh = np.full((y_edges.size - 1, x_edges.size - 1), np.nan)
    for i, (y0, y1) in enumerate(pairwise(y_edges)):
        for j, (x0, x1) in enumerate(pairwise(x_edges)):
            box = values[y0:y1, x0:x1]
            good = np.isfinite(box) & (box > 0)
            if mask is not None:
                good &= ~mask[y0:y1, x0:x1]
            if good.any():
                mesh[i, j] = np.median(box[good])
    mesh = _fill(mesh) if np.isfinite(mesh).any() else np.zeros(mesh.shape)
    return Background(
        shape=(ny, nx),
        level=float(np.median(mesh)),
        rms=0.0,
        mesh=mesh,
        rms_mesh=np.zeros(mesh.shape),
        y_nodes=(y_edges[:-1] + y_edges[1:] - 1) / 2,
        x_nodes=(x_edges[:-1] + x_edges[1:] - 1) / 2,
    )


def lower_background(
    background: Background, plane: ArrayLike, sigma: float, *, mask: ArrayLike | None = None
) -> Background:
    """Bring a background down to the darkest places of a nebula that fills the frame.

    Where nebulosity fills the boxes, their level is that of the nebula, and dark clouds lie below
    it. The level of each box is lowered by what means of 4 x 4 pixels, smoothed over 3 pixels,
    within one box of its centre lie deeper than 1 sigma (at most 50) below the map; elsewhere
    nothing changes.

    Parameters
    ----------
    background : Background
        Measured on the plane.
    plane : array_like, shape (ny, nx)
        Image in linear units; not-finite pixels are left out.
    sigma : float
        Noise of a pixel.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.

    Returns
    -------
    Background
        With another mesh and level; the same object if nothing is that dark.
    """
    data, excluded = check_plane(plane, mask)
    ny, nx = background.shape
    depth = np.zeros((-(-ny // _BLOCK), -(-nx // _BLOCK)), np.float32)
    empty = np.zeros(depth.shape, dtype=bool)
    for y0, y1 in iter_rows(ny, 64 * _BLOCK):
        values, bad = cut_window(data, excluded, Window(y0, y1, 0, nx))
        values -= background.level_at(y0, y1, 0, nx)
        values[bad] = 0.0
        # Dead pixels and columns are no clouds.
        if nx > 1:
            wider = np.pad(values, ((0, 0), (1, 1)), mode="reflect")
            values = np.maximum(values, np.minimum(wider[:, :-2], wider[:, 2:]))
        rows = slice(y0 // _BLOCK, -(-y1 // _BLOCK))
        used = _block_sums((~bad).astype(np.float32))
        depth[rows] = _block_sums(values) / np.maximum(used, 1.0)
        empty[rows] = used < _BLOCK**2 / 2
    # In float64: noise near the ends of float32 would make depths of 0 and without end.
    depth = gaussian_filter(depth.astype(np.float64) / sigma, _BLOCK_SMOOTHING)
    depth[binary_dilation(empty)] = 0.0
    darkest = np.array(
        [
            [depth[rows, columns].min() for columns in _around(background.x_nodes)]
            for rows in _around(background.y_nodes)
        ]
    )
    lowering = sigma * np.clip(-darkest - _DEPTH_IGNORED, 0.0, _LARGEST_LOWERING)
    if not lowering.any():
        return background
    mesh = background.mesh - lowering
    return replace(background, mesh=mesh, level=float(np.median(mesh)))


def _block_sums(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum of each block; blocks at the far edges may be smaller."""
    for axis in (0, 1):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], _BLOCK), axis=axis)
    return values


def _around(nodes: NDArray[np.float64]) -> list[slice]:
    """Give the blocks within one box of each node."""
    reach = np.diff(nodes).max() if nodes.size > 1 else np.inf
    edges = [((node - reach) / _BLOCK, (node + reach) / _BLOCK) for node in nodes]
    return [
        slice(int(max(low, 0)), None if np.isinf(high) else int(high) + 1) for low, high in edges
    ]


def _measure_row(
    values: NDArray[np.float32],
    bad: NDArray[np.bool_],
    starts: NDArray[np.int_],
    width: int,
    mesh: NDArray[np.float64],
    rms_mesh: NDArray[np.float64],
) -> None:
    height, nx = values.shape
    used = np.add.reduceat((~bad).sum(axis=0), starts)
    if not used.any():
        return
    # Values are measured from a reference, so that float32 sums keep small scatter on a high sky.
    reference = np.float32(np.median(values[~bad][:: max(1, values.size // 10_000)]))
    values -= reference
    values[bad] = 0
    background = sep.Background(values, mask=bad, bw=width, bh=height, fw=1, fh=1)
    nodes = np.minimum(starts + width // 2, nx - 1)
    # The whole strip is one row of boxes, so any line of the map passes through the nodes.
    levels = background.back()[height // 2, nodes].astype(float) + float(reference)
    scatters = background.rms()[height // 2, nodes].astype(float) / _CLIPPING
    areas = height * (np.minimum(starts + width, nx) - starts)
    enough = used >= np.maximum(1, _MINIMUM_COVERAGE * areas)
    if not enough.any():
        enough = used == used.max()
    mesh[enough] = levels[enough]
    rms_mesh[enough] = scatters[enough]


def _measure_coarse_row(
    values: NDArray[np.float32],
    bad: NDArray[np.bool_],
    step: float,
    starts: NDArray[np.int_],
    stops: NDArray[np.int_],
    mesh: NDArray[np.float64],
    rms_mesh: NDArray[np.float64],
) -> None:
    """Take the mean and the scatter of the pixels outside sources in each box of a row."""
    boxes = []
    for start, stop in zip(starts, stops, strict=True):
        box, hidden = values[:, start:stop], bad[:, start:stop]
        boxes.append(box[~(hidden | mask_sources(box, hidden, step))].astype(np.float64))
    sizes = np.array([sky.size for sky in boxes])
    enough = sizes >= np.maximum(1, _MINIMUM_COVERAGE * len(values) * (stops - starts))
    if not enough.any():
        enough = (sizes > 0) & (sizes == sizes.max())
    for column in np.flatnonzero(enough):
        sky = boxes[column]
        kept = sky[np.abs(sky - sky.mean()) <= clip_limit(float(sky.std()), step)]
        mesh[column], rms_mesh[column] = kept.mean(), kept.std()


def _fill(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give each empty box the value of the nearest box that has one."""
    empty = ~np.isfinite(mesh)
    if not empty.any():
        return mesh
    nearest = distance_transform_edt(empty, return_distances=False, return_indices=True)
    return mesh[tuple(nearest)]


def _smooth(mesh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace boxes that stand out of their 3 x 3 neighbours by the median of these."""
    if mesh.size < 9:
        return mesh
    # Continued on straight lines, so that a gradient does not make outliers of the border.
    wider = np.pad(mesh, 1, mode="reflect", reflect_type="odd") if min(mesh.shape) > 1 else mesh
    medians = median_filter(wider, size=3, mode="nearest")
    if min(mesh.shape) > 1:
        medians = medians[1:-1, 1:-1]
    deviations = np.abs(mesh - medians)
    limit = 4 * MAD_TO_SIGMA * np.median(deviations)
    return np.where(deviations > limit, medians, mesh)


def _basis(nodes: NDArray[np.float64], length: int) -> NDArray[np.float32]:
    """Weights of the nodes at each pixel, for a cubic spline; shape (length, nodes)."""
    values, nodes = _extend(np.eye(nodes.size), nodes, length)
    spline = make_interp_spline(nodes, values, k=min(3, nodes.size - 1))
    return np.asarray(spline(np.arange(length)), dtype=np.float32)


def _extend(
    mesh: NDArray[np.float64], nodes: NDArray[np.float64], length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add a node beyond each border along the first axis, on the line through the outer two."""
    outer = np.array([-1.0, float(length)])
    if nodes.size == 1:
        return np.repeat(mesh, 2, axis=0), outer
    slopes = (mesh[[1, -1]] - mesh[[0, -2]]) / (nodes[[1, -1]] - nodes[[0, -2]])[:, None]
    ends = mesh[[0, -1]] + slopes * (outer - nodes[[0, -1]])[:, None]
    return np.vstack([ends[:1], mesh, ends[1:]]), np.concatenate([outer[:1], nodes, outer[1:]])
