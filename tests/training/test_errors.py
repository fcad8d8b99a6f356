"""Training of the networks that estimate an uncertainty."""

import pytest
import torch

from astro_sr_plugin.exceptions import InputError, ModelError
from astro_sr_plugin.models.checkpoint import load_errors, read_card
from astro_sr_plugin.models.registry import load_model
from astro_sr_plugin.models.wiener_unet.provider import ERRORS, WEIGHTS
from astro_sr_plugin.training.config import TrainConfig
from astro_sr_plugin.training.errors import quantile_loss, train_errors
from astro_sr_plugin.training.log import read_log


def test_the_loss_is_least_at_the_standard_deviation():
    error = 3.7 * torch.randn(200_000, generator=torch.Generator().manual_seed(1))
    weight = torch.ones_like(error)
    tried = torch.linspace(2.5, 5.0, 51)
    losses = [float(quantile_loss(error, torch.full_like(error, s), weight)) for s in tried]
    assert float(tried[losses.index(min(losses))]) == pytest.approx(3.7, abs=0.1)


def test_bright_and_faint_errors_count_alike():
    error = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    weight = torch.ones_like(error)
    small = quantile_loss(error, torch.full_like(error, 1.3), weight)
    large = quantile_loss(1e4 * error, torch.full_like(error, 1.3e4), weight)
    assert float(large) == pytest.approx(float(small), rel=0.02)


@pytest.mark.parametrize("card", sorted(ERRORS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_weights_belong_to_the_shipped_models(card):
    of = read_card(WEIGHTS / card.name)
    net = load_errors(card.with_suffix(".safetensors"), of)
    assert (net.factors > 0.3).all()
    assert (net.factors < 3).all()
    assert f"uncertainty-of {of.name}" in card.read_text()


def test_every_default_network_has_one():
    cards = {card.stem for card in WEIGHTS.glob("*.toml")}
    assert {card.stem for card in ERRORS.glob("*.toml")} == cards


def test_training_resumes_and_writes_weights_with_their_card(tmp_path):
    model = load_model("denoise-fast")
    config = TrainConfig("denoise-fast", "denoise", seed=5)
    seen = []
    stopped = train_errors(model, config, tmp_path, steps=2, seconds=0.0)
    assert stopped is None
    weights = train_errors(
        model, config, tmp_path, steps=2, calibration_patches=1, command="again", log=seen.append
    )
    assert seen[-1]["step"] == 2
    assert read_log(tmp_path / "log.csv")[-1]["step"] == 2
    assert load_errors(weights, model.spec).scale == 1
    card = weights.with_suffix(".toml").read_text()
    assert model.spec.sha256 in card
    assert 'command = "again"' in card
    with pytest.raises(ModelError, match="other weights"):
        load_errors(weights, load_model("deconvolve-fast").spec)


def test_a_run_for_another_task_is_refused(tmp_path):
    with pytest.raises(InputError, match="deconvolve"):
        train_errors(load_model("denoise-fast"), TrainConfig("x", "deconvolve"), tmp_path)
