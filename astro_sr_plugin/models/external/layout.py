"""What a file of weights says about its network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from astro_sr_plugin.models.spec import Tiling

__all__ = [
    "MOST_WEIGHTS",
    "PICTURES",
    "Config",
    "Layout",
    "State",
    "check_width",
    "count_blocks",
    "halo_of",
    "shape_of",
]

State = dict[str, Tensor]
"""Weights by name."""

Config = Mapping[str, Any]
"""The ``config.json`` of a directory of Hugging Face; empty for other files."""

MOST_WEIGHTS = 200_000_000
"""Weights of a network; the largest that is published for images like these has 170 million."""

PICTURES = "display pictures; the file does not say which"
"""What networks of other projects learned from."""

_MOST_CHANNELS = 512
"""Channels of a layer; the widest network that is published for images like these has 256."""

_MOST_BLOCKS = 64
"""Blocks of a network; the deepest that is published for images like these has 36."""

_MOST_DIGITS = 4
"""Digits of the number of a part in a name."""


@dataclass(frozen=True)
class Layout:
    """A network as far as its weights describe it; nothing is built yet.

    Attributes
    ----------
    architecture : str
        Its published name and size, such as ``"SRCNN 9-5-5"``.
    task : str
        The task that it is for, one of `astro_sr_plugin.tasks.TASKS`.
    scale : int
        Output pixels per input pixel along each axis.
    channels_in, channels_out : int
        Planes that it takes and returns.
    halo : int
        Input pixels around a pixel on which its result depends.
    build : callable
        Makes the module, with arbitrary weights.
    state : dict or None
        The weights under the names of that module; None where it has them already.
    multiple_of : int
        Heights and widths that it takes are multiples of this many pixels.
    min_size : int
        Least height and width that it takes.
    window : int
        Side in input pixels of the windows of its attention, which are fixed to the grid; 1
        without attention.
    tiling : {"exact", "overlap", "whole"}
        Whether tiles give the result of the whole image, as in `ModelSpec`.
    notes : tuple of str
        What the user should know, one sentence each.
    steer : callable, optional
        Returns the layout of the same network, steered by the vectors of a file.
    """

    architecture: str
    task: str
    scale: int
    channels_in: int
    channels_out: int
    halo: int
    build: Callable[[], nn.Module]
    state: State | None
    multiple_of: int = 1
    min_size: int = 1
    window: int = 1
    tiling: Tiling = "exact"
    notes: tuple[str, ...] = ()
    steer: Callable[[Path], Layout] | None = None


def shape_of(state: State, name: str, axes: int = 4) -> tuple[int, ...]:
    """Return the shape of a weight.

    Raises
    ------
    ValueError
        If it is missing, or has another number of axes.
    """
    if name not in state or state[name].ndim != axes:
        found = tuple(state[name].shape) if name in state else "missing"
        msg = f"its weight {name} is {found}; it has to have {axes} axes"
        raise ValueError(msg)
    return tuple(state[name].shape)


def check_width(*widths: int) -> None:
    """Raise `ValueError` where a layer has more channels than any network that is known."""
    if max(widths) > _MOST_CHANNELS:
        msg = f"it has a layer of {max(widths)} channels; allowed are up to {_MOST_CHANNELS}"
        raise ValueError(msg)


def count_blocks(names: Iterable[str], prefix: str, per_block: int = 1) -> int:
    """Count the parts ``prefix0.``, ``prefix1.`` ... among names.

    Parameters
    ----------
    names : iterable of str
        Names of weights.
    prefix : str
        What stands before the number.
    per_block : int
        Numbered parts that make a block.

    Raises
    ------
    ValueError
        If there are too many, or one is missing.
    """
    heads = (name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix))
    found = {int(head) for head in heads if head.isdecimal() and len(head) <= _MOST_DIGITS}
    most = _MOST_BLOCKS * per_block
    if len(found) > most:
        msg = f"it has {len(found)} parts {prefix}N; allowed are up to {most}"
        raise ValueError(msg)
    if found != set(range(len(found))) or not found:
        msg = f"of its parts {prefix}0, {prefix}1 ... some are missing"
        raise ValueError(msg)
    return len(found)


def halo_of(build: Callable[[], Any]) -> int:
    """Return how far a network looks, which is built without weights for it."""
    with torch.device("meta"):
        halo: int = build().halo
    return halo
