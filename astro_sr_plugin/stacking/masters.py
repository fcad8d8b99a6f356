"""Calibration carried out: master frames, and strips of lights corrected by them with ccdproc."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from numpy.typing import NDArray

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.data.cfa import find_cfa
from astro_sr_plugin.data.frames import Frame, FrameSequence
from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.exceptions import warn
from astro_sr_plugin.stacking.calibration import Calibration, CalibrationSet
from astro_sr_plugin.stacking.combination import combine_values
from astro_sr_plugin.stacking.rejection import reject

__all__ = ["MasterMaker", "Masters"]

_HOT = 16.0
"""Standard deviations above the median of a dark from which a pixel is hot (as in
DeepSkyStacker)."""
_BIAS_LEFT = 0.5
"""Level of a dark over that of the bias below which the bias has been subtracted from the dark."""
_STRIP_BYTES = 128 * 2**20
"""Bytes of the values that are combined at a time."""
_MANY = 5
"""Number of frames from which a scatter can be estimated; a master of fewer is their median."""
_LEAST_FLAT = 0.01
"""Response of a pixel over the median below which a flat cannot correct it."""

_GLOW_BLOCKS = 8
"""Blocks along the shorter side of a dark whose medians are compared."""
_GLOW, _GLOW_SCATTER = 1.0, 8.0
"""Excess of a block from which it is glow, in standard deviations of the pixels of the dark and of
the medians of all blocks, whichever is more."""


@dataclass(frozen=True, eq=False)
class Masters:
    """What a light is corrected by.

    Attributes
    ----------
    bias, dark, flat : ndarray of float32 or None, shape (ny, nx)
        Counts; the dark in the exposure time of the light; the flat with the median 1, NaN where
        it cannot correct.
    hot : ndarray of bool or None
        Hot pixels of the dark.
    """

    bias: NDArray[np.float32] | None = None
    dark: NDArray[np.float32] | None = None
    flat: NDArray[np.float32] | None = None
    hot: NDArray[np.bool_] | None = None

    def apply(self, values: NDArray[np.float32], first: int = 0) -> NDArray[np.float32]:
        """Correct a strip of rows.

        Parameters
        ----------
        values : ndarray, shape (rows, nx)
            Raw counts.
        first : int
            Number of the first row.

        Returns
        -------
        ndarray of float32, shape (rows, nx)
            Counts; negative ones stay. NaN where the pixel is hot or the flat has no value.
        """
        if self.bias is None and self.dark is None and self.flat is None:
            return values
        # It takes a sixth of the time in which the package is loaded.
        import ccdproc

        rows = slice(first, first + len(values))
        strip = CCDData(values, unit=u.adu)
        if self.bias is not None:
            strip = ccdproc.subtract_bias(strip, CCDData(self.bias[rows], unit=u.adu))
        if self.dark is not None:
            dark = CCDData(self.dark[rows], unit=u.adu)
            seconds = 1 * u.s
            strip = ccdproc.subtract_dark(strip, dark, dark_exposure=seconds, data_exposure=seconds)
        if self.flat is not None:
            flat = CCDData(self.flat[rows], unit=u.dimensionless_unscaled)
            strip = ccdproc.flat_correct(strip, flat, norm_value=1.0)
        corrected = np.asarray(strip.data, np.float32)
        if self.hot is not None:
            corrected[self.hot[rows]] = np.nan
        return corrected


class MasterMaker:
    """Makes the master frames of calibrations, each once.

    Parameters
    ----------
    open_frames : callable
        Gives the frames of names.
    """

    def __init__(self, open_frames: Callable[[tuple[str, ...]], FrameSequence]) -> None:
        self._open_frames = open_frames
        self._combined: dict[CalibrationSet, NDArray[np.float32]] = {}
        self._flats: dict[tuple[CalibrationSet, CalibrationSet | None], NDArray[np.float32]] = {}
        self._masters: dict[Calibration, Masters] = {}

    def masters(self, calibration: Calibration) -> Masters:
        """Return the master frames of a light, made at first use."""
        if calibration not in self._masters:
            self._masters[calibration] = self._make(calibration)
        return self._masters[calibration]

    def _make(self, calibration: Calibration) -> Masters:
        bias = None if calibration.bias is None else self._combine(calibration.bias)
        dark = None if calibration.dark is None else self._combine(calibration.dark)
        flat = None
        if calibration.flat is not None:
            flat = self._flat(calibration.flat, calibration.flat_dark)
        if dark is None:
            return Masters(bias, None, flat)
        hot = _hot_pixels(dark)
        scale = np.float32(calibration.dark_scale)
        if bias is not None and np.nanmedian(dark) >= _BIAS_LEFT * np.nanmedian(bias):
            # The dark holds the bias, which is subtracted once.
            if scale == 1:
                return Masters(None, dark, flat, hot)
            dark = dark - bias
        if scale != 1 and _has_glow(dark):
            assert calibration.dark is not None
            warn(
                f"the dark {calibration.dark.title} shows glow, which does not grow with the "
                f"exposure time as dark current does: scaled by {scale:.4g} it leaves some of the "
                "glow; take darks of the exposure time of the lights"
            )
        return Masters(bias, dark * scale, flat, hot)

    def _combine(self, frames: CalibrationSet) -> NDArray[np.float32]:
        if frames not in self._combined:
            self._combined[frames] = _combine(self._open_frames(frames.names))
        return self._combined[frames]

    def _flat(self, flats: CalibrationSet, darks: CalibrationSet | None) -> NDArray[np.float32]:
        key = (flats, darks)
        if key not in self._flats:
            dark = None if darks is None else self._combine(darks)
            frames = self._open_frames(flats.names)
            levels = [_levels(frame, _read(frame, dark, 0, frame.shape[-2])) for frame in frames]
            master = _combine(frames, dark, levels)
            _divide(master, _levels(frames[0], master), 0)
            with np.errstate(invalid="ignore"):
                master[~(master > _LEAST_FLAT)] = np.nan
            self._flats[key] = master
        return self._flats[key]


def _combine(
    frames: FrameSequence,
    dark: NDArray[np.float32] | None = None,
    levels: list[NDArray[np.float64]] | None = None,
) -> NDArray[np.float32]:
    """Combine frames, less a dark and divided by their levels, in strips of rows."""
    ny, nx = frames[0].shape[-2:]
    result = np.empty((ny, nx), np.float32)
    many = len(frames) >= _MANY
    for first, last in iter_rows(ny, max(1, _STRIP_BYTES // (len(frames) * nx * 4))):
        values = np.stack([_read(frame, dark, first, last) for frame in frames])
        if levels is not None:
            for frame_values, level in zip(values, levels, strict=True):
                _divide(frame_values, level, first)
        low, high = reject(values, "winsorized" if many else "none")
        combined = combine_values(values, low, high, combine="mean" if many else "median")
        result[first:last] = combined.data
    return result


def _read(
    frame: Frame, dark: NDArray[np.float32] | None, first: int, last: int
) -> NDArray[np.float32]:
    values = frame.counts(first, last)
    return values if dark is None else values - dark[first:last]


def _levels(frame: Frame, values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Median of the pixels behind each filter of a mosaic, or of all pixels, as a block."""
    cfa = find_cfa(frame.meta, frame.shape)
    filters = np.array([[""]]) if cfa is None or not cfa.pattern else cfa.filters
    side = len(filters)
    places = np.array(
        [[np.nanmedian(values[y::side, x::side]) for x in range(side)] for y in range(side)]
    )
    levels = np.empty(filters.shape)
    for name in np.unique(filters):
        levels[filters == name] = places[filters == name].mean()
    return levels


def _divide(values: NDArray[np.float32], levels: NDArray[np.float64], first: int) -> None:
    """Divide a strip that begins at a row by the levels of its filters."""
    side = len(levels)
    for y in range(side):
        for x in range(side):
            values[(y - first) % side :: side, x::side] /= np.float32(levels[y, x])


def _has_glow(dark: NDArray[np.float32]) -> bool:
    """Whether some blocks of a dark, such as a corner near the amplifier, are far brighter."""
    side = max(1, min(dark.shape) // _GLOW_BLOCKS)
    rows, columns = (length // side for length in dark.shape)
    blocks = dark[: rows * side, : columns * side].reshape(rows, side, columns, side)
    levels = np.nanmedian(blocks, axis=(1, 3))
    middle = np.nanmedian(levels)
    pixels = MAD_TO_SIGMA * np.nanmedian(np.abs(dark - np.nanmedian(dark)))
    scatter = MAD_TO_SIGMA * np.nanmedian(np.abs(levels - middle))
    limit = max(_GLOW * pixels, _GLOW_SCATTER * scatter)
    return bool(np.nanmax(levels) > middle + limit)


def _hot_pixels(dark: NDArray[np.float32]) -> NDArray[np.bool_]:
    middle = np.nanmedian(dark)
    scatter = MAD_TO_SIGMA * np.nanmedian(np.abs(dark - middle))
    if not scatter > 0:
        return np.zeros(dark.shape, bool)
    with np.errstate(invalid="ignore"):
        hot: NDArray[np.bool_] = dark > middle + _HOT * scatter
    return hot
