"""Tables of stars as the matcher takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.exceptions import InputError

__all__ = ["BLENDED", "SATURATED", "SHARP", "Stars", "centroid_error", "read_stars"]

BLENDED = 1
"""Flag of a star that was separated from a neighbour."""
SATURATED = 2
"""Flag of a star with saturated pixels."""
SHARP = 4
"""Flag of a source with an edge that no star has: a cluster of hot pixels, or a star of a FWHM of
little more than one pixel."""

_PLACES = (("x", "y"), ("x_centroid", "y_centroid"), ("xcentroid", "ycentroid"))
"""Names of the columns of the places: ours, and those of photutils from 3.0 on and before."""
_TYPICAL_SNR = 30.0
"""Signal-to-noise ratio of stars that a table gives none for."""
_TYPICAL_FWHM = 3.0
"""FWHM in pixels of stars that a table gives none for."""
_CENTROID_FACTOR = 1.4
"""Error of a windowed centroid over the photon limit FWHM / (2.355 SNR)."""
_LEAST_ERROR = 1e-3
"""Error in pixels of the best centroids: pixels are not equally sensitive all over."""


class Stars(NamedTuple):
    """Stars, the brightest first.

    Attributes
    ----------
    places : ndarray, shape (n, 2)
        x and y in pixels.
    error : ndarray, shape (n,)
        Standard deviation of a place per axis in pixels.
    fwhm : ndarray, shape (n,)
        In pixels.
    sharp : ndarray of bool, shape (n,)
        Whether a star has the flag `SHARP`.
    row : ndarray of int, shape (n,)
        Row of each in the table.
    shape : (int, int)
        Shape (ny, nx) of the image.
    """

    places: NDArray[np.float64]
    error: NDArray[np.float64]
    fwhm: NDArray[np.float64]
    sharp: NDArray[np.bool_]
    row: NDArray[np.int64]
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def extent(self) -> float:
        """Area of the image in square pixels."""
        return float(self.shape[0] * self.shape[1])

    def take(self, chosen: NDArray[Any]) -> Stars:
        """Keep the stars with the given indices."""
        return Stars(
            self.places[chosen],
            self.error[chosen],
            self.fwhm[chosen],
            self.sharp[chosen],
            self.row[chosen],
            self.shape,
        )


def centroid_error(fwhm: NDArray[np.float64], snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the standard deviation per axis, in pixels, of windowed centroids.

    Parameters
    ----------
    fwhm, snr : ndarray
        FWHM in pixels and signal-to-noise ratio of the stars.
    """
    return np.hypot(_CENTROID_FACTOR * fwhm / (FWHM_PER_SIGMA * np.maximum(snr, 1.0)), _LEAST_ERROR)


def read_stars(table: Table, name: str) -> Stars:
    """Read the stars of a table.

    Parameters
    ----------
    table : astropy.table.Table
        With columns as for `match_stars`; ``meta["shape"]`` is the shape of the image.
    name : str
        Name of the parameter, for messages.

    Raises
    ------
    InputError
        If there are no places.
    """
    names = getattr(table, "colnames", ())
    columns = next((pair for pair in _PLACES if set(pair) <= set(names)), None)
    if columns is None:
        msg = f"{name} has columns {list(names)}; needed are x and y, in pixels"
        raise InputError(msg)
    places = np.column_stack([_numbers(table, column, 0.0) for column in columns])
    flux = _numbers(table, "flux" if "flux" in names else "segment_flux", 0.0)
    snr, fwhm = _numbers(table, "snr", _TYPICAL_SNR), _numbers(table, "fwhm", _TYPICAL_FWHM)
    known = np.asarray(np.isfinite(places).all(axis=1))
    order = np.lexsort((places[:, 0], places[:, 1], -np.where(np.isfinite(flux), flux, -np.inf)))
    row = order[known[order]]
    shape = table.meta.get("shape")
    if shape is None:
        sides = np.ceil(places[row].max(axis=0)).astype(int) + 1 if row.size else np.ones(2, int)
        shape = int(sides[1]), int(sides[0])
    whole = places, centroid_error(fwhm, snr), fwhm, _flagged(table, SHARP), np.arange(len(table))
    return Stars(*whole, (int(shape[0]), int(shape[1]))).take(row)


def _flagged(table: Table, flag: int) -> NDArray[np.bool_]:
    """Say which stars have a flag; none in a table without flags."""
    flags: NDArray[np.int64] = np.nan_to_num(_numbers(table, "flags", 0.0)).astype(np.int64)
    return (flags & flag) > 0


def _numbers(table: Table, column: str, default: float) -> NDArray[np.float64]:
    """Give a column as numbers, NaN where masked; the default where there is none."""
    if column not in table.colnames:
        return np.full(len(table), default)
    values = getattr(table[column], "value", table[column])
    numbers = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan if default == 0 else default)
