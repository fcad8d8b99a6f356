"""Drizzle: the frames dropped onto a finer grid pixel by pixel, without interpolation.

Outliers are rejected in the pixels of the frames, which are compared with the stack that is made
first. Raw frames of colour cameras are drizzled colour by colour.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_rows
from astro_sr_plugin.exceptions import InputError, check_choice
from astro_sr_plugin.stacking.bands import Light, StackSettings, widths_of
from astro_sr_plugin.stacking.combination import Combined
from astro_sr_plugin.stacking.drizzle_package import FAR_AWAY, load_drizzle
from astro_sr_plugin.stacking.samples import StackModel, read_samples
from astro_sr_plugin.stacking.star_light import star_shares

__all__ = [
    "DRIZZLE_KERNELS",
    "Drizzling",
    "drizzle_frames",
    "make_output",
]

DrizzleKernel = Literal["square", "turbo", "point", "gaussian"]
DRIZZLE_KERNELS: tuple[DrizzleKernel, ...] = get_args(DrizzleKernel)
"""Shapes of a drop. Those of Lanczos do not keep the flux of stars and are left out."""

_ROWS = 128
"""Rows of a frame that are drizzled at a time."""
_LARGEST_SCALE = 4.0
"""Largest number of output pixels per pixel of a frame along each axis."""


class Drizzling(NamedTuple):
    """How frames are drizzled.

    Attributes
    ----------
    scale : float
        Output pixels per pixel of the reference along each axis, 1 to 4.
    pixfrac : float
        Side of a drop over that of the pixel, above 0 up to 1.
    kernel : {"square", "turbo", "point", "gaussian"}
        Shape of a drop.
    """

    scale: float
    pixfrac: float = 0.7
    kernel: DrizzleKernel = "square"

    def check(self) -> None:
        """Check the values.

        Raises
        ------
        InputError
            If one of them is out of range.
        """
        if not 1 <= self.scale <= _LARGEST_SCALE:
            msg = f"drizzle={self.scale:g} is out of range; allowed is 1 to {_LARGEST_SCALE:g}"
            raise InputError(msg)
        if not 0 < self.pixfrac <= 1:
            msg = f"pixfrac={self.pixfrac:g} is out of range; allowed is above 0 up to 1"
            raise InputError(msg)
        check_choice("drizzle_kernel", self.kernel, DRIZZLE_KERNELS)
        load_drizzle()

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the shape (ny, nx) of the result for that of the reference."""
        ny, nx = (round(side * self.scale) for side in shape)
        return ny, nx


def make_output(drizzling: Drizzling, shape: tuple[int, ...]) -> Any:
    """Make an empty result of the drizzle library, of shape (ny, nx)."""
    return load_drizzle().Drizzle(
        kernel=drizzling.kernel,
        out_shape=shape,
        fillval="NaN",
        fillval2="NaN",
        out_img2=np.zeros(shape, np.float32),
        disable_ctx=True,
    )


def drizzle_frames(
    lights: list[Light],
    settings: StackSettings,
    stack: list[Combined],
    drizzling: Drizzling,
    finished: Callable[[], None],
) -> list[Combined]:
    """Drizzle frames.

    Parameters
    ----------
    lights : list of Light
        The frames.
    settings : StackSettings
        How they were combined.
    stack : list of Combined
        The stack on the grid of the reference, for each colour; outliers deviate from it.
    drizzling : Drizzling
        Grid and drops.
    finished : callable
        Called after each frame.

    Returns
    -------
    list of Combined
        For each colour. Surface brightness is kept: a pixel has the value that a pixel of the
        reference has there. The numbers of rejected values are those of the stack.
    """
    shape = drizzling.shape(settings.shape)
    models = [StackModel(found, settings, lights, k) for k, found in enumerate(stack)]
    outputs = [make_output(drizzling, shape) for _ in stack]
    used = [np.zeros(shape, np.uint16) for _ in stack]
    shares = star_shares(widths_of(lights), settings.cfa, settings.planes)
    for light, share in zip(lights, shares, strict=True):
        before = [np.array(output.out_wht) for output in outputs]
        ny = light.frame.shape[-2]
        for rows in iter_rows(ny, _ROWS):
            _drop(light, settings, models, outputs, drizzling, rows, share)
        for count, output, weight in zip(used, outputs, before, strict=True):
            count += output.out_wht > weight
        finished()
    return [
        _result(output, count, found, settings.shape, drizzling.scale)
        for output, count, found in zip(outputs, used, stack, strict=True)
    ]


def _drop(
    light: Light,
    settings: StackSettings,
    models: list[StackModel],
    outputs: list[Any],
    drizzling: Drizzling,
    rows: tuple[int, int],
    shares: NDArray[np.float32],
) -> None:
    """Drizzle rows of a frame, with a rim of no weight, at which drops would lose flux."""
    nx = light.frame.shape[-1]
    y, x = np.mgrid[rows[0] - 1 : rows[1] + 1, -1 : nx + 1].astype(np.float64)
    u, v = light.transform.to_reference(x, y)
    known = np.isfinite(u) & np.isfinite(v)
    scale = drizzling.scale
    places = np.stack([(u + 0.5) * scale - 0.5, (v + 0.5) * scale - 0.5], axis=-1)
    places[~known] = FAR_AWAY
    inner = np.s_[1:-1, 1:-1]
    samples = read_samples(light, settings, models, shares, rows)
    for found, output in zip(samples, outputs, strict=True):
        if not found.accepted.any():
            continue
        weight, data, spread = (np.zeros(y.shape, np.float32) for _ in range(3))
        weight[inner] = found.accepted * light.weight
        data[inner] = np.where(found.accepted, found.data, 0)
        spread[inner] = found.variance
        output.add_image(
            data,
            1.0,
            places,
            data2=spread,
            weight_map=weight,
            pixfrac=drizzling.pixfrac,
            pixel_scale_ratio=1 / scale,
        )


def _result(
    output: Any,
    used: NDArray[np.uint16],
    stack: Combined,
    shape: tuple[int, int],
    scale: float,
) -> Combined:
    ny, nx = used.shape
    y = np.minimum(((np.arange(ny) + 0.5) / scale).astype(int), shape[0] - 1)
    x = np.minimum(((np.arange(nx) + 0.5) / scale).astype(int), shape[1] - 1)
    place = np.ix_(y, x)
    found = output.out_img2
    variance = np.asarray(found[0] if isinstance(found, list) else found)
    empty = used == 0
    data = np.where(empty, np.float32(np.nan), output.out_img)
    return Combined(
        data.astype(np.float32),
        np.where(empty, np.float32(np.nan), variance).astype(np.float32),
        used,
        stack.low[place],
        stack.high[place],
    )
