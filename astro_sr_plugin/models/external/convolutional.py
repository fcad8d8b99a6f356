"""Which convolutional networks weights belong to, from their names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from itertools import permutations

from astro_sr_plugin.models.astrosleuth import AstroSleuthFast
from astro_sr_plugin.models.dncnn import DnCNN
from astro_sr_plugin.models.external.layout import (
    Config,
    Layout,
    State,
    check_width,
    count_blocks,
    halo_of,
    shape_of,
)
from astro_sr_plugin.models.srcnn import SRCNN
from astro_sr_plugin.models.srvgg import SRVGG

__all__ = ["find_dncnn", "find_fast", "find_srcnn", "find_srvgg"]

_FIRST_SIDE = 9
"""Side of the first kernel of SRCNN, in pixels."""

_SRCNN_SCALES = (2, 3, 4)
"""Scales for which SRCNN is published; its weights are those of one of them, and do not say."""

_DNCNN_DEPTHS = (17, 20)
"""Published depths; a stack of 7 of the same names is IRCNN, whose convolutions are dilated."""


def find_srcnn(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise SRCNN by shapes alone, as the names of its layers differ from file to file.

    Parameters
    ----------
    state : dict of Tensor
        The weights.
    name : str
        Name of the file; one like ``srcnn_x3`` gives the scale that comes first.
    config : mapping
        Not used.

    Returns
    -------
    list of Layout
        One for each scale that it may be used for; empty if it is another network.
    """
    del config
    layers = _order_convolutions(state)
    if layers is None:
        return []
    weights = [state[f"{layer}.weight"] for layer in layers]
    (a, c), (b, _) = weights[0].shape[:2], weights[1].shape[:2]
    sides = (weights[0].shape[-1], weights[1].shape[-1], weights[2].shape[-1])
    if sides not in {(9, 5, 5), (9, 1, 5), (9, 3, 5)} or c not in (1, 3):
        return []
    check_width(a, b)
    parts = ("weight", "bias")
    names = {f"conv{n + 1}.{p}": f"{layers[n]}.{p}" for n in range(3) for p in parts}
    renamed = {new: state[old] for new, old in names.items()}
    hint = re.search(r"x([234])(?!\d)", name.lower())
    scales = sorted(_SRCNN_SCALES, key=lambda s: (hint is None or s != int(hint[1]), s))
    note = (
        f"SRCNN does not store its scale; the name of the file says x{hint[1]}."
        if hint
        else "SRCNN does not store the scale for which it was trained; x2 is assumed unless "
        "another is asked for."
    )
    builds = {scale: partial(SRCNN, sides, (a, b), c, scale) for scale in scales}
    return [
        Layout(
            architecture=f"SRCNN {'-'.join(map(str, sides))}",
            task="super-resolve",
            scale=scale,
            channels_in=c,
            channels_out=c,
            halo=halo_of(build),
            build=build,
            state=renamed,
            notes=(note,),
        )
        for scale, build in builds.items()
    ]


def _order_convolutions(state: State) -> tuple[str, ...] | None:
    """Return the names of three convolutions with biases in their order, if there are just those.

    The planes that one returns are those that the next one takes.
    """
    names = {name.rpartition(".")[0] for name in state}
    parts = {f"{name}.{part}" for name in names for part in ("weight", "bias")}
    if len(names) != 3 or parts != state.keys():
        return None
    for order in permutations(sorted(names)):
        shapes = [tuple(state[f"{name}.weight"].shape) for name in order]
        if any(len(shape) != 4 or shape[2] != shape[3] for shape in shapes):
            return None
        (a, c, *_), (b, a2, *_), (c3, b3, *_) = shapes
        biases = [tuple(state[f"{name}.bias"].shape) for name in order]
        if (
            (a2, b3, c3) == (a, b, c)
            and biases == [(a,), (b,), (c,)]
            and shapes[0][2] == _FIRST_SIDE
        ):
            return order
    return None


def find_dncnn(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise DnCNN without batch normalisation: ``model.0``, ``model.2`` ... of 3 x 3 pixels."""
    del name, config
    depth = len(state) // 2
    names = [f"model.{2 * n}.{part}" for n in range(depth) for part in ("weight", "bias")]
    if depth not in _DNCNN_DEPTHS or state.keys() != set(names):
        return []
    shapes: Sequence[tuple[int, ...]] = [tuple(state[n].shape) for n in names[::2]]
    width, channels = shapes[0][:2] if len(shapes[0]) == 4 else (0, 0)
    inner = (width, width, 3, 3)
    wanted = [(width, channels, 3, 3), *[inner] * (depth - 2), (channels, width, 3, 3)]
    if channels not in (1, 3) or shapes != wanted:
        return []
    check_width(width)
    build = partial(DnCNN, depth, width, channels)
    halo = halo_of(build)
    return [Layout(f"DnCNN-{depth}", "denoise", 1, channels, channels, halo, build, state)]


def find_srvgg(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise SRVGG: ``body.0``, ``body.1`` ... alone, convolutions and slopes by turns."""
    del name, config
    if "body.1.weight" not in state or not all(key.startswith("body.") for key in state):
        return []
    if state["body.1.weight"].ndim != 1 or state["body.0.weight"].ndim != 4:
        return []
    layers = count_blocks(state, "body.", per_block=2)
    width, channels = shape_of(state, "body.0.weight")[:2]
    last = shape_of(state, f"body.{layers - 1}.weight")[0]
    scale = math.isqrt(last // channels)
    if layers % 2 == 0 or channels * scale**2 != last:
        msg = (
            f"its last convolution makes {last} planes, which is no whole enlargement of {channels}"
        )
        raise ValueError(msg)
    check_width(width, last)
    convolutions = (layers - 3) // 2
    build = partial(SRVGG, channels, width, convolutions, scale)
    return [
        Layout(
            architecture=f"SRVGG-{convolutions}",
            task="super-resolve" if scale > 1 else "deconvolve",
            scale=scale,
            channels_in=channels,
            channels_out=channels,
            halo=halo_of(build),
            build=build,
            state=state,
        )
    ]


def find_fast(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise AstroSleuth FAST: the trunk of SRVGG, and two convolutions on finer grids."""
    del name, config
    heads = {f"conv_up{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}
    if not heads & state.keys() or "body.1.weight" not in state:
        return []
    if state["body.1.weight"].ndim != 1 or "body.0.weight" not in state:
        return []
    layers = count_blocks((key for key in state if key not in heads), "body.", per_block=2)
    width, channels = shape_of(state, "body.0.weight")[:2]
    narrow = shape_of(state, "conv_up1.weight")[0]
    check_width(width, narrow)
    build = partial(AstroSleuthFast, channels, width, layers // 2, narrow)
    return [
        Layout(
            architecture="AstroSleuth FAST",
            task="super-resolve",
            scale=4,
            channels_in=channels,
            channels_out=channels,
            halo=halo_of(build),
            build=build,
            state=state,
        )
    ]
