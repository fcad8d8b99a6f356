"""Weights from the two files of ncnn, the form in which AstroSleuth and Real-ESRGAN also publish.

The ``.param`` file lists the layers as text; the ``.bin`` file has their weights in that order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from astro_sr_plugin.models.external.files import unreadable
from astro_sr_plugin.models.external.layout import State

__all__ = ["read_ncnn"]

_MAGIC = "7767517"
"""First line of a ``.param`` file."""

_HALF = 0x01306B47
"""Tag before weights that are stored in float16; 0 stands before those in float32."""

_MOST_TEXT = 1 << 20
"""Size of a ``.param`` file in bytes; that of RRDB-23 has 100 kB."""

_MOST_BYTES = 1 << 30
"""Size of a ``.bin`` file in bytes: 200 million weights in float32, and some more."""

_WITHOUT_WEIGHTS = frozenset(
    ["Input", "Split", "Concat", "BinaryOp", "Eltwise", "Interp", "PixelShuffle", "ReLU", "Noop"]
)
"""Layers that have no weights."""

_IN_BLOCK = 15
"""Convolutions of an RRDB."""

_AROUND = ("conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
"""Convolutions of an RRDB network outside of its blocks, in their order."""

_NEAREST = 1
"""Code of interpolation by the nearest pixel."""


@dataclass
class _Layers:
    """What the layers of a network hold, in their order."""

    kinds: list[str] = field(default_factory=list)
    convolutions: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    slopes: list[Tensor] = field(default_factory=list)
    interpolations: list[int] = field(default_factory=list)


def read_ncnn(path: Path) -> State:
    """Read the weights of an RRDB, SRVGG or AstroSleuth FAST network.

    Parameters
    ----------
    path : Path
        The ``.param`` file, or the ``.bin`` file of the same name.

    Returns
    -------
    dict of Tensor
        float32, under the names of Real-ESRGAN and AstroSleuth.

    Raises
    ------
    ModelError
        If a file is missing or damaged, or it is another network.
    """
    try:
        state = _name(_read_layers(path.with_suffix(".param"), path.with_suffix(".bin")))
    except (OSError, ValueError) as error:
        raise unreadable(path, f"as a file of ncnn: {error}") from error
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise unreadable(path, f"its tensor {name} holds values that are not finite")
    return state


def _read_layers(param: Path, binary: Path) -> _Layers:
    if param.stat().st_size > _MOST_TEXT or binary.stat().st_size > _MOST_BYTES:
        msg = f"{param.name} or {binary.name} is larger than a network needs"
        raise ValueError(msg)
    lines = param.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0].strip() != _MAGIC:
        msg = f"{param.name} does not begin with {_MAGIC}"
        raise ValueError(msg)
    layers, data = _Layers(), memoryview(binary.read_bytes())
    for line in lines[2:]:
        words = line.split()
        if not words:
            continue
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        layers.kinds.append(words[0])
        if words[0] == "Convolution":
            shape = _kernel_shape(settings)
            weight, data = _take_tagged(data, int(np.prod(shape)))
            bias = torch.zeros(shape[0])
            if settings.get("5", "0") == "1":
                bias, data = _take(data, shape[0])
            layers.convolutions.append((weight.view(shape), bias))
        elif words[0] == "PReLU":
            slopes, data = _take(data, _number(settings, "0"))
            layers.slopes.append(slopes)
        elif words[0] == "Interp":
            layers.interpolations.append(_number(settings, "0"))
        elif words[0] not in _WITHOUT_WEIGHTS:
            msg = f"it has a layer {words[0]}, which no network that is read from ncnn has"
            raise ValueError(msg)
    if len(data):
        msg = f"{len(data)} bytes of {binary.name} belong to no layer"
        raise ValueError(msg)
    return layers


def _number(settings: dict[str, str], key: str) -> int:
    text = settings.get(key, "")
    if not text.isdecimal() or len(text) > 9:  # noqa: PLR2004
        msg = f"a layer has {key}={text!r} where a number belongs"
        raise ValueError(msg)
    return int(text)


def _kernel_shape(settings: dict[str, str]) -> tuple[int, int, int, int]:
    """Return planes returned and taken, and the sides of the kernel."""
    given, width, size = (_number(settings, key) for key in ("0", "1", "6"))
    height = _number(settings, "11") if "11" in settings else width
    per_plane = given * width * height
    if not per_plane or not size or size % per_plane:
        msg = f"a convolution to {given} planes has {size} weights"
        raise ValueError(msg)
    return given, size // per_plane, height, width


def _take_tagged(data: memoryview, count: int) -> tuple[Tensor, memoryview]:
    tag = int.from_bytes(data[:4], "little")
    if tag == 0:
        return _take(data[4:], count)
    if tag != _HALF:
        msg = "its weights are quantised; allowed are float32 and float16"
        raise ValueError(msg)
    return _take(data[4:], count, "<f2")


def _take(data: memoryview, count: int, kind: str = "<f4") -> tuple[Tensor, memoryview]:
    """Take numbers off the front of the data; what is left starts at a multiple of 4 bytes."""
    size = count * np.dtype(kind).itemsize
    if len(data) < size:
        msg = "the file of weights is shorter than its layers need"
        raise ValueError(msg)
    values = np.frombuffer(data[:size], dtype=kind).astype(np.float32)
    return torch.from_numpy(values), data[size + -size % 4 :]


def _name(layers: _Layers) -> State:
    """Name the weights by their order."""
    convolutions, slopes = layers.convolutions, layers.slopes
    blocks, rest = divmod(len(convolutions) - len(_AROUND), _IN_BLOCK)
    if slopes and len(slopes) < len(convolutions):
        names = [f"body.{2 * number}" for number in range(len(convolutions))]
        if "PixelShuffle" not in layers.kinds:
            names[len(slopes) :] = [f"conv_up{n + 1}" for n in range(len(names) - len(slopes))]
    elif not slopes and blocks > 0 and rest == 0 and {*layers.interpolations} == {_NEAREST}:
        inner = [
            f"body.{block}.rdb{dense}.conv{number}"
            for block in range(blocks)
            for dense in (1, 2, 3)
            for number in range(1, 6)
        ]
        names = [_AROUND[0], *inner, *_AROUND[1:]]
    else:
        msg = "its layers are not those of RRDB, SRVGG or AstroSleuth FAST"
        raise ValueError(msg)
    state: State = {}
    for name, (weight, bias) in zip(names, convolutions, strict=True):
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return state | {f"body.{2 * k + 1}.weight": slope for k, slope in enumerate(slopes)}
