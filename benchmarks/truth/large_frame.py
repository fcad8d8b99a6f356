"""Large simulated frames for the speed and memory benchmarks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from benchmarks.truth.scene import Scene
from benchmarks.truth.scenes import make_scene

__all__ = ["large_frame", "write_large_frame"]

_TILE = 512


@cache
def _tile(seed: int) -> Scene:
    return make_scene("star-field", seed, size=_TILE)


def large_frame(
    shape: tuple[int, int], *, seed: int = 1, first_row: int = 0
) -> NDArray[np.float32]:
    """Return a star field made of repeated tiles with fresh noise everywhere.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) in pixels.
    seed : int
        Seed of the tile and of the noise.
    first_row : int
        Row of the whole pattern that this frame begins with.

    Returns
    -------
    numpy.ndarray
        float32 (ny, nx), ADU.
    """
    scene = _tile(seed)
    rows = np.arange(first_row, first_row + shape[0]) % _TILE
    columns = np.arange(shape[1]) % _TILE
    mean = scene.truth_denoise[np.ix_(rows, columns)]
    level = np.clip(mean - scene.background[:1, :1], 0.0, None)
    width = np.sqrt(scene.sigma**2 + scene.poisson * level).astype(np.float32)
    rng = np.random.default_rng([seed, first_row])
    return mean + width * rng.standard_normal(shape, dtype=np.float32)


def write_large_frame(path: str | Path, shape: tuple[int, int], *, seed: int = 1) -> Path:
    """Write `large_frame` as a float32 FITS file, a strip at a time."""
    header = fits.Header()
    header["SIMPLE"] = True
    header["BITPIX"] = -32
    header["NAXIS"] = 2
    header["NAXIS1"], header["NAXIS2"] = shape[1], shape[0]
    header["BUNIT"] = "adu"
    target = Path(path)
    target.unlink(missing_ok=True)
    with fits.StreamingHDU(str(target), header) as stream:
        for first in range(0, shape[0], _TILE):
            rows = min(_TILE, shape[0] - first)
            stream.write(large_frame((rows, shape[1]), seed=seed, first_row=first))
    return target
