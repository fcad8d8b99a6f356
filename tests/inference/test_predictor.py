from __future__ import annotations

import numpy as np
import pytest
import torch

from astro_sr_plugin.exceptions import AstroSRWarning, InputError, OutOfMemoryError
from astro_sr_plugin.inference.predictor import Predictor, choose_device
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.models.classical.interpolated import InterpolatedModel
from astro_sr_plugin.models.filters import make_moffat_psf
from astro_sr_plugin.models.registry import load_model
from astro_sr_plugin.models.spec import Conditions, ModelSpec
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet
from astro_sr_plugin.training.evaluate import halo_of


def conditions(fwhm=3.0):
    psf = make_moffat_psf(*torch.tensor([fwhm, 3.0, 0.1, 0.5])[:, None])[0].numpy()
    return Conditions(psf, fwhm, 3.0, 0.1, 2.0, 0.2)


def random_network(scale, outputs=1):
    torch.manual_seed(scale)
    net = WienerUNet(scale, outputs, widths=(8, 12, 16)).eval().requires_grad_(False)
    torch.nn.init.normal_(net.tail.weight, std=0.05)
    task = "super-resolve" if scale == 2 else "remove-stars" if outputs == 2 else "deconvolve"
    spec = ModelSpec("random", task, "", "WienerUNet", scale=scale, halo=halo_of(net))
    return NetworkModel(spec, net)


def reader(image, mask):
    def read(y0, y1, x0, x1):
        window = np.ix_(
            reflect_indices(y0, y1, image.shape[0]), reflect_indices(x0, x1, image.shape[1])
        )
        return image[window][None], mask[window][None]

    return read


def predict(model, image, mask=None, **knobs):
    mask = np.zeros_like(image) if mask is None else mask
    predictor = Predictor(model, conditions(), Runtime(device="cpu", **knobs))
    strips = list(predictor.strips(reader(image, mask), image.shape))
    rows = [first for first, _ in strips]
    assert rows == list(np.cumsum([0] + [s.shape[1] for _, s in strips[:-1]]))
    return np.concatenate([strip for _, strip in strips], axis=1).squeeze(0)


MODELS = {
    "network": random_network(1),
    "network x2": random_network(2),
    "network for stars": random_network(1, outputs=2),
    "network x4": InterpolatedModel(random_network(2), "random x4"),
    "wiener": load_model("wiener", "deconvolve"),
    "wiener x2": load_model("wiener", "super-resolve"),
    "wiener x4": load_model("wiener", "super-resolve", 4),
    "bicubic": load_model("bicubic"),
}


@pytest.mark.parametrize("sees_edges", [False, True])
def test_a_network_is_told_of_edges_if_it_was_trained_with_them(sees_edges):
    model = random_network(1)
    model.net.sees_edges = sees_edges
    restore = model.prepare(conditions(), "cpu", "float32")
    halo = model.halo(conditions())
    rng = torch.Generator().manual_seed(1)
    observed = torch.randn(1, 1, 64 + 2 * halo, 64 + 2 * halo, generator=rng)
    mask = torch.zeros_like(observed)
    with torch.inference_mode():
        plain = restore(observed, mask)
        mask[..., : halo + 20, :] = -1.0
        masked = restore(observed, mask)
    assert torch.equal(masked, plain) is not sees_edges
    assert torch.isfinite(masked).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("shape", [(101, 67), (33, 250), (5, 9), (1, 1)])
def test_tiles_equal_the_whole(name, shape):
    model = MODELS[name]
    rng = np.random.default_rng(3)
    image = rng.normal(size=shape).astype(np.float32) * 3
    image[shape[0] // 2, shape[1] // 2] = 3000
    mask = (rng.random(shape) < 0.01).astype(np.float32)
    whole = predict(model, image, mask, tile_size=4096)
    assert whole.shape == (shape[0] * model.spec.scale, shape[1] * model.spec.scale)
    # With its halo, a tile of 40 pixels already costs as much as one of 250.
    for knobs in ({"tile_size": 40, "overlap": 150}, {"tile_size": 64}):
        # Rounding in a Fourier transform is relative to the brightest pixel.
        atol = 1e-5 * np.abs(whole).max() + 1e-5
        np.testing.assert_allclose(predict(model, image, mask, **knobs), whole, atol=atol)


def test_richardson_lucy_tiles_equal_the_whole():
    model = load_model("richardson-lucy")
    rng = np.random.default_rng(3)
    image = rng.normal(size=(60, 70)).astype(np.float32)
    image[30, 30] = 500
    whole = predict(model, image, tile_size=4096)
    np.testing.assert_allclose(predict(model, image, tile_size=40), whole, atol=2e-3, rtol=1e-4)


def test_progress_counts_every_tile():
    seen = []
    predict(
        MODELS["bicubic"],
        np.zeros((64, 100), np.float32),
        tile_size=32,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(k, 8) for k in range(1, 9)]


class Greedy:
    """A model that needs more memory than there is for regions of more than ``limit`` pixels."""

    def __init__(self, limit):
        self.spec = ModelSpec("greedy", "deconvolve", "", "Greedy")
        self.limit = limit

    def halo(self, conditions):
        return 8

    def prepare(self, conditions, device, dtype):
        def restore(observed, mask, origin):
            if observed.numel() > self.limit:
                raise torch.OutOfMemoryError("out of memory")
            return observed[..., 8:-8, 8:-8] * 2

        return restore


def test_out_of_memory_takes_smaller_tiles_and_says_so():
    image = np.random.default_rng(1).normal(size=(500, 500)).astype(np.float32)
    with pytest.warns(AstroSRWarning, match="tiles of"):
        out = predict(Greedy(150**2), image, tile_size=400)
    np.testing.assert_array_equal(out, image * 2)


def test_no_memory_at_all_is_one_clear_error():
    image = np.zeros((100, 100), np.float32)
    with pytest.raises(OutOfMemoryError, match="CPU"):
        predict(Greedy(10), image, tile_size=64)


@pytest.mark.parametrize(
    ("knobs", "name"),
    [
        ({"device": "tpu"}, "device"),
        ({"dtype": "int8"}, "dtype"),
        ({"tile_size": 3}, "tile_size"),
        ({"overlap": -1}, "overlap"),
    ],
)
def test_runtime_refuses_what_is_not_offered(knobs, name):
    with pytest.raises(InputError, match=name):
        Runtime(**knobs)


def test_a_missing_device_is_named():
    if torch.cuda.is_available():
        assert choose_device("cuda") == "cuda"
    else:
        with pytest.raises(InputError, match="cuda"):
            choose_device("cuda")
    assert choose_device("auto") in ("cpu", "cuda", "mps")


def test_bfloat16_moves_the_result_by_a_small_part_of_the_noise():
    rng = np.random.default_rng(5)
    image = rng.normal(size=(128, 128)).astype(np.float32)
    image[60, 60] = 200
    model = load_model("denoise-fast")
    exact, rough = (predict(model, image, dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert 0 < np.abs(rough - exact).std() < 0.05
