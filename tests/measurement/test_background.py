"""The sky mesh against known skies."""

from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.sky.background import lower_background, measure_background


def test_gradient_is_followed_to_the_borders() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:700, :900]
    sky = 1000 + 0.05 * x + 0.02 * y
    background = measure_background(sky + rng.normal(0, 5, sky.shape))
    assert np.abs(background.full() - sky).max() < 3
    assert background.level == pytest.approx(np.median(sky), abs=0.5)
    assert background.rms == pytest.approx(5, rel=0.1)


def test_stars_do_not_lift_the_sky(field) -> None:
    background = measure_background(field(2, 3.0, stars=150, snr=(20, 3000)))
    assert background.level == pytest.approx(100, abs=0.15)
    assert background.rms == pytest.approx(1, rel=0.05)


def test_window_equals_part_of_full_map() -> None:
    rng = np.random.default_rng(3)
    background = measure_background(rng.normal(10, 1, (400, 500)), box_size=50)
    window = background.level_at(37, 222, 111, 480)
    np.testing.assert_allclose(window, background.full()[37:222, 111:480], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 3), (17, 400), (64, 64)])
def test_small_planes(shape: tuple[int, int]) -> None:
    constant = measure_background(np.full(shape, 7, dtype=">u2"))
    assert constant.level == 7
    assert constant.rms == 0
    np.testing.assert_array_equal(constant.full(), np.full(shape, 7.0))


def test_unusable_pixels_are_left_out() -> None:
    rng = np.random.default_rng(4)
    plane = rng.normal(50, 2, (500, 600))
    plane[:, :250] = np.nan
    plane[100] = np.inf
    mask = np.zeros(plane.shape, dtype=bool)
    plane[300:400], mask[300:400] = 1e6, True
    background = measure_background(plane, mask=mask)
    assert background.level == pytest.approx(50, abs=0.2)
    assert np.isfinite(background.full()).all()


def test_padding_of_a_registered_stack_is_left_out() -> None:
    plane = np.pad(np.random.default_rng(5).normal(50, 2, (400, 400)), 100)
    background = measure_background(plane)
    assert background.level == pytest.approx(50, abs=0.2)


def test_unusable_input_is_refused() -> None:
    with pytest.raises(InputError, match="no usable pixel"):
        measure_background(np.full((20, 20), np.nan))
    with pytest.raises(InputError, match="dimensions"):
        measure_background(np.zeros(5))
    with pytest.raises(InputError, match="box_size"):
        measure_background(np.zeros((5, 5)), box_size=0)
    with pytest.raises(InputError, match="real numbers"):
        measure_background(np.zeros((5, 5), dtype=complex))
    with pytest.raises(InputError, match="mask"):
        measure_background(np.zeros((5, 5)), mask=np.zeros((4, 4)))


def dark_clouds(depth: float, seed: int = 3, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Return a nebula that fills the frame with dark clouds in it, and with noise of 1."""
    y, x = np.mgrid[:size, :size]
    clean = 500 + 60 * np.sin(x / 90) * np.cos(y / 70)
    for cx, cy, width in ((120, 90, 15), (300, 210, 25), (60, 330, 10)):
        clean = clean - depth * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    return clean, clean + np.random.default_rng(seed).normal(size=clean.shape)


def test_a_lowered_background_lies_below_dark_clouds():
    clean, plane = dark_clouds(40.0)
    found = measure_background(plane)
    lowered = lower_background(found, plane, 1.0)
    for cx, cy in ((120, 90), (300, 210), (60, 330)):
        assert clean[cy, cx] - found.full()[cy, cx] < -15
        assert clean[cy, cx] - lowered.full()[cy, cx] > -3
    assert (lowered.mesh <= found.mesh).all()
    # Far from the clouds it need not go down.
    assert np.median(found.full() - lowered.full()) < 40


@pytest.mark.parametrize("correlated", [False, True])
def test_noise_and_stars_do_not_lower_a_background(correlated):
    rng = np.random.default_rng(5)
    plane = rng.normal(size=(500, 640))
    if correlated:
        plane = (
            plane + np.roll(plane, 1, 0) + np.roll(plane, 1, 1) + np.roll(plane, (1, 1), (0, 1))
        ) / 2
    y, x = np.mgrid[:500, :640]
    for cx, cy in rng.uniform(10, 490, (60, 2)):
        plane += rng.uniform(5, 500) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 4)
    found = measure_background(plane)
    assert lower_background(found, plane, 1.0) is found


def test_holes_and_dead_pixels_do_not_lower_a_background():
    plane = np.random.default_rng(2).normal(500, 1, (400, 400))
    plane[40:52, 60:75] = np.nan
    mask = np.zeros(plane.shape, dtype=bool)
    mask[200:210, 100:120] = True
    plane[mask] = -1e6
    plane[300, 50], plane[:, 222], plane[0, 0], plane[90, 399] = -3e38, 0.0, 0.0, 0.0
    found = measure_background(plane, mask=mask)
    assert lower_background(found, plane, 1.0, mask=mask) is found


@pytest.mark.parametrize("shape", [(2600, 48), (48, 2600)])
def test_narrow_strips_are_measured(shape):
    sky = np.random.default_rng(2).normal(100.0, 5.0, shape)
    assert measure_background(sky).level == pytest.approx(100, abs=0.5)
