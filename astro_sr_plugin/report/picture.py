"""A picture of before and after: the whole frame, and crops of the interesting places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sr_plugin.data.output import writing
from astro_sr_plugin.validation.comparison import Comparison, block_mean, compare_images
from astro_sr_plugin.validation.regions import Crop, find_stars, pick_crops

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from astro_sr_plugin.stretch import Stretch

__all__ = ["CROP_COLOURS", "crop_panels", "frame_panels", "write_before_after_png"]

#: Outlines of the crops in the whole frame, and their titles.
CROP_COLOURS = ("#ffb000", "#4fd1ff", "#ff5fa2", "#7ee081", "#c9a0ff", "#ff8d5c")

_BACK = "#16181d"
_INK = "#e8eaed"
_GAP = 12
_TITLE = 26


def write_before_after_png(
    before: Any,
    after: Any,
    path: str | os.PathLike[str],
    *,
    stretch: str | Stretch = "mtf",
    crops: Sequence[tuple[float, float]] | None = None,
    crop_size: int = 64,
    labels: tuple[str, str] = ("before", "after"),
    overwrite: bool = True,
) -> Path:
    """Draw two images of one field side by side, under the same stretch.

    Above the whole frames, below crops of the same places, magnified without interpolation, so
    that the pixels can be seen. An image that is larger by a whole factor is shown at the same
    size on the sky. Row 0 is at the bottom.

    Parameters
    ----------
    before, after : CCDData, NDData, array or path
        Mono (ny, nx) or colour (3, ny, nx), in linear units. Not changed.
    path : str or Path
        The PNG file.
    stretch : str or Stretch, optional
        Name of a stretch, fitted to `before` and used for both, or one made before.
    crops : sequence of (float, float), optional
        Centres x, y of up to six crops, in pixels of `before`; default a bright isolated star,
        the most structured area and a faint one.
    crop_size : int, optional
        Side of the crops, in pixels of `before`; at least 8.
    labels : (str, str), optional
        Titles of the two images.
    overwrite : bool, optional
        Whether an existing file is replaced.

    Returns
    -------
    Path
        The written file.
    """
    pair = compare_images(before, after, stretch=stretch)
    chosen = pick_crops(pair, find_stars(pair), crops, crop_size)
    image = _draw(pair, chosen, labels)
    with writing(path, overwrite=overwrite) as part:
        image.save(part, format="PNG")
    return Path(path)


def frame_panels(
    pair: Comparison, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
    """Make the whole frames of about a width, both of the same size.

    Parameters
    ----------
    pair : Comparison
        The images.
    width : int
        Pixels of the screen that the longer side may take.

    Returns
    -------
    before, after : array of uint8
        (ny, nx) or (ny, nx, 3), top row first.
    zoom : float
        Screen pixels per pixel of the image before.
    """
    longest = max(pair.shape)
    if longest <= width:
        zoom = width // longest
        first, second = _magnified(pair.pixels(pair.before), zoom), _fitted(pair, pair.after, zoom)
        return first, second, float(zoom)
    # First whole blocks, on linear values; then the last bit, under a factor of 2, on the screen.
    factor = longest // width
    first = pair.pixels(block_mean(pair.before, factor))
    second = pair.pixels(block_mean(pair.after, factor * pair.scale))
    rows, columns = (max(1, round(n * width / longest)) for n in pair.shape)
    return _resized(first, rows, columns), _resized(second, rows, columns), width / longest


def crop_panels(
    pair: Comparison, crop: Crop, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make both pictures of a crop, of the same size near a width, without interpolation."""
    before, after = pair.cut(crop.x0, crop.y0, crop.size, crop.size)
    zoom = max(1, round(width / (crop.size * pair.scale))) * pair.scale
    return _magnified(pair.pixels(before), zoom), _fitted(pair, after, zoom)


def _fitted(pair: Comparison, after: NDArray[Any], zoom: int) -> NDArray[np.uint8]:
    """Show a piece of `after` at a number of screen pixels per pixel of `before`."""
    if zoom % pair.scale == 0:
        return _magnified(pair.pixels(after), zoom // pair.scale)
    return _magnified(pair.pixels(block_mean(after, pair.scale)), zoom)


def _magnified(pixels: NDArray[np.uint8], zoom: int) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(pixels, zoom, axis=0), zoom, axis=1)


def _resized(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    from PIL import Image

    small = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8)


def _draw(pair: Comparison, crops: list[Crop], labels: tuple[str, str]) -> Any:
    from PIL import Image, ImageDraw

    *frames, zoom = frame_panels(pair, 800)
    panels = [crop_panels(pair, crop, 256) for crop in crops]
    frame_y, frame_x = frames[0].shape[:2]
    side = max((panel[0].shape[0] for panel in panels), default=0)
    row = sum(2 * panel[0].shape[1] + 4 for panel in panels) + 2 * _GAP * max(0, len(panels) - 1)
    width = max(2 * frame_x + _GAP, row) + 2 * _GAP
    height = 2 * _GAP + 2 * _TITLE + frame_y + (side + _TITLE + _GAP if panels else 0)
    canvas = Image.new("RGB", (width, height), _BACK)
    pen = ImageDraw.Draw(canvas)
    font = _font(15)

    top = _GAP + _TITLE
    left = (width - (2 * frame_x + _GAP)) // 2
    for index in (0, 1):
        x = left + index * (frame_x + _GAP)
        canvas.paste(Image.fromarray(frames[index]).convert("RGB"), (x, top))
        size = pair.before.shape if index == 0 else pair.after.shape
        title = f"{labels[index]}   {size[-1]} x {size[-2]}"
        pen.text((x, _GAP), title, fill=_INK, font=font)
        for crop, colour in zip(crops, CROP_COLOURS, strict=False):
            x0, y1 = x + crop.x0 * zoom, top + frame_y - 1 - crop.y0 * zoom
            span = crop.size * zoom
            pen.rectangle((x0, y1 - span, x0 + span, y1), outline=colour, width=2)

    top += frame_y + _GAP
    x = (width - row) // 2
    for crop, panel, colour in zip(crops, panels, CROP_COLOURS, strict=False):
        pen.text((x, top), crop.name, fill=colour, font=font)
        for index in (0, 1):
            shown = Image.fromarray(panel[index]).convert("RGB")
            canvas.paste(shown, (x + index * (shown.width + 4), top + _TITLE))
        x += 2 * panel[0].shape[1] + 4 + 2 * _GAP
    pen.text(
        (_GAP, height - _TITLE + 4), _caption(pair, crops, labels), fill="#9aa0a8", font=_font(13)
    )
    return canvas


def _caption(pair: Comparison, crops: list[Crop], labels: tuple[str, str]) -> str:
    left, right = labels
    parts = [f"display: {pair.stretch.name} stretch fitted to {left}, the same for both"]
    if crops:
        parts.append(f"crops: {crops[0].size} pixels of {left} wide; {left} | {right}")
    if pair.scale > 1:
        parts.append(f"scale x{pair.scale}")
    return "   |   ".join(parts)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
