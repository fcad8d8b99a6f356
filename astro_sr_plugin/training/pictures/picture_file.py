"""A picture from a file: its colours, and those of its middle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from astro_sr_plugin.exceptions import ImageReadError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["middle_square", "read_colours"]


def read_colours(path: Path) -> tuple[Image, bool]:
    """Read a picture as red, green and blue; say whether it has a palette of few colours.

    Raises
    ------
    ImageReadError
        If it cannot be read.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            few_colours = picture.mode == "P"
            # By way of RGBA, as Pillow wants it for palettes with transparent entries.
            return picture.convert("RGBA").convert("RGB"), few_colours
    except (OSError, SyntaxError) as error:
        msg = f"picture {str(path)!r} cannot be read: {error}"
        raise ImageReadError(msg) from error


def middle_square(picture: Image, size: int) -> Image:
    """Return the largest square in the middle at another size (bicubic with antialiasing)."""
    from PIL.Image import Resampling

    side = min(picture.size)
    x, y = ((length - side) // 2 for length in picture.size)
    return picture.crop((x, y, x + side, y + side)).resize((size, size), Resampling.BICUBIC)
