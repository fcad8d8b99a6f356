"""Two images of one field under one display stretch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stretch import Stretch
from astro_sr_plugin.validation.pair import ImagePair

__all__ = ["Display", "block_mean", "luminance", "make_display"]

_STRIP_VALUES = 1 << 22
"""Values read at a time when a large image is binned."""


@dataclass(frozen=True, eq=False)
class Display:
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
    meta: Mapping[str, Any]

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


def make_display(pair: ImagePair, stretch: str | Stretch = "mtf") -> Display:
    """Fit the stretch to the first image of a pair.

    Parameters
    ----------
    pair : ImagePair
        Mono (ny, nx) or colour (3, ny, nx); of other cubes the first plane is shown.
    stretch : str or Stretch, optional
        Name of a stretch, fitted to `before` (channel by channel), or a stretch made before.

    Raises
    ------
    InputError
        If the stretch is unknown.
    """
    before, after = _shown(pair.before.data), _shown(pair.after.data)
    if isinstance(stretch, str):
        member = Stretch.members.get(stretch.lower())
        if member is None:
            msg = f"stretch is {stretch!r}; it must be one of {sorted(Stretch.members)}"
            raise InputError(msg)
        planes = pair.planes if before.ndim == 3 else pair.planes[:1]
        mask = np.stack([np.asarray(plane.unusable) for plane in planes]).reshape(before.shape)
        stretch = member.fit(before, mask=None if mask.all() else mask, linked=False)
    return Display(before, after, pair.scale, stretch, pair.after.meta)


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
    step = max(1, _STRIP_VALUES // (factor * factor * max(nx, 1)))
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


def _shown(data: NDArray[Any]) -> NDArray[Any]:
    return data if data.ndim == 2 or data.shape[0] == 3 else data[0]
