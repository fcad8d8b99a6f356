"""A house network as an ONNX file, for programs without PyTorch."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from astro_sr_plugin.exceptions import ModelError, OutputError
from astro_sr_plugin.models.filters import WIENER_STRENGTHS
from astro_sr_plugin.models.spec import Model
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.unet import CONDITIONS, WienerUNet

__all__ = ["INPUTS", "ExportForm", "export_onnx"]

_TRACED = 2
"""Sizes that the network is traced at, in units of what sides are multiples of."""
_OPSET = 18
"""Version of the operators; ONNX Runtime knows it since 2023."""
INPUTS = ("observed", "mask", "estimates", "conditions")
"""Names of the inputs, as of `WienerUNet.forward`."""


class ExportForm(nn.Module):
    """A `WienerUNet` as one graph, without the pieces that save memory.

    Parameters
    ----------
    net : WienerUNet
        The network.
    """

    def __init__(self, net: WienerUNet) -> None:
        super().__init__()
        self.net = net

    def forward(
        self, observed: Tensor, mask: Tensor, estimates: Tensor, conditions: Tensor
    ) -> Tensor:
        """Restore a batch, as `WienerUNet.forward` with no margin."""
        net = self.net
        planes = torch.cat([_asinh(observed), mask, _asinh(estimates.flatten(1, 2))], dim=1)
        x = net.head(functional.pixel_unshuffle(planes, 2))
        skips = []
        for level, stage in enumerate(net.encoder):
            x = stage(x, conditions)
            if level < len(net.down):
                skips.append(x)
                x = net.down[level](x)
        for level in reversed(range(len(net.decoder))):
            x = net.decoder[level](net.up[level](x) + skips[level], conditions)
        mixed: Tensor = net.mix(estimates, net.tail(x))
        return mixed


def _asinh(x: Tensor) -> Tensor:
    """`torch.asinh` of operators that ONNX has."""
    size = x.abs()
    return torch.log(size + torch.sqrt(size * size + 1)) * torch.sign(x)


def export_onnx(model: Model, path: str | os.PathLike[str]) -> Path:
    """Write a network to an ONNX file of any height, width and number of images.

    The graph is the network alone. Its inputs are those of `WienerUNet.forward`: the image in noise
    sigma, the mask, the Wiener estimates and the numbers that describe PSF and noise; sides are
    multiples of ``multiple_of``. The card is in the metadata of the file.

    Parameters
    ----------
    model : Model
        A network of this project, from `load_model`.
    path : path
        The file; it appears when it is complete, and replaces one of its name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the model is no network of single planes of this project, or what exports is not
        installed.
    OutputError
        If the file cannot be written.
    """
    if not isinstance(model, NetworkModel) or model.net.planes > 1:
        msg = (
            f"model={model.spec.name!r} cannot be exported; allowed are networks of this project "
            "that restore single planes"
        )
        raise ModelError(msg)
    target = Path(path)
    try:
        import onnxscript
    except ImportError as error:
        msg = "ONNX files need the packages of pip install 'astro_sr_plugin[onnx]'"
        raise ModelError(msg) from error
    del onnxscript
    net, spec = model.net, model.spec
    side = _TRACED * spec.multiple_of
    # Two tensors: one that is given twice would become one input.
    observed, mask = torch.zeros(2, 1, 1, side, side)
    estimates = torch.zeros(1, len(WIENER_STRENGTHS), net.scale**2, side, side)
    conditions = torch.zeros(1, CONDITIONS)
    batch, *sides = (torch.export.Dim(name) for name in ("images", "rows", "columns"))
    rows, columns = (spec.multiple_of * dim for dim in sides)
    image = {0: batch, 2: rows, 3: columns}
    with warnings.catch_warnings():
        # Of the exporter about its own parts, and about names of axes that are equal.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            ExportForm(net).eval(),
            (observed.clone(), mask.clone(), estimates, conditions),
            dynamo=True,
            opset_version=_OPSET,
            input_names=list(INPUTS),
            output_names=["restored"],
            dynamic_shapes=(image, image, {0: batch, 3: rows, 4: columns}, {0: batch}),
            verbose=False,
        )
    if program is None:
        msg = f"model={spec.name!r} cannot be exported by this version of PyTorch"
        raise ModelError(msg)
    card = {key: json.dumps(value, default=str) for key, value in asdict(spec).items()}
    card["wiener_strengths"] = json.dumps(list(WIENER_STRENGTHS))
    program.model.metadata_props.update(card)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            written = Path(folder) / target.name
            program.save(str(written))
            written.replace(target)
    except OSError as error:
        msg = f"{str(target)!r} cannot be written: {error}"
        raise OutputError(msg) from error
    return target
