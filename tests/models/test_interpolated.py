"""Interpolation to twice the pixels: exact on well sampled images, calm on others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astro_sr_plugin.models.classical.interpolated import DOUBLE_BORDER, InterpolatedModel, double
from astro_sr_plugin.models.registry import default_model, list_models, load_model
from astro_sr_plugin.models.spec import Conditions, ModelSpec
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet

SIDE = 96


def doubled(image):
    result = double(torch.from_numpy(np.asarray(image, np.float32))[None, None])
    return result[0, 0].numpy()


def places(side=SIDE):
    """Return where the output pixels lie, in input pixels."""
    border = DOUBLE_BORDER
    return (np.arange(2 * border, 2 * (side - border)) + 0.5) / 2 - 0.5


def star(fwhm, x, y, peak, at):
    sigma = fwhm / 2.3548
    along = [np.exp(-0.5 * ((at - centre) / sigma) ** 2) for centre in (y, x)]
    return peak * np.outer(*along)


@pytest.mark.parametrize(("fwhm", "error"), [(2.0, 0.03), (2.4, 8e-3), (3.2, 5e-4), (6.0, 2e-4)])
@pytest.mark.parametrize("peak", [2.0, 3000.0])
@pytest.mark.parametrize(("x", "y"), [(48.0, 48.0), (48.5, 48.5), (47.8, 48.3)])
def test_a_gaussian_becomes_the_same_gaussian(fwhm, error, peak, x, y):
    grid = np.arange(float(SIDE))
    result = doubled(star(fwhm, x, y, peak, grid))
    truth = star(fwhm, x, y, peak, places())
    assert np.abs(result - truth).max() < error * peak
    assert result.sum() == pytest.approx(truth.sum(), rel=1e-3)
    for axis, centre in ((0, y), (1, x)):
        along = result.sum(axis=1 - axis)
        assert (along * places()).sum() / along.sum() == pytest.approx(centre, abs=2e-3)


@pytest.mark.parametrize("frequency", [0.03, 0.1, 0.2, 0.3])
def test_a_faint_wave_is_neither_lost_nor_changed(frequency):
    wave = [
        np.sin(2 * np.pi * frequency * at[:, None] + 1.1 * at[None, :] + 0.4)
        for at in (np.arange(float(SIDE)), places())
    ]
    np.testing.assert_allclose(doubled(0.4 * wave[0]), 0.4 * wave[1], atol=4e-3)


def test_what_is_flat_stays_flat_and_slopes_stay():
    np.testing.assert_allclose(doubled(np.full((SIDE, SIDE), 700.0)), 700.0, rtol=1e-5)
    slope = np.add.outer(2.0 * places(), -places())
    grid = np.arange(float(SIDE))
    np.testing.assert_allclose(doubled(np.add.outer(2.0 * grid, -grid)), slope, atol=0.15)


def test_a_star_of_few_pixels_does_not_ring():
    # Sharper than any Gaussian of 2 pixels, as a network may leave a star of an undersampled image.
    image = np.zeros((SIDE, SIDE))
    image[47:50, 47:50] = [[80, 550, 80], [330, 1000, 500], [40, 270, 50]]
    result = doubled(image)
    y, x = np.indices(result.shape) / 2 + places()[0]
    around = np.maximum(np.abs(y - 48), np.abs(x - 48)) > 2.5
    assert np.abs(result[around]).max() < 1
    assert result.min() > -3
    assert result.sum() / 4 == pytest.approx(image.sum(), rel=2e-3)


def test_no_pattern_on_the_finer_grid():
    sky = np.random.default_rng(4).normal(0, 0.3, (300, 300))
    result = doubled(sky)
    phases = [result[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    scatters = [phase.std() for phase in phases]
    assert max(scatters) / min(scatters) < 1.02
    assert np.ptp([phase.mean() for phase in phases]) < 1e-3


def test_the_models_of_scale_4_say_what_they_are():
    for kind in ("fast", "quality"):
        model = load_model(f"super-resolve-x4-{kind}", "super-resolve", 4)
        inner = load_model(f"super-resolve-x2-{kind}").spec
        assert (model.spec.name, model.spec.scale) == (f"super-resolve-x4-{kind}", 4)
        assert model.spec in list_models("super-resolve")
        assert model.spec.sha256 == inner.sha256
        assert model.spec.fwhm_range == inner.fwhm_range
        assert model.spec.finest_target == 4
    assert default_model("super-resolve", 4) == "super-resolve-x4-fast"
    assert {s.name for s in list_models("super-resolve") if s.scale == 4} == {
        *("super-resolve-x4-fast", "super-resolve-x4-quality", "wiener", "bicubic")
    }


def test_the_inner_model_works_on_its_own_grid():
    seen = []

    class Inner:
        spec = ModelSpec("x2", "super-resolve", "", "Inner", scale=2)

        def halo(self, conditions):
            return 24

        def prepare(self, conditions, device, dtype):
            seen.append(conditions.target_fwhm)
            return lambda observed, mask: torch.zeros(1, 1, 2 * (64 - 48), 2 * (64 - 48))

    psf = np.ones((1, 1), np.float32)
    conditions = Conditions(psf, 3.0, 3.5, 0.0, target_fwhm=6.0)
    model = InterpolatedModel(Inner(), "x4")
    model.prepare(conditions, "cpu", "float32")
    assert seen == [3.0]
    assert model.halo(conditions) == 32
    assert model.halo(conditions) % Inner.spec.multiple_of == 0


def test_weights_of_scale_2_serve_for_scale_4(tmp_path):
    from astro_sr_plugin.models.checkpoint import save_network

    net = WienerUNet(2, widths=(8, 8), blocks=(1, 1))
    options = {"widths": [8, 8], "blocks": [1, 1]}
    spec = ModelSpec("own", "super-resolve", "", "WienerUNet", scale=2, halo=64, options=options)
    save_network(net, spec, tmp_path / "own.safetensors")
    assert isinstance(load_model(tmp_path / "own.safetensors", "super-resolve", 2), NetworkModel)
    model = load_model(tmp_path / "own.safetensors", "super-resolve", 4)
    assert isinstance(model, InterpolatedModel)
    assert model.spec.scale == 4
