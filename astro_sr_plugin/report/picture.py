"""A picture of before and after: the whole frame, and crops of the interesting places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astro_sr_plugin.data.output import writing
from astro_sr_plugin.report.crops import Crop, pick_crops
from astro_sr_plugin.report.display import Display, block_mean, make_display

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from astro_sr_plugin.stretch import Stretch
    from astro_sr_plugin.validation.comparing import Comparison

__all__ = [
    "BACK",
    "CROP_COLOURS",
    "GAP",
    "INK",
    "crop_panels",
    "font_of_size",
    "frame_panels",
    "write_before_after_png",
]

CROP_COLOURS = ("#ffb000", "#4fd1ff", "#ff5fa2", "#7ee081", "#c9a0ff", "#ff8d5c")
"""CSS colours of the crops: outlines in the whole frame, and titles."""

BACK, INK = "#16181d", "#e8eaed"
"""CSS colours of the background and of the text."""
GAP, _TITLE = 12, 26
"""Distance of the panels, and height of a title, in pixels of the screen."""


def write_before_after_png(
    comparison: Comparison,
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
    comparison : Comparison
        What `compare` found on the images: mono (ny, nx) or colour (3, ny, nx), in linear units.
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
    display = make_display(comparison.pair, stretch)
    chosen = pick_crops(display, comparison.stars, crops, crop_size)
    image = _draw(display, chosen, labels)
    with writing(path, overwrite=overwrite) as part:
        image.save(part, format="PNG")
    return Path(path)


def frame_panels(
    display: Display, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
    """Make the whole frames of about a width, both of the same size.

    Parameters
    ----------
    display : Display
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
    longest = max(display.shape)
    if longest <= width:
        zoom = width // longest
        first, second = (
            _magnified(display.pixels(display.before), zoom),
            _fitted(display, display.after, zoom),
        )
        return first, second, float(zoom)
    # First whole blocks, on linear values; then the last bit, under a factor of 2, on the screen.
    factor = longest // width
    first = display.pixels(block_mean(display.before, factor))
    second = display.pixels(block_mean(display.after, factor * display.scale))
    rows, columns = (max(1, round(n * width / longest)) for n in display.shape)
    return _resized(first, rows, columns), _resized(second, rows, columns), width / longest


def crop_panels(
    display: Display, crop: Crop, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Make both pictures of a crop, of the same size near a width, without interpolation."""
    before, after = display.cut(crop.x0, crop.y0, crop.size, crop.size)
    zoom = max(1, round(width / (crop.size * display.scale))) * display.scale
    return _magnified(display.pixels(before), zoom), _fitted(display, after, zoom)


def _fitted(display: Display, after: NDArray[Any], zoom: int) -> NDArray[np.uint8]:
    """Show a piece of `after` at a number of screen pixels per pixel of `before`."""
    if zoom % display.scale == 0:
        return _magnified(display.pixels(after), zoom // display.scale)
    return _magnified(display.pixels(block_mean(after, display.scale)), zoom)


def _magnified(pixels: NDArray[np.uint8], zoom: int) -> NDArray[np.uint8]:
    return np.repeat(np.repeat(pixels, zoom, axis=0), zoom, axis=1)


def _resized(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    from PIL import Image

    small = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8)


def _draw(display: Display, crops: list[Crop], labels: tuple[str, str]) -> Any:
    from PIL import Image, ImageDraw

    *frames, zoom = frame_panels(display, 800)
    panels = [crop_panels(display, crop, 256) for crop in crops]
    frame_y, frame_x = frames[0].shape[:2]
    side = max((panel[0].shape[0] for panel in panels), default=0)
    row = sum(2 * panel[0].shape[1] + 4 for panel in panels) + 2 * GAP * max(0, len(panels) - 1)
    width = max(2 * frame_x + GAP, row) + 2 * GAP
    height = 2 * GAP + 2 * _TITLE + frame_y + (side + _TITLE + GAP if panels else 0)
    canvas = Image.new("RGB", (width, height), BACK)
    pen = ImageDraw.Draw(canvas)
    font = font_of_size(15)

    top = GAP + _TITLE
    left = (width - (2 * frame_x + GAP)) // 2
    for index in (0, 1):
        x = left + index * (frame_x + GAP)
        canvas.paste(Image.fromarray(frames[index]).convert("RGB"), (x, top))
        size = display.before.shape if index == 0 else display.after.shape
        title = f"{labels[index]}   {size[-1]} x {size[-2]}"
        pen.text((x, GAP), title, fill=INK, font=font)
        for crop, colour in zip(crops, CROP_COLOURS, strict=False):
            x0, y1 = x + crop.x0 * zoom, top + frame_y - 1 - crop.y0 * zoom
            span = crop.size * zoom
            pen.rectangle((x0, y1 - span, x0 + span, y1), outline=colour, width=2)

    top += frame_y + GAP
    x = (width - row) // 2
    for crop, panel, colour in zip(crops, panels, CROP_COLOURS, strict=False):
        pen.text((x, top), crop.name, fill=colour, font=font)
        for index in (0, 1):
            shown = Image.fromarray(panel[index]).convert("RGB")
            canvas.paste(shown, (x + index * (shown.width + 4), top + _TITLE))
        x += 2 * panel[0].shape[1] + 4 + 2 * GAP
    pen.text(
        (GAP, height - _TITLE + 4),
        _caption(display, crops, labels),
        fill="#9aa0a8",
        font=font_of_size(13),
    )
    return canvas


def _caption(display: Display, crops: list[Crop], labels: tuple[str, str]) -> str:
    left, right = labels
    parts = [f"display: {display.stretch.name} stretch fitted to {left}, the same for both"]
    if crops:
        parts.append(f"crops: {crops[0].size} pixels of {left} wide; {left} | {right}")
    if display.scale > 1:
        parts.append(f"scale x{display.scale}")
    return "   |   ".join(parts)


def font_of_size(size: int) -> Any:
    """Return the font of titles, by its size in pixels of the screen."""
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
