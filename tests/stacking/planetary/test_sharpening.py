"""Sharpening: what each method does to a known image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stacking.planetary.blur import fit_fwhm
from astro_sr_plugin.stacking.planetary.layers import split_layers
from astro_sr_plugin.stacking.planetary.sharpening import METHODS, parse_method


@pytest.fixture(scope="module")
def terrain() -> np.ndarray:
    """An image whose power falls as the cube of the frequency, mean 100, scatter 20."""
    rng = np.random.default_rng(3)
    k = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.rfftfreq(96))
    k[0, 0] = np.inf
    values = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(96, 96))) * k**-1.5)
    return 100 + 20 * values / values.std()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_brings_a_blurred_image_closer_to_the_truth(
    terrain: np.ndarray, method: str
) -> None:
    blurred = gaussian_filter(terrain, 1.3, mode="wrap")
    parameters = {"gains": (2, 1.5), "nsigma": 0} if method == "wavelet" else {}
    inner = np.s_[8:-8, 8:-8]
    before = np.std((blurred - terrain)[inner])
    sharp = asr.sharpen(blurred, method, **parameters)
    assert np.std((sharp - terrain)[inner]) < 0.9 * before
    assert sharp.mean() == pytest.approx(terrain.mean(), rel=2e-3)


def test_layers_add_up_to_the_image(terrain: np.ndarray) -> None:
    np.testing.assert_allclose(sum(split_layers(terrain, 5)), terrain, atol=1e-9)


def test_noise_below_the_threshold_is_not_amplified() -> None:
    noise = np.random.default_rng(1).normal(50, 2, (80, 80))
    sharp = asr.sharpen(noise, "wavelet", gains=(5, 5), nsigma=5)
    assert sharp.std() == pytest.approx(noise.std(), rel=0.01)
    assert asr.sharpen(noise, "wavelet", gains=(5, 5), nsigma=0).std() > 4 * noise.std()


def test_nothing_is_clipped_and_missing_pixels_stay_missing(terrain: np.ndarray) -> None:
    image = CCDData(terrain.astype(np.float32) - 100, unit=u.adu)
    image.data[20, 30] = np.nan
    image.data[50, 50] = 4000
    image.mask = np.zeros(image.shape, bool)
    image.mask[10, 10] = True
    sharp = asr.sharpen(image, "unsharp")
    assert np.isnan(sharp.data[20, 30])
    assert np.isfinite(sharp.data).sum() == image.data.size - 1
    assert sharp.data[10, 10] == image.data[10, 10]
    assert np.nanmax(sharp.data) > 4000
    assert np.nanmin(sharp.data) < 0
    assert (sharp.unit, sharp.data.dtype) == (u.adu, np.float32)
    assert image.data[50, 50] == 4000


@pytest.mark.parametrize("fwhm", [2.5, 4.0])
def test_the_blur_is_found_in_the_spectrum(terrain: np.ndarray, fwhm: float) -> None:
    blurred = gaussian_filter(terrain, fwhm / 2.3548, mode="wrap")
    noisy = blurred + np.random.default_rng(2).normal(0, 0.05, blurred.shape)
    assert fit_fwhm(noisy) == pytest.approx(fwhm, rel=0.2)
    assert fit_fwhm(np.random.default_rng(2).normal(size=(64, 64))) is None


@pytest.mark.parametrize(
    ("text", "method", "parameters"),
    [
        ("wavelet", "wavelet", {}),
        ("wavelet:4,2@5", "wavelet", {"gains": (4.0, 2.0), "nsigma": (3.0, 5.0)}),
        ("unsharp:2,1.5", "unsharp", {"sigma": 2.0, "amount": 1.5}),
        ("rl:3.2,30", "rl", {"psf": 3.2, "iterations": 30}),
    ],
)
def test_methods_as_text(text: str, method: str, parameters: dict) -> None:
    assert parse_method(text) == (method, parameters)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("best", "allowed are wavelet"),
        ("unsharp:a", "is not METHOD:NUMBER"),
        ("kernel:1,2", "more than 1 numbers"),
        ("wavelet:-1", "gains="),
        ("rl:0", "psf=0"),
        ("wavelet:1,1,1,1,1,1,1", "7 values"),
    ],
)
def test_texts_that_are_no_method(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_method(text)


def test_parameters_of_another_method_are_refused(terrain: np.ndarray) -> None:
    with pytest.raises(InputError, match="sigma does not belong to method='wavelet'"):
        asr.sharpen(terrain, sigma=2)
    with pytest.raises(InputError, match="no blur could be fitted"):
        asr.sharpen(np.zeros((40, 40)), "rl")


def test_the_command(terrain: np.ndarray, tmp_path: Path, capsys) -> None:
    source, target = tmp_path / "moon.fits", tmp_path / "sharp.fits"
    fits.writeto(source, terrain.astype(np.float32))
    words = ["sharpen", str(source), "-o", str(target), "--method"]
    assert main([*words, "unsharp:2,1"]) == 0
    with fits.open(target) as hdus:
        np.testing.assert_allclose(
            hdus[0].data, asr.sharpen(terrain.astype("f4"), "unsharp", sigma=2, amount=1)
        )
        assert hdus[0].header["ASRTASK"] == "sharpen"
    assert main([*words, "best"]) == 2
    assert "allowed are wavelet" in capsys.readouterr().err
