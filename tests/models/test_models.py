from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.checkpoint import file_digest, load_network, save_network
from astro_sr_plugin.models.diffusion.model import DiffusionModel
from astro_sr_plugin.models.filters import (
    FILTER_RADIUS,
    Filters,
    apply_spectra,
    filter_spectra,
    gaussian_kernel,
    make_moffat_psf,
    make_wiener_filters,
)
from astro_sr_plugin.models.registry import list_models, load_model
from astro_sr_plugin.models.spec import Conditions, Model, ModelSpec
from astro_sr_plugin.models.wiener_unet.provider import WEIGHTS
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet

SPECS = list_models()
IDS = [f"{s.name}-{s.task}-{s.scale}" for s in SPECS]


def conditions(fwhm=4.0, target=2.0, planes=1):
    psf = make_moffat_psf(*torch.tensor([fwhm, 3.0, 0.0, 0.0])[:, None])[0].numpy()
    plane = Conditions(psf, fwhm, 3.0, 0.0, target)
    return replace(plane, others=(plane,) * (planes - 1))


def restore_by_contract(spec, rows, columns, star=0.0):
    """Restore noise with a star in the middle, and check what holds for every model."""
    model = load_model(spec.name, spec.task, spec.scale)
    assert isinstance(model, Model)
    assert load_model(model, spec.task, spec.scale) is model
    assert model.spec == spec
    given = conditions(target=2.0 * spec.scale, planes=spec.channels_in)
    halo = model.halo(given)
    assert halo % spec.multiple_of == 0
    shape = (1, spec.channels_in, rows + 2 * halo, columns + 2 * halo)
    observed = torch.randn(shape, generator=torch.manual_seed(2))
    if star:
        top, left = (side // 2 - FILTER_RADIUS for side in shape[-2:])
        n = 2 * FILTER_RADIUS + 1
        observed[0, :, top : top + n, left : left + n] += torch.from_numpy(given.psf * star)
    before = observed.clone()
    with torch.inference_mode():
        out = model.prepare(given, "cpu", "float32")(observed, torch.zeros_like(observed))
    samples = model.sampling.samples if isinstance(model, DiffusionModel) else 1
    assert out.shape == (samples, spec.channels_out, rows * spec.scale, columns * spec.scale)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    assert torch.equal(observed, before)
    return given, out


def keeps_stars(spec):
    removes = spec.task in ("remove-stars", "remove-artifacts")
    return not removes and spec.domain == "noise-sigma"


@pytest.mark.parametrize(
    "spec",
    [pytest.param(s, id=i) for s, i in zip(SPECS, IDS, strict=True) if not keeps_stars(s)],
)
def test_every_model_keeps_the_contract(spec):
    restore_by_contract(spec, 32, 16)


@pytest.mark.parametrize(
    "spec",
    [pytest.param(s, id=i) for s, i in zip(SPECS, IDS, strict=True) if keeps_stars(s)],
)
def test_every_model_keeps_the_contract_and_the_place_and_the_light_of_a_star(spec):
    given, out = restore_by_contract(spec, 64, 56, star=20000)
    y, x = np.indices(out.shape[-2:])
    row, column = ((half + 0.5) * spec.scale - 0.5 for half in (32, 28))
    disc = np.hypot(y - row, x - column) < 12 * spec.scale
    light = out[0, 0].numpy()[disc]
    near = np.hypot(*(np.indices(given.psf.shape) - FILTER_RADIUS)) < 12
    expected = 20000 * given.psf[near].sum()
    assert light.sum() / spec.scale**2 == pytest.approx(expected, rel=0.03)
    assert (light * x[disc]).sum() / light.sum() == pytest.approx(column, abs=0.1 * spec.scale)
    assert (light * y[disc]).sum() / light.sum() == pytest.approx(row, abs=0.1 * spec.scale)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_wiener_filters_keep_flux_and_reach_the_target(scale):
    psf = make_moffat_psf(*torch.tensor([4.0, 3.5, 0.0, 0.0])[:, None])
    target = torch.tensor([3.4 * scale])
    filters = make_wiener_filters(psf, target, scale)
    assert filters.shape[1:3] == (4, scale**2)
    assert torch.allclose(filters.sum((-2, -1)), torch.tensor(1.0), atol=1e-4)
    spectra = filter_spectra(filters[0, :1].flatten(0, 1)[None], (129, 129))
    image = torch.zeros(1, 1, 129, 129)
    image[0, 0, 32:97, 32:97] = psf[0]
    sharp = torch.nn.functional.pixel_shuffle(apply_spectra(image, spectra), scale)[0, 0]
    wanted = gaussian_kernel(float(target), 64 * scale)
    size = sharp.shape[0]
    if scale == 1:
        assert (sharp - wanted).abs().max() < 0.1 * wanted.max()
    peak_area = float((sharp > sharp.max() / 2).sum())
    assert 2 * np.sqrt(peak_area / np.pi) == pytest.approx(float(target), rel=0.12)
    assert size == 129 * scale


QUALITY = [s for s in SPECS if s.name.endswith("-quality")]
PLAIN = {s.variants["averaged"]: s.name for s in reversed(SPECS) if "averaged" in s.variants}


@pytest.mark.parametrize("spec", QUALITY, ids=[s.name for s in QUALITY])
def test_the_mean_over_orientations_does_not_depend_on_the_orientation(spec):
    model = load_model(spec.name, spec.task)
    given = conditions(target=2.0 * spec.scale, planes=spec.channels_in)
    side = 24 + 2 * model.halo(given)
    observed = torch.randn(1, spec.channels_in, side, side, generator=torch.manual_seed(6))
    observed[0, 0, side // 2 - 4, side // 2 + 7] += 100.0
    mask = torch.zeros_like(observed)
    mask[0, 0, side // 2 - 8, side // 2] = 1.0
    restore = model.prepare(given, "cpu", "float32")
    with torch.inference_mode():
        result = restore(observed, mask)
        # A mirror and a transposition make all eight orientations.
        turned = restore(observed.flip(-1), mask.flip(-1)).flip(-1)
        assert torch.allclose(turned, result, rtol=1e-3, atol=1e-2)
        turned = restore(observed.mT, mask.mT).mT
        assert torch.allclose(turned, result, rtol=1e-3, atol=1e-2)
        plain = load_model(PLAIN.get(spec.name, spec.name.replace("-quality", "-fast")), spec.task)
        once = plain.prepare(given, "cpu", "float32")(observed, mask)
    assert (once - result).abs().max() > 0.02
    assert (once - result).abs().mean() < 0.2


@pytest.mark.parametrize("shape", [(97, 130), (101, 257)])
def test_filters_are_convolutions_on_any_grid(shape):
    kernels = torch.rand(1, 3, 9, 9, generator=torch.manual_seed(3), dtype=torch.float64)
    images = torch.rand(2, 1, *shape, generator=torch.manual_seed(4), dtype=torch.float64)
    filters = Filters(kernels)
    for image in (images, images[..., 8:]):
        wanted = torch.nn.functional.conv2d(image, kernels.flip(-2, -1)[0][:, None])
        assert torch.allclose(filters(image)[..., 4:-4, 4:-4], wanted)


@pytest.mark.parametrize("margin", [0, 3, 8, 30, 72])
@pytest.mark.parametrize(
    ("widths", "blocks", "scale", "outputs"),
    [((8, 12, 16), (1, 1, 2), 1, 1), ((8, 12), (2, 1), 1, 2), ((8, 12, 16), (1, 1, 1), 2, 1)],
)
def test_a_margin_is_left_out_and_changes_nothing_else(margin, widths, blocks, scale, outputs):
    torch.manual_seed(5)
    net = WienerUNet(scale, outputs, widths, blocks)
    torch.nn.init.normal_(net.tail.weight, std=0.1)
    observed, mask = 5 * torch.randn(1, 1, 176, 168), torch.zeros(1, 1, 176, 168)
    estimates = 5 * torch.randn(1, 4, scale**2, 176, 168)
    conditions = torch.randn(1, 5)
    with torch.inference_mode():
        whole = net(observed, mask, estimates, conditions)
        inner = net(observed, mask, estimates, conditions, margin=margin)
    cut = scale * margin
    wanted = whole[..., cut : whole.shape[-2] - cut, cut : whole.shape[-1] - cut]
    assert torch.allclose(inner, wanted, rtol=1e-4, atol=1e-3)
    learned = net(observed, mask, estimates, conditions, margin=margin)
    assert torch.allclose(learned, inner, rtol=1e-4, atol=1e-3)


def test_moffat_psf_has_its_width_and_angle():
    psf = make_moffat_psf(*torch.tensor([6.0, 3.0, 0.4, np.pi / 2])[:, None])[0].numpy()
    assert psf.sum() == pytest.approx(1, abs=1e-5)
    r = psf.shape[0] // 2
    widths = [
        np.interp(-0.5, -line[r:] / psf.max(), np.arange(r + 1)) for line in (psf[r], psf.T[r])
    ]
    assert 2 * np.sqrt(widths[0] * widths[1]) == pytest.approx(6.0, rel=0.03)
    assert widths[0] / widths[1] == pytest.approx(0.6, rel=0.05)


@pytest.fixture
def saved(tmp_path):
    net = WienerUNet(1, widths=(8, 8), blocks=(1, 1))
    spec = ModelSpec(
        "tiny",
        "denoise",
        "tiny",
        "WienerUNet",
        halo=64,
        options={"widths": [8, 8], "blocks": [1, 1]},
    )
    path = tmp_path / "tiny.safetensors"
    return path, save_network(net, spec, path), net


def test_weights_round_trip(saved):
    path, digest, net = saved
    assert digest == file_digest(path)
    model = load_model(path, "denoise")
    assert model.spec.sha256 == digest
    for ours, theirs in zip(net.parameters(), model.net.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


def test_damaged_weights_are_refused(saved, tmp_path):
    path, _, _ = saved
    raw = path.read_bytes()
    for name, content in {
        "short": raw[: len(raw) // 2],
        "text": b"<html>not found</html>",
        "empty": b"",
    }.items():
        bad = tmp_path / f"{name}.safetensors"
        bad.write_bytes(content)
        with pytest.raises(ModelError, match=name):
            load_model(bad)


def test_swapped_weights_are_refused(tmp_path):
    cards = sorted(WEIGHTS.glob("*.toml"))
    assert len(cards) >= 2
    shutil.copy(cards[0], tmp_path / "model.toml")
    shutil.copy(cards[1].with_suffix(".safetensors"), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="SHA-256"):
        load_model(tmp_path / "model.safetensors")


def test_weights_with_nan_are_refused(tmp_path):
    net = WienerUNet(1, widths=(8, 8), blocks=(1, 1))
    net.head.weight.data[0, 0, 0, 0] = torch.nan
    options = {"widths": [8, 8], "blocks": [1, 1]}
    spec = ModelSpec("nan", "denoise", "", "WienerUNet", halo=64, options=options)
    save_network(net, spec, tmp_path / "nan.safetensors")
    with pytest.raises(ModelError, match="not finite"):
        load_network(tmp_path / "nan.safetensors")


@pytest.mark.parametrize(
    ("name", "task", "scale", "message"),
    [
        ("nonesuch", None, None, "denoise-fast"),
        ("richardson-lucy", "denoise", None, "is for deconvolve"),
        ("bicubic", "super-resolve", 3, "scale 3"),
        ("gone.safetensors", None, None, "does not exist"),
    ],
)
def test_unknown_models_are_named(name, task, scale, message):
    with pytest.raises(ModelError, match=message):
        load_model(name, task, scale)


def test_what_is_no_model_is_refused():
    with pytest.raises(ModelError, match="model is a int"):
        load_model(3)
    with pytest.raises(ModelError, match="is for denoise"):
        load_model(load_model("denoise-fast"), "deconvolve")


@pytest.mark.parametrize("card", sorted(WEIGHTS.glob("*.toml")), ids=lambda p: p.stem)
def test_cards_describe_their_files(card):
    weights = card.with_suffix(".safetensors")
    spec = load_model(card.stem).spec
    assert spec.sha256 == file_digest(weights)
    assert spec.license == "BSD-3-Clause"
    assert weights.stat().st_size < 10e6
