"""Stretch and unstretch whole images, with the curve kept in their header."""

from __future__ import annotations

import os
import warnings
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sr_plugin.exceptions import AstroSRWarning, InputError
from astro_sr_plugin.stretch.base import Stretch

if TYPE_CHECKING:
    from astropy.nddata import CCDData
    from numpy.typing import NDArray

    from astro_sr_plugin.data.nddata import HDUChoice

__all__ = ["apply_stretch", "undo_stretch"]

_DTYPE_KEY = "ASRSTRDT"


def apply_stretch(
    image: Any,
    name: str | Stretch = "mtf",
    *,
    mask: NDArray[np.bool_] | None = None,
    linked: bool = True,
    hdu: HDUChoice = None,
    **parameters: Any,
) -> CCDData:
    """Stretch an image, and write the curve into its header.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData`, array_like or path
        Mono (ny, nx) or colour (3, ny, nx), in linear units. Not changed.
    name : str or Stretch, optional
        ``"mtf"``, ``"asinh"``, ``"ghs"``, ``"log"``, ``"gamma"``: fitted to the image; or a
        stretch made before, which is applied as it is.
    mask : array of bool, optional
        True = not used for the fit, beside the image's own mask.
    linked : bool, optional
        One curve for all channels, or one each.
    hdu : int, str or (str, int), optional
        Which image of a file.
    **parameters
        Keywords of the `fit` of the stretch, such as ``target`` or ``black``.

    Returns
    -------
    CCDData
        The stretched image in float64, so that `undo_stretch` is exact: save it in float64 too.
        Mask, WCS, unit and meta are kept. A standard-deviation, variance or inverse-variance
        uncertainty becomes a standard deviation of the stretched values, by the slope.

    Raises
    ------
    InputError
        For an unknown name or keyword, or an image that is stretched already.
    """
    image = _opened(image, hdu)
    data, meta = _parts(image)
    if "ASRSTR" in meta:
        msg = f"image is stretched already (keyword ASRSTR = {meta['ASRSTR']!r}); undo that first"
        raise InputError(msg)
    if isinstance(name, Stretch):
        if parameters:
            msg = f"parameters {sorted(parameters)} are not taken together with a made stretch"
            raise InputError(msg)
        stretch = name
    else:
        stretch = _fitted(image, name, mask, linked, parameters)
    stretch.to_header(meta)
    meta[_DTYPE_KEY] = data.dtype.name
    _note(meta, f"stretched: {stretch!r}")
    slope = stretch.derivative(data) if getattr(image, "uncertainty", None) is not None else None
    return _image(image, stretch(data), meta, slope)


def undo_stretch(image: Any, *, hdu: HDUChoice = None) -> CCDData:
    """Undo the stretch that the header tells of.

    Parameters
    ----------
    image : `~astropy.nddata.CCDData`, `~astropy.nddata.NDData` or path
        An image made by `apply_stretch`, perhaps saved and read again. Not changed.
    hdu : int, str or (str, int), optional
        Which image of a file.

    Returns
    -------
    CCDData
        The linear image, in float32 if the image was float32 before the stretch, else in
        float64. The keywords of the stretch are removed.

    Raises
    ------
    InputError
        If the header holds no stretch.
    """
    image = _opened(image, hdu)
    data, meta = _parts(image)
    stretch = Stretch.from_header(meta)
    dtype = np.dtype(np.float32 if meta.get(_DTYPE_KEY) == "float32" else np.float64)
    stretch.clear_header(meta)
    if _DTYPE_KEY in meta:
        del meta[_DTYPE_KEY]
    _note(meta, f"unstretched: {stretch!r}")
    linear = stretch.inverse(data)
    uncertain = getattr(image, "uncertainty", None) is not None
    slope = 1.0 / stretch.derivative(linear) if uncertain else None
    return _image(image, linear.astype(dtype, copy=False), meta, slope)


def _fitted(
    image: Any, name: str, mask: NDArray[np.bool_] | None, linked: bool, parameters: dict[str, Any]
) -> Stretch:
    from inspect import signature

    member = Stretch.members.get(str(name).lower())
    if member is None:
        msg = f"name is {name!r}; it must be one of {sorted(Stretch.members)}"
        raise InputError(msg)
    allowed = [key for key in signature(member.fit).parameters if key != "image"]
    unknown = sorted(set(parameters) - set(allowed))
    if unknown:
        msg = f"stretch {name!r} has no parameter {unknown[0]!r}; it takes {allowed}"
        raise InputError(msg)
    return member.fit(image, mask=mask, linked=linked, **parameters)


def _opened(image: Any, hdu: HDUChoice) -> Any:
    """Read the image if it is the path of a file."""
    if isinstance(image, str | os.PathLike):
        from astro_sr_plugin.data.formats.registry import read_image

        return read_image(image, hdu=hdu)
    return image


def _parts(image: Any) -> tuple[NDArray[Any], Any]:
    """Return the pixels and a copy of the header."""
    from astropy.nddata import NDData

    if isinstance(image, NDData):
        data, meta = np.asarray(image.data), image.meta
        meta = meta.copy() if hasattr(meta, "comments") else deepcopy(dict(meta))
        return data, meta
    return np.asarray(image), {}


def _note(meta: Any, text: str) -> None:
    """Add a line to the history of a FITS header."""
    if hasattr(meta, "add_history"):
        meta.add_history(f"astro_sr_plugin: {text}")


def _image(image: Any, data: NDArray[Any], meta: Any, slope: NDArray[Any] | None) -> CCDData:
    from astropy.nddata import CCDData
    from astropy.units import dimensionless_unscaled

    unit = getattr(image, "unit", None)
    mask = getattr(image, "mask", None) if hasattr(image, "meta") else None
    return CCDData(
        data,
        unit=dimensionless_unscaled if unit is None else unit,
        mask=None if mask is None else np.array(mask),
        wcs=getattr(image, "wcs", None),
        meta=meta,
        uncertainty=None if slope is None else _uncertainty(image, slope),
    )


def _uncertainty(image: Any, slope: NDArray[Any]) -> Any:
    from astropy.nddata import (
        InverseVariance,
        StdDevUncertainty,
        VarianceUncertainty,
    )

    known = (StdDevUncertainty, VarianceUncertainty, InverseVariance)
    if not isinstance(image.uncertainty, known):
        kind = type(image.uncertainty).__name__
        warnings.warn(
            f"the uncertainty of type {kind} is dropped: a stretch cannot carry it",
            AstroSRWarning,
            stacklevel=4,
        )
        return None
    sigma = image.uncertainty.represent_as(StdDevUncertainty).array
    return StdDevUncertainty(np.asarray(sigma, dtype=np.float64) * np.abs(slope))
