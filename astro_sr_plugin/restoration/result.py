"""Where the result of a verb goes: into memory, or into a FITS file strip by strip."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import CCDData, FlagCollection, StdDevUncertainty
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.fits_stream import create_fits
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.data.nddata import repack
from astro_sr_plugin.data.output import write_errors
from astro_sr_plugin.data.wcs import scale_wcs
from astro_sr_plugin.exceptions import warn
from astro_sr_plugin.restoration.frame import Frame

__all__ = ["write_result"]


def write_result(
    frame: Frame,
    fill: Callable[[NDArray, NDArray | None], None],
    header: Header,
    *,
    scale: int,
    out: str | os.PathLike[str] | None,
    overwrite: bool,
    uncertainty: bool = False,
    planes: int | None = None,
    dtype: np.dtype | None = None,
) -> CCDData | NDArray:
    """Make room for a result, have it filled, and put it together in the kind of the input.

    Parameters
    ----------
    frame : Frame
        The image that it is made from.
    fill : callable
        Fills an array of the shape of the result, and one for its standard deviation or None.
    header : fits.Header
        Of the result.
    scale : int
        Output pixels per input pixel.
    out : str, Path or None
        FITS file to stream into; it appears when it is complete.
    overwrite : bool
        Whether ``out`` may exist.
    uncertainty : bool
        Whether the standard deviation comes along.
    planes : int, optional
        How many planes the result has, made of an image of one; as many as the image by default.
    dtype : numpy.dtype, optional
        Type of the result; `Frame.dtype` by default.
    """
    parts, dtype = frame.parts, dtype or frame.dtype
    *given, ny, nx = parts.data.shape
    shape = (*(given if planes is None else (planes,)), ny * scale, nx * scale)
    wcs = scale_wcs(parts.wcs, scale) if scale > 1 else parts.wcs
    mask, flags = parts.mask, None
    if mask is not None and scale > 1:
        mask = mask.repeat(scale, -1).repeat(scale, -2)
    if mask is not None and planes is not None:
        mask = np.broadcast_to(mask, shape).copy()
    if parts.flags is not None:
        flags = FlagCollection(shape=shape)
        for name, values in parts.flags.items():
            finer = values.repeat(scale, -1).repeat(scale, -2)
            flags[name] = np.broadcast_to(finer, shape).copy()
    if parts.uncertainty is not None and not uncertainty:
        warn(
            "the uncertainty of the input does not hold for the result and is left out; "
            "uncertainty=True gives that of the result"
        )
    errors = _make_errors(shape, out) if uncertainty else None
    if out is None:
        data = np.empty(shape, dtype)
        fill(data, errors)
        return repack(parts, data, mask=mask, uncertainty=errors, wcs=wcs, meta=header, flags=flags)
    if parts.unit is not None and "BUNIT" not in header:
        header["BUNIT"] = parts.unit.to_string()
    with create_fits(out, header, shape, dtype, overwrite, wcs=wcs) as stream:
        fill(stream.data, errors)
        stream.mask = mask
        stream.flags = flags
        if errors is not None:
            stream.uncertainty = StdDevUncertainty(errors, copy=False)
    return read_image(out)


def _make_errors(shape: tuple[int, ...], out: str | os.PathLike[str] | None) -> NDArray[np.float32]:
    """Make room for the standard deviation of a result.

    Where the result goes to a file, so does this, until it is complete: a file without a name
    beside it.
    """
    if out is None:
        return np.empty(shape, np.float32)
    with write_errors(Path(out)), tempfile.TemporaryFile(dir=Path(out).parent) as file:
        # The map keeps the nameless file alive.
        return np.memmap(file, np.float32, "w+", shape=shape)
