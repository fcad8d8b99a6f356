"""Files of the weights of networks: of PyTorch old and new, safetensors, ncnn, ONNX; damaged."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import save

from astro_sr_plugin.models.astrosleuth import AstroSleuthFast
from astro_sr_plugin.models.rrdb import RRDBNet
from astro_sr_plugin.models.srcnn import SRCNN
from astro_sr_plugin.models.srvgg import SRVGG
from astro_sr_plugin.models.swin2sr import Swin2SR
from benchmarks.fuzz.case import Case, Draw, damaged, truncated
from benchmarks.fuzz.ncnn_files import make_ncnn

__all__ = ["weight_files"]

# Bytes at the beginning in which names and shapes stand.
_HEAD = 4000
# One file in so many is cut short instead.
_CUT_EVERY = 8


@st.composite
def weight_files(draw: Draw) -> Case:
    """Give a damaged or shortened file of weights.

    Returns
    -------
    Case
        No case of pixels; what reading gives is a model or an error.
    """
    case: Case = draw(st.sampled_from(_sound_files()))
    if draw(st.integers(0, _CUT_EVERY - 1)) == 0:
        return draw(truncated(case))
    content, how = draw(damaged(case.content, _HEAD))
    return replace(case, content=content, note=f"{case.note}; {how}")


@lru_cache(maxsize=1)
def _sound_files() -> list[Case]:
    """Return small files that can be read."""
    small = SRCNN((9, 1, 5), (4, 4)).state_dict()
    dense = RRDBNet(width=2, growth=2, blocks=1)
    swin = Swin2SR(width=4, depths=(1,), heads=(1,), window=4).state_dict()
    checkpoint = {"state_dict": small, "best": np.float64(3.0), "epoch": 2}
    files = [
        Case(".pth", _saved(small), "SRCNN"),
        Case(".pth", _saved(small, old=True), "SRCNN, old format"),
        Case(".pth", _saved(checkpoint), "checkpoint"),
        Case(".pth", _saved(checkpoint, old=True), "checkpoint, old format"),
        Case(".pth", _saved(dense.state_dict()), "RRDB"),
        Case(".pth", _saved(swin), "Swin2SR"),
        Case(".safetensors", save(small), "SRCNN"),
        Case(".safetensors", save(dense.state_dict()), "RRDB"),
    ]
    for note, net, other in (
        ("RRDB", dense, "Interp Up 1 1 a b 0=1"),
        ("SRVGG", SRVGG(width=3, convolutions=2, scale=2), "PixelShuffle P 1 1 a b 0=2"),
        ("FAST", AstroSleuthFast(width=3, convolutions=3, narrow=2), "Interp Up 1 1 a b 0=2"),
    ):
        param, binary = make_ncnn(net, [other], half=net is dense)
        files.append(Case(".param", param, f"layers of {note}", beside={".bin": binary}))
        files.append(Case(".bin", binary, f"weights of {note}", beside={".param": param}))
    return files + ([Case(".onnx", _onnx(), "convolution")] if _has_onnx() else [])


def _saved(content: object, *, old: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def _has_onnx() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxruntime"))


def _onnx() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    kernel = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "kernel")
    nodes = [
        helper.make_node("Conv", ["data", "kernel"], ["planes"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("DepthToSpace", ["planes"], ["output"], blocksize=2),
    ]
    taken, returned = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, None, None])
        for name in ("data", "output")
    )
    graph = helper.make_graph(nodes, "net", [taken], [returned], [kernel])
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    content: bytes = model.SerializeToString()
    return content
