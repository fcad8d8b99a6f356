"""The workflow "crush": a network that enlarges sees the image smaller, noisier and softer, twice.

Networks trained on pictures expect stars a few pixels wide and little grain. An image of wide stars
or coarse noise is reduced by the scale of the network first, noise and blur are added that the
network knows how to remove, and two passes bring it to the wanted grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.filters import filter_axes, gaussian_axis

__all__ = ["Crush", "crush_picture", "read_workflow"]

_PERIOD = 512
"""Side in pixels after which the added noise repeats: it depends on the place in the frame."""
_REACH = 3.0
"""Standard deviations after which the added blur ends."""


@dataclass(frozen=True)
class Crush:
    """What is added to an image that was reduced.

    Attributes
    ----------
    noise : float
        Standard deviation of the added noise, in units of the noise of the input; 0 or more.
    blur : float
        Standard deviation of the added Gaussian blur, in pixels of the reduced image; 0 or more.

    Raises
    ------
    InputError
        If a field is negative or not a number.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> asr.Crush(noise=0.5)
    Crush(noise=0.5, blur=0.7)
    """

    noise: float = 0.25
    blur: float = 0.7

    def __post_init__(self) -> None:
        for name in ("noise", "blur"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < math.inf):
                msg = f"{name}={value!r} of the workflow is not allowed; allowed is 0 or more"
                raise InputError(msg)

    @property
    def radius(self) -> int:
        """Pixels of the reduced image that the blur reaches."""
        return math.ceil(_REACH * self.blur)


def read_workflow(workflow: Crush | str | None) -> Crush | None:
    """Return the workflow of a name, ``"crush"`` or ``"crush:NOISE,BLUR"``.

    Raises
    ------
    InputError
        If there is no such workflow.
    """
    if workflow is None or isinstance(workflow, Crush):
        return workflow
    name, _, numbers = str(workflow).partition(":")
    try:
        values = [float(number) for number in numbers.split(",")] if numbers else []
    except ValueError:
        values = [math.nan]
    if name != "crush" or len(values) > 2:
        msg = f"workflow={workflow!r} is not known; allowed are 'crush' and 'crush:NOISE,BLUR'"
        raise InputError(msg)
    return Crush(*values)


def crush_picture(light: Tensor, crush: Crush, scale: int, origin: tuple[int, int]) -> Tensor:
    """Reduce a part of an image in noise sigma, and add noise and blur.

    Parameters
    ----------
    light : Tensor
        Shape ``(B, C, H, W)``, sides multiples of ``scale``.
    crush : Crush
        What is added.
    scale : int
        How many times it is reduced.
    origin : tuple of int
        Row and column of the frame of its first pixel, multiples of ``scale``.

    Returns
    -------
    Tensor
        Shape ``(B, C, H / scale - 2 radius, W / scale - 2 radius)``; the blur takes its radius.
    """
    small = functional.avg_pool2d(light, scale)
    places = [
        (torch.arange(n) + first // scale) % _PERIOD
        for first, n in zip(origin, small.shape[-2:], strict=True)
    ]
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(small.shape[1], _PERIOD, _PERIOD, generator=generator)
    added = field[:, places[0]][:, :, places[1]].to(small)
    small = small + crush.noise * added
    if crush.radius == 0:
        return small
    return filter_axes(small, gaussian_axis(crush.blur, crush.radius).to(small))
