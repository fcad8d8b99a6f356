"""Samples of the frames on the fine grid, in blocks and tiles that overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from astro_sr_plugin.stacking.bands import Light, StackSettings, iter_bands, widths_of
from astro_sr_plugin.stacking.pixel_response import PixelResponse
from astro_sr_plugin.stacking.samples import Samples, StackModel, read_samples
from astro_sr_plugin.stacking.star_light import star_shares

__all__ = [
    "HALO",
    "TILE",
    "Block",
    "FineSamples",
    "Problem",
    "Tile",
    "cut_tile",
    "plan_blocks",
    "read_block",
]

Block = tuple[int, int, int, int]
"""First row of the fine image, the one after the last, and the same of columns."""
TILE = 128
"""Side in fine pixels of a tile."""
_COLUMNS = 1024
"""Columns of the fine image for which the frames are read at once."""
HALO = 16
"""Fine pixels about a tile that are solved for with it: what lies beyond changes it by less than
1 % of its noise."""
_CORES = 1.0
"""Deviation from the stack that is allowed in the light of stars at first, in units of that."""
_SAMPLE_BYTES = 1200
"""Bytes for each sample of a tile: its row of the design matrix twice, and workspace."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What the fine image follows from.

    Attributes
    ----------
    lights, settings
        The frames, and how they are combined.
    models : list of StackModel
        Their stack, for each colour.
    responses : list of PixelResponse
        Of each frame.
    scale : int
        Fine pixels per pixel of the reference along each axis.
    """

    lights: list[Light]
    settings: StackSettings
    models: list[StackModel]
    responses: list[PixelResponse]
    scale: int

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (ny, nx) of the fine image."""
        ny, nx = self.settings.shape
        return ny * self.scale, nx * self.scale

    def block_bytes(self) -> int:
        """Bytes that a block takes."""
        side = (TILE + 2 * HALO) / self.scale
        return int(len(self.lights) * side**2 * _SAMPLE_BYTES)


class FineSamples(NamedTuple):
    """Samples of one colour of a frame about a block: places on the fine grid, and values."""

    frame: int
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    data: NDArray[np.floating]
    weight: NDArray[np.floating]
    accepted: NDArray[np.bool_]


class Tile(NamedTuple):
    """A tile with its halo, for one colour."""

    shape: tuple[int, int]
    design: csr_array
    data: NDArray[np.float64]
    weight: NDArray[np.float64]
    accepted: NDArray[np.bool_]
    frames: list[slice]


def plan_blocks(problem: Problem) -> list[Block]:
    """Divide the fine image into blocks."""
    ny, nx = problem.shape
    return [
        (*rows, *columns)
        for rows in iter_bands(ny, TILE)
        for columns in iter_bands(nx, min(nx, _COLUMNS))
    ]


def read_block(problem: Problem, block: Block) -> list[list[FineSamples]]:
    """Read the samples in a block and its halo: for each colour, of each frame."""
    scale, lights = problem.scale, problem.lights
    y0, y1, x0, x1 = (
        (edge + halo + 0.5) / scale - 0.5
        for edge, halo in zip(block, (-HALO, HALO, -HALO, HALO), strict=True)
    )
    grid = np.meshgrid(np.linspace(x0, x1, 9), np.linspace(y0, y1, 9))
    result: list[list[FineSamples]] = [[] for _ in problem.models]
    all_shares = star_shares(widths_of(lights), problem.settings.cfa, problem.settings.planes)
    # The stack of undersampled frames is far from them in the cores of stars.
    all_shares[..., 0] = 0
    all_shares += _CORES
    for number, (light, shares) in enumerate(zip(lights, all_shares, strict=True)):
        u, v = light.transform.to_image(*grid)
        ny, nx = light.frame.shape[-2:]
        known = np.isfinite(u) & np.isfinite(v)
        if not known.any():
            continue
        first, last = _span(v[known], ny)
        left, right = _span(u[known], nx)
        if first >= last or left >= right:
            continue
        samples = read_samples(
            light, problem.settings, problem.models, shares, (first, last), (left, right)
        )
        for target, found, model in zip(result, samples, problem.models, strict=True):
            target.append(_on_fine_grid(number, found, model, scale))
    return result


def _span(places: NDArray[np.float64], length: int) -> tuple[int, int]:
    """First pixel that places along an axis need, and the one after the last."""
    return max(int(places.min()) - 2, 0), min(int(places.max()) + 3, length)


def _on_fine_grid(number: int, found: Samples, model: StackModel, scale: int) -> FineSamples:
    valid = found.valid
    return FineSamples(
        number,
        (found.x[valid] + 0.5) * scale - 0.5,
        (found.y[valid] + 0.5) * scale - 0.5,
        found.data[valid] - model.level,
        1 / found.variance[valid],
        found.accepted[valid],
    )


def cut_tile(problem: Problem, samples: list[FineSamples], box: Block) -> Tile:
    """Cut a tile with its halo."""
    y0, y1, x0, x1 = box
    shape = y1 - y0 + 2 * HALO, x1 - x0 + 2 * HALO
    size = shape[0] * shape[1]
    parts: list[tuple[csr_array, NDArray, NDArray, NDArray]] = []
    frames: list[slice] = []
    for one in samples:
        response = problem.responses[one.frame]
        x, y = one.x - (x0 - HALO), one.y - (y0 - HALO)
        near = np.flatnonzero(response.inside(x, y, shape))
        if not near.size:
            continue
        matrix = response.matrix(x[near], y[near], shape)
        start = frames[-1].stop if frames else 0
        frames.append(slice(start, start + near.size))
        parts.append((matrix, one.data[near], one.weight[near], one.accepted[near]))
    if not parts:
        nothing = np.zeros(0)
        return Tile(shape, csr_array((0, size)), nothing, nothing, nothing.astype(bool), frames)
    matrices, data, weight, accepted = zip(*parts, strict=True)
    values, weights = (np.concatenate(one).astype(np.float64) for one in (data, weight))
    design = csr_array(vstack(matrices, format="csr"))
    return Tile(shape, design, values, weights, np.concatenate(accepted), frames)
