"""Checks a plane and cuts small float32 windows out of it.

Every measurement reads an image through here, so that integer, big-endian, read-only and
memory-mapped planes work alike, and so that no step needs a second full-size copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels, find_unusable

__all__ = ["Window", "check_plane", "cut_window", "iterate_strips", "spread_windows"]


class Window(NamedTuple):
    """A half-open rectangle of pixels: rows ``y0:y1``, columns ``x0:x1``."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.y1 - self.y0, self.x1 - self.x0


def check_plane(plane: Any, mask: Any = None) -> tuple[NDArray[Any], UnusablePixels]:
    """Check that ``plane`` is a usable two-dimensional real image, and find its unusable pixels.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Integer or floating-point pixel values; never copied.
    mask : array_like of bool or UnusablePixels, shape (ny, nx), optional
        True marks pixels to leave out. What `find_unusable` has found on the plane is handed on as
        it is.

    Returns
    -------
    plane : numpy.ndarray
        The same data.
    unusable : UnusablePixels
        Its pixels without data.

    Raises
    ------
    InputError
        If the plane is not two-dimensional, empty or not real, or the mask has another shape.
    """
    if isinstance(mask, UnusablePixels):
        return plane, mask
    array = np.asanyarray(plane)
    if isinstance(array, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(array)
        mask = hidden if mask is None else np.asarray(mask, dtype=bool) | hidden
        array = array.data
    array = np.asarray(array)
    if array.ndim != 2:
        msg = f"plane has {array.ndim} dimensions, but a plane has the two dimensions (ny, nx)"
        raise InputError(msg)
    if array.size == 0:
        msg = f"plane has the shape {array.shape}, but both sides must be at least 1 pixel"
        raise InputError(msg)
    if array.dtype.kind not in "iufb":
        msg = f"plane has the dtype {array.dtype}, but only real numbers can be measured"
        raise InputError(msg)
    excluded = None if mask is None else np.asarray(mask, dtype=bool)
    if excluded is not None and excluded.shape != array.shape:
        msg = f"mask has the shape {excluded.shape}, but the plane has {array.shape}"
        raise InputError(msg)
    return array, find_unusable(array, excluded)


def cut_window(
    plane: NDArray[Any], unusable: UnusablePixels, window: Window
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Copy one window as native float32, with the pixels that cannot be used.

    Parameters
    ----------
    plane, unusable : numpy.ndarray and UnusablePixels, shape (ny, nx)
        As returned by `check_plane`.
    window : Window
        The rectangle to cut.

    Returns
    -------
    values : numpy.ndarray of float32
        C-contiguous copy; unusable pixels are set to 0.
    bad : numpy.ndarray of bool
        True where the pixel holds no data.
    """
    y0, y1, x0, x1 = window
    with np.errstate(over="ignore"):
        values = np.array(plane[y0:y1, x0:x1], dtype=np.float32, order="C")
    bad = unusable[y0:y1, x0:x1]
    values[bad] = 0
    return values, bad


def iterate_strips(shape: tuple[int, int], pixels: int = 4_000_000) -> Iterator[Window]:
    """Yield full-width windows of about `pixels` pixels that together cover the plane."""
    ny, nx = shape
    for y0, y1 in iter_rows(ny, max(1, pixels // nx)):
        yield Window(y0, y1, 0, nx)


def spread_windows(shape: tuple[int, int], size: int = 1024, count: int = 12) -> list[Window]:
    """Choose at most `count` square windows that sample the whole plane evenly.

    A plane of up to `count` windows is covered completely; a larger one is sampled on a regular
    grid from border to border. The window nearest the centre comes first, and each next one is
    the farthest from all those before it, so that a caller who stops early still has seen the
    whole field.

    Parameters
    ----------
    shape : tuple of int
        Plane shape (ny, nx).
    size : int
        Side of a window in pixels.
    count : int
        The largest number of windows.

    Returns
    -------
    list of Window
        Without overlaps.
    """
    ny, nx = shape
    rows, columns = max(1, round(ny / size)), max(1, round(nx / size))
    while rows * columns > count:
        if columns == 1 or (rows > 1 and rows / ny >= columns / nx):
            rows -= 1
        else:
            columns -= 1
    windows = [
        Window(y0, y1, x0, x1)
        for y0, y1 in _spans(ny, rows, size)
        for x0, x1 in _spans(nx, columns, size)
    ]
    centres = np.array([((w.y0 + w.y1) / 2, (w.x0 + w.x1) / 2) for w in windows])
    order = [int(np.argmin(np.hypot(*(centres - [ny / 2, nx / 2]).T)))]
    while len(order) < len(windows):
        gaps = np.hypot(*(centres[:, None] - centres[order]).transpose(2, 0, 1)).min(axis=1)
        order.append(int(np.argmax(gaps)))
    return [windows[i] for i in order]


def _spans(length: int, number: int, size: int) -> list[tuple[int, int]]:
    edges = np.linspace(0, length, number + 1).round().astype(int)
    spans = []
    for start, stop in zip(edges[:-1], edges[1:], strict=True):
        if stop - start > 1.5 * size:
            start = (start + stop - size) // 2
            stop = start + size
        spans.append((int(start), int(stop)))
    return spans
