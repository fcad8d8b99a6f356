"""A picture of the point-spread function, and of what it leaves of the stars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astro_sr_plugin.data.output import writing
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.psf.star_residuals import profile_only, stack_residuals
from astro_sr_plugin.report.picture import BACK, GAP, INK, font_of_size

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from astro_sr_plugin.measurement.plane import MeasuredPlane
    from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF

__all__ = ["PSFPanel", "make_psf_panels", "write_psf_png"]

_REACH, _LEAST_RADIUS, _LARGEST_RADIUS = 3.0, 6, 30
"""Half the side of a panel in FWHM; and at least and at most, in pixels."""
_SIDE = 264
"""Side of a panel in pixels of the screen, about."""
_PLACES = 3
"""Places along each axis of the field at which a PSF that changes is shown."""
_DEPTH = 3.0
"""Decades below the peak that the picture of the PSF shows."""
_LEAST_RANGE = 0.01
"""Smallest range of the residuals, as a part of the peak."""
_BELOW, _ABOVE = (90.0, 160.0, 255.0), (255.0, 150.0, 60.0)
"""Colours of residuals below and above zero, as RGB; zero is black."""
_TITLE = 24
"""Height of a title in pixels of the screen."""


class PSFPanel(NamedTuple):
    """A picture with its title: 8-bit RGB (n, n, 3), top row first."""

    title: str
    pixels: NDArray[np.uint8]


def make_psf_panels(plane: MeasuredPlane) -> list[PSFPanel]:
    """Draw the PSF of a plane, and the mean residuals of its stars.

    Parameters
    ----------
    plane : MeasuredPlane
        The plane.

    Returns
    -------
    list of PSFPanel
        The PSF, logarithmic over three decades, at nine places where it changes over the field;
        what it leaves of the stars, and what the Moffat profile alone does, on the same scale.
        Empty if the PSF is not known.
    """
    stars, psf = plane.psf_stars, plane.empirical_psf
    if stars is None or not len(stars) or not np.isfinite(psf.moffat.fwhm):
        return []
    radius = int(np.clip(np.ceil(_REACH * psf.moffat.fwhm), _LEAST_RADIUS, _LARGEST_RADIUS))
    left = stack_residuals(stars, psf, radius=radius)
    left_by_profile = stack_residuals(stars, profile_only(psf), radius=radius)
    scale = max(_LEAST_RANGE, float(np.nanmax(np.abs([left, left_by_profile]), initial=0.0)))
    noun = "star" if len(stars) == 1 else "stars"
    where = " over the field" if psf.varies else ""
    return [
        PSFPanel(f"PSF{where}: FWHM {psf.moffat.fwhm:.2f} px", _draw_psf(psf, radius)),
        PSFPanel(f"{len(stars)} {noun} - PSF: {_percent(left)}", _in_colour(left / scale)),
        PSFPanel(
            f"{len(stars)} {noun} - Moffat: {_percent(left_by_profile)}",
            _in_colour(left_by_profile / scale),
        ),
    ]


def write_psf_png(
    planes: Sequence[MeasuredPlane], path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write the panels of each plane, one row per plane.

    Parameters
    ----------
    planes : sequence of MeasuredPlane
        The planes, as ``asr.measure(image).planes``.
    path : str or Path
        The PNG file.
    overwrite : bool
        Whether an existing file is replaced.

    Returns
    -------
    Path
        The written file.

    Raises
    ------
    InputError
        If no plane has a PSF.
    OutputError
        If the file cannot be written.
    """
    from PIL import Image, ImageDraw

    rows = [(plane.name, make_psf_panels(plane)) for plane in planes]
    rows = [(name, panels) for name, panels in rows if panels]
    if not rows:
        msg = "there is no PSF to draw: the image shows no star whose width can be measured"
        raise InputError(msg)
    sides = [max(panel.pixels.shape[0] for panel in panels) for _, panels in rows]
    columns = max(len(panels) for _, panels in rows)
    width = columns * (max(sides) + GAP) + GAP
    height = sum(side + _TITLE + GAP for side in sides) + GAP
    canvas = Image.new("RGB", (width, height), BACK)
    pen, font = ImageDraw.Draw(canvas), font_of_size(13)
    top = GAP
    for (name, panels), side in zip(rows, sides, strict=True):
        for column, panel in enumerate(panels):
            left = GAP + column * (max(sides) + GAP)
            title = f"{name}, {panel.title}" if column == 0 and len(rows) > 1 else panel.title
            pen.text((left, top), title, fill=INK, font=font)
            canvas.paste(Image.fromarray(panel.pixels), (left, top + _TITLE))
        top += side + _TITLE + GAP
    with writing(path, overwrite=overwrite) as part:
        canvas.save(part, format="PNG")
    return Path(path)


def _draw_psf(psf: EmpiricalPSF, radius: int) -> NDArray[np.uint8]:
    ny, nx = psf.shape
    count = _PLACES if psf.varies else 1
    # Top row first, and the first row of the plane at the bottom.
    ys = np.linspace(ny - 1, 0, count) if count > 1 else [psf.centre[1]]
    xs = np.linspace(0, nx - 1, count) if count > 1 else [psf.centre[0]]
    # Of several, only the inner part of each.
    radius = radius if count == 1 else max(_LEAST_RADIUS, 2 * radius // 3)
    step = psf.oversampling
    rows = [
        np.hstack([psf.image(x, y, radius=radius, oversampling=step)[::-1] for x in xs]) for y in ys
    ]
    image = np.vstack(rows)
    depth = np.log10(np.maximum(image / image.max(), 10**-_DEPTH)) / _DEPTH + 1
    gray = np.rint(255 * depth).astype(np.uint8)
    return _enlarged(np.repeat(gray[:, :, None], 3, axis=2))


def _in_colour(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Show values from -1 to 1, row 0 at the bottom; NaN is black."""
    values = np.clip(np.nan_to_num(values[::-1]), -1.0, 1.0)[:, :, None]
    colours = np.where(values < 0, np.array(_BELOW), np.array(_ABOVE)) * np.sqrt(np.abs(values))
    return _enlarged(np.rint(colours).astype(np.uint8))


def _enlarged(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    image: Any = Image.fromarray(pixels)
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.NEAREST), dtype=np.uint8)


def _percent(residual: NDArray[np.float64]) -> str:
    largest = float(np.nanmax(np.abs(residual), initial=0.0))
    return f"up to {100 * largest:.1f} % of the peak"
