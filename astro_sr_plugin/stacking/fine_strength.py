"""Strength of the regularisation of a fine image, chosen by samples that are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.stacking.bands import iter_bands
from astro_sr_plugin.stacking.fine_samples import TILE, Problem, Tile, cut_tile, read_block
from astro_sr_plugin.stacking.least_squares import (
    ITERATIONS,
    Equations,
    Strength,
    curvature_of,
    make_laplacian,
)

__all__ = ["choose_strengths"]

_LEFT_OUT = 0.1
"""Part of the samples by which the strength is chosen."""
_TRIED = 2
"""Tiles on which it is chosen."""
_FIRST = 10.0 ** np.arange(-5, 0.1)
"""Strengths that are tried for the first solution, in units of the weight of a pixel."""
_SECOND = 10.0 ** np.arange(-1.5, 1.1, 0.5)
"""The same for the second one."""
_PASSED = 20.0
"""Increase of chi-squared over the least so far at which no weaker regularisation is tried."""
_MOST_DEVIATION = 5.0
"""Standard deviations beyond which left-out samples count as this."""


def choose_strengths(problem: Problem) -> list[Strength]:
    """Choose the strength of the regularisation of each colour by samples that are left out.

    It is tried on the tile with the brightest stars, and on others.
    """
    ny, nx = problem.shape
    tiles = [(*rows, *columns) for rows in iter_bands(ny, TILE) for columns in iter_bands(nx, TILE)]
    scale = problem.scale
    light = [
        sum(
            float(model.stars[y0 // scale : y1 // scale, x0 // scale : x1 // scale].sum())
            for model in problem.models
        )
        for y0, y1, x0, x1 in tiles
    ]
    order = np.argsort(light, kind="stable")[::-1]
    chosen = order[np.unique(np.linspace(0, len(tiles) - 1, _TRIED).astype(int))]
    samples = [read_block(problem, tiles[k]) for k in chosen]
    found = []
    for plane in range(len(problem.models)):
        parts = [
            cut_tile(problem, own[plane], tiles[k]) for k, own in zip(chosen, samples, strict=True)
        ]
        found.append(_choose([tile for tile in parts if tile.accepted.any()]))
    return found


def _choose(tiles: list[Tile]) -> Strength:
    """Choose the strength by how well samples are predicted that are left out."""
    if not tiles:
        return Strength(1.0, 1.0, 1.0)
    rng = np.random.default_rng(0)
    kept = [tile.accepted & (rng.random(tile.data.size) >= _LEFT_OUT) for tile in tiles]
    equations = [
        Equations(tile.design, tile.data, tile.weight * keep, tile.shape)
        for tile, keep in zip(tiles, kept, strict=True)
    ]
    laplacians = [make_laplacian(tile.shape) for tile in tiles]
    density = float(np.concatenate([one.density[one.density > 0] for one in equations]).mean())
    starts = [one.start() for one in equations]

    def best(
        strengths: NDArray[np.float64], shapes: list[NDArray[np.floating]]
    ) -> tuple[float, list[NDArray[np.floating]]]:
        results: list[tuple[float, float, list[NDArray[np.floating]]]] = []
        found: list[NDArray[np.floating]] = list(starts)
        for strength in strengths[::-1] * density:
            found = [
                one.solve(laplacian, strength * shape, one.right, start, ITERATIONS)
                for one, laplacian, shape, start in zip(
                    equations, laplacians, shapes, found, strict=True
                )
            ]
            error: float = sum(
                _prediction_error(tile, tile.accepted & ~keep, solution)
                for tile, keep, solution in zip(tiles, kept, found, strict=True)
            )
            results.append((error, float(strength), found))
            if error > min(result[0] for result in results) + _PASSED:
                break
        return min(results, key=lambda result: result[0])[1:]

    first, solutions = best(_FIRST, [np.ones(1)] * len(tiles))
    curvatures = [
        curvature_of(laplacian, solution, tile.shape)
        for laplacian, solution, tile in zip(laplacians, solutions, tiles, strict=True)
    ]
    typical = float(np.median(np.concatenate(curvatures)))
    unit = Strength(first, 1.0, max(typical, np.finfo(float).tiny))
    second, _ = best(_SECOND, [unit.weights(one) for one in curvatures])
    return unit._replace(second=second)


def _prediction_error(
    tile: Tile, chosen: NDArray[np.bool_], solution: NDArray[np.floating]
) -> float:
    deviation = (tile.design[np.flatnonzero(chosen)] @ solution - tile.data[chosen]) ** 2
    return float(np.sum(np.minimum(deviation * tile.weight[chosen], _MOST_DEVIATION**2)))
