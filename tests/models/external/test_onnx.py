"""Networks in ONNX files: of any size and of a fixed one, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import astro_sr_plugin as asr

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

FILES = Path(__file__).with_name("files")
helper = onnx.helper


def constant(name, array):
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)


def network(path, size=("h", "w"), *, scale=2, nodes=None, weights=None, metadata=None):
    """Write a network of one convolution and a pixel shuffle, and return its weights."""
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(scale**2, 1, 3, 3)).astype(np.float32)
    weights = [constant("kernel", kernel)] if weights is None else weights
    nodes = nodes or [
        helper.make_node("Conv", ["data", "kernel"], ["planes"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("DepthToSpace", ["planes"], ["output"], blocksize=scale, mode="CRD"),
    ]
    kind = onnx.TensorProto.FLOAT
    taken = helper.make_tensor_value_info("data", kind, ["n", 1, *size])
    returned = helper.make_tensor_value_info("output", kind, ["n", 1, None, None])
    graph = helper.make_graph(nodes, "net", [taken], [returned], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return torch.from_numpy(kernel)


def expected(image, kernel, scale=2):
    planes = torch.nn.functional.conv2d(image, kernel, padding=1)
    return torch.nn.functional.pixel_shuffle(planes, scale)


def test_a_network_of_any_size(tmp_path, picture, in_tiles):
    kernel = network(tmp_path / "net.onnx")
    model = asr.load_model(tmp_path / "net.onnx")
    spec = model.spec
    assert (spec.scale, spec.channels_in, spec.halo, spec.tiling) == (2, 1, 1, "exact")
    assert (model.parameters, model.size_multiple, spec.task) == (36, 1, "super-resolve")
    assert torch.allclose(model(picture), expected(picture, kernel), atol=1e-5)
    whole = in_tiles(model, picture, 128)
    np.testing.assert_allclose(in_tiles(model, picture, 24), whole, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (24, 16)])
def test_a_network_of_a_fixed_size_runs_on_any(size, tmp_path, picture, in_tiles):
    kernel = network(tmp_path / "net.onnx", size)
    model = asr.load_model(tmp_path / "net.onnx")
    # A window of the shorter side, so that tiles of oblong networks stay small.
    assert (model.spec.tiling, model.spec.multiple_of) == ("exact", 14)
    # The last row and column lie at the edge of padding in place of the edge of the image.
    for image in (picture, picture[..., :5, :30]):
        inner = (..., slice(-2), slice(-2))
        assert torch.allclose(model(image)[inner], expected(image, kernel)[inner], atol=1e-5)
    whole = in_tiles(model, picture, 128)
    np.testing.assert_allclose(in_tiles(model, picture, 24), whole, atol=1e-6)


def test_the_real_denoiser_as_onnx(tmp_path, picture):
    state = torch.load(FILES / "dncnn_25.pth", map_location="cpu", weights_only=True)
    nodes, last = [], "data"
    for number in range(0, 33, 2):
        names = [last, f"model.{number}.weight", f"model.{number}.bias"]
        last = f"conv{number}"
        nodes.append(
            helper.make_node("Conv", names, [last], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        )
        if number < 32:
            nodes.append(helper.make_node("Relu", [last], [f"relu{number}"]))
            last = f"relu{number}"
    nodes.append(helper.make_node("Sub", ["data", last], ["output"]))
    weights = [constant(name, tensor.numpy()) for name, tensor in state.items()]
    network(tmp_path / "net.onnx", nodes=nodes, weights=weights, metadata={"task": "denoise"})
    model, own = asr.load_model(tmp_path / "net.onnx"), asr.load_model(FILES / "dncnn_25.pth")
    assert (model.spec.task, model.spec.scale, model.spec.halo) == ("denoise", 1, 17)
    assert model.parameters == own.parameters
    assert torch.allclose(model(picture), own(picture), atol=1e-5)


def test_what_the_file_notes_is_used(tmp_path):
    notes = {"halo": "12", "multiple_of": "4", "license": "MIT"}
    network(tmp_path / "net.onnx", metadata=notes)
    model = asr.load_model(tmp_path / "net.onnx")
    assert (model.spec.halo, model.size_multiple, model.spec.license) == (12, 4, "MIT")
    network(tmp_path / "own.onnx", metadata={"domain": "noise-sigma"})
    with pytest.raises(asr.ModelError, match="works on images of domain 'noise-sigma'"):
        asr.load_model(tmp_path / "own.onnx")


def test_sizes_that_a_network_needs_are_found(tmp_path, picture):
    nodes = [
        helper.make_node("SpaceToDepth", ["data"], ["folded"], blocksize=4),
        helper.make_node("DepthToSpace", ["folded"], ["output"], blocksize=4),
    ]
    network(tmp_path / "net.onnx", nodes=nodes)
    model = asr.load_model(tmp_path / "net.onnx")
    assert (model.size_multiple, model.spec.scale, model.spec.tiling) == (4, 1, "overlap")
    assert "64 pixels are assumed" in model.notes[0]
    assert torch.equal(model(picture), picture)


def with_weights_in(location, path, folder):
    network(path)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    onnx.save(model, path)
    folder.mkdir(exist_ok=True)
    (folder / "weights.bin").write_bytes(data)


def test_weights_beside_the_file_are_read(tmp_path, picture):
    with_weights_in("weights.bin", tmp_path / "net.onnx", tmp_path)
    assert asr.load_model(tmp_path / "net.onnx")(picture).shape == (1, 1, 122, 134)


@pytest.mark.parametrize(
    "location", ["../outside/weights.bin", "{}/outside/weights.bin", "link/weights.bin", "gone", ""]
)
def test_weights_outside_of_the_folder_are_refused(location, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    with_weights_in(location.format(tmp_path), inside / "net.onnx", tmp_path / "outside")
    with pytest.raises(asr.ModelError, match="allowed are files that exist in its own folder"):
        asr.load_model(inside / "net.onnx")


def test_operators_of_other_domains_are_refused(tmp_path):
    nodes = [helper.make_node("Anything", ["data"], ["output"], domain="com.example")]
    network(tmp_path / "net.onnx", nodes=nodes)
    with pytest.raises(asr.ModelError, match="operators of 'com.example'; allowed are those of"):
        asr.load_model(tmp_path / "net.onnx")


def test_what_is_no_network_of_images_is_refused(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"<html>")
    with pytest.raises(asr.ModelError, match="it is damaged, or no ONNX file"):
        asr.load_model(path)
    path.write_bytes(b"")
    with pytest.raises(asr.ModelError, match="net.onnx': it "):
        asr.load_model(path)
    network(path, (4, 4))
    with pytest.raises(asr.ModelError, match="takes images of 4 x 4"):
        asr.load_model(path)
    network(path, nodes=[helper.make_node("ReduceMean", ["data"], ["output"])])
    with pytest.raises(asr.ModelError, match="it makes .* of an image of 64 x 64"):
        asr.load_model(path)
    shape = constant("shape", np.array([1 << 20, 1 << 20], dtype=np.int64))
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["output"])]
    network(path, nodes=nodes, weights=[shape])
    with pytest.raises(asr.ModelError, match="net.onnx'"):
        asr.load_model(path)
    huge = onnx.TensorProto(name="kernel", data_type=1, dims=[1 << 20, 1 << 20])
    network(path, weights=[huge])
    with pytest.raises(asr.ModelError, match="declares 1099511627776 weights"):
        asr.load_model(path)
