"""Whether weights belong to SR3, by the names of the public code."""

from __future__ import annotations

import re
from functools import partial

import torch

from astro_sr_plugin.models.diffusion.sr3 import SR3
from astro_sr_plugin.models.external.layout import (
    Config,
    Layout,
    State,
    check_width,
    count_blocks,
    shape_of,
)

__all__ = ["find_sr3"]

_PREFIX = "denoise_fn."
"""What stands before the names of the network in a whole checkpoint."""
_PARTS = ("noise_level_mlp.", "downs.", "mid.", "ups.", "final_conv.")
"""Parts of the network; what else a file holds follows from the noise schedule."""
_BETAS = (1e-6, 1e-2, 2000)
"""Ends and length of the linear noise schedule that is published, where the file holds none."""
_SCALES = (2, 4)
"""Scales that can be asked for, the first without asking."""
_HALO = 16
"""Input pixels that are added around an image, so that its edges are no edges to the network."""
_WIDEST = 1024
"""Channels of a level: those of the largest network that is published."""
_ADVICE = (
    "Its samples are of display images, and their spread is not calibrated; few steps of it leave "
    "noise."
)
"""What the user should know."""
_BLOCK = "res_block.block2.block.3.weight"
"""Name of the last convolution of a residual block."""


def find_sr3(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise SR3: ``downs``, ``mid`` and ``ups`` of blocks that know a noise level.

    Parameters
    ----------
    state : dict of Tensor
        The weights.
    name : str
        Name of the file.
    config : mapping
        Not used.

    Returns
    -------
    list of Layout
        One for each scale; empty if it is another network.
    """
    del config
    betas = state.get("betas", torch.linspace(_BETAS[0], _BETAS[1], _BETAS[2]))
    if any(key.startswith(_PREFIX) for key in state):
        state = {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}
    state = {key: value for key, value in state.items() if key.startswith(_PARTS)}
    if not {"noise_level_mlp.1.weight", "final_conv.block.3.weight"} <= state.keys():
        return []
    width, planes = shape_of(state, "downs.0.weight")[:2]
    levels: list[list[tuple[int, bool]]] = [[]]
    for number in range(1, count_blocks(state, "downs.")):
        block = f"downs.{number}."
        if f"{block}conv.weight" in state:
            levels.append([])
        else:
            given = shape_of(state, block + _BLOCK)[0]
            levels[-1].append((given, f"{block}attn.norm.weight" in state))
    if any(level != level[:1] * len(levels[0]) or not level for level in levels):
        msg = "its levels differ in their blocks"
        raise ValueError(msg)
    check_width(width)
    channels = planes // 2
    if channels not in (1, 3) or any(level[0][0] % width for level in levels):
        msg = f"it takes {planes} planes and has levels of {[level[0][0] for level in levels]}"
        raise ValueError(msg)
    multipliers = tuple(level[0][0] // width for level in levels)
    if max(multipliers) * width > _WIDEST:
        msg = f"it has a level of {max(multipliers) * width} channels; allowed are up to {_WIDEST}"
        raise ValueError(msg)
    hint = re.search(r"x([24])(?!\d)", name.lower())
    scales = sorted(_SCALES, key=lambda s: (hint is None or s != int(hint[1]), s))
    note = "SR3 does not store the scale for which it was trained; x2 is assumed unless another "
    return [
        Layout(
            architecture="SR3",
            task="super-resolve",
            scale=scale,
            channels_in=channels,
            channels_out=channels,
            halo=_HALO,
            build=partial(
                SR3,
                width=width,
                multipliers=multipliers,
                blocks=len(levels[0]),
                attention=tuple(level[0][1] for level in levels),
                groups=_groups(width, multipliers),
                steps=len(betas),
                channels=channels,
                scale=scale,
            ),
            state=state | {"betas": betas},
            multiple_of=2 ** (len(levels) - 1),
            tiling="whole",
            notes=(note + "is asked for.", _ADVICE),
        )
        for scale in scales
    ]


def _groups(width: int, multipliers: tuple[int, ...]) -> int:
    """Return the groups of the normalisation, of which the weights do not tell.

    The published network for images of 512 pixels, whose widest level has 16 times the channels of
    the first, has 16; the others have 32.
    """
    return 16 if max(multipliers) == 16 or width % 32 else 32  # noqa: PLR2004
