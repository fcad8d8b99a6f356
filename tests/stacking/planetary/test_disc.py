"""The disc of a planet: centre, radius, oblateness, and when there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.stacking.planetary.crop import find_crop
from astro_sr_plugin.stacking.planetary.disc import find_disc

from .conftest import draw_planet


def observed(image: np.ndarray, noise: float = 4.0, blur: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (gaussian_filter(image, blur) + rng.normal(0, noise, image.shape)).astype(np.float32)


@pytest.mark.parametrize(("x", "y", "radius"), [(55.3, 51.8, 36), (60, 57.4, 12), (18.7, 56.2, 40)])
def test_the_centre_is_found_to_a_fraction_of_a_pixel(x: float, y: float, radius: float) -> None:
    disc = find_disc(observed(draw_planet(x, y, radius)))
    assert disc.found
    assert np.hypot(disc.x - x, disc.y - y) < 0.25
    assert disc.radius == pytest.approx(radius, abs=1.5)


def test_hot_pixels_and_a_slope_of_the_sky_do_no_harm() -> None:
    image = observed(draw_planet(55.3, 51.8)) + np.linspace(0, 20, 112, dtype=np.float32)
    rng = np.random.default_rng(6)
    image[rng.integers(0, 112, 30), rng.integers(0, 112, 30)] = 255
    disc = find_disc(image)
    assert np.hypot(disc.x - 55.3, disc.y - 51.8) < 0.25


def test_the_terminator_of_a_phase_is_left_out() -> None:
    y, x = np.mgrid[:112, :112]
    u, v = (x - 55.3) / 40, (y - 54.1) / 40
    height = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    angle = np.deg2rad(75)
    lit = np.clip(u * np.sin(angle) + height * np.cos(angle), 0, None) * (u**2 + v**2 < 1)
    disc = find_disc(observed(180 * lit))
    assert np.hypot(disc.x - 55.3, disc.y - 54.1) < 0.5


@pytest.mark.parametrize("blur", [1.5, 4.0])
def test_oblateness_is_measured_and_kept(blur: float) -> None:
    # Belts along the equator, which is at 30 degrees, and a dark limb.
    y, x = np.mgrid[:160, :160]
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    u = ((x - 79.2) * cos + (y - 81.4) * sin) / 56
    v = ((y - 81.4) * cos - (x - 79.2) * sin) / (56 * (1 - 0.065))
    square = u**2 + v**2
    light = 0.35 + 0.65 * np.sqrt(np.clip(1 - square, 0, 1))
    image = observed(180 * light * (1 + 0.1 * np.sin(9 * v)) * (square < 1), blur=blur)
    disc = find_disc(image)
    assert disc.oblateness == pytest.approx(0.065, abs=0.005 * blur)
    assert disc.angle == pytest.approx(30, abs=4)
    assert disc.coverage > 0.85
    again = find_disc(image, like=disc, near=(81, 79))
    # The belts of a blurred disc move its limb.
    assert np.hypot(again.x - 79.2, again.y - 81.4) < (0.1 if blur < 2 else 0.8)
    assert again.oblateness == disc.oblateness


def test_where_there_is_no_disc_the_reason_says_so() -> None:
    rng = np.random.default_rng(7)
    terrain = gaussian_filter(rng.normal(size=(112, 112)), 4) * 400 + 100
    for image in (terrain, np.zeros((112, 112)), rng.normal(10, 2, (112, 112))):
        disc = find_disc(image.astype(np.float32))
        assert not disc.found
        assert disc.reason


def test_the_crop_is_the_box_of_the_planet() -> None:
    crop = find_crop(observed(draw_planet(55, 51)))
    assert (crop.left, crop.right) == pytest.approx((19, 91), abs=3)
    assert (crop.top, crop.bottom) == pytest.approx((15, 87), abs=3)
