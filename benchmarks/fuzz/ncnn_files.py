"""The two files of ncnn, as its converter writes them for the networks that are read from it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from torch import nn

__all__ = ["HALF", "make_ncnn"]

HALF = struct.pack("<I", 0x01306B47)
"""Tag before weights in float16."""


def make_ncnn(net: nn.Module, others: Sequence[str], *, half: bool = False) -> tuple[bytes, bytes]:
    """Return the list of layers and the weights of a network.

    Parameters
    ----------
    net : torch.nn.Module
        Convolutions with biases, and PReLU, in the order of its ``state_dict``.
    others : sequence of str
        Lines of layers without weights.
    half : bool
        Whether the kernels are stored in float16.

    Returns
    -------
    param, binary : bytes
    """
    lines, data = ["7767517", "1 1", "Input data 0 1 data", *others], b""
    state = net.state_dict()
    for name, tensor in state.items():
        values = tensor.numpy()
        if name.endswith("bias"):
            continue
        if values.ndim == 1:
            lines.append(f"PReLU {name} 1 1 a b 0={values.size}")
            data += values.tobytes()
            continue
        given, _, height, width = values.shape
        sizes = f"0={given} 1={width} 11={height} 4=1 5=1 6={values.size}"
        lines.append(f"Convolution {name} 1 1 a b {sizes}")
        raw = values.astype(np.float16).tobytes() if half else values.tobytes()
        data += (HALF if half else bytes(4)) + raw + bytes(-len(raw) % 4)
        data += state[name.replace("weight", "bias")].numpy().tobytes()
    return ("\n".join(lines) + "\n").encode(), data
