"""The noise against noise of known standard deviation and correlation."""

from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.measurement.noise import measure_noise

SHAPE = (480, 480)
KINDS = ["white", "bilinear", "bicubic", "bayer", "bayer stack", "drizzle", "drop"]


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


def test_crowded_field(field) -> None:
    crowded = field(2, 2.6, shape=SHAPE, stars=1500, snr=(3, 1000))
    assert measure_noise(crowded).sigma == pytest.approx(1, rel=0.06)


def test_strong_nebula_is_not_taken_for_noise(nebula, noise_of) -> None:
    measured = measure_noise(nebula(SHAPE, 50, 3.5) + noise_of("white", SHAPE))
    assert measured.sigma == pytest.approx(1, rel=0.1)
    assert measured.confidence < 0.8


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
