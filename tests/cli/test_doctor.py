"""What ``astro-sr doctor`` says about an installation, good and damaged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

import astro_sr_plugin
from astro_sr_plugin.cli.doctor import check_weights
from tests.cli.conftest import digest

WEIGHTS = Path(astro_sr_plugin.__file__).parent / "weights"


def test_a_complete_installation_can_work(astro_sr):
    result = astro_sr("doctor", "--json", "--device", "cpu")
    report = json.loads(result.out)
    assert result.code == 0
    assert report["ok"]
    assert report["problems"] == []
    assert report["version"] == astro_sr_plugin.__version__
    assert report["packages"]["numpy"] == np.__version__
    assert report["device"] == "cpu"
    assert "cpu" in [entry["device"] for entry in report["devices"]]
    assert report["speed"]["megapixels_per_second"] > 0
    assert 0 < report["memory"]["free_gb"] <= report["memory"]["total_gb"]
    files = {path.relative_to(WEIGHTS).as_posix(): path for path in WEIGHTS.rglob("*.safetensors")}
    assert {w["file"]: w["sha256"] for w in report["weights"]} == {
        name: digest(path) for name, path in files.items()
    }


def test_weights_that_are_damaged_or_missing_are_named(tmp_path):
    good, damaged, missing = sorted(WEIGHTS.glob("*.safetensors"))[:3]
    for path in (good, damaged, missing):
        shutil.copy(path.with_suffix(".toml"), tmp_path)
    shutil.copy(good, tmp_path)
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    (tmp_path / damaged.name).write_bytes(content)
    found = {entry["file"]: entry for entry in check_weights(tmp_path)}
    assert found[good.name]["ok"]
    assert not found[damaged.name]["ok"]
    assert found[damaged.name]["state"] == "does not fit its card"
    assert not found[missing.name]["ok"]
    assert found[missing.name]["state"] == "is missing"


def test_a_device_that_is_not_there_is_a_problem(astro_sr):
    absent = "mps" if torch.cuda.is_available() else "cuda"
    result = astro_sr("doctor", "--device", absent)
    assert result.code == 1
    assert f"device='{absent}' is not available here" in result.out
    assert "cannot work here" in result.out


def test_an_unknown_device_is_wrong_usage(astro_sr):
    result = astro_sr("doctor", "--device", "abacus")
    assert result.code == 2
    assert "allowed are auto, cpu, cuda, mps" in result.err


def test_a_package_that_cannot_be_imported_is_named():
    program = (
        "import sys; sys.modules['sep'] = None; from astro_sr_plugin.cli import main; "
        "sys.exit(main(['doctor', '--json']))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    report = json.loads(run.stdout)
    assert not report["ok"]
    assert any("sep" in problem and "imported" in problem for problem in report["problems"])
