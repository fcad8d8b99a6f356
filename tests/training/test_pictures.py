"""Training of published architectures on stretched planes."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.models.registry import load_model
from astro_sr_plugin.training.config import read_config, write_config
from astro_sr_plugin.training.log import read_log
from astro_sr_plugin.training.loop import Pace, recompute
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.degradations import (
    MARGIN,
    DegradationConfig,
    degrade,
    disc_kernel,
    draw_kernel,
    gaussian_kernel,
    moffat_kernel,
    motion_kernel,
)
from astro_sr_plugin.training.pictures.evaluate import evaluate_pictures, export_picture_model
from astro_sr_plugin.training.pictures.files import read_pictures
from astro_sr_plugin.training.pictures.losses import (
    LOSSES,
    BackgroundLoss,
    BrightnessMaskLoss,
    HistogramLoss,
    PictureLoss,
)
from astro_sr_plugin.training.pictures.manifest import list_credits, read_manifest
from astro_sr_plugin.training.pictures.trainer import train_pictures

PUBLISHED = Path(__file__).parents[1] / "models" / "external" / "files" / "srcnn_x3.pth"
CODED = [f"{name}-as-published" for name in ("histogram", "brightness", "background")]


def small(**changes):
    settings = {
        "name": "small",
        "task": "super-resolve",
        "network": "SRCNN",
        "batch_size": 2,
        "patch": 32,
        "border": 8,
        "architecture": {"widths": [4, 4]},
        "stages": ({"steps": 2, "warmup": 0, "freeze": ["conv1.*"]}, {"steps": 2, "warmup": 0}),
    }
    return PictureConfig(**settings | changes)


def noise(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", [*LOSSES, *CODED])
def test_losses_are_zero_at_the_truth_and_have_right_gradients(name):
    loss = PictureLoss({name: 2.0})
    side = 64 if name == "background-as-published" else 10
    truth = 0.02 * noise(1, 1, side, side) + 0.3
    if name == "background-as-published":
        truth[..., :32, :] += 0.5
    assert float(loss(truth, truth)) == 0
    output = (truth + 0.2 * noise(1, 1, side, side, seed=2)).requires_grad_(True)
    assert float(loss(output, truth).detach()) > 0
    assert torch.autograd.gradcheck(
        lambda x: loss(x, truth), output, fast_mode=side > 10, atol=1e-6
    )


def test_the_loss_of_the_background_is_for_noise_where_the_truth_is_flat():
    flat, loss = torch.full((1, 1, 32, 32), 0.2, dtype=torch.float64), BackgroundLoss()
    noisy = flat + 0.05 * noise(1, 1, 32, 32)
    structure = flat + noise(1, 1, 32, 32)
    assert float(loss(noisy, flat)) > 1e-3
    assert float(loss(flat, noisy)) == 0, "a smooth result is no error"
    assert float(loss(structure + 0.05, structure)) == 0
    assert float(loss(2 * structure, structure)) == 0, "structure is no background"


def test_the_mask_of_brightness_squares_in_the_dark_alone():
    loss, step = BrightnessMaskLoss(), 0.01
    dark, bright = (torch.full((1, 1, 4, 4), level, dtype=torch.float64) for level in (0.1, 0.8))
    assert float(loss(dark + step, dark)) == pytest.approx(step**2 + 0.0067 * step, rel=0.05)
    assert float(loss(bright + step, bright)) == pytest.approx(step, rel=0.01)
    coded = BrightnessMaskLoss(as_published=True)
    assert float(coded(dark + step, dark)) > 0.5 * step


def test_the_loss_of_the_histogram_does_not_see_places():
    image = noise(1, 2, 8, 8)
    moved = image.flip(-1)
    for loss in (HistogramLoss(), HistogramLoss(as_published=True)):
        assert float(loss(moved, image)) == pytest.approx(0, abs=1e-12)
    assert float(HistogramLoss()(image + 0.1, image)) == pytest.approx(0.1)


def test_unknown_losses_are_named():
    with pytest.raises(InputError, match="perceptual"):
        PictureLoss({"perceptual": 1.0})
    with pytest.raises(InputError, match="one or more"):
        PictureLoss({})


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 1.5, math.pi / 2, 3.0])
def test_kernels_are_centred_and_keep_the_light(angle):
    place = torch.arange(-MARGIN, MARGIN + 1, dtype=torch.float64)
    rng = torch.Generator().manual_seed(int(10 * angle))
    for kernel in (
        gaussian_kernel(1.7, 0.4, angle),
        motion_kernel(4.3, angle),
        disc_kernel(1.0 + angle),
        moffat_kernel(2.0 + angle, 2.5),
        draw_kernel(DegradationConfig(most_blurs=3), rng),
    ):
        weights = kernel.double()
        assert float(weights.sum()) == pytest.approx(1, abs=1e-6)
        assert float((weights.sum(0) * place).sum()) == pytest.approx(0, abs=1e-6)
        assert float((weights.sum(1) * place).sum()) == pytest.approx(0, abs=1e-6)
    line = motion_kernel(6.0, angle).double()
    y, x = torch.meshgrid(place, place, indexing="ij")
    along, across = (
        float((line * (x * a + y * b) ** 2).sum())
        for a, b in ((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle)))
    )
    assert along - across == pytest.approx(6.0**2 / 12, rel=0.05), "a line of that direction"


def test_degradation_averages_pixels_and_adds_noise_of_sigma_one():
    rng = torch.Generator().manual_seed(3)
    light = torch.full((1, 160, 160), 0.0)
    for smooth in (0.0, 1.0):
        config = DegradationConfig(correlated_probability=smooth)
        seen = degrade(light, 2, config, rng)
        assert seen.shape == (1, 64, 64)
        assert float(seen.std()) == pytest.approx(1, abs=0.06)
    bright = degrade(light + 900.0, 2, DegradationConfig(electrons=(9.0, 9.0)), rng)
    assert float(bright.std()) == pytest.approx(101**0.5, rel=0.1)
    assert float(bright.mean()) == pytest.approx(900, abs=1)
    with pytest.raises(InputError, match="bokeh"):
        DegradationConfig(blurs=("bokeh",))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Eight pictures of four objects; of m33 one is a palette."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(1)
    with (folder / "manifest.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "object", "credit", "license"])
        for k in range(8):
            name = f"m{30 + k // 2}"
            tones = rng.integers(0, 255, (90, 80, 3), dtype=np.uint8)
            picture = Image.fromarray(tones)
            (picture.quantize(16) if k == 7 else picture).save(folder / f"{k}.png")
            table.writerow([f"{k}.png", name, f"Telescope {k // 4}", "CC-BY-4.0"])
    return folder


def test_pictures_are_split_by_object_and_keep_their_credits(pictures):
    kept, held_out = (read_pictures(pictures, validation=part) for part in (False, True))
    assert len(kept) + len(held_out) == 8
    assert kept
    assert not {p.object for p in kept} & {p.object for p in held_out}
    shapes = {tuple(p.light.shape) for p in kept + held_out}
    assert shapes == {(3, 90, 80), (3, 45, 40)}
    assert all(float(p.light.min()) == 0 for p in kept)
    assert "Telescope 0 (CC-BY-4.0)" in list_credits(read_manifest(pictures))


def test_pictures_without_credits_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.csv"):
        read_pictures(tmp_path)
    (tmp_path / "manifest.csv").write_text("file,object,credit\n1.png,m31,me\n")
    with pytest.raises(InputError, match="license"):
        read_pictures(tmp_path)
    (tmp_path / "manifest.csv").write_text("file,object,credit,license\n1.png,m31,me,CC0\n")
    with pytest.raises(InputError, match=r"1\.png|no picture"):
        read_pictures(tmp_path)


def test_stages_freeze_and_go_on_and_the_result_is_a_model(pictures, tmp_path):
    config = small(accumulate=2)
    straight = train_pictures(config, tmp_path / "straight", pictures=pictures)
    begun = train_pictures(config.with_steps(1), tmp_path / "resumed", pictures=pictures)
    first = torch.load(begun, weights_only=True)["net"]
    seen = []
    train_pictures(config, tmp_path / "resumed", pictures=pictures, log=seen.append)
    assert [entry["step"] for entry in seen] == [2, 4]
    assert seen[-1]["seconds_left"] == 0
    last = torch.load(straight, weights_only=True)
    assert last["step"] == 4
    torch.manual_seed(config.seed)
    fresh = config.build().state_dict()
    assert torch.equal(first["conv1.weight"], fresh["conv1.weight"]), "frozen in the first stage"
    assert not torch.equal(first["conv3.weight"], fresh["conv3.weight"])
    assert not torch.equal(last["net"]["conv1.weight"], fresh["conv1.weight"])

    figures = evaluate_pictures(config, tmp_path / "straight", pictures=pictures, patches=2)
    assert all(math.isfinite(value) for value in figures.values())
    assert figures["input_dark_rms"] == pytest.approx(0.8, abs=0.2)
    weights = export_picture_model(
        config, tmp_path / "straight", tmp_path, pictures=pictures, figures=figures
    )
    card = weights.with_suffix(".toml").read_text()
    assert "Telescope" in card
    model = load_model(weights)
    assert (model.spec.domain, model.spec.scale, model.spec.halo) == ("unit", 2, 6)
    batch = torch.rand(1, 1, 20, 20)
    net = config.build()
    net.load_state_dict(last["mean"])
    assert torch.allclose(model(batch), net(batch), atol=1e-3)


def test_a_run_starts_from_a_published_file_and_keeps_what_is_frozen(tmp_path):
    config = small(architecture={}, stages=({"steps": 1, "warmup": 0},))
    path = train_pictures(config, tmp_path, init=PUBLISHED, freeze=["conv1.*", "conv2.*"])
    trained = torch.load(path, weights_only=True)["net"]
    published = load_model(PUBLISHED).module.state_dict()
    for name in ("conv1.weight", "conv2.bias"):
        assert torch.equal(trained[name], published[name])
    assert not torch.equal(trained["conv3.weight"], published["conv3.weight"])
    with pytest.raises(InputError, match="fits no parameter"):
        train_pictures(config, tmp_path / "other", freeze=["conv9.*"])
    with pytest.raises(InputError, match="another network"):
        train_pictures(small(), tmp_path / "third", init=PUBLISHED.with_name("dncnn_25.pth"))


def windowed(**changes):
    architecture = {"channels": 1, "width": 8, "depths": [2], "heads": [2], "window": 4}
    return small(
        task="deconvolve",
        network="Swin2SR",
        architecture=architecture | {"head": "residual", "fold": 2},
        stages=({"steps": 1, "losses": {"laplacian": 1.0, "background": 1.0}},),
        **changes,
    )


def test_folded_windows_train_in_half_precision(tmp_path):
    config = windowed(precision="float16")
    path = train_pictures(config, tmp_path)
    state = torch.load(path, weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in state["net"].values())
    model = load_model(export_picture_model(config, tmp_path, tmp_path))
    assert (model.spec.multiple_of, model.spec.tiling, model.window) == (8, "overlap", 8)
    assert model(torch.rand(1, 1, 30, 21)).shape == (1, 1, 30, 21)


def test_samples_learn_and_are_calibrated(pictures, tmp_path):
    config = small(
        network="ResidualDiffusion",
        architecture={"width": 8, "blocks": 1, "sample_width": 8, "sample_blocks": 1},
        stages=({"steps": 2, "warmup": 0},),
    )
    train_pictures(config, tmp_path)
    figures = evaluate_pictures(config, tmp_path, pictures=pictures, patches=2)
    assert figures["calibration"] > 0
    assert 0 < figures["coverage_68"] < figures["coverage_95"] <= 1
    model = load_model(export_picture_model(config, tmp_path, tmp_path, pictures=pictures))
    assert float(model.module.calibration) == pytest.approx(figures["calibration"], rel=1e-2)
    samples = model.prepare()(torch.rand(1, 1, 50, 50), torch.zeros(1, 1, 50, 50))
    assert len(samples) == model.sampling.samples
    assert not torch.equal(samples[0], samples[1])


def test_contaminants_are_found_after_training(tmp_path):
    config = small(
        task="remove-artifacts",
        network="ContaminantNet",
        architecture={"widths": [4, 8]},
        stages=({"steps": 2, "warmup": 0},),
    )
    train_pictures(config, tmp_path)
    figures = evaluate_pictures(config, tmp_path, patches=2)
    assert {"trail_recall", "cosmic_ray_precision", "clean_false_per_mpx"} <= figures.keys()
    model = load_model(export_picture_model(config, tmp_path, tmp_path))
    assert (model.spec.domain, model.spec.channels_out) == ("noise-sigma", len(KINDS))
    with pytest.raises(InputError, match="does not go with"):
        small(task="remove-artifacts")


def test_results_computed_again_give_the_same_gradients():
    torch.manual_seed(1)
    net = windowed().build()
    torch.nn.init.normal_(net.conv_last.weight)
    image, gradients = torch.rand(1, 1, 16, 16), []
    for again in (False, True):
        if again:
            recompute(net)
        net.zero_grad()
        net(image).square().sum().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_the_log_is_a_table_with_a_picture(tmp_path):
    train_pictures(small(), tmp_path)
    lines = read_log(tmp_path / "log.csv")
    assert [line["step"] for line in lines] == [2, 4]
    assert lines[0]["seconds_left"] > 0
    drawn = ElementTree.parse(tmp_path / "loss.svg").getroot()
    line = drawn.find("{http://www.w3.org/2000/svg}polyline").attrib["points"].split()
    assert len(line) == 2


def test_the_rate_of_a_stage_rises_and_falls():
    pace = Pace(steps=100, learning_rate=1.0, final_learning_rate=0.1, warmup=10)
    rates = [pace.rate(step) for step in range(101)]
    assert max(rates) == rates[10] == 1.0
    assert rates[4] == 0.5
    assert rates[-1] == pytest.approx(0.1)


def test_settings_are_read_written_and_checked(tmp_path):
    config = small()
    write_config(config, tmp_path / "again.toml")
    again = read_config(tmp_path / "again.toml")
    assert again == dataclasses.replace(config, architecture=again.architecture)
    assert small().with_steps(3).total_steps == 3
    for changes, named in (
        ({"network": "UNet"}, "network"),
        ({"patch": 30}, "multiple of 16"),
        ({"stages": ()}, "stages"),
        ({"precision": "float8"}, "precision"),
        ({"accumulate": 0}, "accumulate"),
    ):
        with pytest.raises(InputError, match=named):
            small(**changes)
    path = tmp_path / "bad.toml"
    path.write_text((tmp_path / "again.toml").read_text().replace("widths", "wide"))
    with pytest.raises(InputError, match="wide"):
        read_config(path)
