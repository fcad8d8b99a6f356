"""Resampling of an image onto the pixels of its reference, band by band."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, maximum_filter

from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.exceptions import check_choice
from astro_sr_plugin.registration.kernels import KERNELS, WHOLE_PIXELS, Kernel, Pixels
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.registration.two_passes import interpolate_upright, is_upright

__all__ = ["Resampled", "check_kernel", "resample_rows", "rows_needed"]

Array = NDArray[np.float64]
Number = TypeVar("Number", bound=np.floating)

_SPLINE, _LINEAR = KERNELS["bspline"], KERNELS["linear"]
"""The kernel beside saturated pixels."""
_SWING = 4
"""Distance in pixels out to which kernels swing beside an edge: by 1 % of its height there."""
_GRID = 32
"""Spacing in pixels of the places that a band's input rows are looked up at."""
_PIXELS = 32768
"""Pixels that are made at a time: their numbers stay in the cache of a processor."""
_FEW = 0.02
"""Fraction of the pixels that are few bad ones: each is looked at on its own."""
_REACH = 32
"""Distance in pixels from the rim of an area of few bad pixels out to which it is filled so."""
_CROSS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Offsets (dy, dx) of the four neighbours of a pixel."""
_BAD, _MISSING, _EDGE = np.uint8(1), np.uint8(2), np.uint8(4)
"""Marks of values: made of a bad pixel, of one without value; beside a saturated one."""
_WHOLE = 1e-6
"""Distance in pixels from whole pixels within which these are copied, and no mask grows."""


class Resampled(NamedTuple):
    """A band of rows on the pixels of the reference.

    Attributes
    ----------
    data : ndarray of float32, shape (rows, nx)
        NaN where the image has no pixel, or one that is not finite within the kernel.
    mask : ndarray of bool, shape (rows, nx)
        True where the image has no pixel, or an unusable one within the kernel.
    variance : ndarray of float32, shape (rows, nx), or None
        Of the noise of single pixels; neighbours are correlated.
    """

    data: NDArray[np.float32]
    mask: NDArray[np.bool_]
    variance: NDArray[np.float32] | None


def check_kernel(kernel: str) -> Kernel:
    """Look a kernel up by its name.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    check_choice("kernel", kernel, KERNELS)
    return KERNELS[kernel]


def rows_needed(
    transform: Transform, rows: tuple[int, int], *, kernel: str = "bspline"
) -> tuple[int, int]:
    """Say which rows of the image a band of the result is made from.

    Parameters
    ----------
    transform : Transform
        From the image to the reference.
    rows : (int, int)
        First row of the band, and the one after its last.
    kernel : str
        As in `apply_transform`.

    Returns
    -------
    first, last : int
        First row, and the one after the last; equal where the band lies beside the image.
    """
    chosen = check_kernel(kernel)
    first, last = rows
    nx = transform.reference_shape[1]
    # The extremes of a smooth map lie on the rim of the band, to within its curvature between the
    # places looked at; a row is added for that.
    xs = np.unique(np.append(np.arange(0, nx, _GRID), nx - 1))
    ys = np.unique(np.append(np.arange(first, last, _GRID), last - 1))
    y, x = np.meshgrid(ys, xs, indexing="ij")
    _, row = transform.to_image(x, y)
    row = row[np.isfinite(row)]
    if not row.size:
        return 0, 0
    reach = chosen.support // 2 + chosen.margin + 1
    low = max(int(np.floor(row.min())) - reach, 0)
    high = min(int(np.ceil(row.max())) + reach + 1, transform.shape[0])
    return (low, high) if low < high else (0, 0)


def resample_rows(
    strip: NDArray[Any],
    transform: Transform,
    rows: tuple[int, int],
    *,
    first: int = 0,
    kernel: str = "bspline",
    mask: NDArray[np.bool_] | None = None,
    variance: NDArray[Any] | None = None,
    saturated: NDArray[np.bool_] | None = None,
    conserve_flux: bool = True,
) -> Resampled:
    """Make a band of the result from a strip of the image.

    Parameters
    ----------
    strip : ndarray, shape (n, nx)
        Rows ``first`` to ``first + n`` of the image, at least those of `rows_needed`. Pixels that
        are not finite are not used.
    transform : Transform
        From the image to the reference.
    rows : (int, int)
        First row of the band, and the one after its last.
    first : int
        Row of the image that the strip begins with.
    kernel : str
        As in `apply_transform`.
    mask : ndarray of bool, shape (n, nx), optional
        True marks pixels that are not used.
    variance : ndarray, shape (n, nx), optional
        Variance of each pixel.
    saturated : ndarray of bool, shape (n, nx), optional
        True marks saturated pixels: within 4 pixels of them values are interpolated linearly, for
        other kernels swing beside the edge of a plateau.
    conserve_flux : bool
        Whether pixels are multiplied by the area that they cover in the image: the flux of a star
        stays. Otherwise surface brightness stays.

    Returns
    -------
    Resampled
        Of shape (rows, columns of the reference).

    Notes
    -----
    Unusable pixels take the value of the nearest usable one before, so that they reach no farther
    than the kernel. Saturated pixels do not show in the variance.
    """
    y0, y1 = rows
    shape = y1 - y0, transform.reference_shape[1]
    source = _Source(strip, mask, variance, saturated, _kernel_for(transform, rows, kernel))
    if source.empty:
        noise = None if variance is None else np.full(shape, np.nan, dtype=np.float32)
        return Resampled(np.full(shape, np.nan, np.float32), np.ones(shape, bool), noise)
    if source.kernel is _SPLINE and variance is None and is_upright(transform):
        return _resample_upright(source, transform, rows, first, conserve_flux)
    result = np.full(shape, np.nan, dtype=np.float32)
    noise = None if variance is None else np.full(shape, np.nan, dtype=np.float32)
    excluded = np.ones(shape, dtype=bool)
    for low, high in iter_rows(shape[0], max(1, _PIXELS // shape[1])):
        x, y = _pixels(transform, y0 + low, y0 + high)
        u, v = transform.to_image(x, y)
        inside = _inside(u, v, transform.shape)
        if inside is None:
            continue
        places = np.stack([v[inside] - first, u[inside]])
        area = _area(transform, x, y, inside) if conserve_flux else None
        part = np.s_[low:high]
        values = source.kernel.values(source.prepared, places)
        spoilt: Any = False
        if source.marks is not None:
            marks = source.look_up(values, places)
            values[marks & _MISSING > 0] = np.nan
            spoilt = marks & _BAD > 0
        excluded[part][inside] = spoilt
        values = values if area is None else values * area
        result[part][inside] = values
        if noise is not None:
            found = source.variances(places)
            noise[part][inside] = found if area is None else found * area**2
    return Resampled(result, excluded, noise)


def _resample_upright(
    source: _Source, transform: Transform, rows: tuple[int, int], first: int, conserve_flux: bool
) -> Resampled:
    """Do the work of `resample_rows` where two passes give all values at once."""
    result = interpolate_upright(source.filled, transform, rows, first)
    excluded = np.empty(result.shape, bool)
    for low, high in iter_rows(len(result), max(1, _PIXELS // result.shape[1])):
        u, v = transform.to_image(*_pixels(transform, rows[0] + low, rows[0] + high))
        own, outside = result[low:high], excluded[low:high]
        np.logical_not(_covered(u, v, transform.shape), out=outside)
        own[outside] = np.nan
        if source.marks is not None:
            marks = source.look_up(own, np.stack([v - first, u]))
            own[marks & _MISSING > 0] = np.nan
            outside |= marks & _BAD > 0
    if conserve_flux:
        result *= np.float32(transform.area(0, 0))
    return Resampled(result, excluded, None)


def _pixels(transform: Transform, first: int, last: int) -> tuple[Array, Array]:
    """Columns x, and rows y, of a band of the reference."""
    x = np.arange(transform.reference_shape[1], dtype=np.float64)
    return x, np.arange(first, last, dtype=np.float64)[:, None]


def _area(transform: Transform, x: Array, y: Array, inside: Any) -> Any:
    """Area of pixels at the places that are inside; a number where it is the same everywhere."""
    area = transform.area(x, y)
    if not any(area.strides):
        return float(area.flat[0])
    return area[inside]


def _kernel_for(transform: Transform, rows: tuple[int, int], kernel: str) -> Kernel:
    """Return the kernel; none is needed where pixels fall on pixels."""
    chosen = check_kernel(kernel)
    x = np.arange(transform.reference_shape[1], dtype=np.float64)
    # Three rows decide in most cases; of a linear map, in all.
    few, every = np.array([rows[0], rows[0] + 1, rows[1] - 1.0]), np.arange(*rows, dtype=np.float64)
    for y in (few,) if transform.is_linear else (few, every):
        places = np.stack(transform.to_image(x, y[:, None]))
        if not np.abs(places - np.rint(places)).max() < _WHOLE:
            return chosen
    return WHOLE_PIXELS


def _inside(u: Array, v: Array, shape: tuple[int, int]) -> Any:
    """Index of the places that lie in an image of this shape (ny, nx); None if none does."""
    ny, nx = shape
    # Indexing costs more than interpolating: all of them where possible.
    if u.min() >= -0.5 and u.max() <= nx - 0.5 and v.min() >= -0.5 and v.max() <= ny - 0.5:
        return np.s_[:]
    covered = _covered(u, v, shape)
    return covered if covered.any() else None


def _covered(u: Array, v: Array, shape: tuple[int, int]) -> NDArray[np.bool_]:
    ny, nx = shape
    covered: NDArray[np.bool_] = (u >= -0.5) & (u <= nx - 0.5) & (v >= -0.5) & (v <= ny - 0.5)
    return covered


class _Source:
    """A strip of an image, made ready for interpolation when the first value is asked for."""

    def __init__(
        self,
        strip: NDArray[Any],
        mask: NDArray[np.bool_] | None,
        variance: NDArray[Any] | None,
        saturated: NDArray[np.bool_] | None,
        kernel: Kernel,
    ) -> None:
        self.kernel = kernel
        self._pixels = np.asarray(strip, dtype=np.float32)
        self.missing = ~np.isfinite(self._pixels)
        self.bad = self.missing if mask is None else self.missing | mask
        self._variance = variance
        swings = saturated is not None and kernel.support > _LINEAR.support and saturated.any()
        self._saturated = saturated if swings else None

    @cached_property
    def empty(self) -> bool:
        """Whether no pixel can be used."""
        return bool(self.bad.all())

    @cached_property
    def filled(self) -> Pixels:
        return _filled(self._pixels, self.bad)

    @cached_property
    def prepared(self) -> Pixels:
        return self.kernel.prepare(self.filled)

    def variances(self, places: Array) -> Array:
        found: Array = np.maximum(self.kernel.variances(self._spread, places), 0)
        return found

    def look_up(self, values: NDArray[np.floating], places: Array) -> NDArray[np.uint8]:
        """Give the marks of the pixels that values at these places are made of.

        Beside saturated pixels the values are interpolated linearly.
        """
        assert self.marks is not None
        marks = _look_up(self.marks, places)
        if self._saturated is not None:
            edge = marks & _EDGE > 0
            if edge.any():
                values[edge] = _LINEAR.values(self.filled, places[:, edge])
        return marks

    @cached_property
    def _spread(self) -> Array:
        spread = np.asarray(self._variance, dtype=np.float64)
        return _filled(spread, self.bad | ~np.isfinite(spread))

    @cached_property
    def marks(self) -> NDArray[np.uint8] | None:
        """Sum of the marks of each pixel, which what is made of it has; None if none has any."""
        support = self.kernel.support
        given = [(_BAD, self.bad, support), (_MISSING, self.missing, support)]
        if self._saturated is not None:
            given.append((_EDGE, self._saturated, 2 * _SWING))
        grown = [mark * _grown(pixels, size) for mark, pixels, size in given if pixels.any()]
        return np.sum(grown, axis=0, dtype=np.uint8) if grown else None


def _filled(pixels: NDArray[Number], bad: NDArray[np.bool_]) -> NDArray[Number]:
    """Give bad pixels the value of a good one near by."""
    todo = np.flatnonzero(bad)
    if not todo.size:
        return pixels
    if todo.size == bad.size:
        return np.zeros_like(pixels)
    if todo.size < _FEW * bad.size:
        # Single pixels, or a trail: from the rim inwards.
        pixels, bad = pixels.copy(), bad.copy()
        for _ in range(_REACH):
            todo = _fill_rim(pixels, bad, todo)
            if not todo.size:
                return pixels
    nearest = distance_transform_edt(bad, return_distances=False, return_indices=True)
    return np.asarray(pixels[tuple(nearest)])


def _fill_rim(
    pixels: NDArray[Number], bad: NDArray[np.bool_], todo: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Fill bad pixels, of these flat indices, that have a good neighbour; give the others."""
    (ny, nx), source = bad.shape, np.full(todo.size, -1)
    row, column = todo // nx, todo % nx
    for dy, dx in _CROSS:
        y, x = row + dy, column + dx
        good = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
        good[good] = ~bad[y[good], x[good]]
        source[good] = (y * nx + x)[good]
    found = source >= 0
    pixels.flat[todo[found]] = pixels.flat[source[found]]
    bad.flat[todo[found]] = False
    return todo[~found]


def _grown(bad: NDArray[np.bool_], support: int) -> NDArray[np.bool_]:
    """Mark the pixels p such that a value between p and p + 1 is made of a bad one.

    It has half of the support on each side.
    """
    if support <= 1:
        return bad
    found: NDArray[np.bool_] = maximum_filter(bad, size=support, mode="constant", origin=-1)
    return found


def _look_up(marks: NDArray[np.uint8], places: Array) -> NDArray[np.uint8]:
    """Give the marks of the pixel at or before each place; those beyond the edges are at them."""
    (ny, nx), (row, column) = marks.shape, np.floor(places).astype(np.intp)
    np.clip(row, 0, ny - 1, out=row)
    np.clip(column, 0, nx - 1, out=column)
    row *= nx
    row += column
    found: NDArray[np.uint8] = marks.ravel().take(row)
    return found
