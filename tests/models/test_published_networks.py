"""Published architectures that this project trained: their cards, and that they are of use."""

from __future__ import annotations

import tomllib

import numpy as np
import pytest

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.checkpoint import file_digest
from astro_sr_plugin.models.published import PUBLISHED, PublishedNetworks
from astro_sr_plugin.training.config import read_config

CARDS = sorted(PUBLISHED.glob("*.toml"))
RECIPES = PUBLISHED.parents[1] / "training" / "recipes"


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_each_has_a_card_with_credits_and_figures(card):
    table = tomllib.loads(card.read_text())
    weights = card.with_suffix(".safetensors")
    assert weights.stat().st_size < 10e6
    assert table["sha256"] == file_digest(weights)
    assert "CC-BY-4.0" in table["training"]["data"]
    assert {"command", "seed", "steps", "hardware"} <= table["training"].keys()
    assert table["figures"]
    model = asr.load_model(card.stem)
    assert model.spec == asr.load_model(weights).spec
    assert model.spec.domain == ("noise-sigma" if card.stem == "remove-artifacts-unet" else "unit")
    with pytest.raises(ModelError, match="vectors"):
        PublishedNetworks().load(weights, condition=card)


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_its_recipe_is_what_was_run_or_says_what_was_not(card):
    table = tomllib.loads(card.read_text())
    (path,) = (
        p for p in RECIPES.glob("*.toml") if tomllib.loads(p.read_text())["name"] == card.stem
    )
    recipe = read_config(path)
    ran, options = table["training"], table.get("options", {})
    assert path.name in ran["command"]
    assert (recipe.task, recipe.network, recipe.seed) == (
        *(table[key] for key in ("task", "architecture")),
        ran["seed"],
    )
    assert {
        k: list(v) if isinstance(v, tuple) else v for k, v in recipe.architecture.items()
    } == options
    patches = recipe.total_steps * recipe.batch_size * recipe.accumulate
    if (ran["steps"], ran["patches"]) != (recipe.total_steps, patches):
        assert ran["history"]
        assert f"{ran['steps']}" in path.read_text().partition("name =")[0]


def test_swin2sr_takes_the_noise_away_and_keeps_the_light():
    y, x = np.mgrid[:64, :64] - 31.5
    rng = np.random.default_rng(4)
    galaxy = 2000.0 * np.exp(-np.hypot(y, x) / 5)
    image = galaxy + rng.normal(100.0, 5.0, galaxy.shape)
    result = asr.deconvolve(image, model="swin2sr-small")
    empty = np.hypot(y, x) > 27
    assert result[empty].std() < 0.6 * image[empty].std()
    assert (result - 100).sum() == pytest.approx((image - 100).sum(), rel=0.01)


def test_srcnn_takes_the_noise_away_and_keeps_the_light():
    y, x = np.mgrid[:64, :64]
    rng = np.random.default_rng(3)
    galaxy = 2000.0 * np.exp(-np.hypot(y - 31.5, x - 31.5) / 5)
    image = galaxy + rng.normal(100.0, 5.0, galaxy.shape)
    big, bicubic = (asr.super_resolve(image, model=m) for m in ("srcnn-x2", "bicubic"))
    empty = np.hypot(*(np.mgrid[:128, :128] - 63.5)) > 55
    assert big[empty].std() < 0.6 * bicubic[empty].std()
    assert (big - 100).sum() / 4 == pytest.approx((image - 100).sum(), rel=0.01)
    (yy, xx) = np.mgrid[:128, :128] / 2 - 0.25
    truth = 2000.0 * np.exp(-np.hypot(yy - 31.5, xx - 31.5) / 5) + 100
    assert np.abs(big - truth).mean() < 0.8 * np.abs(bicubic - truth).mean()


def test_sr3_takes_the_noise_away_keeps_the_light_and_knows_its_error():
    y, x = np.mgrid[:48, :48]
    rng = np.random.default_rng(3)
    galaxy = 2000.0 * np.exp(-np.hypot(y - 23.5, x - 23.5) / 4)
    image = galaxy + rng.normal(100.0, 5.0, galaxy.shape)
    big = asr.super_resolve(image, model="sr3-x2", psf=2.5, uncertainty=True, sampling="samples=4")
    (yy, xx) = np.mgrid[:96, :96] / 2 - 0.25
    truth = 2000.0 * np.exp(-np.hypot(yy - 23.5, xx - 23.5) / 4) + 100
    error = np.abs(big.data - truth)
    bicubic = asr.super_resolve(image, model="bicubic")
    assert error.mean() < 0.6 * np.abs(bicubic - truth).mean()
    assert (big.data - 100).sum() / 4 == pytest.approx((image - 100).sum(), rel=0.01)
    assert 0.5 < (error < big.uncertainty.array).mean() < 0.9
