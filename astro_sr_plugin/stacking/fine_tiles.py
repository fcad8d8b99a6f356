"""One image on a finer grid from the pixels of many dithered frames, by least squares.

The image is what a detector of finer pixels would record with the optics of the sharp frames. It is
solved for in tiles that overlap. Its curvature is regularised: first everywhere alike, then less
where the first solution is curved, so that stars stay sharp and the sky smooth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter

from astro_sr_plugin.stacking.bands import iter_bands
from astro_sr_plugin.stacking.combination import Combined
from astro_sr_plugin.stacking.fine_samples import (
    HALO,
    TILE,
    Block,
    Problem,
    Tile,
    cut_tile,
    read_block,
)
from astro_sr_plugin.stacking.least_squares import (
    ITERATIONS,
    Equations,
    Strength,
    curvature_of,
    make_laplacian,
)
from astro_sr_plugin.stacking.pixel_response import to_pixels

__all__ = ["solve_block"]


_REALISATIONS = 4
"""Realisations of the noise that the uncertainty is measured on, and"""
_AVERAGED = 3.0
"""standard deviation in fine pixels of the area over which it is averaged: to 5 %."""
_MISFIT_AREA = 1.5
"""Standard deviation in fine pixels of the area in which the residuals of samples are compared with
their noise, and"""
_SIGNIFICANT = 3.0
"""standard errors above 1 from which they are larger."""
_COVERED = 0.1
"""Part of a fine pixel that a frame has to record to count there, and that all frames together have
to record for it to have a value."""
_LIMIT = 4.0
"""Standard deviations from the first solution beyond which a sample is left out, and"""
_LIGHT = 0.3
"""what it may differ by beside, in units of the highest light (the value of SWarp) in"""
_AROUND = 5
"""a square of this side in fine pixels: a first solution is less sharp than the samples."""
_BRIGHT = 5.0
"""Standard deviations of a sample above which there is light, where samples that differ from the
stack are judged by the solution instead, which is sharper."""


def solve_block(
    problem: Problem, strengths: list[Strength], block: Block
) -> tuple[list[Combined], list[tuple[float, float]]]:
    """Solve for a block.

    Returns
    -------
    planes : list of Combined
        For each colour. The numbers of rejected values are 0.
    noises : list of (float, float)
        For each tile and colour, noise of large areas over that of pixels, and the correlation of
        neighbours; NaN where it is not known.
    """
    planes, noises = [], []
    y0, y1, x0, x1 = block
    read = read_block(problem, block)
    for plane, (samples, strength) in enumerate(zip(read, strengths, strict=True)):
        parts = []
        for left, right in iter_bands(x1 - x0, TILE):
            box = (y0, y1, x0 + left, x0 + right)
            tile = cut_tile(problem, samples, box)
            found, noise = _solve_tile(problem, tile, strength, plane, box)
            parts.append(found)
            noises.append(noise)
        planes.append(Combined(*(np.concatenate(p, axis=1) for p in zip(*parts, strict=True))))
    return planes, noises


def _solve_tile(
    problem: Problem, tile: Tile, strength: Strength, plane: int, box: Block
) -> tuple[Combined, tuple[float, float]]:
    """Solve for a tile, cut off its halo, and say what noise it has."""
    inner = np.s_[HALO : tile.shape[0] - HALO, HALO : tile.shape[1] - HALO]
    none = np.zeros((box[1] - box[0], box[3] - box[2]), np.uint16)
    nothing = np.full(none.shape, np.nan, np.float32)
    if not tile.accepted.any():
        return Combined(nothing, nothing, none, none, none), (np.nan, np.nan)
    equations = Equations(tile.design, tile.data, tile.weight * tile.accepted, tile.shape)
    laplacian = make_laplacian(tile.shape)
    first = equations.solve(laplacian, strength.first, equations.right, equations.start())
    if problem.settings.rejection != "none":
        agreeing = _agreeing(tile, first)
        equations = equations.reweighted(tile.weight * agreeing)
    penalty = strength.weights(curvature_of(laplacian, first, tile.shape))
    solution = equations.solve(laplacian, penalty, equations.right, first)
    counts, sums = _count_frames(tile, equations.weights > 0, problem.scale)
    used, coverage = counts[inner], sums[inner]
    empty = coverage < _COVERED
    if empty.all():
        return Combined(nothing, nothing, used, none, none), (np.nan, np.nan)
    rng = np.random.default_rng([plane, *box])
    right = equations.noise(_REALISATIONS, rng)
    noise = equations.solve(laplacian, penalty, right, np.zeros_like(right), ITERATIONS)
    fine = np.concatenate([solution[:, None], noise], axis=1).T.reshape(-1, *tile.shape)
    fine = to_pixels(fine)
    variance = gaussian_filter(np.mean(fine[1:] ** 2, axis=0), _AVERAGED)[inner]
    # The sum of a large area is that of its samples, whatever the regularisation.
    density = gaussian_filter(equations.density.reshape(tile.shape), _AVERAGED)[inner]
    known = ~empty & (density > 0)
    ratio = float(np.median(1 / np.sqrt(density[known] * variance[known])))
    before, after = (fine[1:, inner[0], inner[1]][..., k] for k in (np.s_[:-1], np.s_[1:]))
    neighbours = float(np.sum(before * after) / np.sum(before * before))
    # What differs between frames beside noise, such as their places, shows in the samples.
    variance *= _misfit(tile, equations, solution)[inner]
    data = fine[0][inner] + problem.models[plane].level
    nan = np.float32(np.nan)
    return (
        Combined(
            np.where(empty, nan, data).astype(np.float32),
            np.where(empty, nan, variance).astype(np.float32),
            used,
            none,
            none,
        ),
        (ratio, neighbours),
    )


def _agreeing(tile: Tile, solution: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Say which samples agree with a solution: all in the light of stars are judged again."""
    highest = maximum_filter(solution.reshape(tile.shape), size=_AROUND, mode="nearest")
    light = np.maximum(tile.design @ highest.ravel(), 0)
    sigma = 1 / np.sqrt(tile.weight)
    deviation = np.abs(tile.data - tile.design @ solution)
    near: NDArray[np.bool_] = deviation <= _LIMIT * sigma + _LIGHT * light
    return near & (tile.accepted | (light > _BRIGHT * sigma))


def _count_frames(
    tile: Tile, accepted: NDArray[np.bool_], scale: int
) -> tuple[NDArray[np.uint16], NDArray[np.floating]]:
    """Count the frames that record each fine pixel, and sum up how much of it they record."""
    used = np.zeros(tile.shape[0] * tile.shape[1], np.uint16)
    coverage = np.zeros(used.size, np.float32)
    for part in tile.frames:
        covered = tile.design[part].T @ accepted[part].astype(np.float32) * scale**2
        used += covered > _COVERED
        coverage += covered
    return used.reshape(tile.shape), coverage.reshape(tile.shape)


def _misfit(
    tile: Tile, equations: Equations, solution: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Local mean square of the residuals of the samples, in units of their noise; 1 at least."""
    weights = equations.weights
    square = weights * (tile.design @ solution - tile.data) ** 2
    sums = (
        gaussian_filter((equations.transposed @ one).reshape(tile.shape), _MISFIT_AREA)
        for one in (square, (weights > 0).astype(float))
    )
    total, count = sums
    number = np.maximum(count, 1e-6) * 4 * np.pi * _MISFIT_AREA**2
    ratio = total / np.maximum(count, 1e-6)
    return np.asarray(np.where(ratio > 1 + _SIGNIFICANT * np.sqrt(2 / number), ratio, 1.0))
