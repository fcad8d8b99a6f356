"""The camera: noise, full well, dithered and registered stacks, colour filter arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["FINE", "MARGIN", "Camera", "bilinear_demosaic", "dithers", "stack_bayer", "stack_mono"]

FINE = 4
"""Grid points per pixel of the rendering from which dithered frames are picked."""
MARGIN = 14
"""Pixels around the frame that dithering and interpolation may reach into."""

_BAYER = np.array([[0, 1], [1, 2]])  # RGGB


@dataclass(frozen=True)
class Camera:
    """A detector: gain (electron/ADU), read noise (electron), full well (ADU or None)."""

    gain: float
    readnoise: float
    full_well: float | None = None
    integer: bool = False

    def sigma(self, level: float) -> float:
        """Return the noise (ADU) of one pixel of one frame at this level (ADU)."""
        variance = level / self.gain + (self.readnoise / self.gain) ** 2
        return float(np.sqrt(variance + (1.0 / 12.0 if self.integer else 0.0)))

    def expose(self, mean: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
        """Return one noisy frame of this mean (ADU)."""
        electrons = rng.poisson(np.clip(mean, 0.0, None) * self.gain)
        frame = (electrons + rng.normal(0.0, self.readnoise, mean.shape)) / self.gain
        if self.full_well is not None:
            frame = np.minimum(frame, self.full_well)
        return np.clip(np.rint(frame), 0.0, 65535.0) if self.integer else frame


def dithers(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `count` offsets (dy, dx) in steps of 1 / FINE pixel, within 4 pixels."""
    return rng.integers(-4 * FINE, 4 * FINE, size=(count, 2))


def _pick(fine: NDArray[np.float64], offset: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Return the frame of side `n + 2 * 8` whose pixel 8 is the sky's pixel 0 moved by offset."""
    start = (MARGIN - 8) * FINE + offset
    return fine[tuple(slice(s, s + (n + 16) * FINE, FINE) for s in start)]


def _register(
    frame: NDArray[np.float64], offset: NDArray[np.int64], order: int
) -> NDArray[np.float64]:
    """Move a picked frame back to the sky's grid and drop its margin."""
    # Sample j of the fine grid sits at (j + 0.5) / FINE - 0.5, so even offset 0 is off the grid.
    position = (offset + 0.5) / FINE - 0.5
    return ndimage.shift(frame, position, order=order, mode="nearest")[8:-8, 8:-8]


def stack_mono(
    fine: NDArray[np.float64],
    offsets: NDArray[np.int64],
    *,
    camera: Camera | None = None,
    rng: np.random.Generator | None = None,
    order: int = 1,
) -> NDArray[np.float64]:
    """Expose, register by spline interpolation and average dithered frames.

    Parameters
    ----------
    fine : numpy.ndarray
        Pixel-integrated sky with background on a grid FINE times finer, MARGIN pixels around.
    offsets : numpy.ndarray
        Dithers from `dithers`, shape (count, 2).
    camera : Camera, optional
        Without it the frames are noise-free.
    rng : numpy.random.Generator, optional
        Noise source; needed with `camera`.
    order : int
        Order of the interpolating spline.

    Returns
    -------
    numpy.ndarray
        The stack, shape (ny, nx).
    """
    n = fine.shape[0] // FINE - 2 * MARGIN
    total = np.zeros((n, n))
    for offset in offsets:
        frame = _pick(fine, offset, n)
        if camera is not None and rng is not None:
            frame = camera.expose(frame, rng)
        total += _register(frame, offset, order)
    return total / len(offsets)


def stack_bayer(
    fine: NDArray[np.float64],
    offsets: NDArray[np.int64],
    *,
    camera: Camera | None = None,
    rng: np.random.Generator | None = None,
    order: int = 3,
) -> NDArray[np.float64]:
    """Expose through an RGGB filter array, interpolate the colours, register and average.

    Parameters
    ----------
    fine : numpy.ndarray
        Shape (3, ...), else as for `stack_mono`.
    offsets, camera, rng, order
        As for `stack_mono`.

    Returns
    -------
    numpy.ndarray
        The stack, shape (3, ny, nx).
    """
    n = fine.shape[1] // FINE - 2 * MARGIN
    total = np.zeros((3, n, n))
    channel = np.tile(_BAYER, ((n + 17) // 2, (n + 17) // 2))[: n + 16, : n + 16]
    for offset in offsets:
        planes = np.stack([_pick(plane, offset, n) for plane in fine])
        mosaic = np.take_along_axis(planes, channel[None], axis=0)[0]
        if camera is not None and rng is not None:
            mosaic = camera.expose(mosaic, rng)
        colour = bilinear_demosaic(mosaic, channel)
        total += np.stack([_register(plane, offset, order) for plane in colour])
    return total / len(offsets)


def bilinear_demosaic(
    mosaic: NDArray[np.float64], channel: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return (3, ny, nx) from a mosaic by averaging the nearest pixels of each colour."""
    kernel = np.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    planes = []
    for colour in range(3):
        own = channel == colour
        weight = ndimage.convolve(own.astype(float), kernel, mode="mirror")
        mean = ndimage.convolve(np.where(own, mosaic, 0.0), kernel, mode="mirror") / weight
        planes.append(np.where(own, mosaic, mean))
    return np.stack(planes)
