"""Which pixels of a plane hold no data: masked, not finite, absurdly large, or fill.

Programs that register, rotate or mosaic images write one constant value where no frame has data:
0, -32768, 65535, 1e30. Such fill is recognised by its large, exactly constant areas with an abrupt
edge. Constant data are kept: saturated cores, noise-free models, clipped or empty skies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_propagation

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.data.strips import iter_rows, release
from astro_sr_plugin.measurement.sky.fill import FillArea, constant_blocks, find_fill_areas, nearly

__all__ = ["UnusablePixels", "find_unusable", "sample_spread"]

_STRIP_PIXELS = 4_000_000
"""Pixels of the strips in which a plane is read: 32 MB as float64."""
_BLOCK = 4
"""Side in pixels of the constant blocks that fill is recognised by."""
_ABSURD = 1e8
"""Distance from the median of the plane, in its scatter, beyond which a value stands for "no data".

Stars saturate at 1e5 times the noise of the sky."""
_GAP = 1e3
"""Factor between the largest usable and the smallest absurd distance; light has no such gap."""
_LARGEST = 1e15
"""Largest usable value: float32 takes the squares of sums of so large values. The scatter of an
opened plane is at most 1e6."""
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 128, 256
"""Rows and columns of the sample from which the scatter of a plane is taken."""
_COMMON = 0.3
"""Fraction of a sample from which its most frequent value is left out of the scatter."""
_TOUCHING = np.ones((3, 3), dtype=bool)
"""Pixels that touch a pixel, diagonally too."""


class UnusablePixels:
    """The unusable pixels of a plane, one bit per pixel, read in windows like a mask.

    ``unusable[y0:y1, x0:x1]`` is a new bool array, True where a pixel holds no data.

    Parameters
    ----------
    shape : tuple of int
        Shape (ny, nx) of the plane.
    mask : numpy.ndarray of bool, shape (ny, nx), optional
        True marks pixels that the user excludes; kept, not copied.
    bits : numpy.ndarray of uint8, shape (ny, ceil(nx / 8)), optional
        Further pixels, packed along the rows by `numpy.packbits`.
    fill_values : tuple of float
        Constant values that mark missing data in the plane.
    fill_pixels : int
        Number of pixels that they and their blended rim cover.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        mask: NDArray[np.bool_] | None = None,
        bits: NDArray[np.uint8] | None = None,
        fill_values: tuple[float, ...] = (),
        fill_pixels: int = 0,
    ) -> None:
        self.shape = shape
        self.fill_values, self.fill_pixels = fill_values, fill_pixels
        self._mask, self._bits = mask, bits

    def __getitem__(self, key: slice | tuple[slice, slice]) -> NDArray[np.bool_]:
        """Return a window; steps and negative indices are not supported."""
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        y0, y1, _ = rows.indices(self.shape[0])
        x0, x1, _ = columns.indices(self.shape[1])
        if self._bits is None:
            window = np.zeros((max(0, y1 - y0), max(0, x1 - x0)), dtype=bool)
        else:
            first = x0 // 8
            packed = self._bits[y0:y1, first : -(-x1 // 8)]
            bits = np.unpackbits(packed, axis=1).view(bool)
            window = np.ascontiguousarray(bits[:, x0 - 8 * first : x1 - 8 * first])
        if self._mask is not None:
            window |= self._mask[y0:y1, x0:x1]
        return window

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the whole mask."""
        del copy
        whole = self[:, :]
        return whole if dtype is None else whole.astype(dtype)

    def all(self) -> bool:
        """Return whether no pixel can be used."""
        if self._mask is None and self._bits is None:
            return False
        return all(self[y0:y1].all() for y0, y1 in _strips(self.shape))


def find_unusable(plane: Any, mask: NDArray[np.bool_] | None = None) -> UnusablePixels:
    """Find the pixels of a plane that hold no data.

    The plane is read once, strip by strip; where there is fill, three times.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Integer or floating-point pixels; may be memory-mapped.
    mask : numpy.ndarray of bool, shape (ny, nx), optional
        True marks pixels to leave out.

    Returns
    -------
    UnusablePixels
        Masked pixels, NaN and infinity, values farther than 1e8 times the scatter from the median
        with a gap below them, and fill.
    """
    shape = (plane.shape[0], plane.shape[1])
    # Values beyond the range of their type, and signalling NaN, are what is looked for here.
    with np.errstate(over="ignore", invalid="ignore"):
        found = _scan(plane, mask, _absurd_limits(plane))
        areas = find_fill_areas(plane, mask, found.limits, found.blocks, found.values)
    bits, pixels = found.bits, 0
    if areas:
        fill = _mark_fill(plane, areas)
        if not _all_set(shape, mask, bits, fill):
            pixels = int(sum(np.unpackbits(fill[y0:y1]).sum() for y0, y1 in _strips(shape)))
            bits = fill if bits is None else bits | fill
    values = tuple(sorted({area.value for area in areas})) if pixels else ()
    return UnusablePixels(shape, mask, bits, values, pixels)


def sample_spread(plane: Any) -> tuple[float, float]:
    """Estimate the median and the scatter (1.4826 times the MAD) from a sample of the plane.

    A value that makes up more than 30 % of the sample is left out: it may be fill. The scatter is 0
    if nothing else is left.
    """
    ny, nx = plane.shape
    sample = plane[:: max(1, ny // _SAMPLE_ROWS), :: max(1, nx // _SAMPLE_COLUMNS)]
    values = np.asarray(sample, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 0.0
    distinct, counts = np.unique(values, return_counts=True)
    common = int(np.argmax(counts))
    if distinct.size > 1 and counts[common] > _COMMON * values.size:
        values = values[values != distinct[common]]
    middle = float(np.median(values))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
    return middle, spread if np.isfinite(spread) else 0.0


class _Scan(NamedTuple):
    """What one pass over a plane found.

    ``bits`` are the pixels that are not finite or absurd, or None; ``blocks`` of shape (n, 2) the
    rows and columns of constant blocks, in blocks, and ``values`` the values of these.
    """

    bits: NDArray[np.uint8] | None
    limits: tuple[float, float]
    blocks: NDArray[np.int64]
    values: NDArray[np.float64]


def _absurd_limits(plane: Any) -> tuple[float, float]:
    """Return the least and the largest value that can be data."""
    limits = _widest_limits(plane)
    if plane.dtype.kind != "f":
        return limits
    middle, spread = sample_spread(plane)
    if not spread > 0:
        return limits
    return max(limits[0], middle - _ABSURD * spread), min(limits[1], middle + _ABSURD * spread)


def _widest_limits(plane: Any) -> tuple[float, float]:
    """Return what the type of a plane, and measurements in float32, can take."""
    if plane.dtype.kind != "f":
        return -np.inf, np.inf
    largest = min(float(np.finfo(plane.dtype.newbyteorder("=")).max), _LARGEST)
    return -largest, largest


def _scan(plane: Any, mask: NDArray[np.bool_] | None, limits: tuple[float, float]) -> _Scan:
    """Read the plane once; again without limits if values run on smoothly beyond them."""
    shape = (plane.shape[0], plane.shape[1])
    bits, places, values = None, [], []
    middle = 0.0 if np.isinf(limits[0]) else limits[0] / 2 + limits[1] / 2
    usable, absurd = 0.0, np.inf
    for y0, y1 in _strips(shape):
        strip = np.asarray(plane[y0:y1])
        where, constant = constant_blocks(strip, y0, shape)
        places.append(where)
        values.append(constant)
        if strip.dtype.kind == "f":
            low, high = (strip.dtype.type(limit) for limit in limits)
            bad = ~((strip >= low) & (strip <= high))
            if bad.any():
                if bits is None:
                    bits = np.zeros((shape[0], -(-shape[1] // 8)), np.uint8)
                bits[y0:y1] = np.packbits(bad, axis=1)
                beyond = strip[bad & np.isfinite(strip)].astype(np.float64)
                if beyond.size:
                    absurd = min(absurd, float(np.abs(beyond - middle).min()))
                if not bad.all():
                    usable = max(usable, float(np.abs(strip[~bad] - middle).max()))
        release(plane)
    if limits != _widest_limits(plane) and absurd < _GAP * usable:
        return _scan(plane, mask, _widest_limits(plane))
    return _Scan(bits, limits, np.concatenate(places), np.concatenate(values))


def _strips(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Walk down a plane in strips of whole blocks."""
    return iter_rows(shape[0], max(_BLOCK, _STRIP_PIXELS // shape[1] // _BLOCK * _BLOCK))


def _mark_fill(plane: Any, areas: list[FillArea]) -> NDArray[np.uint8]:
    """Return the pixels of the areas, and of their blended rims, as packed bits.

    From their blocks the areas grow over pixels of the same value that touch, first downwards and
    then upwards through the strips.
    """
    shape = (plane.shape[0], plane.shape[1])
    values = sorted({area.value for area in areas})
    seeds = np.zeros((-(-shape[0] // _BLOCK), -(-shape[1] // _BLOCK)), dtype=bool)
    for area in areas:
        seeds[area.rows, area.columns] = True
    bits = np.zeros((shape[0], -(-shape[1] // 8)), np.uint8)
    strips = list(_strips(shape))
    for down in (True, False):
        beside = np.zeros((1, shape[1]), dtype=bool)
        for y0, y1 in strips if down else reversed(strips):
            strip = np.asarray(plane[y0:y1])
            same = nearly(strip, values[0])
            for value in values[1:]:
                same |= nearly(strip, value)
            if down:
                inner = seeds[y0 // _BLOCK : -(-y1 // _BLOCK)]
                start = inner.repeat(_BLOCK, 0)[: y1 - y0].repeat(_BLOCK, 1)[:, : shape[1]]
            else:
                start = np.unpackbits(bits[y0:y1], axis=1, count=shape[1]).view(bool)
            edge = 0 if down else -1
            start = start & same
            start[edge] |= binary_dilation(beside, _TOUCHING)[0] & same[edge]
            grown = binary_propagation(start, _TOUCHING, mask=same) if start.any() else start
            bits[y0:y1] = np.packbits(grown, axis=1)
            beside = grown[-1:] if down else grown[:1]
            release(plane)
    rim = max(area.rim for area in areas)
    return _grown(bits, shape, rim) if rim else bits


def _grown(bits: NDArray[np.uint8], shape: tuple[int, int], rim: int) -> NDArray[np.uint8]:
    """Return packed bits dilated by ``rim`` pixels."""
    result = np.empty_like(bits)
    for y0, y1 in _strips(shape):
        low, high = max(0, y0 - rim), min(shape[0], y1 + rim)
        window = np.unpackbits(bits[low:high], axis=1, count=shape[1]).view(bool)
        window = binary_dilation(window, _TOUCHING, iterations=rim)
        result[y0:y1] = np.packbits(window[y0 - low : y1 - low], axis=1)
    return result


def _all_set(
    shape: tuple[int, int],
    mask: NDArray[np.bool_] | None,
    *bits: NDArray[np.uint8] | None,
) -> bool:
    """Return whether mask and bits together leave no pixel."""
    parts = [UnusablePixels(shape, mask, some) for some in bits if some is not None]
    return all(
        np.logical_or.reduce([part[y0:y1] for part in parts]).all() for y0, y1 in _strips(shape)
    )
