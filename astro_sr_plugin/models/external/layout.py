"""What a file of weights says about its network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["Layout", "State", "check_width", "number_blocks"]

State = dict[str, Tensor]
"""Weights by name."""

_MOST_CHANNELS = 512
"""Channels of a layer; the widest network that is published for images like these has 256."""

_MOST_BLOCKS = 64
"""Blocks of a network; the deepest that is published for images like these has 36."""


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
    state : dict
        The weights under the names of that module.
    multiple_of : int
        Heights and widths that it takes are multiples of this many pixels.
    window : int
        Side in input pixels of the windows of its attention, which are fixed to the grid; 1
        without attention.
    notes : tuple of str
        What the user should know, one sentence each.
    """

    architecture: str
    task: str
    scale: int
    channels_in: int
    channels_out: int
    halo: int
    build: Callable[[], nn.Module]
    state: State
    multiple_of: int = 1
    window: int = 1
    notes: tuple[str, ...] = ()


def check_width(*widths: int) -> None:
    """Raise `ValueError` where a layer has more channels than any network that is known."""
    if max(widths) > _MOST_CHANNELS:
        msg = f"it has a layer of {max(widths)} channels; allowed are up to {_MOST_CHANNELS}"
        raise ValueError(msg)


def number_blocks(names: object, prefix: str) -> int:
    """Count the blocks ``prefix0.``, ``prefix1.`` ... among names.

    Raises
    ------
    ValueError
        If there are too many, or one is missing.
    """
    found = {
        int(head)
        for name in names  # type: ignore[attr-defined]
        if name.startswith(prefix) and (head := name[len(prefix) :].split(".")[0]).isdecimal()
    }
    if len(found) > _MOST_BLOCKS:
        msg = f"it has {len(found)} blocks {prefix}N; allowed are up to {_MOST_BLOCKS}"
        raise ValueError(msg)
    if found != set(range(len(found))):
        msg = f"of its blocks {prefix}0 to {prefix}{max(found)} some are missing"
        raise ValueError(msg)
    return len(found)
