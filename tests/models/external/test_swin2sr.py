"""Swin2SR and AstroSWIN: attention against its formula, two layouts of names, windows, tiles."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import astro_sr_plugin as asr
from astro_sr_plugin.models.swin2sr import Swin2SR
from tests.models.external import reference

SMALL = {"width": 8, "depths": (2, 1), "heads": (2, 2), "window": 4}
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(3, 1, 1)


def make(seed=1, **options):
    torch.manual_seed(seed)
    net = Swin2SR(**SMALL | options).eval().requires_grad_(False)
    for name, parameter in net.named_parameters():
        if name.endswith(("q_bias", "v_bias", "logit_scale")):
            parameter.normal_(1.0, 0.5)
    return net


def with_window(state):
    """Add a buffer of the original files, which says how large the windows are."""
    index = torch.zeros(16, 16, dtype=torch.int64)
    return state | {"layers.0.residual_group.blocks.0.attn.relative_position_index": index}


def hugging_face(state):
    """Return weights under the names of Hugging Face."""
    renamed = {}
    rules = (
        (r"^layers\.(\d+)\.residual_group\.blocks\.(\d+)", r"swin2sr.encoder.stages.\1.layers.\2"),
        (r"^layers\.(\d+)", r"swin2sr.encoder.stages.\1"),
        (r"\.patch_embed\.proj", ".patch_embed.projection"),
        (r"^patch_embed\.proj", "swin2sr.embeddings.patch_embeddings.projection"),
        (r"^patch_embed\.norm", "swin2sr.embeddings.patch_embeddings.layernorm"),
        (r"^conv_first", "swin2sr.first_convolution"),
        (r"^norm", "swin2sr.layernorm"),
        (r"^conv_after_body", "swin2sr.conv_after_body"),
        (r"attn\.cpb_mlp", "attention.self.continuous_position_bias_mlp"),
        (r"attn\.logit_scale", "attention.self.logit_scale"),
        (r"attn\.proj", "attention.output.dense"),
        (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense"),
        (r"norm1", "layernorm_before"),
        (r"norm2", "layernorm_after"),
        (r"^upsample\.0", "upsample.conv"),
    )
    for name, tensor in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        start = name.replace(".attn.", ".attention.self.")
        if name.endswith("attn.qkv.weight"):
            for part, rows in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[start.replace("qkv", part)] = rows.clone()
        elif name.endswith(("attn.q_bias", "attn.v_bias")):
            part = "query.bias" if name.endswith("q_bias") else "value.bias"
            renamed[start[: -len("q_bias")] + part] = tensor
        else:
            renamed[name] = tensor
    return renamed


def save_folder(folder, state, **config):
    folder.mkdir()
    save_file(hugging_face(state), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "swin2sr", **config}))
    return folder


@pytest.mark.parametrize("head", ["direct", "residual", "astroswin"])
def test_the_network_is_its_formula(head, tmp_path, colours):
    scale = 2 if head == "direct" else 1
    net = make(head=head, scale=scale)
    torch.save(with_window(net.state_dict()), tmp_path / "net.pth")
    model = asr.load_model(tmp_path / "net.pth")
    assert model.spec.architecture == ("AstroSWIN" if head == "astroswin" else "Swin2SR")
    assert (model.spec.scale, model.window, model.spec.multiple_of) == (scale, 4, 4)
    state, image = net.state_dict(), colours[0, :, :12, :16]
    features, _ = reference.swin_features(state, image - MEAN, depths=(2, 1), heads=2, window=4)
    if head == "direct":
        planes = reference.conv(state, "upsample.0", features)
        expected = F.pixel_shuffle(planes, 2) + MEAN
    elif head == "residual":
        expected = image + reference.conv(state, "conv_last", features)
    else:
        expected = reference.conv(state, "resample", features)
    assert torch.allclose(model(image[None])[0], expected, atol=2e-6)


@pytest.mark.parametrize(("head", "scale"), [("direct", 2), ("astroswin", 1)])
def test_both_layouts_of_names_give_the_same_network(head, scale, tmp_path, colours):
    net = make(head=head, scale=scale)
    torch.save(with_window(net.state_dict()), tmp_path / "net.pth")
    folder = save_folder(tmp_path / "folder", net.state_dict(), window_size=4, upscale=2)
    models = asr.load_model(tmp_path / "net.pth"), asr.load_model(folder)
    image = colours[..., :13, :18]
    first, second = (model(image) for model in models)
    assert first.shape == (1, 3, 13 * scale, 18 * scale)
    assert torch.equal(first, second)
    assert models[1].spec.name == "folder"


@pytest.mark.parametrize(
    ("options", "scale"),
    [({"head": "shuffle", "scale": 4}, 4), ({"head": "shuffle", "scale": 3}, 3)]
    + [({"head": "nearest", "scale": 4}, 4), ({"head": "direct", "three_convolutions": True}, 2)],
)
def test_other_heads_are_known(options, scale, tmp_path, colours):
    net = make(**options)
    torch.save({"params": with_window(net.state_dict())}, tmp_path / "net.pth")
    model = asr.load_model(tmp_path / "net.pth")
    assert model.spec.scale == scale
    image = colours[..., :8, :12]
    assert torch.equal(model(image), net(image))


def test_windows_are_those_of_published_networks_unless_the_file_says(tmp_path):
    torch.save(make(window=8).state_dict(), tmp_path / "net.pth")
    assert asr.load_model(tmp_path / "net.pth").window == 8


@pytest.mark.parametrize("config", [{"window_size": 33}, {"window_size": "8"}, {"img_range": -1}])
def test_configurations_that_cannot_be_are_refused(config, tmp_path):
    folder = save_folder(tmp_path / "folder", make().state_dict(), **config)
    with pytest.raises(asr.ModelError, match="allowed are"):
        asr.load_model(folder)


def test_folders_without_weights_are_refused(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(asr.ModelError, match="the folder has no file model.safetensors or pytorch"):
        asr.load_model(tmp_path)
    torch.save(make().state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(asr.ModelError, match="its config.json is damaged"):
        asr.load_model(tmp_path)


def test_tiles_nearly_give_the_whole(tmp_path, in_tiles):
    net = make(window=8, head="astroswin", scale=1)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    model = asr.load_model(tmp_path / "net.pth")
    assert model.spec.tiling == "overlap"
    image = torch.rand(1, 3, 40, 150, generator=torch.Generator().manual_seed(2))
    whole, tiles = in_tiles(model, image, 256), in_tiles(model, image, 80)
    np.testing.assert_allclose(tiles, whole, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "parameters"),
    [({}, 1_005_348), ({"head": "astroswin", "scale": 1}, 1_000_479)],
)
def test_published_sizes(options, parameters):
    with torch.device("meta"):
        net = Swin2SR(**options)
    assert sum(p.numel() for p in net.parameters()) == parameters
