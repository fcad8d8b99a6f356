"""Pictures: the same cut-out of several results side by side, and contact sheets of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from benchmarks.truth.scene import Scene, planes_of

__all__ = ["busiest_window", "save_crops", "save_greys", "save_row", "save_sheet"]

_SIDE = 160  # input pixels
_ZOOM = 384  # screen pixels
_LABEL = 18
_GREY_ZOOM, _GREY_LABEL = 320, 16


def save_crops(
    scene: Scene,
    task: str,
    images: Sequence[tuple[str, NDArray[np.floating]]],
    path: str | Path,
) -> None:
    """Write a PNG of cut-outs where the truth has most structure.

    Parameters
    ----------
    scene : Scene
        Gives the observation, the truth, the background and the noise of the display.
    task : str
        Task whose truth is shown.
    images : sequence of (str, numpy.ndarray)
        Labels and results on the grid of the truth, shown after the observation and the truth.
    path : path
        The PNG file.
    """
    truth = planes_of(scene.truth_deconvolve - scene.background).mean(axis=0)
    side = min(_SIDE, truth.shape[0])
    row, column = busiest_window(np.arcsinh(truth / (3 * float(np.mean(scene.sigma)))), side)
    shown = [("observed", scene.observed), ("truth", scene.truth(task)), *images]
    cuts = []
    for label, image in shown:
        scale = image.shape[-1] // scene.observed.shape[-1]
        cut = (
            ...,
            slice(row * scale, (row + side) * scale),
            slice(column * scale, (column + side) * scale),
        )
        background = scene.background_at(scale)
        cuts.append((label, image[cut] - background[cut]))
    save_row(cuts, scene.sigma, path)


def save_row(
    cuts: Sequence[tuple[str, NDArray[np.floating]]],
    sigma: float | NDArray[np.float64],
    path: str | Path,
    *,
    side: int = _ZOOM,
) -> None:
    """Write pictures of square cut-outs side by side.

    Parameters
    ----------
    cuts : sequence of (str, numpy.ndarray)
        Labels and cut-outs less the sky, of any number of pixels.
    sigma : float or numpy.ndarray
        Noise that the display is scaled by.
    path : path
        The picture file, of a kind that Pillow writes.
    side : int, optional
        Screen pixels of each picture.
    """
    canvas = Image.new("RGB", (len(cuts) * (side + 4) - 4, side + _LABEL))
    draw = ImageDraw.Draw(canvas)
    for i, (label, cut) in enumerate(cuts):
        left = i * (side + 4)
        canvas.paste(_display(cut, np.asarray(sigma), side), (left, _LABEL))
        draw.text((left + 3, 3), label, fill="white")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)


def save_greys(
    shown: Sequence[tuple[str, NDArray[np.floating]]], path: str | Path, *, span: float
) -> None:
    """Write whole frames side by side, in grey.

    Parameters
    ----------
    shown : sequence of (str, numpy.ndarray)
        Labels and planes less the sky, in noise sigma.
    path : path
        The picture file.
    span : float
        Range of asinh(I / 3) from black to white, from -0.7 on.
    """
    zoom, top = _GREY_ZOOM, _GREY_LABEL
    canvas = Image.new("RGB", (len(shown) * (zoom + 4) - 4, zoom + top))
    draw = ImageDraw.Draw(canvas)
    for i, (label, excess) in enumerate(shown):
        grey = np.clip((np.arcsinh(excess / 3) + 0.7) / span, 0.0, 1.0)
        picture = Image.fromarray(np.uint8(255 * grey[::-1]))
        canvas.paste(picture.resize((zoom, zoom), Image.Resampling.BOX), (i * (zoom + 4), top))
        draw.text((i * (zoom + 4) + 3, 2), label, fill="white")
    canvas.save(path)


def busiest_window(plane: NDArray[np.floating], side: int) -> tuple[int, int]:
    """Return the first row and column of the window of a side with the largest variance."""
    mean = ndimage.uniform_filter(plane, side, mode="nearest")
    variance = ndimage.uniform_filter(plane**2, side, mode="nearest") - mean**2
    half = side // 2
    ends = [max(n - side, 0) + half + 1 for n in plane.shape]
    inner = variance[half : ends[0], half : ends[1]]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(row), int(column)


def _display(image: NDArray[np.floating], sigma: NDArray[np.float64], side: int) -> Image.Image:
    """Return asinh(I / 3 sigma) from -0.7 to 5.5 as a picture, first row at the bottom."""
    stretched = np.arcsinh(image / (3 * np.asarray(sigma)[..., None, None]))
    grey = np.clip((stretched + 0.7) / 6.2, 0.0, 1.0)
    pixels = np.asarray(np.nan_to_num(grey) * 255, np.uint8)
    pixels = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    picture = Image.fromarray(np.ascontiguousarray(pixels[::-1])).convert("RGB")
    return picture.resize((side, side), Image.Resampling.NEAREST)


def save_sheet(
    pictures: Sequence[Path], path: str | Path, *, size: tuple[int, int], columns: int = 3
) -> None:
    """Write a contact sheet: pictures in columns, each of a size (width, height)."""
    width, height = size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + 6) - 6, rows * (height + 4) - 4))
    for i, picture in enumerate(pictures):
        place = (i % columns * (width + 6), i // columns * (height + 4))
        sheet.paste(Image.open(picture).resize(size, Image.Resampling.LANCZOS), place)
    sheet.save(path, quality=60, optimize=True)
