"""The scale of the uncertainties is found again from what they miss."""

from __future__ import annotations

import hashlib
import tomllib

import numpy as np
import pytest

from astro_sr_plugin import InputError
from astro_sr_plugin.models.wiener_unet.error_net import LEVELS
from astro_sr_plugin.training.calibrate import calibrate_model, factors_of, main
from benchmarks.figures.coverage import coverage_table
from benchmarks.truth.scenes import make_scene


def test_factors_make_the_coverages_right():
    rng = np.random.default_rng(1)
    level = np.exp(rng.uniform(np.log(0.1), np.log(3000), 400_000))
    true = np.linspace(0.5, 2.0, len(LEVELS))
    nodes = np.log(LEVELS)
    wrong = np.interp(np.log(level), nodes, true)
    pulls = rng.normal(size=level.size) * wrong
    factors = factors_of(pulls, level)
    np.testing.assert_allclose(factors, true, rtol=0.05)
    scaled = pulls / np.interp(np.log(level), nodes, factors)
    for row in coverage_table(scaled, level):
        for share in (68, 90, 95):
            assert abs(row[str(share)] - share) < 1.5


def test_the_calibrated_network_is_written_with_its_card(tmp_path):
    scene = make_scene("star-field", 3, size=64)
    factors = calibrate_model([vars(scene)], "denoise", tmp_path, source="one scene")
    assert factors.shape == (len(LEVELS),)
    card = tomllib.loads((tmp_path / "denoise-fast.toml").read_text(encoding="utf-8"))
    weights = (tmp_path / "denoise-fast.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(weights).hexdigest()
    assert "one scene" in card["training"]["data"]


def test_nothing_to_calibrate_on_is_refused(tmp_path):
    with pytest.raises(InputError, match="denoise"):
        calibrate_model([], "denoise", tmp_path, source="")
    with pytest.raises(SystemExit) as stop:
        main(["--scenes", str(tmp_path)])
    assert stop.value.code == 2
