"""What spandrel adds, where it is installed: it sees only what was read safely, and comes last."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

import astro_sr_plugin as asr
from astro_sr_plugin.models.astrosleuth import AstroSleuthFast, AstroSleuthNext
from astro_sr_plugin.models.dncnn import DnCNN
from astro_sr_plugin.models.external.other_architectures import _torchvision

needs_spandrel = pytest.mark.skipif(
    importlib.util.find_spec("spandrel") is None, reason="the extra 'models' is not installed"
)


def test_the_stand_in_for_torchvision_leaves_nothing_behind():
    before = {name for name in sys.modules if name.startswith("torchvision")}
    with _torchvision():
        import torchvision.transforms.functional as there

        assert hasattr(there, "InterpolationMode")
    assert {name for name in sys.modules if name.startswith("torchvision")} >= before
    if importlib.util.find_spec("torchvision") is None:
        assert "torchvision" not in sys.modules


@needs_spandrel
def test_an_architecture_of_spandrel_gives_what_spandrel_gives(tmp_path, colours):
    with _torchvision():
        from spandrel.architectures.SPAN import SPAN
    torch.manual_seed(1)
    net = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2, norm=False).eval()
    torch.save({"params": net.state_dict()}, tmp_path / "span.pth")
    model = asr.load_model(tmp_path / "span.pth")
    assert (model.spec.architecture, model.spec.scale, model.spec.tiling) == ("SPAN", 2, "overlap")
    assert "64 pixels are assumed" in model.notes[0]
    image = colours[..., :40, :44]
    with torch.no_grad():
        assert torch.equal(model(image), net(image))


@needs_spandrel
@pytest.mark.parametrize("net", [AstroSleuthFast(), AstroSleuthNext(8, 4, 1)])
def test_networks_that_spandrel_takes_for_others_never_reach_it(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "net.pth")
    assert asr.load_model(tmp_path / "net.pth").spec.architecture.startswith("AstroSleuth")


@needs_spandrel
def test_what_spandrel_cannot_build_is_refused(tmp_path):
    state = DnCNN(depth=7, width=4).state_dict()
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(asr.ModelError, match=r"net\.pth'") as raised:
        asr.load_model(tmp_path / "net.pth")
    assert "\n" not in str(raised.value)
