from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.signal import fftconvolve

import astro_sr_plugin as asr
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp
from astro_sr_plugin.restoration.flux import FluxCorrection


def gaussian(fwhm, radius=32):
    place = np.arange(-radius, radius + 1)
    axis = np.exp(-0.5 * (place / (fwhm / 2.3548)) ** 2)
    image = np.outer(axis, axis)
    return (image / image.sum()).astype(np.float32)


def corrected(observed, result, scale, psf, target, mask=None):
    flux = FluxCorrection(observed.shape, scale, psf, target)
    mask = np.zeros_like(observed) if mask is None else mask
    flux.add_input(0, observed[:64], mask[:64])
    flux.add_input(64, observed[64:], mask[64:])
    full = mask.clip(min=0).repeat(scale, 0).repeat(scale, 1)
    flux.add_output(0, result[: 64 * scale], full[: 64 * scale])
    flux.add_output(64 * scale, result[64 * scale :], full[64 * scale :])
    flux.solve()
    return flux.apply(0, result)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("shape", [(120, 131), (70, 65)])
def test_sums_agree_and_a_lost_pedestal_comes_back(shape, scale):
    rng = np.random.default_rng(1)
    observed = (rng.normal(size=shape) + 3).astype(np.float32)
    result = np.zeros((shape[0] * scale, shape[1] * scale), np.float32)
    out = corrected(observed, result, scale, gaussian(4.0), gaussian(2.0))
    assert out.sum() / scale**2 == pytest.approx(observed.sum(), rel=2e-4)
    assert np.abs(out - 3).max() < 0.4


def test_a_right_result_is_left_alone():
    truth = np.zeros((160, 160))
    truth[80, 77] = 5000.0
    observed = fftconvolve(truth, gaussian(5.0), mode="same").astype(np.float32)
    result = fftconvolve(truth, gaussian(2.5), mode="same").astype(np.float32)
    out = corrected(observed, result, 1, gaussian(5.0), gaussian(2.5))
    assert np.abs(out - result).max() < 1e-4 * result.max()


def test_the_extended_psf_of_a_star_is_not_put_back():
    n, part = 400, 0.95
    y, x = np.mgrid[:n, :n] - n // 2
    extended = np.maximum(np.hypot(x, y), 1.0) ** -3
    extended[np.maximum(np.abs(x), np.abs(y)) <= 32] = 0.0
    near = gaussian(5.0)
    observed = extended * (1 - part) / extended.sum()
    middle = slice(n // 2 - 32, n // 2 + 33)
    observed[middle, middle] = part * near
    target = np.zeros((n, n))
    target[middle, middle] = gaussian(2.5)
    flux = 1e6
    observed, result = ((flux * image).astype(np.float32) for image in (observed, target))
    out = corrected(observed, result, 1, np.float32(part) * near, gaussian(2.5))
    # A PSF whose sum is 1 leaves the light of the extended PSF in the image.
    whole = corrected(observed, result, 1, near, gaussian(2.5))
    rest, left = (np.abs(image - result)[::8, ::8].sum() for image in (out, whole))
    assert rest < 0.5 * left
    assert out.sum() == pytest.approx(observed.sum(), rel=1e-4)


def test_white_noise_is_not_put_back():
    noise = np.random.default_rng(5).normal(size=(400, 400))
    flux = FluxCorrection(noise.shape, 1, gaussian(4.0), gaussian(2.0))
    flux.add_input(0, noise.astype(np.float32), np.zeros(noise.shape, np.float32))
    flux.add_output(0, np.zeros(noise.shape, np.float32))
    flux.solve()
    # A Gaussian of standard deviation s leaves 1 / (2 sqrt(pi) s) of white noise.
    put_back = flux.apply(0, np.zeros(noise.shape, np.float32))
    assert np.std(put_back) < 1.3 / (2 * np.sqrt(np.pi) * 16)


def test_saturated_stars_leave_no_dark_ring_and_no_pedestal():
    truth = np.zeros((320, 320))
    truth[80, 80] = 1e5
    observed = fftconvolve(truth, gaussian(5.0), mode="same").astype(np.float32)
    result = fftconvolve(truth, gaussian(2.5), mode="same").astype(np.float32)
    mask = (observed > 500).astype(np.float32)
    out = corrected(np.minimum(observed, 500), result, 1, gaussian(5.0), gaussian(2.5), mask)
    assert np.abs(out - result).max() < 1.0
    assert np.abs(out - result)[200:, 200:].max() < 0.01


def test_saturated_pixels_take_the_light_that_went_missing():
    truth = np.zeros((320, 320))
    truth[80, 80] = 1e5
    truth[240, 250] = 3e4
    observed = fftconvolve(truth, gaussian(5.0), mode="same").astype(np.float32)
    result = fftconvolve(truth, gaussian(2.5), mode="same").astype(np.float32)
    mask = (observed > 800).astype(np.float32)
    assert mask[80, 80] == mask[240, 250] == 1
    clipped = np.minimum(observed, 800)
    flux = FluxCorrection(observed.shape, 1, gaussian(5.0), gaussian(2.5))
    flux.add_input(0, clipped, mask)
    flux.add_output(0, result, mask)
    flux.solve()
    out = flux.apply(0, np.where(mask, result * flux.core_factor(0, 320), result))
    assert out.sum() == pytest.approx(clipped.sum(), rel=1e-5)
    np.testing.assert_allclose(out[mask == 0], result[mask == 0], atol=0.5)
    for y, x in ((80, 80), (240, 250)):
        around = np.s_[y - 60 : y + 61, x - 60 : x + 61]
        assert out[around].sum() == pytest.approx(clipped[around].sum(), rel=0.01)


@pytest.mark.parametrize("scale", [1, 2])
def test_the_light_of_a_star_outside_is_no_glow_at_the_edge(scale):
    sky = np.zeros((200, 200))
    sky[18, 77] = 20_000.0
    observed = fftconvolve(sky, gaussian(5.0), mode="same")[20:].astype(np.float32)
    result = np.zeros((180 * scale, 200 * scale), np.float32)
    out = corrected(observed, result, scale, gaussian(5.0), gaussian(2.5))
    assert out.sum() / scale**2 == pytest.approx(observed.sum(), rel=2e-4)
    assert observed.max() > 300
    assert np.abs(out).max() < 1


def test_the_error_of_a_star_is_no_light_of_the_sky_around_it():
    truth = np.zeros((240, 240))
    truth[120, 117] = 1e5
    observed = fftconvolve(truth, gaussian(5.0), mode="same").astype(np.float32)
    result = fftconvolve(truth, gaussian(2.5), mode="same").astype(np.float32)
    # Of a PSF that is 4 % too wide, some light is left, and some is missing, in the star.
    out = corrected(observed, 0.98 * result, 1, gaussian(5.2), gaussian(2.5))
    beside = np.hypot(*(np.indices(out.shape) - np.array([120, 117])[:, None, None])) > 15
    assert np.abs(out[beside]).max() < 0.02
    assert out.sum() == pytest.approx(observed.sum(), rel=1e-4)
    assert out[110:131, 107:128].sum() == pytest.approx(1e5, rel=3e-3)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_star_that_a_model_fails_on_changes_no_other(scale):
    truth = np.zeros((400, 400))
    places = [(80, 80), (100, 300), (310, 90), (300, 320)]
    for place, light in zip(places, (8e4, 6e3, 1e4, 2e4), strict=True):
        truth[place] = light
    observed = fftconvolve(truth, gaussian(5.0), mode="same").astype(np.float32)
    truth[places[0]] *= 0.8
    result = fftconvolve(truth, gaussian(2.5), mode="same").astype(np.float32)
    result = result.repeat(scale, 0).repeat(scale, 1)
    out = corrected(observed, result, scale, gaussian(5.0), gaussian(2.5))
    assert out.sum() / scale**2 == pytest.approx(observed.sum(), rel=1e-5)
    for row, column in places[1:]:
        around = np.s_[
            (row - 9) * scale : (row + 9) * scale, (column - 9) * scale : (column + 9) * scale
        ]
        assert out[around].sum() == pytest.approx(result[around].sum(), rel=0.02)


@pytest.mark.parametrize("scale", [1, 2])
def test_light_that_a_source_at_the_edge_has_lost_does_not_raise_the_sky(scale):
    strip = np.zeros((200, 200), np.float32)
    strip[:6, 40:120] = 1000.0
    sky = fftconvolve(strip, gaussian(5.0), mode="same").astype(np.float32)
    result = 0.9 * fftconvolve(strip, gaussian(2.5), mode="same").astype(np.float32)
    result = result.repeat(scale, 0).repeat(scale, 1)
    out = corrected(sky, result, scale, gaussian(5.0), gaussian(2.5))
    assert out.sum() / scale**2 == pytest.approx(sky.sum(), rel=2e-4)
    # As a constant, what is missing would be 1.2.
    assert np.abs(out[60 * scale :]).max() < 0.2


def test_a_hot_pixel_stays_as_recorded_while_bright_stars_get_their_light_back() -> None:
    rng = np.random.default_rng(4)
    psf = moffat_stamp(MoffatProfile(3.2, 2.2, 0.0, 0.0), 0.0, 0.0, 40)
    image = np.full((240, 240), 500.0)
    for row, column in product(range(45, 200, 50), range(45, 200, 50)):
        image[row - 40 : row + 41, column - 40 : column + 41] += 3e5 * psf
    image += rng.normal(0, 5.0, image.shape)
    image[70, 70] += 2e4
    result = asr.deconvolve(image.astype(np.float32), psf=(3.2, 3.5)).data
    assert result[70, 70] == pytest.approx(image[70, 70], abs=15.0)
