"""Every layout of weights by the command line on a real image, beside the same call of the API."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from safetensors.torch import save_file

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.models.astrosleuth import AstroSleuthFast, AstroSleuthNext
from astro_sr_plugin.models.dncnn import DnCNN
from astro_sr_plugin.models.rrdb import RRDBNet
from astro_sr_plugin.models.srcnn import SRCNN
from astro_sr_plugin.models.srvgg import SRVGG
from astro_sr_plugin.models.swin2sr import Swin2SR
from tests.models.external.test_swin2sr import save_folder

PSF = (3.0, 3.0)
SIDE = 32


@pytest.fixture(scope="module")
def frame(sample_path, tmp_path_factory):
    """A part of a real image, with its WCS and units."""
    path = tmp_path_factory.mktemp("frame") / "frame.fits"
    asr.write_image(asr.read_image(sample_path)[20 : 20 + SIDE, 30 : 30 + SIDE], path)
    return path


def swin2sr(head, scale):
    small = {"width": 8, "depths": (1, 1), "heads": (2, 2), "window": 4}
    return Swin2SR(**small, head=head, scale=scale)


def next_network():
    return AstroSleuthNext(width=4, growth=2, blocks=1)


def in_file(name, make):
    def save(folder):
        state = make().state_dict()
        if name.endswith(".safetensors"):
            save_file(state, folder / name)
        else:
            whole = {"epoch": 3, "state_dict": state} if name.endswith(".tar") else state
            torch.save(whole, folder / name)
        return folder / name

    return save


def in_folder(make):
    return lambda folder: save_folder(folder / "net", make().state_dict(), window_size=4)


def as_onnx(size):
    def save(folder):
        pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
        onnx_test = pytest.importorskip("tests.models.external.test_onnx")
        onnx_test.network(folder / "net.onnx", size)
        return folder / "net.onnx"

    return save


LAYOUTS = {
    "SRCNN 9-5-5 in .pt": (in_file("srcnn_x2.pt", SRCNN), "super-resolve", 2),
    "SRCNN 9-1-5 in .pth.tar": (
        in_file("srcnn_x3.pth.tar", lambda: SRCNN((9, 1, 5))),
        *("super-resolve", 3),
    ),
    "DnCNN in .safetensors": (in_file("n.safetensors", lambda: DnCNN(width=4)), "denoise", 1),
    "RRDB": (in_file("n.pth", lambda: RRDBNet(width=4, growth=2, blocks=1)), "super-resolve", 4),
    "SRVGG": (in_file("n.pth", lambda: SRVGG(width=4, convolutions=2)), "super-resolve", 4),
    "FAST": (in_file("n.pth", lambda: AstroSleuthFast(3, 4, 3, 4)), "super-resolve", 4),
    "NEXT": (in_file("n.pth", next_network), "super-resolve", 4),
    "NEXT, steered": (in_file("n.pth", next_network), "super-resolve", 4),
    "Swin2SR": (in_folder(lambda: swin2sr("direct", 2)), "super-resolve", 2),
    "AstroSWIN": (in_folder(lambda: swin2sr("astroswin", 1)), "deconvolve", 1),
    "ONNX of any size": (as_onnx(("h", "w")), "super-resolve", 2),
    "ONNX of one size": (as_onnx((24, 24)), "super-resolve", 2),
}


# Networks that learned nothing contradict the image.
@pytest.mark.filterwarnings("ignore::astro_sr_plugin.exceptions.UnchangedWarning")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_by_command_line_and_api(layout, frame, tmp_path):
    torch.manual_seed(1)
    save, verb, scale = LAYOUTS[layout]
    path = model = save(tmp_path)
    words = [verb, frame, "-o", tmp_path / "out.fits", "--model", path, "--psf", "3,3", "--quiet"]
    options = {"psf": PSF}
    if scale > 1:
        words += ["--scale", scale]
        options["scale"] = scale
    if layout.endswith("steered"):
        condition = tmp_path / "conds.json"
        condition.write_text(json.dumps({"average": [0.1] * 512}))
        words += ["--condition", condition]
        model = asr.load_model(path, condition=condition)
    assert main([str(word) for word in words]) == 0
    found, header = fits.getdata(tmp_path / "out.fits", header=True)
    given, before = fits.getdata(frame, header=True)
    result = getattr(asr, verb.replace("-", "_"))(asr.read_image(frame), model=model, **options)
    assert np.array_equal(found, result.data.astype(np.float32))
    assert found.shape == (SIDE * scale, SIDE * scale)
    binned = found.reshape(SIDE, scale, SIDE, scale).mean(axis=(1, 3))
    assert binned.sum() == pytest.approx(given.sum(), rel=1e-5)
    assert header["BUNIT"] == before["BUNIT"]
    assert {"ASRSTRK", "ASRFLUXB", "ASRFLUXA"} <= set(header)
    corner = np.array([10.0, 5.0])
    places = (
        WCS(before).wcs_pix2world([corner], 0),
        WCS(header).wcs_pix2world([(corner + 0.5) * scale - 0.5], 0),
    )
    assert np.allclose(*places, rtol=0, atol=1e-9)
