"""Stars found, against the matched filter; STARRED's kernel; what Richardson-Lucy stops at."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import fft

from benchmarks.figures.evaluation import evaluate_outputs
from benchmarks.peers import classical
from benchmarks.peers.matched_filter import clear_peak, found_ratio
from benchmarks.peers.starred import SIDE, cut_out, narrow_psf
from benchmarks.truth.scene import Scene
from benchmarks.truth.scenes import make_scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene("star-field", 7, size=200)


def planes(scene: Scene, image):
    return np.asarray((image - scene.background_at(1)) / scene.sigma, np.float64)


def test_the_truth_shows_more_stars_than_the_matched_filter_and_the_noise_fewer(scene):
    truth = planes(scene, scene.truth_denoise)
    noisy = planes(scene, scene.observed)
    assert found_ratio(scene, "denoise", 0, truth, truth) > 1.2
    assert found_ratio(scene, "denoise", 0, noisy, truth) < 0.8
    assert found_ratio(scene, "denoise", 0, np.zeros_like(truth), truth) == 0


def test_the_matched_filter_is_as_good_as_itself(scene):
    truth = planes(scene, scene.truth_denoise)
    kernel = scene.psf[::-1, ::-1]

    def filtered(image):
        shape = [
            fft.next_fast_len(n + k - 1) for n, k in zip(image.shape, kernel.shape, strict=True)
        ]
        product = fft.rfft2(image, shape) * fft.rfft2(kernel, shape)
        half = kernel.shape[0] // 2
        whole = fft.irfft2(product, shape)
        return whole[half : half + image.shape[0], half : half + image.shape[1]]

    scale = scene.psf.max() / (scene.psf**2).sum()
    images = (scale * filtered(image) for image in (planes(scene, scene.observed), truth))
    assert found_ratio(scene, "denoise", 0, *images) == pytest.approx(1.0, abs=0.03)


def test_a_star_of_5_sigma_is_brighter_where_pixels_share_their_noise(scene):
    fwhm = scene.fwhm / 2.3548
    white = 5 * np.sqrt(4 * np.pi) * fwhm  # of a Gaussian star, in the noise of a pixel
    seen = clear_peak(scene, "denoise", 0) / scene.psf.max()
    assert 1.0 < seen / white < 1.6  # Moffat wings are wider
    stack = make_scene("nebula-stack", 7, size=128)
    flux = clear_peak(stack, "denoise", 0) / stack.psf.max()
    assert flux > 1.4 * 5 / np.sqrt((stack.psf**2).sum())


def test_errors_are_counted_in_those_of_the_wiener_filter(scene):
    sigma = float(scene.sigma)
    excess = planes(scene, scene.observed)
    truth = planes(scene, scene.truth_denoise)

    def error(image):
        return float(np.mean((image - truth) ** 2))

    best = classical.wiener(excess, truth, truth, np.ones((1, 1)), 0.0, error)
    image = best * sigma + scene.background
    assert error(best) < 0.5 * error(excess)
    assert evaluate_outputs(scene, "denoise", image)["wiener_ratio"] == pytest.approx(1.0, rel=1e-3)


def test_richardson_lucy_is_followed_to_its_best(scene):
    """Both ways of treating the sky run on, however far ahead the first one is at their start."""
    background = np.asarray(scene.background, np.float64)
    excess = np.asarray(scene.observed, np.float64) - background
    truth = np.asarray(scene.truth_deconvolve - scene.background, np.float64)
    sigma = float(scene.sigma)

    def score(image):
        return float(np.mean((np.arcsinh(image / 3 / sigma) - np.arcsinh(truth / 3 / sigma)) ** 2))

    def run(sky):
        return score(
            classical.richardson_lucy(
                excess, sky, scene.psf, scene.target_fwhm("deconvolve"), score
            )
        )

    assert run(background) < 0.6 * run(np.zeros_like(background))


def test_the_narrow_profile_of_starred_makes_the_observed_one(scene):
    narrow = narrow_psf(scene.psf)
    place = np.arange(SIDE) - SIDE // 2
    axis = np.exp(-0.5 * (place / (2.0 / 2.3548)) ** 2)
    gaussian = np.outer(axis, axis) / axis.sum() ** 2
    spectra = fft.rfft2(fft.ifftshift(narrow)) * fft.rfft2(fft.ifftshift(gaussian))
    again = fft.fftshift(fft.irfft2(spectra, s=(SIDE, SIDE)))
    half, reach = scene.psf.shape[0] // 2, SIDE // 2
    wanted = np.pad(scene.psf, reach - half)
    assert np.abs(again - wanted).max() < 0.01 * wanted.max()


def test_the_cut_out_has_its_stars_where_the_truth_has_them(scene):
    cutout = cut_out(scene)
    assert cutout.observed.shape == cutout.truth.shape == (SIDE, SIDE)
    brightest = int(np.argmax(cutout.flux))
    y, x = np.unravel_index(int(np.argmax(cutout.truth)), cutout.truth.shape)
    assert np.hypot(x - SIDE // 2 - cutout.x[brightest], y - SIDE // 2 - cutout.y[brightest]) < 1.5
