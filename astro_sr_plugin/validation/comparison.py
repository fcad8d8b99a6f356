"""Two images of one field, on grids that fit into each other, under one display stretch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sr_plugin.data.nddata import unpack
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stretch import Stretch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Comparison", "block_mean", "compare_images", "luminance"]

#: Rows read at a time when a large image is made small.
_STRIP = 1 << 22


@dataclass(frozen=True)
class Comparison:
    """A pair of images ready to be shown.

    Attributes
    ----------
    before, after : ndarray
        (ny, nx) or (3, ny, nx), of the images themselves.
    scale : int
        Pixels of `after` per pixel of `before`, along an axis.
    stretch : Stretch
        Fitted to `before`, used for both.
    meta : mapping
        Header of `after`.
    """

    before: NDArray[Any]
    after: NDArray[Any]
    scale: int
    stretch: Stretch
    meta: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of `before`."""
        return int(self.before.shape[-2]), int(self.before.shape[-1])

    def cut(self, x0: int, y0: int, width: int, height: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the same piece of sky from both; the corner and the size are those of before."""
        s = self.scale
        before = self.before[..., y0 : y0 + height, x0 : x0 + width]
        after = self.after[..., s * y0 : s * (y0 + height), s * x0 : s * (x0 + width)]
        return before, after

    def pixels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Stretch values to 8-bit (ny, nx) or (ny, nx, 3) pixels, row 0 at the bottom.

        Only here, for the eye, are values clipped. NaN becomes black.
        """
        shown = self.stretch(values)
        level = np.clip(np.nan_to_num(shown, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
        if level.ndim == 3:
            level = np.moveaxis(level, 0, -1)
        return np.ascontiguousarray(np.rint(level * 255.0).astype(np.uint8)[::-1])


def compare_images(before: Any, after: Any, *, stretch: str | Stretch = "mtf") -> Comparison:
    """Check that two images can be compared, and fit the stretch to the first.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        Mono (ny, nx) or colour (3, ny, nx); of other cubes the first plane is shown. `after` may
        be larger by a whole factor.
    stretch : str or Stretch, optional
        Name of a stretch, fitted to `before` (channel by channel), or a stretch made before.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If the shapes do not fit, or the stretch is unknown.
    """
    first, second = unpack(before), unpack(after)
    low, high = _planes(first.data), _planes(second.data)
    scale = high.shape[-1] // low.shape[-1]
    fits = scale >= 1 and high.shape[-2:] == tuple(n * scale for n in low.shape[-2:])
    if not fits or low.ndim != high.ndim:
        msg = (
            f"after has shape {high.shape} and before {low.shape}; after must be as large, or "
            "larger by the same whole factor on both axes, with the same number of channels"
        )
        raise InputError(msg)
    if isinstance(stretch, str):
        member = Stretch.members.get(stretch.lower())
        if member is None:
            msg = f"stretch is {stretch!r}; it must be one of {sorted(Stretch.members)}"
            raise InputError(msg)
        mask = None if first.mask is None else _planes(first.mask)
        stretch = member.fit(low, mask=mask, linked=False)
    return Comparison(low, high, scale, stretch, second.meta)


def luminance(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over colour channels, NaN where any is NaN; float64 (ny, nx)."""
    data = values.astype(np.float64)
    return data if data.ndim == 2 else np.asarray(data.mean(axis=0))


def block_mean(values: NDArray[Any], factor: int) -> NDArray[np.float64]:
    """Average blocks of factor x factor pixels, ignoring NaN; a partial block at the end is left.

    Works in strips, so that an image of any size needs memory only for the result.
    """
    if values.ndim == 3:
        return np.stack([block_mean(plane, factor) for plane in values])
    ny, nx = (n // factor for n in values.shape)
    result = np.empty((ny, nx))
    step = max(1, _STRIP // (factor * factor * max(nx, 1)))
    for start in range(0, ny, step):
        rows = min(step, ny - start)
        strip = values[start * factor : (start + rows) * factor, : nx * factor]
        blocks = strip.astype(np.float64).reshape(rows, factor, nx, factor)
        good = np.isfinite(blocks)
        count = good.sum(axis=(1, 3))
        total = np.where(good, blocks, 0.0).sum(axis=(1, 3))
        mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        result[start : start + rows] = mean
    return result


def _planes(data: NDArray[Any]) -> NDArray[Any]:
    return data if data.ndim == 2 or data.shape[0] == 3 else data[0]
