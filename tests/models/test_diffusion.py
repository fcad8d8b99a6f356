"""Diffusion models: their sampler, the published SR3, and that tiles do not show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.architectures import describe_published
from astro_sr_plugin.models.diffusion.model import DiffusionModel, as_model
from astro_sr_plugin.models.diffusion.residual import ResidualDiffusion
from astro_sr_plugin.models.diffusion.sampler import (
    DiffusionNet,
    Level,
    draw_samples,
    noise_field,
    read_sampling,
)
from astro_sr_plugin.models.diffusion.sr3 import SR3
from astro_sr_plugin.models.filters import bilateral

MEAN, SPREAD = 3.0, 0.5


class Normal(DiffusionNet):
    """Knows that what is looked for has a normal distribution."""

    def levels(self, steps):
        angles = np.linspace(math.pi / 2, 0, steps + 1)
        return [Level(math.cos(angle), math.sin(angle)) for angle in angles]

    def begin(self, picture):
        return picture

    def estimate(self, seen, noisy, level):
        trust = level.signal * SPREAD**2 / (level.signal**2 * SPREAD**2 + level.noise**2)
        clean = MEAN + trust * (noisy - level.signal * MEAN)
        return clean, (noisy - level.signal * clean) / level.noise

    def finish(self, seen, sample):
        return sample


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_samples_have_the_distribution_that_the_network_knows(sampler):
    sampling = asr.Sampling(samples=2, steps=100, sampler=sampler)
    drawn = draw_samples(Normal(), torch.zeros(1, 1, 64, 64), sampling)
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.05)
    assert float(drawn.std()) == pytest.approx(SPREAD, rel=0.05)
    assert float(torch.corrcoef(drawn.flatten(1))[0, 1]) == pytest.approx(0, abs=0.05)


def test_noise_is_the_same_in_every_part_of_the_frame():
    whole = noise_field((1, 2, 3), 2, (-20, -70), (150, 200))
    part = noise_field((1, 2, 3), 2, (30, 10), (70, 60))
    torch.testing.assert_close(part, whole[..., 50:120, 80:140], rtol=0, atol=0)
    assert float(whole.std()) == pytest.approx(1, abs=0.02)
    assert not torch.equal(whole, noise_field((1, 2, 4), 2, (-20, -70), (150, 200)))


@pytest.fixture(scope="module")
def small():
    """A network of ours on SRCNN, otherwise with random weights, so that its samples differ."""
    torch.manual_seed(1)
    net = ResidualDiffusion(width=8, blocks=1, sample_width=8, sample_blocks=1)
    net.base.load_state_dict(asr.load_model("srcnn-x2").module.state_dict())
    for layer in (net.one_pass, net.leave):
        torch.nn.init.normal_(layer.weight, std=0.005)
    about = {"name": "small", "task": "super-resolve", "description": ""}
    spec = describe_published(
        "ResidualDiffusion", net, **about, scale=2, channels=(1, 1), options={}
    )
    return as_model(spec, net.eval().requires_grad_(False))


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:60, :60]
    light = sum(
        f * np.exp(-((y - a) ** 2 + (x - b) ** 2) / 5)
        for f, a, b in zip(rng.uniform(100, 3000, 9), *rng.uniform(8, 52, (2, 9)), strict=True)
    )
    return (light + rng.normal(100.0, 4.0, light.shape)).astype(np.float32)


@pytest.mark.parametrize("sampling", ["samples=2,steps=3", "steps=2,sampler=ddpm,bilateral=0.1"])
def test_a_part_gives_the_samples_of_the_whole(small, sampling):
    model = small.with_sampling(read_sampling(sampling))
    border, run = model.spec.halo, model.prepare()
    picture = torch.rand(1, 1, 64, 60, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros_like(picture)
    whole = run(picture, mask, (-border, -border))
    part = run(picture[..., 7:60, 10:60], mask, (7 - border, 10 - border))
    place = (..., slice(14, 14 + part.shape[-2]), slice(20, 20 + part.shape[-1]))
    torch.testing.assert_close(part, whole[place], rtol=0, atol=1e-5)
    assert not torch.equal(whole[0], whole[1])


def test_the_spread_is_the_uncertainty_and_tiles_do_not_show(small, image):
    options = {"model": small, "sampling": "samples=2,steps=1", "uncertainty": True, "psf": 3.7}
    whole = asr.super_resolve(image, **options)
    tiled = asr.super_resolve(image, runtime=asr.Runtime(tile_size=30), **options)
    errors = whole.uncertainty.array
    assert (errors > 0).all()
    # The light is compared in blocks, whose sums round.
    np.testing.assert_allclose(tiled.data, whole.data, atol=0.01)
    np.testing.assert_allclose(tiled.uncertainty.array, errors, atol=0.01)
    assert "sampler" in str(whole.meta["HISTORY"])


def test_any_number_of_steps_runs_and_the_seed_decides(small):
    batch = torch.rand(2, 1, 20, 24, generator=torch.Generator().manual_seed(1))
    for steps in (1, 2, 7):
        result = small.with_sampling(asr.Sampling(samples=2, steps=steps))(batch)
        assert result.shape == (2, 1, 40, 48)
    first, again, other = (
        small.with_sampling(asr.Sampling(seed=seed))(batch) for seed in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)


def as_published(net, folder, name="I640000_E37_gen.pth"):
    """Write a network as the public code does, with values that follow from its schedule."""
    betas = torch.linspace(1e-6, 1e-2, len(net.betas))
    state = {f"denoise_fn.{k}": v for k, v in net.state_dict().items() if k != "betas"}
    torch.save(state | {"betas": betas, "alphas_cumprod": (1 - betas).cumprod(0)}, folder / name)
    return folder / name


def test_a_published_sr3_is_recognised_and_runs(tmp_path):
    torch.manual_seed(2)
    net = SR3(16, (1, 2), 1, (False, True), groups=16, steps=50)
    path = as_published(net, tmp_path)
    model = asr.load_model(path, "super-resolve", 4)
    assert isinstance(model, DiffusionModel)
    assert (model.spec.architecture, model.spec.tiling) == ("SR3", "whole")
    for name, weight in net.state_dict().items():
        if name != "betas":
            torch.testing.assert_close(model.module.state_dict()[name], weight, rtol=0, atol=0)
    levels = model.module.levels(5)
    assert [level.signal for level in levels] == sorted(level.signal for level in levels)
    assert levels[-1] == (1.0, 0.0)
    result = model.with_sampling(asr.Sampling(samples=2, steps=2))(torch.rand(1, 3, 11, 9))
    assert result.shape == (1, 3, 44, 36)
    assert bool(((result >= 0) & (result <= 1)).all()), "limited as published"


def test_the_published_size_has_the_published_number_of_weights():
    with torch.device("meta"):
        net = SR3(64, (1, 2, 4, 8, 8), 2, (False, False, False, True, False))
        large = SR3(64, (1, 2, 4, 8, 16), 1, (False,) * 5, groups=16)
    counts = [sum(p.numel() for p in each.parameters()) for each in (net, large)]
    assert counts == [97_807_491, 155_334_339]


def test_a_bilateral_filter_smooths_and_keeps_edges():
    noise = 0.01 * torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(3))
    edge = (torch.arange(40) >= 20).float().expand(1, 1, 40, 40)
    smooth = bilateral(edge + noise, 0.1)
    assert float((smooth - edge).std()) < 0.4 * float(noise.std())


def test_wrong_sampling_is_named(small, image):
    for text, named in (
        ("samples=1", "samples=1"),
        ("steps=many", "steps=many"),
        ("sampler=euler", "euler"),
        ("bilateral=2", "bilateral"),
        ("speed=3", "speed=3"),
    ):
        with pytest.raises(InputError, match=named):
            read_sampling(text)
    with pytest.raises(InputError, match="diffusion models"):
        asr.super_resolve(image, model="bicubic", sampling="steps=2")
