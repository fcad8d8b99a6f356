"""Networks of other projects are recognised by their weights, and run as their own code does."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import astro_sr_plugin as asr
from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.models.dncnn import DnCNN
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.models.srcnn import SRCNN

FILES = Path(__file__).with_name("files")


@pytest.fixture(scope="module")
def picture():
    """A display image of 0 to 1 with values beyond both, one plane."""
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.normal(0.4, 0.3, (1, 1, 40, 46)).astype(np.float32))
    return F.interpolate(image, size=(61, 67), mode="bicubic")


def in_tiles(model, image, tile_size):
    """Run a model over one image as the verbs do."""
    planes = image[0].numpy()

    def read(y0, y1, x0, x1):
        rows = reflect_indices(y0, y1, planes.shape[-2])
        columns = reflect_indices(x0, x1, planes.shape[-1])
        window = planes[np.ix_(range(len(planes)), rows, columns)]
        return window, np.zeros_like(window)

    conditions = Conditions(np.ones((1, 1), np.float32), 3.0, 3.0, 0.0, 3.0)
    predictor = Predictor(model, conditions, Runtime(device="cpu", tile_size=tile_size))
    strips = [strip for _, strip in predictor.strips(read, planes.shape[-2:])]
    return np.concatenate(strips, axis=1)


def save(tmp_path, net, name="net.pth", rename=None):
    state = OrderedDict((rename(k) if rename else k, v) for k, v in net.state_dict().items())
    torch.save(state, tmp_path / name)
    return tmp_path / name


def test_the_real_srcnn_gives_what_its_own_layers_give(picture):
    model = asr.load_model(FILES / "srcnn_x3.pth")
    assert (model.spec.architecture, model.spec.scale) == ("SRCNN 9-5-5", 3)
    assert model.parameters == 57_281
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
def test_tiles_give_the_result_of_the_whole_image(name, picture):
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


def test_the_verbs_refuse_what_they_cannot_run_yet():
    with pytest.raises(asr.ModelError, match="domain 'unit'"):
        asr.load_model(FILES / "dncnn_25.pth", "denoise")


def test_planes_and_size_of_a_batch_are_checked():
    model = asr.load_model(FILES / "dncnn_25.pth")
    with pytest.raises(asr.InputError, match=r"allowed is \(images, 1, height, width\)"):
        model(torch.zeros(1, 3, 8, 8))


def test_vectors_are_for_conditioned_networks_only():
    for name in (FILES / "dncnn_25.pth", "denoise-fast"):
        with pytest.raises(asr.ModelError, match=r"condition='v.txt' is of no use"):
            asr.load_model(name, condition="v.txt")
