"""What a model declares is honoured by the predictor, or refused when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.models.registry import load_model
from astro_sr_plugin.models.spec import Conditions, ModelSpec

SPEC = ModelSpec("mean", "denoise", "", "PlaneMean")
HALO = 8


@dataclass(frozen=True)
class PlaneMean:
    """Subtracts the mean of what it is given from every plane."""

    spec: ModelSpec

    def halo(self, conditions):
        return HALO

    def prepare(self, conditions, device, dtype):
        def restore(observed, mask, origin):
            assert min(observed.shape[-2:]) >= self.spec.min_size
            result = observed - observed.mean((-2, -1), keepdim=True)
            return result[:, : self.spec.channels_out, HALO:-HALO, HALO:-HALO]

        return restore


def run(model, image, **knobs):
    def read(y0, y1, x0, x1):
        window = np.ix_(
            range(len(image)),
            reflect_indices(y0, y1, image.shape[-2]),
            reflect_indices(x0, x1, image.shape[-1]),
        )
        return image[window], np.zeros_like(image[window])

    conditions = Conditions(np.ones((1, 1), np.float32), 3.0, 3.0, 0.0, 3.0)
    predictor = Predictor(model, conditions, Runtime(device="cpu", **knobs))
    return np.concatenate([strip for _, strip in predictor.strips(read, image.shape[-2:])], axis=1)


@pytest.fixture
def image():
    return np.random.default_rng(1).normal(size=(3, 70, 90)).astype(np.float32)


def test_a_model_of_the_whole_image_is_given_the_whole_image(image):
    whole = PlaneMean(replace(SPEC, tiling="whole", channels_in=3, channels_out=3))
    tiles = PlaneMean(replace(SPEC, channels_in=3, channels_out=3))
    result = run(whole, image, tile_size=16)
    assert result.shape == image.shape
    np.testing.assert_array_equal(run(whole, image), result)
    assert np.abs(run(tiles, image, tile_size=16) - result).max() > 0.01


@pytest.mark.parametrize("min_size", [1, 64, 200])
def test_a_small_image_is_given_at_the_least_size_and_keeps_its_own(min_size, image):
    model = PlaneMean(replace(SPEC, min_size=min_size))
    assert run(model, image[:1], tile_size=16).shape == (1, 70, 90)


def test_models_may_return_fewer_planes_than_they_take(image):
    model = PlaneMean(replace(SPEC, channels_in=3))
    assert run(model, image).shape == (1, 70, 90)


def test_other_numbers_of_planes_than_declared_are_refused(image):
    with pytest.raises(ModelError, match="takes 3 planes here; it declares 1"):
        run(PlaneMean(SPEC), image)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", "sharpen"),
        ("domain", "linear"),
        ("tiling", "some"),
        ("min_size", 0),
        ("scale", 1.5),
        ("channels_in", 0),
    ],
)
def test_a_declaration_out_of_range_is_refused(field, value):
    with pytest.raises(ModelError, match=f"{field}={value!r}; allowed are"):
        replace(SPEC, **{field: value})


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"channels_in": 2}, "takes 2 planes"),
        ({"channels_in": 3}, "returns 1 planes"),
        ({"channels_out": 2}, "returns 2 planes"),
        ({"domain": "unit"}, "domain 'unit'"),
        ({"stochastic": True}, "another result in every run"),
    ],
)
def test_models_that_the_verbs_cannot_run_are_refused(declared, reason):
    with pytest.raises(ModelError, match=reason):
        load_model(PlaneMean(replace(SPEC, **declared)), "denoise")


def test_a_model_is_loaded_by_its_name_its_path_and_as_it_is(tmp_path):
    from astro_sr_plugin.models.wiener_unet.provider import WEIGHTS

    named = load_model("denoise-fast", "denoise")
    path = WEIGHTS / "denoise-fast.safetensors"
    for model in (load_model(str(path)), load_model(path), load_model(named)):
        assert model.spec == named.spec
    own = PlaneMean(SPEC)
    assert load_model(own, "denoise") is own
    assert torch.equal(
        own.prepare(None, "cpu", "float32")(torch.ones(1, 1, 20, 20), None, None),
        torch.zeros(1, 1, 4, 4),
    )
