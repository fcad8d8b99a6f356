"""An image on the pixels of its reference: values, uncertainty, mask, world coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import CCDData, NDUncertainty, VarianceUncertainty
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import find_mosaic
from astro_sr_plugin.data.formats.header import without
from astro_sr_plugin.data.nddata import (
    HDUChoice,
    Image,
    MaskLike,
    Unpacked,
    iter_planes,
    repack,
    unpack,
)
from astro_sr_plugin.data.provenance import NOISE_KEYWORDS
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.data.wcs_keywords import WCS_KEYWORDS
from astro_sr_plugin.exceptions import InputError, check_choice, warn
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.measurement.sky.unusable import sample_spread
from astro_sr_plugin.registration.adaptive import resample_adaptive
from astro_sr_plugin.registration.kernels import KERNELS
from astro_sr_plugin.registration.resample import resample_rows, rows_needed
from astro_sr_plugin.registration.transform import Transform

__all__ = ["apply_transform", "check_resampling"]

_ADAPTIVE = "adaptive"
"""Name of the resampling by reproject."""
_BAND_PIXELS = 500_000
"""Pixels of a band: some 40 MB of coordinates and coefficients."""


@image_function
def apply_transform(
    image: Image,
    transform: Transform,
    *,
    kernel: str = "bspline",
    conserve_flux: bool = True,
    wcs: WCS | None = None,
    mask: MaskLike | None = None,
    hdu: HDUChoice = None,
) -> CCDData | NDArray:
    """Resample an image onto the pixels of its reference.

    Parameters
    ----------
    image : CCDData, NDData, ndarray, str or Path, shape (ny, nx) or (n, ny, nx)
        Image in linear units. Not changed.
    transform : Transform
        From `find_transform` or `register`.
    kernel : {'bspline', 'lanczos', 'linear', 'adaptive'}
        Cubic B-spline interpolation; Lanczos of three lobes; the mean of the nearest pixels, which
        widens stars; or `reproject.reproject_adaptive`, which widens them more, has no uncertainty,
        and does not alias where pixels become larger.
    conserve_flux : bool
        Whether the flux of sources stays where the scale changes; otherwise their surface
        brightness does.
    wcs : astropy.wcs.WCS, optional
        World coordinates of the reference, which the result gets.

    Returns
    -------
    CCDData or ndarray
        In float32, NaN where the image has no pixel, or one that is NaN has part. The mask holds
        these pixels and all that an excluded pixel of the image has part in. The uncertainty is
        that of single pixels: noise that was independent is correlated between neighbours
        afterwards, and the noise of a sum of pixels is that of the image as it was.

    Raises
    ------
    InputError
        If the shape of the image is not that of the transform, or it is a raw mosaic.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> image = np.arange(30.0).reshape(5, 6)
    >>> moved = asr.Transform.from_matrix([[1, 0, 1], [0, 1, 0], [0, 0, 1]], (5, 6))
    >>> asr.apply_transform(image, moved)[0]
    array([ 1.,  2.,  3.,  4.,  5., nan], dtype=float32)
    """
    check_resampling(kernel)
    parts = unpack(image, mask=mask, hdu=hdu)
    if parts.data.shape[-2:] != transform.shape:
        ny, nx = transform.shape
        msg = f"the image has shape {parts.data.shape}; the transform is for ({ny}, {nx})"
        raise InputError(msg)
    if find_mosaic(parts.meta, parts.data) is not None:
        msg = (
            "the image is a raw mosaic, whose colours would be mixed; make it a colour image first "
            "by debayer(image, 'bilinear')"
        )
        raise InputError(msg)
    variance = _variance(parts.uncertainty, parts.data.shape)
    if kernel == _ADAPTIVE and variance is not None:
        warn("kernel='adaptive' gives no uncertainty: that of the image is left out")
        variance = None
    shape = (*parts.data.shape[:-2], *transform.reference_shape)
    data, excluded = np.empty(shape, np.float32), np.empty(shape, bool)
    noise = None if variance is None else np.empty(shape, np.float32)
    for index, plane in iter_planes(parts.data):
        own = None if parts.mask is None else parts.mask[index]
        if kernel == _ADAPTIVE:
            data[index], excluded[index] = resample_adaptive(
                plane, transform, mask=own, conserve_flux=conserve_flux
            )
            continue
        level, rms = sample_spread(plane)
        limit = find_saturation(plane, mask=own, level=level, rms=rms)
        for first, last in iter_rows(shape[-2], max(1, _BAND_PIXELS // shape[-1])):
            low, high = rows_needed(transform, (first, last), kernel=kernel)
            band = resample_rows(
                plane[low:high],
                transform,
                (first, last),
                first=low,
                kernel=kernel,
                mask=None if own is None else own[low:high],
                variance=None if variance is None else variance[index][low:high],
                saturated=None if limit is None else plane[low:high] >= limit,
                conserve_flux=conserve_flux,
            )
            data[index][first:last], excluded[index][first:last] = band.data, band.mask
            if noise is not None and band.variance is not None:
                noise[index][first:last] = np.sqrt(band.variance)
    return repack(
        parts,
        data,
        mask=excluded,
        uncertainty=noise,
        wcs=wcs,
        meta=_header(parts, transform, kernel, wcs),
    )


def check_resampling(kernel: str) -> None:
    """Check the name of a kernel of `apply_transform`.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    check_choice("kernel", kernel, (*KERNELS, _ADAPTIVE))


def _variance(uncertainty: NDUncertainty | None, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if uncertainty is None or uncertainty.array is None:
        return None
    with np.errstate(divide="ignore", over="ignore"):
        values = uncertainty.represent_as(VarianceUncertainty).array
    return np.broadcast_to(values, shape)


def _header(
    parts: Unpacked, transform: Transform, kernel: str, wcs: WCS | None
) -> Header | dict[str, Any]:
    """Metadata of the result, without the world coordinates of the image before."""
    meta = parts.meta
    if not isinstance(meta, Header):
        return meta
    meta = without(meta, WCS_KEYWORDS)
    for keyword in NOISE_KEYWORDS:
        meta.remove(keyword, ignore_missing=True)
    if wcs is not None:
        meta.update(wcs.to_header(relax=True))
    dx, dy = transform.shift
    meta.add_history(
        f"astro_sr_plugin: registered ({transform.model}, {kernel}), moved {dx:.3f} {dy:.3f} px,"
    )
    meta.add_history(
        f"turned {transform.rotation:.4f} deg, scale {transform.scale:.6f}"
        + (", mirrored" if transform.mirrored else "")
        + f", {transform.n_pairs} stars, residual {transform.residual:.4f} px"
    )
    return meta
