"""The two files of ncnn."""

from __future__ import annotations

import pytest
import torch

import astro_sr_plugin as asr
from astro_sr_plugin.models.astrosleuth import AstroSleuthFast
from astro_sr_plugin.models.rrdb import RRDBNet
from astro_sr_plugin.models.srvgg import SRVGG
from benchmarks.fuzz.ncnn_files import make_ncnn

NETWORKS = {
    "RRDB-1": (lambda: RRDBNet(width=5, growth=3, blocks=1), ["Interp Up 1 1 a b 0=1"]),
    "SRVGG-2": (lambda: SRVGG(width=5, convolutions=2, scale=2), ["PixelShuffle P 1 1 a b 0=2"]),
    "AstroSleuth FAST": (
        lambda: AstroSleuthFast(width=5, convolutions=3, narrow=3),
        ["Interp Up 1 1 a b 0=2"],
    ),
}


def write(folder, net, others, *, half=False):
    """Write a network as ncnn does, and return the path of the list of layers."""
    param, binary = make_ncnn(net, others, half=half)
    (folder / "net.bin").write_bytes(binary)
    (folder / "net.param").write_bytes(param)
    return folder / "net.param"


@pytest.mark.parametrize("ending", [".param", ".bin"])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_read(name, half, ending, tmp_path, colours):
    build, others = NETWORKS[name]
    net = build().eval()
    path = write(tmp_path, net, others, half=half)
    model = asr.load_model(path.with_suffix(ending))
    assert model.spec.architecture == name
    image = colours[..., :10, :12]
    with torch.no_grad():
        assert torch.allclose(model(image), net(image), rtol=0, atol=1e-2 if half else 0)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("7767517", "7767518", "does not begin with 7767517"),
        ("Input data", "MemoryData data", "a layer MemoryData"),
        ("0=1\n", "0=2\n", "its layers are not those of"),
        ("6=135", "6=136", "a convolution to 5 planes has 136 weights"),
        ("6=135", "6=-135", "where a number belongs"),
        ("0=5 1=3 11=3 4=1 5=1 6=135", "0=5 1=3 11=3 4=1 5=1 6=999999945", "shorter than"),
    ],
)
def test_lists_of_layers_that_lie_are_refused(old, new, reason, tmp_path):
    build, others = NETWORKS["RRDB-1"]
    path = write(tmp_path, build(), others)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(asr.ModelError, match=f"as a file of ncnn: .*{reason}"):
        asr.load_model(path)


def test_weights_that_are_missing_or_too_many_are_refused(tmp_path):
    build, others = NETWORKS["RRDB-1"]
    path = write(tmp_path, build(), others)
    data = path.with_suffix(".bin").read_bytes()
    for changed, reason in ((data[:-1], "shorter"), (data + b"x", "1 bytes of net.bin belong"),
                            (b"\1" + data[1:], "quantised")):  # fmt: skip
        path.with_suffix(".bin").write_bytes(changed)
        with pytest.raises(asr.ModelError, match=reason):
            asr.load_model(path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(asr.ModelError, match="as a file of ncnn"):
        asr.load_model(path)
