from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.checkpoint import load_network
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet
from astro_sr_plugin.simulation import ObservationConfig, SceneConfig, make_scene, observe
from astro_sr_plugin.tasks import TASKS
from astro_sr_plugin.training.config import TrainConfig, read_config, write_config
from astro_sr_plugin.training.evaluate import evaluate_patches, export_model, halo_of
from astro_sr_plugin.training.losses import (
    ApertureLoss,
    AsinhLoss,
    CharbonnierLoss,
    RestorationLoss,
)
from astro_sr_plugin.training.measured_psfs import read_psfs
from astro_sr_plugin.training.textures import load_textures
from astro_sr_plugin.training.trainer import pixel_weight, train

WEIGHTS = [p for p in (Path(str(files("astro_sr_plugin"))) / "weights").glob("*.safetensors")]
RECIPES = sorted((files("astro_sr_plugin") / "training" / "recipes").iterdir(), key=str)


def small(task="deconvolve", **changes):
    return TrainConfig(
        name="small",
        task=task,
        steps=3,
        batch_size=2,
        pool_size=3,
        pool_refresh=1,
        warmup=2,
        architecture={"widths": (8, 8), "blocks": (1, 1)},
        scene={"size": 72},
        **changes,
    )


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.name)
def test_recipes_read_and_write(recipe, tmp_path):
    config = read_config(recipe)
    write_config(config, tmp_path / "again.toml")
    assert read_config(tmp_path / "again.toml") == config


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('name = "a"', "task"),
        ('name = "a"\ntask = "paint"', "paint"),
        ('name = "a"\ntask = "denoise"\nsteeps = 3', "steeps"),
        ('name = "a"\ntask = "denoise"\n[scene]\nsizes = 3', "sizes"),
        ('name = "a"\ntask = "denoise"\n[scene]\nsize = 64', "multiple of 8"),
        ('name = "a"\ntask = "denoise"\nbank_size = -1', "bank_size"),
        ('name = "a"\ntask = "denoise"\n[optics]\nmirrors = 2', "mirrors"),
        ('name = "a"\ntask = "denoise"\n[loss]\nlaplacian = 2', "laplacian"),
        ("name = ", "cannot be read"),
    ],
)
def test_bad_configurations_are_named(tmp_path, text, named):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=named):
        read_config(path)
    with pytest.raises(InputError, match=r"none\.toml"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize("loss", [CharbonnierLoss(), AsinhLoss(), ApertureLoss()])
def test_losses_are_zero_at_the_truth_and_have_right_gradients(loss):
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(1, 1, 12, 12, generator=generator, dtype=torch.float64) * 5
    weight = torch.ones_like(truth)
    assert float(loss(truth, truth, weight)) == 0
    output = (truth + 1.5).requires_grad_(True)
    assert float(loss(output, truth, weight).detach()) > 0
    assert torch.autograd.gradcheck(lambda x: loss(x, truth, weight), output)


def test_saturated_pixels_and_borders_count_little():
    truth = torch.zeros(1, 1, 40, 40)
    output, weight = truth.clone(), torch.ones_like(truth)
    output[..., 3, 3] = 100
    loss = RestorationLoss()
    assert float(loss(output, truth, weight)) == 0
    output[..., 20, 20] = 100
    full = float(loss(output, truth, weight))
    weight[..., 20, 20] = 0.05
    assert float(loss(output, truth, weight)) < 0.1 * full


def test_cores_of_bright_stars_count_more_on_request_but_not_where_the_truth_is_hidden():
    truth = torch.zeros(1, 1, 40, 40)
    truth[..., 20, 20] = 9900
    weight = torch.ones_like(truth)
    faint, bright = truth.clone(), truth.clone()
    faint[..., 12, 12] += 3
    bright[..., 20, 20] *= 0.9
    for terms in ("asinh", "charbonnier"):
        others = {"asinh": 0, "charbonnier": 0, "aperture": 0} | {terms: 1}
        plain, cores = RestorationLoss(**others), RestorationLoss(**others, cores=10)
        assert float(cores(faint, truth, weight)) == float(plain(faint, truth, weight))
        ratio = float(cores(bright, truth, weight)) / float(plain(bright, truth, weight))
        assert ratio == pytest.approx(21)
        weight[..., 20, 20] = 0.05
        assert float(cores(bright, truth, weight)) == float(plain(bright, truth, weight))
        weight[..., 20, 20] = 1


@pytest.mark.parametrize(("task", "scale"), [("deconvolve", 1), ("super-resolve", 2)])
def test_what_lies_beyond_the_edges_of_a_frame_counts_little(task, scale):
    optics = ObservationConfig(task=task, edge_probability=1.0, saturation_probability=0.0)
    rng = torch.Generator().manual_seed(2)
    batch = observe(make_scene(SceneConfig(size=72), rng)[None], optics, rng)
    weight = pixel_weight(batch)
    assert weight.shape == batch.truth.shape
    beyond = (batch.mask < 0).repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    assert 0 < beyond.float().mean() < 1
    assert (weight[~beyond] == 1).all()
    assert (weight[beyond] < 0.2).all()


@pytest.mark.parametrize("task", TASKS)
def test_training_runs_resumes_and_exports(task, tmp_path):
    config = small(task)
    begun = dataclasses.replace(config, steps=1)
    train(begun, tmp_path / "run")
    entries = []
    path = train(config, tmp_path / "run", log=entries.append)
    assert [e["step"] for e in entries] == [3]
    saved = torch.load(path, weights_only=True)
    assert saved["step"] == 3
    assert all(torch.isfinite(v).all() for v in saved["mean"].values())

    figures = evaluate_patches(config, tmp_path / "run", patches=2)
    assert set(figures) == {"asinh_db", "wiener_db"}
    weights = export_model(config, tmp_path / "run", tmp_path / "out", figures=figures)
    model = load_network(weights)
    assert model.spec.task == task
    assert model.spec.scale == config.scale
    assert "[figures]" in weights.with_suffix(".toml").read_text()


def test_a_seed_repeats_a_run(tmp_path):
    states = []
    for name in ("first", "second"):
        path = train(small(), tmp_path / name)
        states.append(torch.load(path, weights_only=True)["mean"])
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_training_learns(tmp_path):
    config = dataclasses.replace(small("denoise", seed=5), steps=40, pool_size=6, batch_size=4)
    train(config, tmp_path)
    figures = evaluate_patches(config, tmp_path, patches=8)
    assert figures["asinh_db"] > figures["wiener_db"] + 0.3


def test_a_run_starts_from_another(tmp_path):
    train(small(), tmp_path / "first")
    config = dataclasses.replace(small("super-resolve"), steps=1)
    train(config, tmp_path / "second", init=tmp_path / "first" / "checkpoint.pt")
    first, second = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["net"]
        for name in ("first", "second")
    )
    key = "encoder.0.blocks.0.first.weight"
    assert (first[key] - second[key]).abs().max() < 1e-3
    with pytest.raises(InputError, match="init"):
        train(config, tmp_path / "third", init=tmp_path / "none.pt")


def test_textures_take_part(tmp_path):
    from PIL import Image

    folder = tmp_path / "pictures"
    folder.mkdir()
    tones = np.random.default_rng(1).integers(0, 255, (160, 170), dtype=np.uint8)
    Image.fromarray(tones).save(folder / "large.png")
    Image.fromarray(tones[:50]).save(folder / "small.png")
    (folder / "notes.txt").write_text("not a picture")
    textures = load_textures(folder, 144)
    assert [t.shape for t in textures] == [(160, 170)]
    assert float(textures[0].min()) == 0
    train(dataclasses.replace(small(), steps=2), tmp_path / "run", textures=folder)
    with pytest.raises(InputError, match="300 pixels"):
        load_textures(folder, 300)
    with pytest.raises(InputError, match="none"):
        load_textures(tmp_path / "none", 10)


def test_a_run_trains_on_telescopes_and_measured_psfs(tmp_path):
    from astropy.io import fits

    folder, shared = tmp_path / "psfs", tmp_path / "shared"
    (folder / "one").mkdir(parents=True)
    place = np.arange(-24, 25)
    star = np.exp(-(place[:, None] ** 2 + 1.3 * place[None, :] ** 2) / 12.0)
    telescopes = [f"telescope {k}" for k in range(8)]
    for name in telescopes:
        header = fits.Header({"TELESCOP": name})
        fits.writeto(folder / "one" / f"{name}.fits", np.stack([star, star]), header)
    kept, held_out = (read_psfs(folder, validation=part) for part in (False, True))
    assert len(kept) + len(held_out) == 2 * len(telescopes)
    assert len(kept) > len(held_out) > 0

    config = dataclasses.replace(small(), steps=2, bank_size=2, optics={"fwhm": (2.5, 4.0)})
    train(config, tmp_path / "run", optics=shared, psfs=folder)
    made = list(shared.iterdir())
    assert len(made) == 1
    train(config, tmp_path / "again", optics=shared)
    assert list(shared.iterdir()) == made
    figures = evaluate_patches(config, tmp_path / "run", patches=2, psfs=folder)
    assert np.isfinite(figures["asinh_db"])
    with pytest.raises(InputError, match="none"):
        read_psfs(tmp_path / "none")
    with pytest.raises(InputError, match="no FITS image"):
        read_psfs(shared)


def test_a_run_starts_from_shipped_weights(tmp_path):
    weights = files("astro_sr_plugin") / "weights" / "denoise-fast.safetensors"
    config = dataclasses.replace(
        small("denoise"), steps=1, learning_rate=0.0, final_learning_rate=0.0, architecture={}
    )
    path = train(config, tmp_path, init=str(weights))
    state = torch.load(path, weights_only=True)["net"]
    shipped = load_network(Path(str(weights))).net.state_dict()
    key = "encoder.0.blocks.0.first.weight"
    assert torch.equal(state[key], shipped[key])


@pytest.mark.parametrize("blocks", [(1, 1, 2), (2, 1, 1), (1, 2)])
def test_the_halo_is_what_the_output_depends_on(blocks):
    net = WienerUNet(widths=(8,) * len(blocks), blocks=blocks)
    torch.manual_seed(1)
    for parameter in net.parameters():
        # Everything adds up, so that no path cancels another.
        parameter.data = torch.rand_like(parameter) * 0.05
    halo, cell = halo_of(net) - 32, 2 ** len(blocks)
    first = halo + 2 * cell  # of the tile; the image goes on beyond its halo
    side = 2 * first + cell
    observed = torch.rand(1, 1, side, side, requires_grad=True)
    estimates = torch.rand(1, net.estimates, 1, side, side)
    output = net(observed, torch.zeros(1, 1, side, side), estimates, None)
    output[..., first : first + cell, first : first + cell].sum().backward()
    rows = torch.nonzero(observed.grad[0, 0].abs().sum(1)).flatten()
    assert first - halo <= int(rows[0]) < first - halo + 2 * cell
    assert int(rows[-1]) < first + cell + halo


@pytest.mark.parametrize("name", sorted(WEIGHTS), ids=lambda name: name.stem)
def test_the_halo_is_that_of_the_shipped_networks(name):
    model = load_network(name)
    assert halo_of(model.net) == model.spec.halo
