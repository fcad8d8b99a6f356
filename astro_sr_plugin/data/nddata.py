"""The door of every verb: take an image apart, and put the result together in the same kind.

Shapes: (ny, nx), colour (3, ny, nx), longer cubes (n, ny, nx). `mask` True = excluded.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from astropy import units as u
from astropy.io.fits import Header
from astropy.nddata import CCDData, FlagCollection, NDData, NDUncertainty, StdDevUncertainty
from astropy.units import Quantity, UnitBase
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.bitmask import named_flags
from astro_sr_plugin.data.formats.fits import HDUChoice
from astro_sr_plugin.data.formats.hdus import HDU_TYPES, HDUs, read_hdus
from astro_sr_plugin.data.formats.masks import MaskLike, read_mask
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.data.strips import iter_strips
from astro_sr_plugin.data.wcs_keywords import as_fits_wcs
from astro_sr_plugin.exceptions import InputError

__all__ = [
    "ArrayImage",
    "FileImage",
    "HDUChoice",
    "Image",
    "MaskLike",
    "Unpacked",
    "iter_planes",
    "repack",
    "unpack",
]


@runtime_checkable
class ArrayObject(Protocol):
    """An array of another library that NumPy can convert, such as one of dask or xarray."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    def __array__(self, *args: Any, **options: Any) -> NDArray:
        """Return the values."""


ArrayImage: TypeAlias = NDArray | ArrayObject
"""Images whose result is a NumPy array."""
FileImage: TypeAlias = CCDData | NDData | HDUs | str | os.PathLike[str]
"""Images whose result is a CCDData."""
Image: TypeAlias = FileImage | ArrayImage
"""What every verb takes first."""


@dataclass(frozen=True)
class Unpacked:
    """The parts of an image.

    Parameters
    ----------
    data : ndarray, shape (ny, nx) or (n, ny, nx)
        The array of the image itself: never copied, of its own dtype and byte order, perhaps
        read-only or memory-mapped. It is not to be changed.
    mask : ndarray of bool or None
        Excluded pixels, in the shape of `data`.
    uncertainty : NDUncertainty or None
        As in the image.
    unit : astropy unit or None
        None for plain arrays.
    wcs : WCS or None
        Coordinates of the two image axes.
    meta : fits.Header or dict
        A copy of the metadata.
    flags : FlagCollection or None
        Integer masks, as in the image.
    container : {"array", "nddata", "ccddata"}
        The kind of image it was; files and HDUs count as CCDData.
    """

    data: NDArray
    mask: NDArray[np.bool_] | None
    uncertainty: NDUncertainty | None
    unit: UnitBase | None
    wcs: WCS | None
    meta: Header | dict[str, Any]
    container: Literal["array", "nddata", "ccddata"]
    flags: FlagCollection | None = None


def unpack(image: Image, *, mask: MaskLike | None = None, hdu: HDUChoice = None) -> Unpacked:
    """Take an image apart and check that it can be worked with.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, Quantity, array, str or Path
        The image. A path is read by `read_image`, and HDUs by the same rules. Arrays of other
        libraries (dask, xarray) become NumPy arrays. The mask of a masked array counts.
    mask : ndarray, str or Path, optional
        Further pixels to exclude, of shape (ny, nx) or that of the image; not zero = excluded. The
        bits of a file are read by their meanings (see `read_mask`).
    hdu : int, str or (str, int), optional
        Which image of a file or HDUList.

    Returns
    -------
    Unpacked
        The parts; the input is not changed.

    Raises
    ------
    InputError
        If it is no image: wrong type, axes or dtype, no pixels, or none that is finite.
    """
    if isinstance(image, str | os.PathLike):
        image = read_image(image, hdu=hdu)
    elif isinstance(image, HDU_TYPES):
        image = read_hdus(image, hdu=hdu)
    elif hdu is not None:
        msg = (
            f"hdu={hdu!r} is only for files and HDULists; the image given is a "
            f"{type(image).__name__}"
        )
        raise InputError(msg)
    parts = _parts(image)
    _check_pixels(parts.data)
    if isinstance(mask, str | os.PathLike):
        mask = read_mask(mask, meta=parts.meta, hdu=hdu)
    masks = [_shaped(m, parts.data.shape) for m in (parts.mask, mask) if m is not None]
    merged = None
    if masks:
        merged = masks[0] if len(masks) == 1 else masks[0] | masks[1]
    _check_uncertainty(parts.uncertainty, parts.data.shape)
    _check_finite(parts.data, merged)
    return replace(parts, mask=merged)


def repack(
    unpacked: Unpacked,
    data: NDArray,
    *,
    mask: NDArray[np.bool_] | None = None,
    uncertainty: NDUncertainty | NDArray | None = None,
    wcs: WCS | None = None,
    meta: Header | Mapping[str, Any] | None = None,
    flags: FlagCollection | None = None,
) -> NDArray | CCDData:
    """Put a result together in the kind of the image it was made from.

    Parameters
    ----------
    unpacked : Unpacked
        Where it came from; gives the kind and the unit. Nothing else is carried over by itself.
    data : ndarray, shape (ny, nx) or (n, ny, nx)
        The result.
    mask : ndarray of bool, optional
        Excluded pixels of the result.
    uncertainty : NDUncertainty or ndarray, optional
        Of the result; an array is a standard deviation.
    wcs : WCS, optional
        Coordinates of the result.
    meta : fits.Header or mapping, optional
        Metadata of the result.
    flags : FlagCollection, optional
        Integer masks of the result.

    Returns
    -------
    ndarray or CCDData
        An array for arrays (`data` itself; masked arrays too come back plain) unless there is an
        uncertainty, else CCDData.
    """
    if unpacked.container == "array" and uncertainty is None:
        return data
    if isinstance(uncertainty, np.ndarray):
        uncertainty = StdDevUncertainty(uncertainty, copy=False)
    if not isinstance(meta, Header):
        meta = dict(meta or {})
    unit = u.dimensionless_unscaled if unpacked.unit is None else unpacked.unit
    return CCDData(
        data, unit=unit, mask=mask, uncertainty=uncertainty, wcs=wcs, meta=meta, flags=flags
    )


def iter_planes(data: NDArray) -> Iterator[tuple[tuple[int, ...], NDArray]]:
    """Go through the planes of an image.

    Parameters
    ----------
    data : ndarray, shape (ny, nx) or (n, ny, nx)
        The image.

    Yields
    ------
    index : tuple of int
        ``()`` for a single plane, else ``(k,)``; ``other[index]`` is the same plane elsewhere.
    plane : ndarray, shape (ny, nx)
        A view.
    """
    if data.ndim == 2:
        yield (), data
        return
    for k, plane in enumerate(data):
        yield (k,), plane


def _check_pixels(data: NDArray) -> None:
    """Check that an array has the shape and type of an image.

    Parameters
    ----------
    data : ndarray
        Any array.

    Raises
    ------
    InputError
        If it is complex, boolean, text or objects, has other than two or three axes, or no pixels.
    """
    if data.dtype.kind not in "iuf":
        msg = f"the image has dtype {data.dtype}; allowed are integers and floats"
        raise InputError(msg)
    if data.ndim not in (2, 3):
        msg = f"the image has {data.ndim} axes; allowed are (ny, nx) and (n, ny, nx)"
        raise InputError(msg)
    if data.size == 0:
        msg = f"the image has zero pixels (shape {data.shape})"
        raise InputError(msg)
    if data.ndim == 3 and data.shape[2] in (3, 4) and data.shape[0] > 4:
        msg = (
            f"the image has shape {data.shape}; colour comes first, as (3, ny, nx): "
            "use numpy.moveaxis(image, -1, 0)"
        )
        raise InputError(msg)


def _parts(image: object) -> Unpacked:
    if isinstance(image, NDData):
        meta: Header | dict[str, Any] = (
            image.meta.copy() if isinstance(image.meta, Header) else copy.deepcopy(dict(image.meta))
        )
        kind: Literal["nddata", "ccddata"] = "ccddata" if isinstance(image, CCDData) else "nddata"
        mask = None if image.mask is None else np.asanyarray(image.mask)
        unit, wcs = image.unit, as_fits_wcs(image)
        data = np.asanyarray(image.data)
        flags = named_flags(image)
        return Unpacked(data, mask, image.uncertainty, unit, wcs, meta, kind, flags)
    if isinstance(image, Quantity):
        return Unpacked(image.value, None, None, image.unit, None, Header(), "nddata")
    if isinstance(image, np.ma.MaskedArray):
        own = None if image.mask is np.ma.nomask else np.ma.getmaskarray(image)
        return Unpacked(np.asarray(image.data), own, None, None, None, Header(), "array")
    if isinstance(image, np.ndarray):
        return Unpacked(image, None, None, None, None, Header(), "array")
    if isinstance(image, ArrayObject) and not isinstance(image, np.generic):
        return Unpacked(np.asarray(image), None, None, None, None, Header(), "array")
    msg = (
        f"the image is a {type(image).__name__}; allowed are arrays, NDData, CCDData, HDUs of "
        "astropy.io.fits and the path of a file"
    )
    raise InputError(msg)


def _shaped(mask: NDArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    flags = np.asarray(mask)
    if flags.dtype != bool:
        if flags.dtype.kind not in "iuf":
            msg = f"mask has dtype {flags.dtype}; allowed are bool and numbers"
            raise InputError(msg)
        flags = flags != 0
    if flags.shape not in (shape, shape[-2:]):
        msg = f"mask has shape {flags.shape}; allowed are {shape} and {shape[-2:]}"
        raise InputError(msg)
    return np.broadcast_to(flags, shape)


def _check_uncertainty(uncertainty: NDUncertainty | None, shape: tuple[int, ...]) -> None:
    if uncertainty is None or uncertainty.array is None:
        return
    own_shape = np.shape(uncertainty.array)
    if own_shape not in ((), shape, shape[-2:]):
        msg = f"the uncertainty has shape {own_shape}; the image has {shape}"
        raise InputError(msg)


def _check_finite(data: NDArray, mask: NDArray[np.bool_] | None) -> None:
    """Look for one usable pixel; in nearly every image the first strip has it."""
    if mask is None:
        if data.dtype.kind != "f" or any(np.isfinite(strip).any() for strip in iter_strips(data)):
            return
        msg = "the image has no finite pixel (all are NaN or infinite)"
        raise InputError(msg)
    for strip, excluded in zip(iter_strips(data), iter_strips(mask), strict=True):
        if np.any(np.isfinite(strip) & ~excluded):
            return
    msg = "the image has no usable pixel (all are masked, NaN or infinite)"
    raise InputError(msg)
