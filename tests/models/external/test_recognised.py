"""Networks of other projects are recognised by their weights, and run as their own code does."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import astro_sr_plugin as asr
from astro_sr_plugin.models.astrosleuth import AstroSleuthFast, AstroSleuthNext
from astro_sr_plugin.models.dncnn import DnCNN
from astro_sr_plugin.models.in_strips import in_strips
from astro_sr_plugin.models.rrdb import RRDBNet
from astro_sr_plugin.models.srcnn import SRCNN
from astro_sr_plugin.models.srvgg import SRVGG
from tests.models.external import reference

FILES = Path(__file__).with_name("files")


def save(tmp_path, net, name="net.pth", rename=None):
    state = OrderedDict((rename(k) if rename else k, v) for k, v in net.state_dict().items())
    torch.save(state, tmp_path / name)
    return tmp_path / name


def test_the_real_srcnn_gives_what_its_own_layers_give(picture):
    model = asr.load_model(FILES / "srcnn_x3.pth")
    assert (model.spec.architecture, model.spec.scale) == ("SRCNN 9-5-5", 3)
    assert (model.parameters, model.spec.size) == (57_281, 230_278)
    state = torch.load(FILES / "srcnn_x3.pth", map_location="cpu", weights_only=True)
    expected = F.interpolate(picture, scale_factor=3, mode="bicubic", antialias=True)
    for number, padding in ((1, 4), (2, 2), (3, 2)):
        weight, bias = state[f"conv{number}.weight"], state[f"conv{number}.bias"]
        expected = F.conv2d(expected, weight, bias, padding=padding)
        expected = expected if number == 3 else expected.relu()
    assert torch.equal(model(picture), expected)


def test_the_real_dncnn_gives_what_its_own_layers_give_and_removes_noise(picture):
    model = asr.load_model(FILES / "dncnn_25.pth")
    assert (model.spec.architecture, model.spec.task) == ("DnCNN-17", "denoise")
    assert model.parameters == 555_137
    state = torch.load(FILES / "dncnn_25.pth", map_location="cpu", weights_only=True)
    residual = picture
    for number in range(0, 33, 2):
        weight, bias = state[f"model.{number}.weight"], state[f"model.{number}.bias"]
        residual = F.conv2d(residual, weight, bias, padding=1)
        residual = residual if number == 32 else residual.relu()
    assert torch.equal(model(picture), picture - residual)
    rng = np.random.default_rng(4)
    noise = torch.from_numpy(rng.normal(0, 25 / 255, (1, 1, 64, 64)).astype(np.float32))
    assert (model(0.5 + noise)[..., 16:-16, 16:-16] - 0.5).std() < 0.1 * noise.std()


@pytest.mark.parametrize("name", ["srcnn_x3.pth", "dncnn_25.pth"])
def test_tiles_give_the_result_of_the_whole_image(name, picture, in_tiles):
    model = asr.load_model(FILES / name)
    whole, tiles = in_tiles(model, picture, 128), in_tiles(model, picture, 24)
    scale = model.spec.scale
    assert whole.shape == (1, 61 * scale, 67 * scale)
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("kernels", "channels", "parameters"),
    [((9, 5, 5), 1, 57_281), ((9, 1, 5), 1, 8_129), ((9, 1, 5), 3, 20_099)],
)
@pytest.mark.parametrize(
    "names",
    [
        ("conv1", "conv2", "conv3"),
        ("module.conv1", "module.conv2", "module.conv3"),
        ("patch_extraction", "nonLinear_map", "reconstruction"),
        ("features.0", "map.0", "reconstruction"),
    ],
)
def test_srcnn_is_known_under_any_names(kernels, channels, parameters, names, tmp_path):
    net = SRCNN(kernels, channels=channels).eval()
    path = save(tmp_path, net, rename=lambda k: k.replace(k[:5], names[int(k[4]) - 1]))
    model = asr.load_model(path)
    assert model.spec.architecture == f"SRCNN {'-'.join(map(str, kernels))}"
    assert (model.parameters, model.spec.channels_in) == (parameters, channels)
    image = torch.rand(1, channels, 12, 15)
    assert torch.equal(model(image), net(image))
    # safetensors sorts the names.
    save_file(torch.load(path), tmp_path / "net.safetensors")
    assert torch.equal(asr.load_model(tmp_path / "net.safetensors")(image), net(image))


def test_srcnn_serves_for_the_scale_asked_for(tmp_path):
    path = save(tmp_path, SRCNN((9, 1, 5), (4, 4)), "srcnn_x4.pth.tar")
    assert asr.load_model(path).spec.scale == 4
    assert asr.load_model(path, scale=2)(torch.rand(1, 1, 9, 9)).shape == (1, 1, 18, 18)
    with pytest.raises(asr.ModelError, match="scale 8"):
        asr.load_model(path, scale=8, task="super-resolve")


def test_other_stacks_than_dncnn_are_not_taken_for_it(tmp_path):
    path = save(tmp_path, DnCNN(depth=7, width=4))
    with pytest.raises(asr.ModelError, match="network is not known; it has the weights model.0"):
        asr.load_model(path)


def test_a_network_has_to_be_whole(tmp_path):
    state = DnCNN(width=4).state_dict()
    state["model.4.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(asr.ModelError, match="not a whole DnCNN-17: .*size mismatch"):
        asr.load_model(tmp_path / "net.pth")


def test_planes_and_size_of_a_batch_are_checked():
    model = asr.load_model(FILES / "dncnn_25.pth")
    with pytest.raises(asr.InputError, match=r"allowed is \(images, 1, height, width\)"):
        model(torch.zeros(1, 3, 8, 8))


def test_vectors_are_for_conditioned_networks_only():
    for name in (FILES / "dncnn_25.pth", "denoise-fast"):
        with pytest.raises(asr.ModelError, match=r"condition='v.txt' is of no use"):
            asr.load_model(name, condition="v.txt")
    loaded = asr.load_model(FILES / "dncnn_25.pth")
    with pytest.raises(asr.ModelError, match=r"condition='v.txt' comes too late"):
        asr.load_model(loaded, condition="v.txt")


def esrgan(name):
    """Return the name of a weight in the later files of ESRGAN."""
    name = re.sub(r"body\.(\d+)\.rdb(\d)\.", r"RRDB_trunk.\1.RDB\2.", name)
    for new, old in (("conv_body", "trunk_conv"), ("conv_up", "upconv"), ("conv_hr", "HRconv")):
        name = name.replace(new, old)
    return name


def first_esrgan(name):
    """Return the name of a weight in the first files of ESRGAN, of two blocks and two doublings."""
    name = re.sub(r"body\.(\d+)\.rdb(\d)\.conv(\d)\.", r"model.1.sub.\1.RDB\2.conv\3.0.", name)
    places = ("conv_first", 0), ("conv_up1", 3), ("conv_up2", 6), ("conv_hr", 8), ("conv_last", 10)
    for new, place in (*places, ("conv_body", "1.sub.2")):
        name = name.replace(f"{new}.", f"model.{place}.")
    return name


@pytest.mark.parametrize("rename", [None, esrgan, first_esrgan])
@pytest.mark.parametrize(("fold", "scale"), [(1, 4), (2, 2), (4, 1)])
def test_rrdb_is_known_under_three_kinds_of_names(rename, fold, scale, tmp_path, colours):
    net = RRDBNet(width=8, growth=4, blocks=2, fold=fold)
    model = asr.load_model(save(tmp_path, net, rename=rename))
    assert (model.spec.architecture, model.spec.scale) == ("RRDB-2", scale)
    assert model.spec.multiple_of == fold
    image = colours[..., :20, :24]
    folded = F.pixel_unshuffle(image, fold)
    expected = reference.rrdb(net.state_dict(), folded, blocks=2)
    assert torch.equal(model(image), expected)
    # A size that does not fold is mirrored, and cropped.
    assert model(image[..., :19, :22]).shape == (1, 3, 19 * scale, 22 * scale)


@pytest.mark.parametrize(("doublings", "scale"), [(0, 1), (1, 2), (3, 8)])
def test_rrdb_of_other_scales_is_known(doublings, scale, tmp_path, colours):
    net = RRDBNet(1, 1, width=4, growth=4, blocks=1, doublings=doublings)
    model = asr.load_model(save(tmp_path, net, rename=esrgan))
    assert (model.spec.scale, model.spec.channels_in) == (scale, 1)
    image = colours[:, :1, :12, :15]
    expected = reference.rrdb(net.state_dict(), image, blocks=1, doublings=doublings)
    assert torch.equal(model(image), expected)


def test_fast_is_not_taken_for_srvgg(tmp_path, colours):
    net = AstroSleuthFast(width=8, convolutions=3, narrow=4)
    model = asr.load_model(save(tmp_path, net))
    assert (model.spec.architecture, model.spec.scale) == ("AstroSleuth FAST", 4)
    state, image = net.state_dict(), colours[..., :12, :15]
    expected = reference.tower(state, image, 3)
    for number in (1, 2):
        finer = F.interpolate(expected, scale_factor=2, mode="bilinear")
        expected = reference.conv(state, f"conv_up{number}", finer)
        expected = reference.lrelu(expected) if number == 1 else expected
    expected = expected + F.interpolate(image, scale_factor=4, mode="bilinear")
    assert torch.allclose(model(image), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_srvgg_gives_what_its_formula_gives(scale, tmp_path, colours):
    net = SRVGG(width=8, convolutions=2, scale=scale)
    model = asr.load_model(save(tmp_path, net, rename=lambda k: f"module.{k}"))
    assert (model.spec.architecture, model.spec.scale) == ("SRVGG-2", scale)
    state, image = net.state_dict(), colours[..., :12, :15]
    planes = reference.conv(state, "body.6", reference.tower(state, image, 3))
    expected = F.pixel_shuffle(planes, scale) + F.interpolate(image, scale_factor=scale)
    assert torch.allclose(model(image), expected, atol=1e-6)


@pytest.fixture(scope="module")
def steered(tmp_path_factory):
    """A NEXT network whose condition matters, its file, and the file of its vectors."""
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("next")
    net = AstroSleuthNext(width=8, growth=4, blocks=2)
    for block in net.body:
        torch.nn.init.normal_(block.block.grn.gamma)
    vectors = {name: torch.randn(512) for name in ("average", "stars", "detail", "spikes")}
    path = folder / "vectors.json"
    path.write_text(json.dumps({name: vector.tolist() for name, vector in vectors.items()}))
    return net, save(folder, net), vectors, path


def test_next_runs_unconditioned_with_bilinear_interpolation_and_says_so(steered, colours):
    net, path, _, _ = steered
    model = asr.load_model(path)
    assert (model.spec.architecture, model.spec.tiling) == ("AstroSleuth NEXT", "exact")
    assert "unconditioned" in model.notes[0]
    image = colours[..., :12, :15]
    expected = reference.rrdb(net.state_dict(), image, blocks=2, mode="bilinear")
    assert torch.equal(model(image), expected)


@pytest.mark.parametrize("amounts", [{}, {"stars": 0.5, "detail": -1.0, "spikes": 0.25}])
def test_next_is_steered_by_vectors(steered, amounts, colours, tmp_path):
    net, path, vectors, file = steered
    content = json.loads(file.read_text()) | {"amounts": amounts, "strength": 2.0}
    (tmp_path / "steering.json").write_text(json.dumps(content))
    model = asr.load_model(path, condition=tmp_path / "steering.json")
    assert model.spec.tiling == "whole"
    state, image = net.state_dict(), colours[..., :12, :15]
    vector = vectors["average"] + sum(a * vectors[name] for name, a in amounts.items())
    code = reference.lrelu(F.linear(vector, state["l1.weight"], state["l1.bias"]))
    expected = reference.rrdb(
        state,
        image,
        blocks=2,
        mode="bilinear",
        added=lambda block, body: reference.next_features(state, block, body, code, 2.0),
    )
    assert torch.allclose(model(image), expected, atol=1e-5)
    assert not torch.allclose(asr.load_model(path)(image), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"average": [0.0] * 511}, "average has to be a list of 512 finite numbers"),
        ({"average": ["x"] * 512}, "average is no list of numbers"),
        ({"average": [1e39] * 512}, "average has to be a list of 512 finite numbers"),
        ({"strength": 5.1}, "strength=5.1; allowed is 0 to 5"),
        ({"amounts": {"stars": -2}}, "stars=-2; allowed is -1 to 1"),
        ({"amounts": {"detail": 1}, "detail": None}, "detail has to be a list"),
    ],
)
def test_vectors_that_cannot_be_used_are_named(steered, change, reason, tmp_path):
    _, path, _, file = steered
    (tmp_path / "v.json").write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(asr.ModelError, match=f"v.json' cannot be used: {reason}"):
        asr.load_model(path, condition=tmp_path / "v.json")


NETWORKS = {
    "RRDB-1": lambda: RRDBNet(width=8, growth=4, blocks=1),
    "RRDB-1 folded": lambda: RRDBNet(width=8, growth=4, blocks=1, fold=2),
    "AstroSleuth FAST": lambda: AstroSleuthFast(width=8, convolutions=4, narrow=4),
    "AstroSleuth NEXT": lambda: AstroSleuthNext(width=8, growth=4, blocks=1),
    "SRVGG-3": lambda: SRVGG(width=8, convolutions=3, scale=2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_halo_is_the_receptive_field(name, tmp_path):
    """Far pixels do not matter, and those of the last row of the halo do."""
    torch.manual_seed(7)
    net = NETWORKS[name]().double().requires_grad_(False)
    for parameter in net.parameters():
        parameter.copy_(parameter.abs() + 0.1)
    model = asr.load_model(save(tmp_path, net))
    module, halo, fold = net, model.spec.halo, model.spec.multiple_of
    image = torch.rand(1, 3, 4 * fold, 2 * halo + 4 * fold, dtype=torch.float64).requires_grad_()
    scale = model.spec.scale
    module(image)[..., halo * scale : (halo + fold) * scale].sum().backward()
    seen = torch.nonzero(image.grad.abs().amax((0, 1, 2)))
    assert (seen.min() // fold, seen.max() // fold) == (0, (2 * halo + fold - 1) // fold)


@pytest.mark.parametrize(
    "build",
    [
        lambda: RRDBNet(width=4, growth=2, blocks=1),
        lambda: AstroSleuthNext(width=4, growth=2, blocks=1),
        lambda: AstroSleuthFast(width=4, convolutions=3, narrow=4),
    ],
)
@torch.inference_mode()
def test_last_layers_in_strips_give_the_whole(build):
    torch.manual_seed(1)
    net, trunk = build(), torch.rand(1, 4, 23, 9)
    strips, fewer = (in_strips(net.enlarge, trunk, reach, pixels=9 * 4) for reach in (2, 1))
    assert torch.allclose(strips, net.enlarge(trunk), rtol=0, atol=1e-6)
    assert not torch.allclose(strips, fewer, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["RRDB-1 folded", "AstroSleuth FAST", "AstroSleuth NEXT"])
def test_tiles_of_enlarging_networks_give_the_whole(name, tmp_path, colours, in_tiles):
    model = asr.load_model(save(tmp_path, NETWORKS[name]()))
    image = colours[..., :38, :42]
    whole, tiles = in_tiles(model, image, 128), in_tiles(model, image, 24)
    np.testing.assert_allclose(tiles, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: RRDBNet(blocks=6), 4_467_779),
        (RRDBNet, 16_697_987),
        (AstroSleuthFast, 1_204_931),
        (AstroSleuthNext, 4_747_139),
        (SRVGG, 621_424),
        (lambda: SRVGG(convolutions=32), 1_213_296),
        (SRCNN, 57_281),
        (DnCNN, 555_137),
    ],
)
def test_published_sizes(build, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in build().parameters()) == parameters
