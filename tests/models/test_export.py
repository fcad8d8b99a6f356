"""Networks of this project as ONNX files: they run elsewhere, at any size, with the same result."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.models.wiener_unet.export import INPUTS, ExportForm, export_onnx
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.unet import CONDITIONS, WienerUNet


def make_net(scale=2):
    torch.manual_seed(1)
    net = WienerUNet(scale=scale, widths=(8, 8), blocks=(1, 1)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return net.requires_grad_(False)


def make_inputs(net, images, rows, columns):
    torch.manual_seed(rows)
    observed, mask = 3 * torch.randn(2, images, 1, rows, columns)
    estimates = 3 * torch.randn(images, net.estimates, net.scale**2, rows, columns)
    return observed, (mask > 6).float(), estimates, torch.randn(images, CONDITIONS)


@pytest.mark.parametrize("scale", [1, 2])
def test_the_exported_form_is_the_network(scale):
    net = make_net(scale)
    inputs = make_inputs(net, 1, 24, 16)
    assert torch.equal(ExportForm(net)(*inputs), net(*inputs))


def test_onnx_runtime_gives_the_result_of_torch_at_other_sizes(tmp_path):
    runtime = pytest.importorskip("onnxruntime", exc_type=ImportError)
    pytest.importorskip("onnxscript", exc_type=ImportError)
    net = make_net()
    spec = ModelSpec("tiny", "super-resolve", "A test.", "WienerUNet", scale=2, multiple_of=4)
    path = export_onnx(NetworkModel(spec, net), tmp_path / "tiny.onnx")
    session = runtime.InferenceSession(str(path))
    for size in ((1, 64, 48), (2, 20, 36), (1, 4, 8)):
        inputs = make_inputs(net, *size)
        feed = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
        result = session.run(None, feed)[0]
        assert np.abs(result - net(*inputs).numpy()).max() < 1e-4
    card = session.get_modelmeta().custom_metadata_map
    assert json.loads(card["name"]) == "tiny"
    assert json.loads(card["scale"]) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


def test_networks_of_several_planes_are_refused(tmp_path):
    spec = ModelSpec("three", "denoise", "A test.", "WienerUNet", channels_in=3, channels_out=3)
    model = NetworkModel(spec, WienerUNet(widths=(8, 8), blocks=(1, 1), planes=3))
    with pytest.raises(ModelError, match="restore single planes"):
        export_onnx(model, tmp_path / "a.onnx")


def test_classical_methods_are_no_networks(tmp_path, capsys):
    with pytest.raises(ModelError, match="'bicubic' cannot be exported"):
        export_onnx(asr.load_model("bicubic"), tmp_path / "a.onnx")
    assert main(["models", "export", "bicubic", "--onnx", str(tmp_path / "a.onnx")]) == 2
    assert "cannot be exported" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
