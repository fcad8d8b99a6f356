"""Colour images from raw mosaics of Bayer and X-Trans cameras."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from astropy.io.fits import Header
from astropy.nddata import CCDData
from numpy.typing import NDArray
from scipy.ndimage import convolve, correlate, correlate1d, maximum_filter

from astro_sr_plugin.data.cfa import CFA_KEYWORDS, ColorFilterArray, find_cfa, parse_pattern
from astro_sr_plugin.data.nddata import HDUChoice, Image, Unpacked, repack, unpack
from astro_sr_plugin.data.signatures import image_function
from astro_sr_plugin.data.wcs import crop_wcs_header, scale_wcs, scale_wcs_header
from astro_sr_plugin.exceptions import InputError, check_choice, warn

__all__ = ["METHODS", "debayer", "interpolate_colour", "interpolate_colours"]

METHODS = ("superpixel", "bilinear")
"""Names of the methods."""

# Weights of neighbours along an axis, by the side of the repeated pattern: they fall linearly to 0,
# and reach at least one pixel of each colour, on the edges of the image too.
_WEIGHTS = {2: np.array([1.0, 2.0, 1.0]), 6: np.array([1.0, 2.0, 3.0, 2.0, 1.0])}
# Weights that keep cubic polynomials: of pixels 1 and 3 pixels away along a line, where every other
# pixel has the colour; and of the 4 and 8 nearest pixels of green.
_CUBIC_LINE = np.array([-1.0, 0, 9, 16, 9, 0, -1]) / 16
_CUBIC_DIAGONAL = (
    np.array(
        [
            [0.0, -1, 0, -1, 0],
            [-1, 0, 10, 0, -1],
            [0, 10, 32, 10, 0],
            [-1, 0, 10, 0, -1],
            [0, -1, 0, -1, 0],
        ]
    )
    / 32
)
# Side in pixels of the smallest block with all colours, by the side of the repeated pattern.
_BLOCKS = {2: 2, 6: 3}


@image_function
def debayer(
    image: Image,
    method: str = "bilinear",
    *,
    pattern: str | None = None,
    hdu: HDUChoice = None,
) -> CCDData | NDArray:
    """Make a colour image of a raw mosaic.

    Parameters
    ----------
    image : CCDData, NDData, ndarray, str or Path, shape (ny, nx)
        Raw frame of a Bayer or X-Trans camera. Not changed.
    method : {'superpixel', 'bilinear'}
        ``'superpixel'`` makes one pixel of each 2 x 2 block (3 x 3 of X-Trans): nothing is
        interpolated, and the noise of neighbours stays independent. The red and blue light of a
        Bayer block is recorded a quarter of the new pixel beside its centre. ``'bilinear'`` keeps
        the size: the measured values stay, and the mean of the neighbours stands for the two
        missing colours.
    pattern : str, optional
        Filters row by row from ``data[0, 0]``, such as ``'RGGB'``, instead of those of the header.

    Returns
    -------
    CCDData or ndarray
        Red, green and blue in shape (3, ny, nx), in the unit of the mosaic and with its rows in
        their order. WCS and header are those of the new pixels, without the keywords of the mosaic.

    Raises
    ------
    InputError
        If the method is unknown, the image is not one plane, or its filters are not known or are
        other than red, green and blue.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_sr_plugin import debayer
    >>> raw = np.array([[3.0, 2.0], [4.0, 1.0]])
    >>> debayer(raw, "superpixel", pattern="RGGB").ravel()
    array([3., 3., 1.])
    """
    check_choice("method", method, METHODS)
    parts = unpack(image, hdu=hdu)
    if parts.data.ndim != 2:
        msg = f"the image has shape {parts.data.shape}; a mosaic has one plane, (ny, nx)"
        raise InputError(msg)
    cfa = _filters_of(parts, pattern)
    if parts.uncertainty is not None:
        msg = "the uncertainty of the mosaic is left out: that of the colours is another one"
        warn(msg)
    data = parts.data
    if not (data.dtype.kind == "f" and data.dtype.itemsize >= 4):
        data = data.astype(np.float32 if data.dtype.itemsize <= 2 else np.float64)
    if method == "superpixel":
        return _superpixel(replace(parts, data=data), cfa)
    colours = interpolate_colours(data, cfa.filters)
    mask = None if parts.mask is None else _grown(parts.mask, cfa.filters)
    return repack(parts, colours, mask=mask, wcs=parts.wcs, meta=_header(parts.meta, method, cfa))


def _filters_of(parts: Unpacked, pattern: str | None) -> ColorFilterArray:
    if pattern is not None:
        cfa: ColorFilterArray | None = ColorFilterArray(parse_pattern(pattern))
    else:
        cfa = find_cfa(parts.meta, parts.data.shape)
    if cfa is None or not cfa.pattern:
        msg = (
            "the header does not say which pixels are red, green and blue; give them by "
            "pattern='RGGB'"
        )
        raise InputError(msg)
    if not cfa.is_rgb:
        msg = f"filters {cfa.pattern!r} cannot be debayered; allowed are red, green and blue"
        raise InputError(msg)
    return cfa


def _superpixel(parts: Unpacked, cfa: ColorFilterArray) -> CCDData | NDArray:
    side = _BLOCKS[len(cfa.filters)]
    top, left = _first_block(cfa.filters, side)
    ny, nx = ((n - start) // side for n, start in zip(parts.data.shape, (top, left), strict=True))
    if ny < 1 or nx < 1:
        msg = f"the image of shape {parts.data.shape} is smaller than one block of its filters"
        raise InputError(msg)
    window = (slice(top, top + ny * side), slice(left, left + nx * side))
    filters = _tiled(np.roll(cfa.filters, (-top, -left), (0, 1)), (ny * side, nx * side))
    blocks = (ny, side, nx, side)
    data = np.empty((3, ny, nx), parts.data.dtype)
    cut = parts.data[window]
    for plane, colour in zip(data, "RGB", strict=True):
        chosen = (filters == colour).reshape(blocks)
        values = np.where(chosen, cut.reshape(blocks), 0).sum((1, 3), dtype=np.float64)
        plane[...] = values / chosen.sum((1, 3))
    mask = None
    if parts.mask is not None:
        excluded = parts.mask[window].reshape(blocks).any((1, 3))
        mask = np.broadcast_to(excluded, data.shape).copy()
    wcs = parts.wcs
    if wcs is not None:
        wcs = scale_wcs(wcs.slice(window), 1 / side)
        if wcs is not None:
            wcs.pixel_shape = (nx, ny)
    meta = _header(parts.meta, "superpixel", cfa)
    if isinstance(meta, Header):
        meta = scale_wcs_header(crop_wcs_header(meta, top, left), 1 / side, shape=data.shape)
    return repack(parts, data, mask=mask, wcs=wcs, meta=meta)


def _first_block(filters: NDArray[np.str_], side: int) -> tuple[int, int]:
    """Find the first block whose colours all have their centre in its middle.

    Every 2 x 2 block of a Bayer array is like the others. X-Trans arrays consist of 3 x 3 blocks
    that are symmetric about their middles.
    """
    if side == len(filters):
        return 0, 0
    y, x = np.indices((side, side)) - (side - 1) / 2
    for top in range(side):
        for left in range(side):
            rolled = np.roll(filters, (-top, -left), (0, 1))
            corners = [rolled[i : i + side, j : j + side] for i in (0, side) for j in (0, side)]
            if all(
                (block == c).any() and y[block == c].sum() == x[block == c].sum() == 0
                for block in corners
                for c in "RGB"
            ):
                return top, left
    msg = "the 6 x 6 filters are not those of an X-Trans camera; use method='bilinear'"
    raise InputError(msg)


def _tiled(filters: NDArray, shape: tuple[int, ...]) -> NDArray:
    side = len(filters)
    return np.tile(filters, [-(-n // side) for n in shape])[: shape[0], : shape[1]]


def interpolate_colours(
    data: NDArray, filters: NDArray[np.str_], *, cubic: bool = False
) -> NDArray:
    """Keep what was measured, and interpolate each missing colour from its own pixels.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The mosaic. Missing values (NaN) have no weight.
    filters : ndarray of str
        Its repeated block.
    cubic : bool
        Interpolate the colours of a Bayer array such that cubic polynomials are kept, except beside
        missing values: stars stay sharper. Otherwise by weighted means, for Bayer arrays the
        well-known ones of two or four neighbours.

    Returns
    -------
    ndarray, shape (3, ny, nx)
        Red, green and blue.
    """
    return np.stack([interpolate_colour(data, filters, colour, cubic=cubic) for colour in "RGB"])


def interpolate_colour(
    data: NDArray, filters: NDArray[np.str_], colour: str, *, cubic: bool = False
) -> NDArray:
    """Do the work of `interpolate_colours` for one of the colours."""
    weights = _WEIGHTS[len(filters)]
    measured = _tiled(filters == colour, data.shape)
    usable = measured & np.isfinite(data)
    known = np.where(usable, data, 0).astype(np.promote_types(data.dtype, np.float32))
    light = _weighted_sums(known, weights)
    weight = _weighted_sums(usable.astype(np.float32), weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        light /= weight
    if cubic and len(filters) == 2 and min(data.shape) >= len(_CUBIC_LINE):
        finer = _interpolate_cubic(known, diagonal=int((filters == colour).sum()) == 2)
        missing = measured & ~usable
        if missing.any():
            beside = maximum_filter(missing, size=len(_CUBIC_LINE), mode="constant")
            np.copyto(finer, light, where=beside)
        light = finer
    np.copyto(light, data, where=measured)
    return light.astype(data.dtype, copy=False)


def _interpolate_cubic(known: NDArray, *, diagonal: bool) -> NDArray:
    """Interpolate a colour of a Bayer array, whose other pixels are 0.

    `diagonal` is that of green, which has two pixels in each block. The image is mirrored about its
    edges, which keeps the places of the colours.
    """
    if diagonal:
        found: NDArray = correlate(known, _CUBIC_DIAGONAL, mode="mirror")
        return found
    for axis in (0, 1):
        known = correlate1d(known, _CUBIC_LINE, axis=axis, mode="mirror")
    return known


def _weighted_sums(values: NDArray, weights: NDArray[np.float64]) -> NDArray:
    """Sum the neighbours along both axes; there is nothing beyond the edges."""
    for axis in (0, 1):
        values = correlate1d(values, weights, axis=axis, mode="constant")
    return values


def _grown(mask: NDArray[np.bool_], filters: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Exclude the colours of a pixel that were measured or interpolated from excluded pixels."""
    reach = np.ones((len(_WEIGHTS[len(filters)]),) * 2)
    tiled = _tiled(filters, mask.shape)
    grown = np.empty((3, *mask.shape), bool)
    for plane, colour in zip(grown, "RGB", strict=True):
        measured = tiled == colour
        near = convolve((mask & measured).astype(np.uint8), reach, mode="constant") > 0
        plane[...] = np.where(measured, mask, near)
    return grown


def _header(
    meta: Header | dict[str, object], method: str, cfa: ColorFilterArray
) -> Header | dict[str, object]:
    meta = meta.copy()
    for keyword in CFA_KEYWORDS:
        meta.pop(keyword, None)
    if isinstance(meta, Header):
        meta.add_history(f"astro_sr_plugin: debayered ({method}) {cfa.pattern}")
    return meta
