"""Aligned frames combined: mean, median, or mean without outliers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MEDIAN_VARIANCE
from astro_sr_plugin.data.output import write_errors
from astro_sr_plugin.stacking.planetary.frames import AlignedFrame

__all__ = [
    "Combined",
    "PlanetCombination",
    "Sums",
    "clipped_mean",
    "median_of",
]

PlanetCombination = Literal["mean", "median", "sigma"]

_CLIP = 3.0
"""Standard deviations of a pixel over the frames, beyond which a value is left out."""
_FEWEST = 5
"""Frames below which nothing can be told to be an outlier."""
_ROWS = 32
"""Rows whose median is taken at a time."""


@dataclass(frozen=True)
class Combined:
    """A combination of frames.

    Attributes
    ----------
    data : ndarray of float64, shape (n, ny, nx)
        Values; 0 where no frame has one.
    error : ndarray of float64, shape (n, ny, nx)
        Their standard deviation, from the scatter of the frames.
    count : ndarray of int32, shape (ny, nx)
        Number of frames with a value.
    """

    data: NDArray[np.float64]
    error: NDArray[np.float64]
    count: NDArray[np.int32]


class Sums:
    """Weighted sums over frames, from which follow mean and scatter.

    Parameters
    ----------
    shape : (int, int, int)
        Planes, rows and columns.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._weighted = np.zeros(shape)
        self._squares = np.zeros(shape)
        self._weights = np.zeros(shape)
        self._square_weights = np.zeros(shape)
        self._origin: NDArray[np.float32] | None = None
        self._count = np.zeros(shape[-2:], np.int32)

    def add(
        self, frame: AlignedFrame, weight: float, valid: NDArray[np.bool_] | None = None
    ) -> None:
        """Add a frame; `valid` in the shape of its planes leaves values out."""
        share = (frame.covered * np.float32(weight)).astype(np.float32)
        shares = np.broadcast_to(share, frame.planes.shape)
        self.add_planes(frame.planes, shares if valid is None else shares * valid)

    def add_planes(self, planes: NDArray[np.float32], shares: NDArray[np.float32]) -> None:
        """Add finite planes with a weight of each value, both of shape (n, ny, nx)."""
        if self._origin is None:
            # Squares of differences from any frame lose no digits.
            self._origin = planes
        values = planes - self._origin
        for k, (plane, own) in enumerate(zip(values, shares, strict=True)):
            product = own * plane
            self._weighted[k] += product
            product *= plane
            self._squares[k] += product
            self._weights[k] += own
            self._square_weights[k] += own * own
        self._count += (shares > 0).any(axis=0)

    def result(self) -> Combined:
        """Return mean and standard error."""
        assert self._origin is not None
        known = self._weights > 0
        total = np.where(known, self._weights, 1)
        mean = self._weighted / total
        scatter = np.maximum(self._squares / total - mean**2, 0)
        effective = total**2 / np.where(known, self._square_weights, 1)
        error = np.sqrt(scatter / np.maximum(effective - 1, 1))
        data = np.where(known, mean + self._origin, 0)
        return Combined(data, np.where(known, error, np.nan), self._count)

    def scatter(self) -> NDArray[np.float64]:
        """Return the standard deviation of a value in a frame."""
        total = np.maximum(self._weights, 1e-12)
        mean = self._weighted / total
        return np.sqrt(np.maximum(self._squares / total - mean**2, 0))


def clipped_mean(
    frames: Callable[[], Iterator[tuple[AlignedFrame, float]]], first: Sums
) -> Combined:
    """Combine frames again without the values that deviate from the first mean.

    Parameters
    ----------
    frames : callable
        Gives the frames and their weights once more.
    first : Sums
        Of all values.

    Returns
    -------
    Combined
    """
    found = first.result()
    if found.count.max(initial=0) < _FEWEST:
        return found
    limit = _CLIP * first.scatter() + 1e-6
    sums = Sums(found.data.shape)
    for frame, weight in frames():
        sums.add(frame, weight, np.abs(frame.planes - found.data) <= limit)
    second = sums.result()
    return Combined(
        np.where(np.isfinite(second.error), second.data, found.data), second.error, found.count
    )


def median_of(
    frames: Iterator[tuple[AlignedFrame, float]], scratch: Path | None = None
) -> Combined:
    """Take the median of frames, which wait on the disk.

    Parameters
    ----------
    frames : iterator of (AlignedFrame, float)
        The frames; their weights do not count.
    scratch : Path, optional
        Folder for the temporary file of 4 bytes per value.

    Returns
    -------
    Combined

    Raises
    ------
    OutputError
        If there is no room for it.
    """
    folder = Path(tempfile.gettempdir() if scratch is None else scratch)
    with write_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
        shape: tuple[int, ...] = ()
        count = np.zeros(0, np.int32)
        used = 0
        for frame, _ in frames:
            if used == 0:
                shape, count = frame.planes.shape, np.zeros(frame.covered.shape, np.int32)
            # Written and not mapped, so that a full disk is an error and not a crash.
            file.write(np.where(frame.covered, frame.planes, np.float32(np.nan)).tobytes())
            count += frame.covered
            used += 1
        file.flush()
        stored: Any = np.memmap(file, np.float32, "r", shape=(used, *shape))
        data, error = np.zeros(stored.shape[1:]), np.full(stored.shape[1:], np.nan)
        for first in range(0, data.shape[1], _ROWS):
            band = np.array(stored[:, :, first : first + _ROWS])
            some = np.isfinite(band).any(axis=0)
            band[:, ~some] = 0
            data[:, first : first + _ROWS] = np.nanmedian(band, axis=0)
            spread = np.nanstd(band, axis=0)
            n = np.maximum(np.isfinite(band).sum(axis=0) - 1, 1)
            error[:, first : first + _ROWS] = np.where(
                some, spread * np.sqrt(MEDIAN_VARIANCE / n), np.nan
            )
        del stored
    return Combined(data, error, count)
