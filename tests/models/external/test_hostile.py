"""Files that lie or hold programs are refused with one sentence, and nothing of them runs."""

from __future__ import annotations

import json
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.models.dncnn import DnCNN
from astro_sr_plugin.models.rrdb import RRDBNet
from astro_sr_plugin.models.srcnn import SRCNN

FILES = Path(__file__).with_name("files")


@pytest.fixture
def weights():
    return SRCNN((9, 1, 5), (4, 4)).state_dict()


def saved(tmp_path, content, name="net.pth", **how):
    torch.save(content, tmp_path / name, **how)
    return tmp_path / name


def rewritten(path, change):
    """Write the records of a file of torch.save again, each changed by a function."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))
    return path


class Gadget:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_file_saved_on_another_device_is_read():
    assert b"cuda" in (FILES / "srcnn_x3.pth").read_bytes()
    assert asr.load_model(FILES / "srcnn_x3.pth").module.conv1.weight.device.type == "cpu"


@pytest.mark.parametrize("how", ["zip", "legacy", "plain", "inside"])
def test_a_program_in_a_file_does_not_run(how, tmp_path, weights):
    gadget, path = Gadget(tmp_path / "ran"), tmp_path / "net.pth"
    if how == "plain":
        path.write_bytes(pickle.dumps(gadget))
    elif how == "inside":
        saved(tmp_path, {"state_dict": weights, "note": gadget})
    else:
        saved(tmp_path, gadget, _use_new_zipfile_serialization=how == "zip")
    with pytest.raises(asr.ModelError, match="cannot read model .*net.pth': it ") as raised:
        asr.load_model(path)
    assert "\n" not in str(raised.value)
    assert "code" in str(raised.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_that_was_saved_whole_is_refused(zipped, tmp_path):
    path = saved(tmp_path, SRCNN((9, 1, 5), (4, 4)), _use_new_zipfile_serialization=zipped)
    with pytest.raises(asr.ModelError, match="needs the code astro_sr_plugin.models.srcnn.SRCNN"):
        asr.load_model(path)


def test_torchscript_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1))
        torch.jit.save(program, tmp_path / "net.pt")
    with pytest.raises(asr.ModelError, match="it is a TorchScript program"):
        asr.load_model(tmp_path / "net.pt")


def test_numbers_of_numpy_beside_the_weights_do_no_harm(tmp_path, weights):
    content = {"best": np.float64(31.2), "loss": np.float32(1), "epoch": 3, "state_dict": weights}
    model = asr.load_model(saved(tmp_path, content, "net.pth.tar"))
    assert torch.equal(model.module.conv1.weight, weights["conv1.weight"])


@pytest.mark.parametrize("wrapper", ["params_ema", "state_dict", "model", "netG"])
def test_weights_are_found_below_the_names_of_training_programs(wrapper, tmp_path, weights):
    state = {f"module.{name}": tensor.half() for name, tensor in weights.items()}
    content = {wrapper: state, "params": {"other": torch.zeros(2)}} if wrapper[0] == "p" else {
        wrapper: state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}
    }  # fmt: skip
    model = asr.load_model(saved(tmp_path, content))
    assert model.module.conv1.weight.dtype == torch.float32
    assert torch.allclose(model.module.conv1.weight, weights["conv1.weight"], atol=1e-3)


def test_parameters_and_counters_are_read(tmp_path, weights):
    state = OrderedDict((k, torch.nn.Parameter(v)) for k, v in weights.items())
    assert asr.load_model(saved(tmp_path, state)).parameters == sum(
        v.numel() for v in weights.values()
    )


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.zeros(1).expand(65536, 1024), "declares 67108864 values, but the file does not"),
        (torch.zeros(1).expand(1 << 40), "declares 1099511627776 values"),
        (torch.zeros(4, 4, device="meta"), "is not a plain array"),
        (torch.eye(4).to_sparse(), "is not a plain array"),
        (torch.full((3,), torch.inf), "holds values that are not finite"),
        (torch.zeros(3, dtype=torch.complex64), "is not a plain array"),
    ],
)
def test_tensors_that_are_not_what_they_declare_are_refused(tensor, reason, tmp_path, weights):
    path = saved(tmp_path, {**weights, "conv1.bias": tensor})
    assert path.stat().st_size < 20_000
    with pytest.raises(asr.ModelError, match=f"its tensor conv1.bias .*{reason}|{reason}"):
        asr.load_model(path)


def test_a_record_that_is_shorter_than_declared_is_refused(tmp_path):
    state = {"conv1.weight": torch.zeros(1000)}
    path = rewritten(
        saved(tmp_path, state), lambda name, data: data[:40] if "/data/" in name else data
    )
    with pytest.raises(asr.ModelError, match="net.pth': it"):
        asr.load_model(path)


def safetensors_header(shape, stop):
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, stop]}
    text = json.dumps({"conv1.weight": entry}).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        safetensors_header([1 << 20, 1 << 20], 1 << 42),
        safetensors_header([1 << 20, 1 << 20], 4) + bytes(4),
        safetensors_header([0, 1 << 60], 0),
        struct.pack("<Q", 1 << 62) + b"{}",
        b"",
    ],
)
def test_headers_of_safetensors_that_lie_are_refused(content, tmp_path):
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(asr.ModelError, match=r"net\.safetensors"):
        asr.load_model(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is damaged"),
        (b"<html>not found</html>", "it is damaged"),
        (pickle.dumps(3), "it is damaged, or torch.save did not write it"),
        (pickle.dumps({"a": 3}, 2), "it is damaged, or torch.save did not write it"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(content, reason, tmp_path):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(asr.ModelError, match=rf"net\.pth': {reason}"):
        asr.load_model(tmp_path / "net.pth")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (3, "it holds a int in"),
        ({}, "it holds entries named nothing in"),
        ({"a": {"b": [1] * 5}}, "it holds entries named a in"),
        ({"model": {"model": {"model": {"model": torch.zeros(3)}}}}, "entries named model in"),
        ({3: torch.zeros(3)}, "a tensor of it has the name 3"),
    ],
)
def test_files_without_weights_are_refused(content, reason, tmp_path):
    with pytest.raises(asr.ModelError, match=rf"net\.pth': .*{reason}"):
        asr.load_model(saved(tmp_path, content))


def test_names_of_weights_do_not_reach_the_terminal_as_they_are(tmp_path):
    torch.save({"a\nb\x1b[2J": torch.zeros(2, 2)}, tmp_path / "net.pth")
    with pytest.raises(asr.ModelError) as error:
        asr.load_model(tmp_path / "net.pth")
    assert "a b [2J (2, 2)" in str(error.value)
    assert str(error.value).isprintable()


def test_archives_of_other_kinds_are_refused(tmp_path, weights):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(asr.ModelError, match="a zip archive without weights"):
        asr.load_model(path)
    with zipfile.ZipFile(saved(tmp_path, weights, "good.pth")) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    with pytest.raises(asr.ModelError, match="a compressed archive"):
        asr.load_model(path)
    with tarfile.open(path, "w") as archive:
        archive.add(tmp_path / "good.pth", "tensors")
    with pytest.raises(asr.ModelError, match="net.pth': it is damaged"):
        asr.load_model(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files_are_refused(part, zipped, tmp_path, weights):
    path = saved(tmp_path, weights, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(asr.ModelError, match="net.pth': it is damaged"):
        asr.load_model(path)


def test_networks_beyond_any_that_is_known_are_refused(tmp_path):
    with torch.device("meta"):
        wide = RRDBNet(width=513, growth=1, blocks=1).state_dict()
    state = {name: torch.zeros(t.shape) for name, t in wide.items()}
    with pytest.raises(asr.ModelError, match="a layer of 513 channels; allowed are up to 512"):
        asr.load_model(saved(tmp_path, state))
    deep = RRDBNet(width=1, growth=1, blocks=65).state_dict()
    with pytest.raises(asr.ModelError, match=r"65 parts body\.N; allowed are up to 64"):
        asr.load_model(saved(tmp_path, deep))
    gap = {
        k.replace("body.1.", "body.7."): v for k, v in RRDBNet(1, 1, 1, 1, 3).state_dict().items()
    }
    with pytest.raises(asr.ModelError, match="some are missing"):
        asr.load_model(saved(tmp_path, gap))


def test_a_network_that_lacks_a_weight_or_has_one_more_is_refused(tmp_path):
    state = DnCNN(width=4).state_dict()
    del state["model.32.bias"]
    with pytest.raises(asr.ModelError, match="its network"):
        asr.load_model(saved(tmp_path, state))
    state = RRDBNet(width=4, growth=4, blocks=1).state_dict()
    del state["conv_hr.bias"]
    with pytest.raises(asr.ModelError, match="not a whole RRDB-1: .*conv_hr.bias"):
        asr.load_model(saved(tmp_path, state))
    state |= {"conv_hr.bias": torch.zeros(4), "attention.weight": torch.zeros(1)}
    with pytest.raises(asr.ModelError, match="not a whole RRDB-1: .*attention.weight"):
        asr.load_model(saved(tmp_path, state))


def test_safetensors_of_other_projects_are_read(tmp_path):
    net = DnCNN(width=4)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    model = asr.load_model(tmp_path / "net.safetensors")
    assert model.spec.architecture == "DnCNN-17"


def test_the_command_line_refuses_a_program_with_exit_code_2(tmp_path, sample_path, capsys):
    path = saved(tmp_path, Gadget(tmp_path / "ran"))
    output = tmp_path / "out.fits"
    command = ["denoise", str(sample_path), "-o", str(output), "--model", str(path)]
    assert main(command) == 2
    assert "cannot read model" in capsys.readouterr().err
    assert not output.exists()
    assert not (tmp_path / "ran").exists()
