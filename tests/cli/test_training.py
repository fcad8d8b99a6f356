"""Train, stop, resume, measure and use a tiny network from the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

SETTINGS = """\
name = "tiny"
task = "denoise"
description = "Made by a test."
steps = 4
batch_size = 2
pool_size = 2
pool_refresh = 1
warmup = 1

[scene]
size = 96
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS)
    return path


def test_from_settings_to_a_model(
    settings: Path, astro_sr: Any, field_path: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("train", settings, "--out", run, "--device", "cpu", "--json", "--progress", "none")
    first = astro_sr(*words, "--steps", 2)
    assert first.code == 0, first.err
    assert json.loads(first.out)["step"] == 2
    assert astro_sr(*words).code == 2, "an old run is not overwritten"
    second = astro_sr(*words, "--resume")
    assert json.loads(second.out)["step"] == 4
    figures = json.loads(astro_sr("evaluate", run, "--patches", 2, "--json").out)
    assert figures["patches"] == 2
    exported = astro_sr("models", "export", run, "-o", tmp_path)
    assert exported.code == 0, exported.err
    used = astro_sr(
        "denoise", field_path, "-o", tmp_path / "o.fits", "--model", tmp_path / "tiny.safetensors"
    )
    assert used.code == 0, used.err


PUBLISHED = """\
name = "tiny"
task = "super-resolve"
network = "SRCNN"
batch_size = 8
patch = 32

[architecture]
widths = [2, 2]

[[stages]]
steps = 3
warmup = 0
"""


def test_a_model_in_one_go(settings: Path, astro_sr: Any, tmp_path: Path) -> None:
    settings.write_text(PUBLISHED)
    words = ("models", "make", settings, "--out", tmp_path / "run", "-o", tmp_path, "--device")
    stopped = astro_sr(*words, "cpu", "--seconds", "0", "--json", "--progress", "none")
    assert stopped.code == 0, stopped.err
    assert json.loads(stopped.out)["step"] < 3
    assert not (tmp_path / "tiny.toml").exists()
    done = astro_sr(*words, "cpu", "--json", "--progress", "none")
    assert done.code == 0, done.err
    with (tmp_path / "tiny.toml").open("rb") as stream:
        card = tomllib.load(stream)
    assert card["training"]["command"] == "astro-sr models make settings.toml --out run"
    assert (card["training"]["steps"], card["training"]["hardware"]) == (3, "cpu")
    assert card["figures"]["psnr_db"] == json.loads(done.out)["psnr_db"]
    assert astro_sr(*words, "cpu").code == 2, "a model is not overwritten"


def test_bad_settings(settings: Path, astro_sr: Any, tmp_path: Path) -> None:
    for text in ("name = 1 2", SETTINGS.replace("denoise", "paint"), SETTINGS + "colour = 3\n"):
        settings.write_text(text)
        result = astro_sr("train", settings, "--out", tmp_path / "run")
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
        assert not (tmp_path / "run").exists()
    assert astro_sr("train", tmp_path / "no.toml", "--out", tmp_path / "run").code == 2
    assert astro_sr("evaluate", tmp_path).code == 2
    assert astro_sr("models", "export", tmp_path, "-o", tmp_path).code == 2
