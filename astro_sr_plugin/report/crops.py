"""Crops of a field that a picture or a page shows magnified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.report.display import Display, luminance
from astro_sr_plugin.validation.photometry import StarPhotometry

__all__ = ["Crop", "choose_crops", "pick_crops"]

_MAXIMUM = 6
"""Largest number of crops."""
_SEARCHED = 2048
"""Side in pixels of the middle part of a larger image that is searched for crops."""


class Crop(NamedTuple):
    """A square piece of the field, in pixels of the image before."""

    name: str
    x0: int
    y0: int
    size: int


def choose_crops(display: Display, stars: Sequence[StarPhotometry], size: int) -> list[Crop]:
    """Choose a bright isolated star, the most structured area and a faint one.

    Parameters
    ----------
    display : Display
        The images.
    stars : sequence of StarPhotometry
        Isolated stars, brightest first.
    size : int
        Side of the crops, in pixels of the image before; made smaller for small images.

    Returns
    -------
    list of Crop
        Up to three, which do not overlap where there is room.
    """
    ny, nx = display.shape
    size = min(size, ny, nx)
    crops: list[Crop] = []
    if stars:
        crops.append(_around("bright star", (stars[0].x, stars[0].y), size, display))
    image, x0, y0 = _searched(display)
    shown = (
        display.stretch(image)
        if display.stretch.channels == 1
        else _shown(display, x0, y0, image.shape)
    )
    level = np.clip(np.nan_to_num(shown, nan=0.0), 0.0, 1.0)
    smooth = gaussian_filter(level, 1.5)
    detail = np.abs(smooth - gaussian_filter(level, 6.0))
    base = float(np.nanmedian(image))
    # Not the brightest star of the frame, with its spikes and its bleeding columns.
    bad = ~(image - base < 0.5 * (float(np.nanmax(image)) - base))

    step = max(1, size // 2)
    corners = [
        (x, y)
        for y in range(0, image.shape[0] - size + 1, step)
        for x in range(0, image.shape[1] - size + 1, step)
        if not bad[y : y + size, x : x + size].any()
    ]
    if len(corners) < 2:
        return crops or [Crop("middle", (nx - size) // 2, (ny - size) // 2, size)]
    # Percentiles, so that a single star makes no structure and a hot pixel no signal.
    texture = [float(np.percentile(detail[y : y + size, x : x + size], 75)) for x, y in corners]
    signal = [float(np.percentile(smooth[y : y + size, x : x + size], 95)) for x, y in corners]
    by_texture = np.argsort(texture)[::-1]
    faintest = np.argsort(signal)
    by_faintness = np.roll(faintest, -(len(corners) // 10))
    for name, order in (("structure", by_texture), ("faint", by_faintness)):
        options = [Crop(name, corners[i][0] + x0, corners[i][1] + y0, size) for i in order]
        free = [c for c in options if not any(_overlap(c, other) for other in crops)]
        if free:
            crops.append(free[0])
    return crops


def _given_crops(display: Display, centres: Sequence[tuple[float, float]], size: int) -> list[Crop]:
    """Make crops about given positions.

    Parameters
    ----------
    display : Display
        The images.
    centres : sequence of (float, float)
        x and y in the image before.
    size : int
        Side of the crops; made smaller for small images.

    Returns
    -------
    list of Crop

    Raises
    ------
    InputError
        If a position lies outside of the image.
    """
    ny, nx = display.shape
    for x, y in centres:
        if not (-0.5 <= x <= nx - 0.5 and -0.5 <= y <= ny - 0.5):
            msg = f"crops has a centre at {(x, y)}; it must lie in the image of {nx} x {ny} pixels"
            raise InputError(msg)
    small = min(size, ny, nx)
    return [_around(f"x {x:.0f}, y {y:.0f}", (x, y), small, display) for x, y in centres]


def pick_crops(
    display: Display,
    stars: Sequence[StarPhotometry],
    crops: Sequence[tuple[float, float]] | None,
    crop_size: int,
) -> list[Crop]:
    """Return the crops asked for, or chosen ones.

    Parameters
    ----------
    display : Display
        The images.
    stars : sequence of StarPhotometry
        Isolated stars, brightest first.
    crops : sequence of (float, float) or None
        Centres in pixels of the image before; None: choose.
    crop_size : int
        At least 8.

    Returns
    -------
    list of Crop
        At most six.
    """
    if crop_size < 8:
        msg = f"crop_size is {crop_size}; it must be at least 8"
        raise InputError(msg)
    if crops is None:
        return choose_crops(display, stars, crop_size)
    if len(crops) > _MAXIMUM:
        msg = f"crops has {len(crops)} centres; at most {_MAXIMUM} can be shown"
        raise InputError(msg)
    return _given_crops(display, crops, crop_size)


def _searched(display: Display) -> tuple[NDArray[np.float64], int, int]:
    """Luminance of the middle part, and where it begins."""
    ny, nx = display.shape
    y0, x0 = max(0, (ny - _SEARCHED) // 2), max(0, (nx - _SEARCHED) // 2)
    part = display.before[..., y0 : y0 + _SEARCHED, x0 : x0 + _SEARCHED]
    return luminance(part), x0, y0


def _shown(display: Display, x0: int, y0: int, shape: tuple[int, ...]) -> NDArray[Any]:
    part = display.before[..., y0 : y0 + shape[0], x0 : x0 + shape[1]]
    return np.asarray(display.stretch(part).mean(axis=0))


def _around(name: str, centre: tuple[float, float], size: int, display: Display) -> Crop:
    ny, nx = display.shape
    x0, y0 = (round(c - (size - 1) / 2) for c in centre)
    return Crop(name, min(max(x0, 0), nx - size), min(max(y0, 0), ny - size), size)


def _overlap(a: Crop, b: Crop) -> bool:
    return abs(a.x0 - b.x0) < max(a.size, b.size) and abs(a.y0 - b.y0) < max(a.size, b.size)
