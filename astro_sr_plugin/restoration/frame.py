"""An image on its way through a verb: what comes in, and where the result goes."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import (
    CCDData,
    FlagCollection,
    InverseVariance,
    StdDevUncertainty,
    VarianceUncertainty,
)
from numpy.typing import NDArray

from astro_sr_plugin.data.earlier_work import check_earlier_work
from astro_sr_plugin.data.formats.fits_output import create_fits
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.data.nddata import HDUChoice, Image, Unpacked, iter_planes, repack, unpack
from astro_sr_plugin.data.output import write_errors
from astro_sr_plugin.data.pixel_kind import check_linear
from astro_sr_plugin.data.provenance import add_keywords
from astro_sr_plugin.data.wcs import scale_wcs, scale_wcs_header
from astro_sr_plugin.exceptions import AstroSRWarning
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.measurement.pixels import PlanePixels, open_plane

__all__ = ["Frame", "choose_runtime", "open_frame"]


def choose_runtime(runtime: Runtime | None, device: str | None) -> Runtime:
    """Join ``runtime=`` with its shorthand ``device=``."""
    runtime = runtime or Runtime()
    return runtime if device is None else replace(runtime, device=device)


@dataclass(frozen=True)
class Frame:
    """The parts of an image, plane by plane.

    Attributes
    ----------
    parts : Unpacked
        Data, mask, unit, WCS and header.
    """

    parts: Unpacked

    @cached_property
    def pixels(self) -> list[PlanePixels]:
        """The planes with their unusable pixels, found at first use."""
        return [
            open_plane(plane, None if self.parts.mask is None else self.parts.mask[index])
            for index, plane in iter_planes(self.parts.data)
        ]

    def planes(self) -> Iterator[tuple[tuple[int, ...], PlanePixels]]:
        """Yield the index and the pixels of each plane."""
        for (index, _), pixels in zip(iter_planes(self.parts.data), self.pixels, strict=True):
            yield index, pixels

    def error_of(self, index: tuple[int, ...]) -> NDArray | None:
        """Give the standard deviation of a plane; NaN or infinite where its weight is 0."""
        told = self.parts.uncertainty
        if told is None or told.array is None:
            return None
        values = np.broadcast_to(told.array, self.parts.data.shape)[index]
        if isinstance(told, StdDevUncertainty):
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            if isinstance(told, VarianceUncertainty):
                return np.sqrt(values, dtype=np.float32)
            if isinstance(told, InverseVariance):
                return (1 / np.sqrt(values)).astype(np.float32)
        return None

    @property
    def dtype(self) -> np.dtype:
        """Type of the result: float64 for float64 images, else float32."""
        data = self.parts.data.dtype
        return np.dtype(np.float64 if data.kind == "f" and data.itemsize > 4 else np.float32)

    def header(self, scale: int, **keywords: Any) -> Header:
        """Return the header of a result, with its grid and its provenance."""
        meta = self.parts.meta
        header = meta.copy() if isinstance(meta, Header) else Header()
        if not isinstance(meta, Header):
            for key, value in meta.items():
                if isinstance(value, str | int | float | bool):
                    header[key] = value
        if scale > 1:
            header = scale_wcs_header(header, scale, shape=self.parts.data.shape)
        return add_keywords(header, scale=scale, **keywords)

    def finish(
        self,
        fill: Callable[[NDArray], None],
        header: Header,
        scale: int,
        out: str | os.PathLike[str] | None,
        overwrite: bool,
        dtype: np.dtype | None = None,
        errors: NDArray | None = None,
    ) -> CCDData | NDArray:
        """Make room for the result, have it filled, and put it together.

        Parameters
        ----------
        fill : callable
            Fills an array of the shape of the result.
        header : fits.Header
            Of the result.
        scale : int
            Output pixels per input pixel.
        out : str, Path or None
            FITS file to stream into; it appears when it is complete.
        overwrite : bool
            Whether ``out`` may exist.
        dtype : numpy.dtype, optional
            Type of the result; `Frame.dtype` by default.
        errors : ndarray, optional
            From `make_errors`, filled by ``fill``: the uncertainty of the result.
        """
        dtype = dtype or self.dtype
        shape = self._shape(scale)
        wcs = scale_wcs(self.parts.wcs, scale) if scale > 1 else self.parts.wcs
        mask = self.parts.mask
        if mask is not None and scale > 1:
            mask = mask.repeat(scale, -1).repeat(scale, -2)
        if self.parts.uncertainty is not None and errors is None:
            text = (
                "the uncertainty of the input does not hold for the result and is left out; "
                "uncertainty=True gives that of the result"
            )
            warnings.warn(text, AstroSRWarning, stacklevel=4)
        if out is None:
            data = np.empty(shape, dtype)
            fill(data)
            return repack(
                self.parts,
                data,
                mask=mask,
                uncertainty=errors,
                wcs=wcs,
                meta=header,
                flags=self._flags(scale),
            )
        if self.parts.unit is not None and "BUNIT" not in header:
            header["BUNIT"] = self.parts.unit.to_string()
        with create_fits(out, header, shape, dtype, overwrite, wcs=wcs) as stream:
            fill(stream.data)
            stream.mask = mask
            stream.flags = self._flags(scale)
            if errors is not None:
                stream.uncertainty = StdDevUncertainty(errors, copy=False)
        return read_image(out)

    def make_errors(self, scale: int, out: str | os.PathLike[str] | None) -> NDArray[np.float32]:
        """Make room for the standard deviation of a result.

        Where the result goes to a file, so does this, until it is complete: a file without a name
        beside it.
        """
        shape = self._shape(scale)
        if out is None:
            return np.empty(shape, np.float32)
        with write_errors(Path(out)), tempfile.TemporaryFile(dir=Path(out).parent) as file:
            # The map keeps the nameless file alive.
            return np.memmap(file, np.float32, "w+", shape=shape)

    def _flags(self, scale: int) -> FlagCollection | None:
        """Give the integer masks on the grid of the result."""
        flags = self.parts.flags
        if flags is None:
            return None
        result = FlagCollection(shape=self._shape(scale))
        for name, values in flags.items():
            result[name] = values.repeat(scale, -1).repeat(scale, -2)
        return result

    def _shape(self, scale: int) -> tuple[int, ...]:
        *planes, ny, nx = self.parts.data.shape
        return (*planes, ny * scale, nx * scale)


def open_frame(
    image: Image, *, mask: NDArray | None, hdu: HDUChoice, task: str, force: bool = False
) -> Frame:
    """Take an image apart for a verb; refuse what the verb is not for, unless forced."""
    parts = unpack(image, mask=mask, hdu=hdu)
    check_linear(parts, force=force)
    check_earlier_work(parts.meta, task, force=force)
    return Frame(parts)
