"""The stack, band by band: rows of the frames are read, brought to the reference and combined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MEDIAN_VARIANCE
from astro_sr_plugin.data.cfa import ColorFilterArray
from astro_sr_plugin.data.debayer import interpolate_colours
from astro_sr_plugin.data.frames import Frame
from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.registration.resample import resample_rows, rows_needed
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.stacking.combination import Combination, Combined, combine_values
from astro_sr_plugin.stacking.masters import Masters
from astro_sr_plugin.stacking.measuring import read_calibrated
from astro_sr_plugin.stacking.normalisation import Normalisation
from astro_sr_plugin.stacking.output_frame import Box
from astro_sr_plugin.stacking.rejection import Method, Tolerance, reject, sorted_median
from astro_sr_plugin.stacking.star_light import find_stars, star_shares, star_sizes

__all__ = [
    "Light",
    "StackSettings",
    "area_of",
    "combine_band",
    "iter_bands",
    "margin_of",
    "noise_factors",
    "plan_bands",
    "widths_of",
]

_GROWTH = 2
"""Pixels by which what was rejected grows over neighbours that deviate too."""
_MARGIN_OF_FILTER = 3
"""Rows beside those of a mosaic from which its colours are interpolated."""
_NOISE_ROWS = 48
"""Rows of noise that the resampling is tried on."""
_LEAST_NOISE = 1000
"""Pixels of that noise from which figures are taken."""
_VALUE_BYTES = 4
"""Bytes of a value of a band."""
_WORK_BYTES = 32
"""Bytes for each value while it is combined: sorted values, flags, limits, workspace; measured 24
to 30."""
_WORKSPACE = 8
"""Part of the memory, as its inverse, that is workspace for columns that are combined at a time."""
_READ_BYTES = 60
"""Bytes for each pixel and colour of the strip of a frame that is being resampled."""
_FEWEST_ROWS, _MOST_ROWS = 16, 1024
"""Rows of a band."""
_ROWS = 32
"""Rows that are scaled at a time: they stay in the cache of a processor."""
_FEWEST_COLUMNS = 64
"""Columns that are combined at a time."""
_AT_ONCE = 2
"""Bands for which memory is reserved."""


@dataclass(frozen=True, eq=False)
class Light:
    """A frame with all that is needed to put it onto the reference.

    Attributes
    ----------
    frame : Frame
        The pixels.
    masters : Masters
        What it is calibrated by.
    excluded : ndarray of int64
        Flat indices of pixels that are not used.
    transform : Transform
        To the reference.
    normalisation : Normalisation
        To the values of the reference.
    noise : ndarray, shape (n,)
        Noise of one pixel of each colour, on the scale of the frame.
    gain : float or None
        Electrons per unit of the pixels.
    fwhm : float
        Width of its stars in pixels; NaN if unknown.
    weight : float
        Its weight.
    saturation : float
        Value from which its pixels are saturated.
    """

    frame: Frame
    masters: Masters
    excluded: NDArray[np.int64]
    transform: Transform
    normalisation: Normalisation
    noise: NDArray[np.float64]
    gain: float | None
    fwhm: float
    weight: float
    saturation: float = np.inf


@dataclass(frozen=True, eq=False)
class StackSettings:
    """How frames are combined.

    Attributes
    ----------
    shape : tuple of int
        Shape (ny, nx) of the stack.
    planes : int
        Number of its colours.
    cfa : ColorFilterArray or None
        Filters of the frames.
    level : ndarray, shape (planes,)
        Sky of the reference.
    factors : ndarray, shape (frames, planes)
        Variance of the noise of a pixel after resampling over that before.
    neighbours : ndarray, shape (frames, planes)
        Correlation of the noise of neighbouring pixels after it.
    combine, rejection, limits, kernel
        As in `stack`.
    columns : int
        Columns of a band that are combined at a time.
    box : Box or None
        Pixels of the stack on the grid of the reference; None for those of the reference itself.
    reference_shape : tuple of int or None
        Shape (ny, nx) of the reference where it is not that of the stack.
    """

    shape: tuple[int, int]
    planes: int
    cfa: ColorFilterArray | None
    level: NDArray[np.float64]
    factors: NDArray[np.float64]
    neighbours: NDArray[np.float64]
    combine: Combination = "mean"
    rejection: Method = "noise"
    limits: tuple[float, float] | None = None
    kernel: str = "bspline"
    columns: int = 512
    box: Box | None = None
    reference_shape: tuple[int, int] | None = None

    def offset_at(self, light: Light, plane: int, x: NDArray, y: NDArray) -> NDArray[np.float32]:
        """Evaluate what is added to a colour of a frame at places of the stack."""
        shape = self.reference_shape or self.shape
        if self.box is not None:
            x, y = x + self.box.x, y + self.box.y
        return light.normalisation.offset_at(plane, x, y, shape)


def iter_bands(height: int, rows: int) -> Iterator[tuple[int, int]]:
    """Walk down the stack in bands of nearly equal heights."""
    number = -(-height // rows)
    edges = np.linspace(0, height, number + 1).round().astype(int)
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def plan_bands(
    n_frames: int, settings: StackSettings, margin: int, memory: int, jobs: int = 1
) -> tuple[int, int, int]:
    """Say how many rows a band has, and how many bands fit into memory at once.

    Parameters
    ----------
    n_frames : int
        Number of frames.
    settings : StackSettings
        How they are combined.
    margin : int
        Rows that a band needs beside it, on each side.
    memory : int
        Bytes for all bands that are worked on at once.
    jobs : int
        Number of workers.

    Returns
    -------
    rows, workers : int
        Rows without the margin; number of bands, 1 at least.
    columns : int
        Columns of a band that are combined at a time, without the margin.
    """
    ny, nx = settings.shape
    row = nx * settings.planes * (n_frames * _VALUE_BYTES + _READ_BYTES)
    workspace = memory // _WORKSPACE
    rows = (memory // _AT_ONCE - workspace) // row - 2 * margin
    rows = min(ny, int(np.clip(rows, _FEWEST_ROWS, _MOST_ROWS)))
    # As many bands for each worker, so that they end together.
    rounds = -(-ny // (rows * jobs))
    rows = min(rows, max(_FEWEST_ROWS, -(-ny // (rounds * jobs))))
    height = min(ny, rows + 2 * margin)
    column = _WORK_BYTES * n_frames * height
    columns = min(nx, max(_FEWEST_COLUMNS, workspace // column - 2 * margin))
    workers = memory // (height * row + (columns + 2 * margin) * column)
    return rows, max(1, workers), columns


def combine_band(
    lights: list[Light], settings: StackSettings, rows: tuple[int, int]
) -> list[Combined]:
    """Combine the rows of a band.

    Parameters
    ----------
    lights : list of Light
        The frames.
    settings : StackSettings
        How they are combined.
    rows : (int, int)
        First row of the band in the reference, and the one after its last.

    Returns
    -------
    list of Combined
        One for each colour.
    """
    margin = margin_of(lights, settings)
    ny, nx = settings.shape
    first, last = max(rows[0] - margin, 0), min(rows[1] + margin, ny)
    cube = np.empty((settings.planes, len(lights), last - first, nx), np.float32)
    for number, light in enumerate(lights):
        _put_on_reference(cube[:, number], light, settings, (first, last))
    inner = slice(rows[0] - first, rows[1] - first)
    results = []
    for plane, values in enumerate(cube):
        parts = []
        for left, right in iter_bands(nx, settings.columns):
            low, high = max(left - margin, 0), min(right + margin, nx)
            window = inner, slice(left - low, right - low)
            parts.append(_combine_plane(values[:, :, low:high], lights, settings, plane, window))
        results.append(
            Combined(*(np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)))
        )
    return results


def noise_factors(lights: list[Light], settings: StackSettings, number: int) -> NDArray[np.float64]:
    """Find what becomes of white noise when one of the frames is resampled.

    Noise is put through the same steps as the frame, debayering included.

    Returns
    -------
    ndarray, shape (2, planes)
        Variance of a pixel after that over that before, and correlation of neighbouring pixels; 1
        and 0 where a frame stays as it is.
    """
    light = lights[number]
    ny = settings.shape[0]
    first = max(0, (ny - _NOISE_ROWS) // 2)
    rows = first, min(ny, first + _NOISE_ROWS)
    unchanged = np.array([np.ones(settings.planes), np.zeros(settings.planes)])
    if light.transform.is_identity and settings.cfa is None:
        return unchanged
    start, stop = rows_needed(light.transform, rows, kernel=settings.kernel)
    if stop - start < 2:
        return unchanged
    noise = np.random.default_rng(0).normal(size=(stop - start, light.frame.shape[-1]))
    planes = _colours(noise.astype(np.float32), settings.cfa, start)
    found = []
    for plane in planes if len(planes) == settings.planes else [planes[0]] * settings.planes:
        moved = resample_rows(
            plane, light.transform, rows, first=start, kernel=settings.kernel, conserve_flux=False
        )
        values = np.where(moved.mask, np.nan, moved.data).astype(np.float64)
        if np.isfinite(values).sum() < _LEAST_NOISE:
            return unchanged
        variance = np.nanmean(values**2)
        beside = np.nanmean(values[:, 1:] * values[:, :-1]) + np.nanmean(values[1:] * values[:-1])
        found.append((variance, beside / 2 / variance))
    return np.transpose(found)


def margin_of(lights: list[Light], settings: StackSettings) -> int:
    """Return the number of rows beside a band that what is rejected in it depends on."""
    if settings.rejection != "noise":
        return 0
    size, spread = star_sizes(widths_of(lights))
    return size + spread + _GROWTH


def _put_on_reference(
    target: NDArray[np.float32], light: Light, settings: StackSettings, rows: tuple[int, int]
) -> None:
    """Read a frame and bring it to rows of the reference, in an array (planes, rows, nx)."""
    start, stop = rows_needed(light.transform, rows, kernel=settings.kernel)
    if start == stop:
        target[:] = np.nan
        return
    low, high = start, stop
    if settings.cfa is not None:
        low, high = max(0, start - _MARGIN_OF_FILTER), stop + _MARGIN_OF_FILTER
    values = read_calibrated(light.frame, light.masters, low, high)
    nx = light.frame.shape[-1]
    bounds = np.searchsorted(light.excluded, [low * nx, high * nx])
    spoilt = light.excluded[bounds[0] : bounds[1]] - low * nx
    if spoilt.size:
        values.reshape(*values.shape[:-2], -1)[..., spoilt] = np.nan
    planes = _colours(values, settings.cfa, low)[:, start - low : stop - low]
    scale = np.float32(light.normalisation.scale)
    for number, plane in enumerate(planes):
        saturated = plane >= light.saturation if np.isfinite(light.saturation) else None
        moved = resample_rows(
            plane,
            light.transform,
            rows,
            first=start,
            kernel=settings.kernel,
            saturated=saturated,
        )
        moved.data[moved.mask] = np.nan
        x = np.arange(settings.shape[1])
        for low, high in iter_rows(len(moved.data), _ROWS):
            own = np.multiply(moved.data[low:high], scale, out=target[number, low:high])
            y = np.arange(rows[0] + low, rows[0] + high)[:, None]
            own += settings.offset_at(light, number, x, y)


def _colours(
    values: NDArray[np.float32], cfa: ColorFilterArray | None, first: int
) -> NDArray[np.float32]:
    """Give the planes of rows of a frame that begin at a row."""
    if values.ndim == 3:
        return values
    if cfa is None:
        return values[None]
    filters = np.roll(cfa.filters, -first, axis=0)
    colours: NDArray[np.float32] = interpolate_colours(values, filters, cubic=True)
    return colours


def _combine_plane(
    values: NDArray[np.float32],
    lights: list[Light],
    settings: StackSettings,
    plane: int,
    window: tuple[slice, slice],
) -> Combined:
    scales = np.array([light.normalisation.scale for light in lights])
    noise = np.array([light.noise[plane] for light in lights])
    area = np.array([area_of(light.transform) for light in lights])
    factors = settings.factors[:, plane]
    base = ((scales * noise * area) ** 2 * factors)[:, None, None]
    weights = np.array([light.weight for light in lights])
    variance = base.astype(np.float32)
    tolerance = median = None
    gains = [light.gain for light in lights]
    if settings.rejection == "noise" or all(gains):
        centre, count = median = sorted_median(values)
        above = np.nan_to_num(centre - np.float32(settings.level[plane]))
        if all(gains):
            per_unit = scales * area * factors / np.array(gains, dtype=float)
            photons = np.maximum(above, 0) * per_unit[:, None, None].astype(np.float32)
            variance = variance + photons
        if settings.rejection == "noise":
            shares = star_shares(widths_of(lights), settings.cfa, settings.planes)[:, plane]
            tolerance = _tolerance(above, count, base, widths_of(lights), shares)
    low, high = reject(
        values,
        settings.rejection,
        settings.limits,
        sigma=np.sqrt(variance),
        tolerance=tolerance,
        median=median,
        grow=_GROWTH,
    )
    part = (slice(None), *window)
    own = variance if variance.shape[1] == 1 else variance[part]
    return combine_values(
        values[part],
        low[part],
        high[part],
        combine=settings.combine,
        weights=weights,
        variance=own,
    )


def area_of(transform: Transform) -> float:
    """Return the area in the frame of a pixel in the middle of the reference."""
    ny, nx = transform.reference_shape
    return float(transform.area((nx - 1) / 2, (ny - 1) / 2))


def widths_of(lights: list[Light]) -> list[float]:
    """Return the FWHM of the frames."""
    return [light.fwhm for light in lights]


def _tolerance(
    above: NDArray[np.float32],
    count: NDArray[np.intp],
    variance: NDArray[np.float64],
    widths: list[float],
    shares: NDArray[np.float32],
) -> Tolerance:
    """Find the deviation that each frame may have in the light of stars."""
    error = np.sqrt(MEDIAN_VARIANCE * variance.mean() / np.maximum(count, 1))
    stars, around = find_stars(above, error, widths)

    stars, around = stars.ravel(), around.ravel()

    def allowed(number: int, index: NDArray[np.intp]) -> NDArray[np.float32]:
        own, beside = shares[number]
        deviation: NDArray[np.float32] = own * stars[index]
        deviation += beside * around[index]
        return deviation

    return allowed
