"""Run a model over an image in tiles: NumPy arrays in, strips of the restored image out."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from astro_sr_plugin.allocation import reuse_memory
from astro_sr_plugin.exceptions import InputError, ModelError, OutOfMemoryError, warn
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import Tile, make_tiles
from astro_sr_plugin.models.spec import Conditions, Model, RestoreTile

__all__ = ["Predictor", "ReadRegion", "choose_device"]

_log = logging.getLogger(__name__)

ReadRegion = Callable[[int, int, int, int], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""``(y0, y1, x0, x1) -> (values, mask)``: any region, each of shape (C, y1 - y0, x1 - x0); mirrored
beyond the edges of the image."""

_REGION = {"cpu": 1800, "cuda": 2048, "mps": 1024}
"""Side in input pixels of the region read for one tile, halo included, for each kind of device:
about 2 GB of memory on CPUs."""

_FINER_REGION = 0.75
"""That side of models of a finer grid over the one of others: they hold up to 4 times the pixels
in their last layers only."""
_MIN_DEFAULT_TILE = 256
"""Least side of a tile that is chosen without a request, in input pixels."""
_SMALLEST_TILE = 64
"""Side of a tile in input pixels below which running out of memory is final."""


def choose_device(device: str) -> str:
    """Turn ``"auto"`` into the best device there is, and check any other.

    Raises
    ------
    InputError
        If the device is not there.
    """
    kind = device.split(":")[0]
    if kind == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there[kind]:
        msg = f"device={device!r} is not available here; use 'cpu' or 'auto'"
        raise InputError(msg)
    return device


def _is_out_of_memory(error: RuntimeError) -> bool:
    text = str(error).lower()
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "out of memory" in text
        or ("can't allocate memory" in text)
    )


@dataclass(frozen=True)
class Predictor:
    """A model with the conditions of one image and the settings of the run.

    The result does not depend on tile size, overlap or device beyond float rounding. Where memory
    runs out, tiles become smaller, and at last the CPU takes over, each with a warning. A model of
    ``tiling="whole"`` gets the whole image as one tile, whatever the settings.

    Attributes
    ----------
    model : Model
        Network or classical method.
    conditions : Conditions
        What was measured on the image.
    runtime : Runtime
        Device, tiles, progress.
    """

    model: Model
    conditions: Conditions
    runtime: Runtime

    def strips(
        self, read: ReadRegion, shape: tuple[int, int]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Restore an image strip by strip.

        Parameters
        ----------
        read : callable
            Gives any region of the image and its mask, in the domain of the model, with as many
            planes as the model takes.
        shape : tuple of int
            Shape (ny, nx) of a plane of the image.

        Yields
        ------
        first_row : int
            First output row of the strip.
        strip : ndarray of float32, shape (C, rows, scale * nx)
            Restored rows; of a model that estimates it, after them their standard deviation.

        Raises
        ------
        OutOfMemoryError
            If even a small tile on the CPU does not fit, or the whole image where a model needs it.
        ModelError
            If ``read`` gives, or the model returns, another number of planes than it declares.
        """
        device, tile_size, done = choose_device(self.runtime.device), self.runtime.tile_size, 0
        with reuse_memory() if self.runtime.reuse_memory else contextlib.nullcontext():
            while done < shape[0]:
                try:
                    for first, last, strip in self._strips(read, shape, device, tile_size, done):
                        yield first * self.model.spec.scale, strip
                        done = last
                except RuntimeError as error:
                    if not _is_out_of_memory(error):
                        raise
                    device, tile_size = self._shrink(shape, device, tile_size)

    def _shrink(
        self, shape: tuple[int, int], device: str, tile_size: int | None
    ) -> tuple[str, int | None]:
        size = self._tiles(shape, device, tile_size)[0].height
        if size > _SMALLEST_TILE and self.model.spec.tiling != "whole":
            smaller = max(_SMALLEST_TILE, size // 2)
            text = f"memory of {device} ran out: going on with tiles of {smaller} pixels"
            warn(text)
            return device, smaller
        if device == "cpu":
            msg = f"memory ran out with tiles of {size} pixels on the CPU; close other programs"
            raise OutOfMemoryError(msg)
        warn(f"memory of {device} ran out: going on on the CPU")
        return "cpu", self.runtime.tile_size

    def _tiles(
        self, shape: tuple[int, int], device: str, tile_size: int | None, done: int = 0
    ) -> list[Tile]:
        spec = self.model.spec
        halo = max(self.model.halo(self.conditions), self.runtime.overlap or 0)
        if spec.tiling == "whole":
            tile_size = max(shape)
        elif tile_size is None:
            region = _REGION[device.split(":")[0]]
            if spec.scale > 1:
                region = round(_FINER_REGION * region)
            if spec.domain == "noise-sigma":
                # Filters and features of all planes are held at once.
                region = round(region / math.sqrt(spec.channels_in))
            tile_size = max(_MIN_DEFAULT_TILE, region - 2 * halo)
        tiles = make_tiles(
            (shape[0] - done, shape[1]),
            tile_size=tile_size,
            halo=halo,
            multiple_of=spec.multiple_of,
            min_size=spec.min_size,
        )
        return [replace(t, y0=t.y0 + done, y1=t.y1 + done) for t in tiles] if done else tiles

    def _strips(
        self,
        read: ReadRegion,
        shape: tuple[int, int],
        device: str,
        tile_size: int | None,
        done: int,
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        restore = self.model.prepare(self.conditions, device, self.runtime.dtype or "float32")
        tiles = self._tiles(shape, device, tile_size, done)
        _log.info("%s on %s: tiles: %d", self.model.spec.name, device, len(tiles))
        scale = self.model.spec.scale
        strip = np.empty((0, 0, 0), np.float32)
        for number, tile in enumerate(tiles, start=1):
            core = self._restore_tile(restore, read, tile, device)
            rows, columns = (tile.y1 - tile.y0) * scale, (tile.x1 - tile.x0) * scale
            if tile.x0 == 0:
                strip = np.empty((len(core), rows, shape[1] * scale), np.float32)
            strip[..., tile.x0 * scale : tile.x1 * scale] = core[:, :rows, :columns]
            if self.runtime.progress is not None:
                self.runtime.progress(number, len(tiles))
            if tile.x1 == shape[1]:
                yield tile.y0, tile.y1, strip

    def _restore_tile(
        self, restore: RestoreTile, read: ReadRegion, tile: Tile, device: str
    ) -> NDArray[np.float32]:
        spec = self.model.spec
        values, mask = read(*tile.rows, *tile.columns)
        _check_planes(spec.name, "takes", len(values), (spec.channels_in,))
        extra = tile.halo - self.model.halo(self.conditions)
        inner = slice(extra, -extra or None)
        with torch.inference_mode():
            tensors = [
                torch.from_numpy(np.ascontiguousarray(a[:, inner, inner]))[None].to(device)
                for a in (values, mask)
            ]
            origin = (tile.rows[0] + extra, tile.columns[0] + extra)
            result = restore(tensors[0], tensors[1], origin)[0].float().cpu().numpy()
        # With the standard deviation, where the model estimates it.
        _check_planes(spec.name, "returns", len(result), (spec.channels_out, 2 * spec.channels_out))
        return result


def _check_planes(name: str, verb: str, planes: int, declared: tuple[int, ...]) -> None:
    if planes not in declared:
        msg = f"model {name!r} {verb} {planes} planes here; it declares {declared[0]}"
        raise ModelError(msg)
