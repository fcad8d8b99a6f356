"""Stretch and unstretch whole images, with the curve kept in their header."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDData,
    NDUncertainty,
    StdDevUncertainty,
    VarianceUncertainty,
)
from numpy.typing import NDArray

from astro_sr_plugin.data.nddata import HDUChoice, Image, Unpacked, repack, unpack
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.exceptions import InputError, warn
from astro_sr_plugin.stretch.base import Stretch

__all__ = ["apply_stretch", "undo_stretch"]

_DTYPE_KEY = "ASRSTRDT"


@image_function
def apply_stretch(
    image: Image,
    name: str | Stretch = "mtf",
    *,
    mask: NDArray[np.bool_] | None = None,
    linked: bool = True,
    hdu: HDUChoice = None,
    **parameters: Any,
) -> CCDData | NDArray:
    """Stretch an image, and write the curve into its header.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, array, str or Path
        Mono (ny, nx) or colour (3, ny, nx), in linear units. Not changed.
    name : str or Stretch, optional
        ``"mtf"``, ``"asinh"``, ``"ghs"``, ``"log"``, ``"gamma"``: fitted to the image; or a
        stretch made before, which is applied as it is.
    mask : array of bool, optional
        True = not used for the fit, beside the image's own mask.
    linked : bool, optional
        One curve for all channels, or one each.
    **parameters
        Keywords of the `fit` of the stretch, such as ``target`` or ``black``.

    Returns
    -------
    CCDData or ndarray
        The stretched image in float64, so that `undo_stretch` is exact: save it in float64 too.
        Mask, WCS, unit and meta are kept. A standard-deviation, variance or inverse-variance
        uncertainty becomes a standard deviation of the stretched values, by the slope. An array
        comes back as an array, which has no header for the curve: fit the stretch first, and give
        it as `name`, where that has to be undone.

    Raises
    ------
    InputError
        For an unknown name or keyword, or an image that is stretched already.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.nddata import CCDData
    >>> import astro_sr_plugin as asr
    >>> image = CCDData(np.random.default_rng(1).normal(100, 5, (32, 32)), unit="adu")
    >>> shown = asr.apply_stretch(image, "asinh")
    >>> shown.meta["ASRSTR"]
    'asinh'
    >>> np.allclose(asr.undo_stretch(shown).data, image.data)
    True
    """
    parts = unpack(image, hdu=hdu)
    if "ASRSTR" in parts.meta:
        done = parts.meta["ASRSTR"]
        msg = f"image is stretched already (keyword ASRSTR = {done!r}); undo that first"
        raise InputError(msg)
    if isinstance(name, Stretch):
        if parameters:
            msg = f"parameters {sorted(parameters)} are not taken together with a made stretch"
            raise InputError(msg)
        stretch = name
    else:
        stretch = _fit(parts, name, mask, linked, parameters)
    stretch.to_header(parts.meta)
    parts.meta[_DTYPE_KEY] = parts.data.dtype.name
    _add_history(parts.meta, f"stretched: {stretch!r}")
    slope = None if parts.uncertainty is None else stretch.derivative(parts.data)
    return _result(parts, stretch(parts.data), slope)


@image_function
def undo_stretch(image: Image, *, hdu: HDUChoice = None) -> CCDData | NDArray:
    """Undo the stretch whose numbers are in the header.

    Parameters
    ----------
    image : CCDData, NDData, HDUList, HDU, str or Path
        An image made by `apply_stretch`, perhaps saved and read again. Not changed.

    Returns
    -------
    CCDData
        The linear image, in float32 if the image was float32 before the stretch, else in
        float64. The keywords of the stretch are removed.

    Raises
    ------
    InputError
        If the header holds no stretch, or the image is an array, which has no header.

    Examples
    --------
    See `apply_stretch`; an array is stretched back by the stretch itself:

    >>> import astro_sr_plugin as asr
    >>> stretch = asr.AsinhStretch(black=0.0, white=1.0, softening=0.01)
    >>> round(float(stretch.inverse(stretch(0.25))), 9)
    0.25
    """
    parts = unpack(image, hdu=hdu)
    if parts.container == "array":
        msg = (
            "the image is an array, which has no header with the numbers of its stretch; give a "
            "CCDData or a file, or call the inverse of the stretch itself"
        )
        raise InputError(msg)
    stretch = Stretch.from_header(parts.meta)
    dtype = np.dtype(np.float32 if parts.meta.get(_DTYPE_KEY) == "float32" else np.float64)
    stretch.clear_header(parts.meta)
    parts.meta.pop(_DTYPE_KEY, None)
    _add_history(parts.meta, f"unstretched: {stretch!r}")
    linear = stretch.inverse(parts.data)
    slope = None if parts.uncertainty is None else 1.0 / stretch.derivative(linear)
    return _result(parts, linear.astype(dtype, copy=False), slope)


def _fit(
    parts: Unpacked,
    name: str,
    mask: NDArray[np.bool_] | None,
    linked: bool,
    parameters: dict[str, Any],
) -> Stretch:
    member = Stretch.members.get(str(name).lower())
    if member is None:
        msg = f"name is {name!r}; it must be one of {sorted(Stretch.members)}"
        raise InputError(msg)
    allowed = [key for key in signature(member.fit).parameters if key != "image"]
    unknown = sorted(set(parameters) - set(allowed))
    if unknown:
        msg = f"stretch {name!r} has no parameter {unknown[0]!r}; it takes {allowed}"
        raise InputError(msg)
    image = NDData(parts.data, mask=parts.mask)
    return member.fit(image, mask=mask, linked=linked, **parameters)


def _add_history(meta: Any, text: str) -> None:
    """Add a line to the history of a FITS header."""
    if isinstance(meta, Header):
        meta.add_history(f"astro_sr_plugin: {text}")


def _result(parts: Unpacked, data: NDArray, slope: NDArray | None) -> CCDData | NDArray:
    return repack(
        parts,
        data,
        mask=None if parts.mask is None else parts.mask.copy(),
        uncertainty=None if slope is None else _propagate(parts.uncertainty, slope),
        wcs=parts.wcs,
        meta=parts.meta,
        flags=parts.flags,
    )


def _propagate(uncertainty: NDUncertainty, slope: NDArray) -> StdDevUncertainty | None:
    """Return the standard deviation of values mapped by a curve of this slope."""
    if not isinstance(uncertainty, StdDevUncertainty | VarianceUncertainty | InverseVariance):
        kind = type(uncertainty).__name__
        warn(f"the uncertainty of type {kind} is dropped: a stretch cannot carry it")
        return None
    sigma = uncertainty.represent_as(StdDevUncertainty).array
    return StdDevUncertainty(np.asarray(sigma, dtype=np.float64) * np.abs(slope))
