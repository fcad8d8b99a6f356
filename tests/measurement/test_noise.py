"""The noise against noise of known standard deviation and correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.measurement.sky.noise import measure_noise

SHAPE = (480, 480)
KINDS = ["white", "bilinear", "bicubic", "bayer", "bayer stack", "drizzle", "drop"]
# Interpolation blurs the stars as it blurs the noise.
KERNEL_FWHM = {"white": 0.0, "bilinear": 1.5, "bayer stack": 2.0}


@pytest.fixture(scope="module")
def scenes(field, nebula) -> dict[str, np.ndarray]:
    silent = np.zeros(SHAPE)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    stars = field(1, 3.2, shape=SHAPE, stars=130, galaxies=15, snr=(3, 3000), noise=silent)
    return {
        "blank": silent,
        "stars": stars,
        "gradient": stars + 0.02 * x + 1e-4 * (y - 200) ** 2,
        "nebula": stars + nebula(SHAPE, 5, 3.5),
    }


@pytest.mark.parametrize("scene", ["blank", "stars", "gradient", "nebula"])
@pytest.mark.parametrize("kind", KINDS)
def test_sigma_and_correlation(scenes, noise_of, scene: str, kind: str) -> None:
    noise = noise_of(kind, SHAPE, seed=7)
    measured = measure_noise(1000 + 6 * (scenes[scene] + noise))
    tolerance = 0.02 if kind == "white" else 0.05
    assert measured.sigma / 6 == pytest.approx(1, rel=tolerance)
    neighbours = np.mean(noise[:, 1:] * noise[:, :-1]), np.mean(noise[1:] * noise[:-1])
    assert measured.correlation_x == pytest.approx(neighbours[0], abs=0.04)
    assert measured.correlation_y == pytest.approx(neighbours[1], abs=0.04)
    assert measured.correlation == pytest.approx(np.mean(neighbours), abs=0.04)
    blocks = noise.reshape(SHAPE[0] // 4, 4, SHAPE[1] // 4, 4).sum(axis=(1, 3))
    assert measured.correlated_sigma_ratio == pytest.approx(blocks.std() / 4, rel=0.06)
    assert 0.3 < measured.confidence <= 1


@pytest.mark.parametrize("kind", ["white", "bilinear", "bayer stack"])
@pytest.mark.parametrize(("stars", "fwhm"), [(800, 3.0), (1500, 1.8), (1500, 2.6)])
def test_crowded_field(field, noise_of, stars: int, fwhm: float, kind: str) -> None:
    noise = noise_of(kind, SHAPE, seed=8)
    wide = np.hypot(fwhm, KERNEL_FWHM[kind])
    crowded = field(2, wide, shape=SHAPE, stars=stars, snr=(3, 1000), noise=noise)
    check_crowded(crowded, noise)


@pytest.mark.parametrize("kind", ["white", "bilinear", "bayer stack"])
@pytest.mark.parametrize(("stars", "fwhm"), [(8000, 1.8), (8000, 2.6), (6000, 3.5)])
def test_stars_fainter_than_the_noise(field, noise_of, stars: int, fwhm: float, kind: str) -> None:
    noise = noise_of(kind, SHAPE, seed=9)
    wide = np.hypot(fwhm, KERNEL_FWHM[kind])
    rng = np.random.default_rng(10)
    faint = np.zeros(SHAPE)
    snr = np.exp(rng.uniform(*np.log((0.5, 3)), stars))
    flux = snr * np.sqrt(4 * np.pi) * wide / 2.3548
    np.add.at(faint, tuple(rng.integers(0, SHAPE[0], (2, stars))), flux)
    image = field(2, wide, shape=SHAPE, stars=200, snr=(3, 1000), noise=noise)
    check_crowded(image + gaussian_filter(faint, wide / 2.3548), noise)


def check_crowded(image: np.ndarray, noise: np.ndarray) -> None:
    measured = measure_noise(image)
    assert measured.sigma == pytest.approx(1, rel=0.02)
    neighbours = np.mean(noise[:, 1:] * noise[:, :-1]), np.mean(noise[1:] * noise[:-1])
    assert measured.correlation == pytest.approx(np.mean(neighbours), abs=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_noise_resampled_to_finer_pixels_is_no_starlight(field, seed: int) -> None:
    """As in the atlas images of 2MASS: the noise is nearly as wide as the stars."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(0, 1, SHAPE), 0.95)
    noise /= noise.std()
    image = field(seed, 2.8, shape=SHAPE, stars=1200, snr=(5, 3000), noise=noise)
    for part in (image, image[:240, :240], image[240:, 100:340]):
        measured = measure_noise(part)
        assert measured.sigma == pytest.approx(1, rel=0.35)
        assert measured.correlation == pytest.approx(0.76, abs=0.15)


@pytest.mark.parametrize("amount", [0.5, 3.0])
def test_sharpened_image(amount: float) -> None:
    noise = np.random.default_rng(11).normal(0, 1, SHAPE)
    noise += amount * (noise - gaussian_filter(noise, 1))
    measured = measure_noise(noise)
    assert measured.sigma == pytest.approx(noise.std(), rel=0.01)
    neighbours = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    assert measured.correlation == pytest.approx(neighbours, abs=0.01)
    assert neighbours < -0.05


@pytest.mark.parametrize("width", [1.0, 1.6])
def test_smoothed_image_without_stars(width: float) -> None:
    noise = gaussian_filter(np.random.default_rng(12).normal(0, 1, SHAPE), width)
    measured = measure_noise(noise)
    assert measured.sigma == pytest.approx(noise.std(), rel=0.15)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["white", "bilinear"])
def test_strong_nebula_is_not_taken_for_noise(nebula, noise_of, kind: str, seed: int) -> None:
    measured = measure_noise(nebula(SHAPE, 50, 3.5, seed) + noise_of(kind, SHAPE, seed))
    assert measured.sigma == pytest.approx(1, rel=0.06)
    assert measured.confidence < 0.8


def test_knots_of_a_nebula_are_no_stars(nebula, noise_of) -> None:
    measured = measure_noise(nebula(SHAPE, 5, 3.5, 3) + noise_of("white", SHAPE, 3))
    assert measured.sigma == pytest.approx(1, rel=0.02)
    assert measured.correlation == pytest.approx(0, abs=0.02)


def test_planes_without_noise() -> None:
    assert measure_noise(np.full((100, 100), 3.0)).sigma == 0
    y, x = np.mgrid[:100, :100].astype(float)
    assert measure_noise(0.5 * x + 3 * y).sigma == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (9, 9), (12, 300), (40, 40)])
def test_small_planes(shape: tuple[int, int]) -> None:
    measured = measure_noise(np.random.default_rng(3).normal(0, 1, shape))
    assert 0 <= measured.confidence < 0.9
    if min(shape) >= 9:
        assert measured.sigma == pytest.approx(1, rel=0.3)


def test_unusable_pixels_units_and_dtypes() -> None:
    rng = np.random.default_rng(4)
    plane = 500 + rng.normal(0, 12, (400, 400))
    plane[50:90, ::3] = np.nan
    assert measure_noise(plane).sigma == pytest.approx(12, rel=0.02)
    assert measure_noise(plane * 1e-9).sigma == pytest.approx(12e-9, rel=0.02)
    whole = np.nan_to_num(plane, nan=500).round().astype(">u2")
    whole.setflags(write=False)
    assert measure_noise(whole, mask=np.isnan(plane)).sigma == pytest.approx(12, rel=0.02)
