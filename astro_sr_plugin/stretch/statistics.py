"""Sky level and noise of an image, as far as a display stretch needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sky", "display_range", "sky_per_channel"]

#: Above this number of pixels every k-th is taken: the error of the median is then still under
#: a three-thousandth of the noise.
_MAX_PIXELS = 1 << 25


class Sky(NamedTuple):
    """What a stretch knows of one channel.

    Attributes
    ----------
    median, sigma : float
        Median, and 1.4826 times the median absolute deviation (0 if most pixels are equal).
    low, high : float
        Smallest and largest value.
    bright : float
        The 99.9th percentile.
    """

    median: float
    sigma: float
    low: float
    high: float
    bright: float


def sky_per_channel(image: Any, mask: Any, linked: bool) -> list[Sky]:
    """Measure an image, each channel by itself or all as one.

    Exact zeros are taken as pixels without data, as Siril does, unless all are zero.

    Parameters
    ----------
    image : NDData or array_like
        (ny, nx), (3, ny, nx), or any other shape, which counts as one channel.
    mask : array of bool or None
        True = excluded.
    linked : bool
        Average the channels (the mean of medians and sigmas, the extremes of all).

    Returns
    -------
    list of Sky
        One per channel for an unlinked colour image, else one.
    """
    data, masks = _open(image, mask)
    planes = list(data) if data.ndim == 3 and data.shape[0] == 3 else [data]
    skies = []
    for index, plane in enumerate(planes):
        bad = [m[index] if m.shape == data.shape and len(planes) > 1 else m for m in masks]
        skies.append(_measure(plane, bad))
    found = [sky for sky in skies if sky is not None]
    if not found:
        msg = "image has no finite unmasked pixel; a stretch needs at least one"
        raise InputError(msg)
    pooled = Sky(
        median=float(np.mean([sky.median for sky in found])),
        sigma=float(np.mean([sky.sigma for sky in found])),
        low=min(sky.low for sky in found),
        high=max(sky.high for sky in found),
        bright=max(sky.bright for sky in found),
    )
    return [pooled] if linked else [pooled if sky is None else sky for sky in skies]


def display_range(image: Any, skies: list[Sky]) -> float:
    """Value that counts as 1 in the classical 0..1 domain of MTF and GHS.

    1 for data that reach up to 1 (up to 2 is tolerated: nothing is clipped), 255 and 65535 for
    unsigned 8 and 16-bit integers, 65535 for other data that reach between 255 and 65535 (camera
    counts), else the largest absolute value, so also for fluxes of the order of 1e-12.
    """
    dtype = _open(image, None)[0].dtype
    if dtype.kind == "u" and dtype.itemsize <= 2:
        return float(np.iinfo(dtype).max)
    high = max(sky.high for sky in skies)
    low = min(sky.low for sky in skies)
    if 1e-4 <= high <= 2.0:
        return 1.0
    if 255.0 < high <= 65535.0:
        return 65535.0
    return max(abs(high), abs(low)) or 1.0


def spread(sky: Sky) -> float:
    """Noise of the sky, or for noise-free data a thousandth of their range (1 if constant)."""
    return sky.sigma or (sky.high - sky.low) / 1000.0 or abs(sky.median) / 1000.0 or 1.0


def _open(image: Any, mask: Any) -> tuple[NDArray[Any], list[NDArray[np.bool_]]]:
    # A memoryview has .data semantics of its own, hence the test for .mask (NDData, masked array).
    has_mask = hasattr(image, "mask") and hasattr(image, "data")
    data = np.asarray(image.data if has_mask else image)
    if data.dtype.kind not in "biuf":
        msg = f"image has dtype {data.dtype}; a stretch takes real numbers only"
        raise InputError(msg)
    masks = []
    for bad in (image.mask if has_mask else None, mask):
        if bad is None:
            continue
        array = np.asarray(bad, dtype=bool)
        if array.ndim == 0:
            array = np.broadcast_to(array, data.shape)
        if array.shape not in (data.shape, data.shape[-2:]):
            msg = f"mask has shape {array.shape}; it must be {data.shape} or {data.shape[-2:]}"
            raise InputError(msg)
        masks.append(array)
    return data, masks


def _measure(plane: NDArray[Any], masks: list[NDArray[np.bool_]]) -> Sky | None:
    step = -(-plane.size // _MAX_PIXELS)
    if step > 1 and plane.ndim >= 2:
        plane = plane[..., ::step, :]
        masks = [bad[..., ::step, :] for bad in masks]
    keep = np.isfinite(plane)
    for bad in masks:
        keep &= ~bad
    nonzero = keep & (plane != 0)
    values = plane[nonzero if nonzero.any() else keep]
    if values.size == 0:
        return None
    # Integers and float16 would wrap or overflow below; float32 keeps the memory low.
    single = values.dtype.kind == "f" and values.dtype.itemsize == 4
    values = values.astype(np.float32 if single else np.float64, copy=False)
    low, high = float(values.min()), float(values.max())
    rank = min(values.size - 1, int(0.999 * values.size))
    middle = values.size // 2
    values.partition((middle - 1, middle, rank) if middle else (middle, rank))
    bright = float(values[rank])
    median = float(values[middle])
    if values.size % 2 == 0:
        median = 0.5 * (median + float(values[middle - 1]))
    np.subtract(values, values.dtype.type(median), out=values)
    np.abs(values, out=values)
    sigma = MAD_TO_SIGMA * float(np.median(values, overwrite_input=True))
    return Sky(median, sigma, low, high, bright)
