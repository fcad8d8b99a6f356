"""What an ONNX file declares, checked before anything of it is run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from astro_sr_plugin.models.external.layout import MOST_WEIGHTS

__all__ = ["OnnxGraph", "read_graph"]

_MOST_BYTES = 2 << 30
"""Size of the file in bytes: the limit of the format."""

_DOMAINS = ("", "ai.onnx")
"""Where standard operators come from."""

_POINTWISE = frozenset(
    [
        *("Add", "Sub", "Mul", "Div", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "Clip"),
        *("Concat", "Split", "Identity", "Cast", "Gelu", "Erf", "Elu", "HardSigmoid", "HardSwish"),
        *("Softplus", "Mish", "Neg", "Abs", "Exp", "Sqrt", "Pow", "Min", "Max", "Dropout"),
        *("DepthToSpace", "BatchNormalization"),
    ]
)
"""Operators that look at one pixel only."""

_NEIGHBOURS = {"Resize": 2, "Upsample": 2}
"""Pixels that interpolation looks at, to either side, for operators that enlarge."""


@dataclass(frozen=True)
class OnnxGraph:
    """The declaration of a network in an ONNX file.

    Attributes
    ----------
    taken, returned : str
        Names of its input and output.
    shape : tuple of int or None
        Images, planes, height and width that it takes; None where any number is.
    half : bool
        Whether it takes float16 in place of float32.
    parameters : int
        How many weights it has.
    reach : int or None
        Input pixels around a pixel on which its result depends, at most; None where the operators
        do not say.
    metadata : dict of str
        What the program that wrote the file noted.
    """

    taken: str
    returned: str
    shape: tuple[int | None, ...]
    half: bool
    parameters: int
    reach: int | None
    metadata: dict[str, str] = field(default_factory=dict)


def read_graph(path: Path) -> OnnxGraph:
    """Read the declaration of an ONNX file, without its external data.

    Raises
    ------
    ValueError
        If the file is damaged, has operators of other domains than the standard, weights outside of
        its folder, or is no network from one image to one image.
    """
    import onnx

    if path.stat().st_size > _MOST_BYTES:
        msg = f"it is larger than {_MOST_BYTES >> 30} GiB"
        raise ValueError(msg)
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # noqa: BLE001 - the errors of protobuf have no common class
        msg = "it is damaged, or no ONNX file"
        raise ValueError(msg) from error
    graph = model.graph
    nodes = list(_nodes(graph))
    nodes += [node for function in model.functions for node in _nodes(function)]
    foreign = sorted({node.domain for node in nodes} - set(_DOMAINS))
    if foreign:
        msg = f"it has operators of {foreign[0]!r}; allowed are those of the standard"
        raise ValueError(msg)
    tensors = [*graph.initializer, *(t for node in nodes for t in _attribute_tensors(node))]
    tensors += [t for sub in _graphs(nodes) for t in sub.initializer]
    if graph.sparse_initializer:
        msg = "it has sparse weights; allowed are plain ones"
        raise ValueError(msg)
    for tensor in tensors:
        _check_location(path, tensor)
    parameters = sum(math.prod(t.dims) for t in graph.initializer)
    if any(dim < 0 for t in tensors for dim in t.dims) or parameters > MOST_WEIGHTS:
        msg = f"it declares {parameters} weights; allowed are up to {MOST_WEIGHTS}"
        raise ValueError(msg)
    names = {t.name for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in names]
    if len(inputs) != 1 or len(graph.output) != 1:
        msg = f"it takes {len(inputs)} inputs and returns {len(graph.output)}; allowed is one each"
        raise ValueError(msg)
    kind = inputs[0].type.tensor_type
    shape = tuple(d.dim_value if d.dim_value > 0 else None for d in kind.shape.dim)
    half = kind.elem_type == onnx.TensorProto.FLOAT16
    if len(shape) != 4 or not (half or kind.elem_type == onnx.TensorProto.FLOAT):
        msg = "its input is no batch of images of floating-point numbers (N, C, H, W)"
        raise ValueError(msg)
    return OnnxGraph(
        inputs[0].name,
        graph.output[0].name,
        shape,
        half,
        parameters,
        _reach(graph, inputs[0].name),
        {entry.key: entry.value for entry in model.metadata_props},
    )


def _graphs(nodes: list[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute.graphs
            if attribute.HasField("g"):
                yield attribute.g


def _nodes(graph: Any) -> Iterator[Any]:
    """Give the nodes of a graph, and of the graphs inside of it."""
    for node in graph.node:
        yield node
        for inner in _graphs([node]):
            yield from _nodes(inner)


def _attribute_tensors(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        yield from attribute.tensors
        if attribute.HasField("t"):
            yield attribute.t


def _check_location(path: Path, tensor: Any) -> None:
    """Raise `ValueError` where a tensor lies outside of the folder of the file."""
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    named = [entry.value for entry in tensor.external_data if entry.key == "location"]
    name = named[0] if len(named) == 1 else ""
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    outside = ".." in parts or PureWindowsPath(name).anchor or PurePosixPath(name).is_absolute()
    folder = path.parent.resolve()
    place = folder / name if name and not outside else folder
    if place == folder or not place.resolve().is_relative_to(folder) or not place.is_file():
        msg = f"its weights are in {name!r}; allowed are files that exist in its own folder"
        raise ValueError(msg)


def _reach(graph: Any, taken: str) -> int | None:
    """Return how far the result looks on the input, or None if the operators do not say.

    Every operator is counted as if it worked on the pixels of the input: after an enlargement it
    looks less far, so that the sum is an upper limit. Operators that reduce the image are unknown.
    """
    reach = {taken: 0}
    for node in graph.node:
        seen = [reach[name] for name in node.input if name in reach]
        if not seen or node.op_type == "Shape":
            continue
        step = _step(node)
        if step is None:
            return None
        reach.update((name, max(seen) + step) for name in node.output)
    return reach.get(graph.output[0].name)


def _step(node: Any) -> int | None:
    """Return how far one operator looks; None for those that are not known."""
    if node.op_type in _POINTWISE:
        return 0
    if node.op_type in _NEIGHBOURS:
        return _NEIGHBOURS[node.op_type]
    attributes = {a.name: list(a.ints) for a in node.attribute}
    if node.op_type != "Conv" or set(attributes.get("strides", [1])) != {1}:
        return None
    kernel = attributes.get("kernel_shape")
    if not kernel:
        return None
    dilations = attributes.get("dilations") or [1] * len(kernel)
    return max((k - 1) * d for k, d in zip(kernel, dilations, strict=False)) // 2
