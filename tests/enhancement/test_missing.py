"""Verbs beside missing data, with planes that hold none, and in any unit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

import astro_sr_plugin as asr

SIDE, SKY, SIGMA = 160, 2000.0, 10.0
Y, X = np.mgrid[:SIDE, :SIDE]
WEDGE = (X * 0.99 + Y * 0.06 < 20) | (Y - X * 0.05 < 12)
BESIDE = ~WEDGE & (distance_transform_edt(~WEDGE) <= 3)


@pytest.fixture(scope="module")
def light() -> np.ndarray:
    rng = np.random.default_rng(3)
    alpha = 3.2 / 2 / np.sqrt(2 ** (1 / 3) - 1)
    places = zip(*rng.uniform(0, SIDE, (2, 30)), 10 ** rng.uniform(1.5, 3.3, 30), strict=True)
    return np.sum(
        [peak * (1 + ((X - x) ** 2 + (Y - y) ** 2) / alpha**2) ** -3.0 for x, y, peak in places],
        axis=0,
    )


@pytest.fixture(scope="module")
def image(light) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, SIGMA, light.shape)
    return (SKY + light + noise).astype(np.float32)


@pytest.fixture(scope="module")
def without_wedge(image):
    """The image without value in a wedge, and how it is measured."""
    cut = np.where(WEDGE, np.float32(np.nan), image)
    return cut, asr.measure(cut)


def enhanced(verb: str, data: np.ndarray, **options) -> np.ndarray:
    result = getattr(asr, verb)(data, device="cpu", **options)
    result = result[0] if isinstance(result, tuple) else result
    scale = result.shape[-1] // data.shape[-1]
    shape = (*data.shape[:-2], data.shape[-2], scale, data.shape[-1], scale)
    return np.asarray(result, np.float64).reshape(shape).mean(axis=(-3, -1))


@pytest.mark.filterwarnings("ignore:the PSF")
@pytest.mark.parametrize(
    ("verb", "model"),
    [
        ("denoise", None),
        ("deconvolve", None),
        ("super_resolve", None),
        ("remove_stars", None),
        ("deconvolve", "wiener"),
        ("deconvolve", "richardson-lucy"),
        ("super_resolve", "bicubic"),
    ],
)
def test_the_sky_beside_missing_data_is_that_of_the_uncut_image(
    image, without_wedge, light, verb, model
) -> None:
    sky = BESIDE & (light < 2)
    far = ~WEDGE & ~BESIDE & (light < 2)
    cut, measured = without_wedge
    missing = enhanced(verb, cut, model=model, measured=measured)
    with pytest.warns(asr.AstroSRWarning, match=f"{WEDGE.sum()} pixels .* no data"):
        filled = enhanced(verb, np.where(WEDGE, np.float32(-32768), image), model=model)
    np.testing.assert_array_equal(filled[WEDGE], -32768)
    assert np.isnan(missing[WEDGE]).all()
    np.testing.assert_allclose(filled[~WEDGE], missing[~WEDGE], atol=SIGMA / 100)
    for part in (sky, far):
        assert np.median(missing[part]) == pytest.approx(SKY, abs=0.3 * SIGMA)


def test_small_holes_are_still_filled_in(image, light) -> None:
    data = image.copy()
    holes = (X % 40 < 3) & (Y % 40 < 3) & (light < 2)
    data[holes] = np.nan
    result = enhanced("deconvolve", data, model="wiener")
    beside = ~holes & (distance_transform_edt(~holes) <= 2) & (light < 2)
    assert np.median(result[beside]) == pytest.approx(SKY, abs=0.3 * SIGMA)
    assert np.isnan(result[holes]).all()


@pytest.fixture(scope="module")
def alone(image):
    """What a verb makes of the image by itself, computed once."""
    return cache(lambda verb, model: enhanced(verb, image, model=model))


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_plane_without_data_comes_back_as_it_is(image, alone, value) -> None:
    bad = np.full_like(image, value)
    colour = np.stack([image, bad, 0.8 * image])
    for verb, model in (("denoise", "wiener"), ("super_resolve", "bicubic")):
        with pytest.warns(asr.AstroSRWarning, match=r"plane 1 \(G\) comes back as it is"):
            result = enhanced(verb, colour, model=model)
        np.testing.assert_array_equal(result[1], bad)
        np.testing.assert_array_equal(result[0], alone(verb, model))
    np.testing.assert_array_equal(
        asr.star_mask(np.stack([image, image])), asr.star_mask(np.stack([image, bad]))
    )


def test_an_image_without_any_data_is_refused() -> None:
    planes = np.stack([np.zeros((64, 64)), np.full((64, 64), np.nan)])
    with pytest.raises(asr.InputError, match="nothing to enhance"):
        asr.denoise(planes, model="wiener")


@pytest.fixture(scope="module")
def plain(image):
    """Results in the unit of the image, computed once for each type of pixels."""

    return cache(lambda dtype: results_of(image.astype(dtype)))


def results_of(data):
    measured = asr.measure(data)
    sharp = asr.deconvolve(data, model="wiener", device="cpu", measured=measured)
    starless, _ = asr.remove_stars(data, device="cpu", measured=measured)
    return sharp, starless, measured, asr.star_mask(data, measured=measured)


@pytest.mark.parametrize(("exponent", "dtype"), [(83, "f4"), (-83, "f4"), (900, "f8")])
def test_results_do_not_depend_on_the_unit(image, plain, exponent, dtype) -> None:
    factor = 2.0**exponent
    scaled = image.astype(dtype) * np.asarray(factor, dtype)
    sharp, starless, first, mask = plain(dtype)
    other_sharp, other_starless, second, other_mask = results_of(scaled)
    np.testing.assert_allclose(other_sharp / factor, sharp, rtol=1e-5)
    np.testing.assert_allclose(other_starless / factor, starless, rtol=1e-5)
    assert second.sigma[0] / factor == pytest.approx(first.sigma[0], rel=1e-5)
    assert second.background[0] / factor == pytest.approx(first.background[0], rel=1e-6)
    assert second.fwhm[0] == pytest.approx(first.fwhm[0], rel=1e-4)
    np.testing.assert_array_equal(other_mask, mask)
