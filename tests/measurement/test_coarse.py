"""Sky, noise and stars of images whose steps are as large as their noise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.sky.background import measure_background
from astro_sr_plugin.measurement.sky.coarse import ROUNDING, find_steps
from astro_sr_plugin.measurement.sky.noise import measure_noise
from astro_sr_plugin.measurement.sky.pixels import PlanePixels
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.measurement.sky.unusable import find_unusable
from astro_sr_plugin.measurement.sky.windows import check_plane
from astro_sr_plugin.measurement.sources.detection import detect_sources

SHAPE = (192, 192)
FWHM = 3.2
STARS = 25


@pytest.fixture(scope="module")
def starlight(field) -> NDArray[np.float64]:
    """Stars of 100 to 3000 counts on no sky."""
    silent = np.zeros(SHAPE)
    snr = np.array([100.0, 3000.0]) / (np.sqrt(4 * np.pi) / 2.3548 * FWHM)
    light = field(6, FWHM, shape=SHAPE, stars=STARS, snr=tuple(snr), noise=silent, sky=0.0)
    return light.clip(0)


@pytest.mark.parametrize(
    ("mean", "unit"), [(0.005, 1), (0.02, 0.001), (0.1, 1), (0.5, 1), (2.0, 0.001)]
)
def test_photon_counts(starlight, mean: float, unit: float) -> None:
    counts = np.random.default_rng(3).poisson(starlight + mean)
    image = counts if unit == 1 else (counts * unit).astype(np.float32)
    sky = measured(image)
    # The outermost light of the stars adds some thousandths of a count.
    assert sky.background.level / unit == pytest.approx(mean, rel=0.06, abs=0.003)
    assert sky.noise.sigma / unit == pytest.approx(np.sqrt(mean), rel=0.06, abs=0.02)
    assert sky.sigma == sky.noise.sigma
    assert sky.noise.correlation == pytest.approx(0, abs=0.03)
    assert sky.psf.moffat.n_stars > STARS / 2
    assert sky.psf.moffat.fwhm == pytest.approx(FWHM, rel=0.08)
    assert sky.saturation is None


@pytest.mark.parametrize("phase", [0.0, 0.5])
@pytest.mark.parametrize("sigma", [0.05, 0.25, 1.2])
def test_8_bits(starlight, phase: float, sigma: float) -> None:
    noise = np.random.default_rng(4).normal(0, sigma, SHAPE)
    sky = measured(round_to_8_bits(starlight, phase, noise))
    # Where the noise is below a step, the sky is known no better than that.
    tolerance = 0.5 if sigma < 0.3 else 0.05
    assert sky.background.level == pytest.approx(10 + phase, abs=tolerance)
    assert sky.noise.sigma >= ROUNDING
    if sigma >= 0.5:
        assert sky.noise.sigma == pytest.approx(np.hypot(sigma, ROUNDING), rel=0.03)
    else:
        assert sky.noise.sigma < 0.52  # the most that rounding to two values can give
    assert sky.psf.moffat.n_stars >= 10
    assert sky.psf.moffat.fwhm == pytest.approx(FWHM, rel=0.08)
    assert (sky.noise.confidence <= 0.3) == (sky.noise.sigma == ROUNDING)


@pytest.mark.parametrize(
    ("step", "zero", "dtype"),
    [(16, 0, np.uint16), (1 / 255, 0, np.float32), (0.02, 500, np.float32), (1e-9, 0, np.float64)],
)
def test_steps_of_any_size(starlight, step: float, zero: float, dtype: type) -> None:
    noise = np.random.default_rng(4).normal(0, 0.5, SHAPE)
    rounded = round_to_8_bits(starlight, 0.3, noise)
    sky = measured((zero + step * rounded.astype(float)).astype(dtype))
    assert (sky.background.level - zero) / step == pytest.approx(10.3, abs=0.05)
    assert sky.noise.sigma / step == pytest.approx(np.hypot(0.5, ROUNDING), rel=0.03)
    assert sky.psf.moffat.n_stars >= 10


def measured(image):
    return MeasuredPlane(PlanePixels(image, find_unusable(image)))


def round_to_8_bits(
    light: NDArray[np.float64], phase: float, noise: NDArray[np.float64]
) -> NDArray[np.uint8]:
    return np.round(light / 5 + 10 + phase + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [1.6, 2.5, 4.0, 8.0])
def test_sky_of_integers_is_no_whole_step(sigma: float) -> None:
    rng = np.random.default_rng(5)
    for phase in (0.1, 0.4, 0.5, 0.8):
        plane = np.round(1000 + phase + rng.normal(0, sigma, (256, 256))).astype(np.uint16)
        background = measure_background(plane)
        assert background.level == pytest.approx(1000 + phase, abs=0.04 * sigma)
        assert background.rms == pytest.approx(np.hypot(sigma, ROUNDING), rel=0.03)


def test_gradient_over_the_steps() -> None:
    x = np.arange(SHAPE[1])
    truth = np.broadcast_to(10 + 4 * x / SHAPE[1], SHAPE)
    plane = np.round(truth + np.random.default_rng(6).normal(0, 0.4, SHAPE)).astype(np.uint8)
    background = measure_background(plane)
    assert np.abs(background.full() - truth).max() < 0.25
    assert measure_noise(plane).sigma == pytest.approx(np.hypot(0.4, ROUNDING), rel=0.05)


@pytest.mark.parametrize("method", [-1, 1, 2])
def test_quantised_tiles_of_compressed_images(starlight, method: int) -> None:
    plane = starlight / 5 + 100.3 + np.random.default_rng(7).normal(0, 0.6, SHAPE)
    hdu = fits.CompImageHDU(
        plane.astype(np.float32),
        compression_type="RICE_1",
        quantize_level=-1.0,
        quantize_method=method,
        dither_seed=3,
    )
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)
    stream.seek(0)
    with fits.open(stream) as hdus:
        image = np.array(hdus[1].data)
    sky = measured(image)
    assert sky.background.level == pytest.approx(100.3, abs=0.05)
    assert sky.noise.sigma == pytest.approx(np.hypot(0.6, ROUNDING), rel=0.03)
    assert sky.psf.moffat.n_stars >= 10


def test_steps_are_found_only_where_there_are_some() -> None:
    noise = np.random.default_rng(8).normal(0, 1, (128, 128))
    assert find_steps(*check_plane(noise)) == (0.0, False)
    assert find_steps(*check_plane(noise.astype(np.float32))) == (0.0, False)
    assert find_steps(*check_plane(np.round(100 * noise))) == (0.0, False)
    assert find_steps(*check_plane(np.round(5 * noise))) == (1.0, False)
    size, coarse = find_steps(*check_plane(np.round(noise) * 0.1 + 7))
    assert size == pytest.approx(0.1)
    assert coarse
    # A model without noise has equal neighbours, but no steps.
    y, x = np.mgrid[:128, :128]
    model = np.where(np.hypot(y - 64, x - 64) < 30, np.exp(-np.hypot(y - 64, x - 64) / 7), 0)
    assert find_steps(*check_plane(model)) == (0.0, False)
    assert find_steps(*check_plane(np.full((128, 128), 3))) == (0.0, False)


def test_few_counts_are_no_saturation() -> None:
    counts = np.random.default_rng(9).poisson(0.05, SHAPE)
    counts[counts > 1] = 1
    background, noise = measure_background(counts), measure_noise(counts)
    found = find_saturation(counts, level=background.level, rms=0.0, step=noise.step)
    assert found is None


def test_groups_of_photons_are_no_stars() -> None:
    counts = np.random.default_rng(10).poisson(0.02, (256, 256))
    assert measured(counts).psf.moffat.n_stars == 0
    assert len(detect_sources(counts)) == 0


def test_clusters_in_integers(field) -> None:
    """Where sources cover the frame, a mean of what is left would say nothing."""
    noise = gaussian_filter(np.random.default_rng(11).normal(0, 1, SHAPE), 0.9)
    noise *= 1.2 / noise.std()
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    glow = 15 * np.exp(-((x - 96) ** 2 + (y - 96) ** 2) / 50**2)
    cluster = glow + field(12, FWHM, shape=SHAPE, stars=300, snr=(3, 100), noise=noise)
    sky = measured(np.round(cluster).astype(np.uint16))
    continuous = measured(cluster)
    assert sky.background.level == pytest.approx(continuous.background.level, abs=0.3)
    assert sky.noise.sigma == pytest.approx(np.hypot(continuous.noise.sigma, ROUNDING), rel=0.05)
    assert sky.psf.moffat.n_stars > 30
