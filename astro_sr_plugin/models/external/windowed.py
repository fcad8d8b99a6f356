"""Whether weights belong to Swin2SR or AstroSWIN, by the names of its authors or Hugging Face's."""

from __future__ import annotations

import math
import re
from functools import partial

import torch

from astro_sr_plugin.models.external.layout import (
    Config,
    Layout,
    State,
    check_width,
    count_blocks,
    shape_of,
)
from astro_sr_plugin.models.swin2sr import HALO, Head, Swin2SR

__all__ = ["find_swin2sr"]

_WINDOW = 8
"""Side of the windows where the file does not say: that of all published networks."""

_LARGEST_WINDOW = 32
"""Largest side of the windows that is accepted; attention takes memory by its fourth power."""

_BUFFERS = ("relative_coords_table", "relative_position_index", "attn_mask")
"""Ends of the names of values that are computed, not learned."""

_HUGGING_FACE = (
    (r"^swin2sr\.encoder\.stages\.(\d+)\.layers\.(\d+)\.", r"layers.\1.residual_group.blocks.\2."),
    (r"^swin2sr\.encoder\.stages\.(\d+)\.", r"layers.\1."),
    (r"^swin2sr\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^swin2sr\.embeddings\.patch_embeddings\.layernorm\.", "patch_embed.norm."),
    (r"^swin2sr\.first_convolution\.", "conv_first."),
    (r"^swin2sr\.layernorm\.", "norm."),
    (r"^swin2sr\.conv_after_body\.", "conv_after_body."),
    (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
    (r"\.attention\.self\.continuous_position_bias_mlp\.", ".attn.cpb_mlp."),
    (r"\.attention\.self\.logit_scale$", ".attn.logit_scale"),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^upsample\.conv\.", "upsample.0."),
    (r"^upsample\.conv_before_upsample\.", "conv_before_upsample.0."),
    (r"^upsample\.upsample\.convolution\.", "upsample.0."),
    (r"^upsample\.upsample\.convolution_0\.", "upsample.0."),
    (r"^upsample\.upsample\.convolution_1\.", "upsample.2."),
    (r"^upsample\.(conv_up1|conv_up2|conv_hr)\.", r"\1."),
    (r"^(upsample\.)?final_convolution\.", "conv_last."),
)
"""Names of Hugging Face, and those of the authors; the three of the attention come extra."""


def find_swin2sr(state: State, name: str, config: Config) -> list[Layout]:
    """Recognise Swin2SR and AstroSWIN.

    Parameters
    ----------
    state : dict of Tensor
        The weights.
    name : str
        Name of the file.
    config : mapping
        The ``config.json`` of a directory of Hugging Face; empty for other files.

    Returns
    -------
    list of Layout
        One; empty if it is another network.
    """
    del name
    if "swin2sr.first_convolution.weight" in state:
        state = _rename(state)
    if "layers.0.residual_group.blocks.0.attn.logit_scale" not in state:
        return []
    found = _find_head(state)
    if found is None:
        return []
    head, scale = found
    width, channels = shape_of(state, "conv_first.weight")[:2]
    stages = count_blocks(state, "layers.")
    prefixes = [f"layers.{number}.residual_group.blocks." for number in range(stages)]
    depths = tuple(count_blocks(state, prefix) for prefix in prefixes)
    heads = tuple(shape_of(state, f"{p}0.attn.logit_scale", axes=3)[0] for p in prefixes)
    inner = shape_of(state, f"{prefixes[0]}0.mlp.fc1.weight", axes=2)[0]
    check_width(width, inner // 2)
    if any(width % number for number in heads) or inner % width or channels not in (1, 3):
        msg = f"its {width} channels cannot be shared by {heads} heads and layers of {inner}"
        raise ValueError(msg)
    window = _find_window(state, config)
    build = partial(
        Swin2SR,
        channels=channels,
        width=width,
        depths=depths,
        heads=heads,
        window=window,
        expansion=inner // width,
        scale=scale,
        head=head,
        three_convolutions="conv_after_body.0.weight" in state,
        value_range=_read_number(config, "img_range", 1.0),
    )
    return [
        Layout(
            architecture="AstroSWIN" if head == "astroswin" else "Swin2SR",
            task="super-resolve" if scale > 1 else "deconvolve",
            scale=scale,
            channels_in=channels,
            channels_out=channels,
            halo=max(HALO, window),
            build=build,
            state={key: t for key, t in state.items() if not key.endswith(_BUFFERS)},
            multiple_of=window,
            window=window,
            tiling="overlap",
        )
    ]


def _find_head(state: State) -> tuple[Head, int] | None:
    """Return the kind of the head and the scale; None for one that is not known."""
    channels = shape_of(state, "conv_first.weight")[1]
    if "resample.weight" in state:
        return "astroswin", 1
    if "conv_before_upsample.0.weight" not in state:
        if "conv_last.weight" in state:
            return "residual", 1
        scale = math.isqrt(shape_of(state, "upsample.0.weight")[0] // channels)
        return "direct", max(1, scale)
    if "conv_bicubic.weight" in state or "conv_aux.weight" in state:
        return None
    if "conv_up1.weight" in state:
        return "nearest", 4
    given, taken = shape_of(state, "upsample.0.weight")[:2]
    if given == 9 * taken:
        return "shuffle", 3
    doublings = sum(key.startswith("upsample.") and key.endswith(".weight") for key in state)
    return "shuffle", 2**doublings


def _find_window(state: State, config: Config) -> int:
    """Return the side of the windows, from a stored table, the configuration, or as published."""
    index = next((t for k, t in state.items() if k.endswith("relative_position_index")), None)
    if index is not None:
        window = math.isqrt(index.shape[0]) if index.ndim > 0 else 0
    else:
        window = int(_read_number(config, "window_size", _WINDOW))
    if not 1 < window <= _LARGEST_WINDOW:
        msg = f"its windows have {window} pixels; allowed are 2 to {_LARGEST_WINDOW}"
        raise ValueError(msg)
    return window


def _read_number(config: Config, name: str, default: float) -> float:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 255:
        msg = f"its config.json has {name}={value!r}; allowed are numbers above 0 up to 255"
        raise ValueError(msg)
    return float(value)


def _rename(state: State) -> State:
    """Return the weights under the names of the authors."""
    renamed: State = {}
    for key, tensor in state.items():
        for pattern, name in _HUGGING_FACE:
            key = re.sub(pattern, name, key)
        renamed[key] = tensor
    for key in [key for key in renamed if key.endswith(".attention.self.query.weight")]:
        _join_attention(renamed, key.removesuffix("query.weight"))
    return renamed


def _join_attention(state: State, old: str) -> None:
    """Replace query, key and value by one matrix of all three."""
    new = old.replace(".attention.self.", ".attn.")
    parts = [state.pop(f"{old}{part}.weight", torch.empty(0)) for part in ("query", "key", "value")]
    if any(part.ndim != 2 or part.shape != parts[0].shape for part in parts):  # noqa: PLR2004
        msg = f"its weights {old}query, key and value do not have the same shape"
        raise ValueError(msg)
    state[f"{new}qkv.weight"] = torch.cat(parts)
    for part, letter in (("query", "q"), ("value", "v")):
        if f"{old}{part}.bias" in state:
            state[f"{new}{letter}_bias"] = state.pop(f"{old}{part}.bias")
