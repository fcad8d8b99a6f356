"""Pixels without data are found whatever stands in them, and constant data are none of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

import astro_sr_plugin as asr
from astro_sr_plugin.measurement.sky.pixels import open_plane
from astro_sr_plugin.measurement.sky.unusable import find_unusable

SIDE, SKY, SIGMA = 256, 2000.0, 10.0
Y, X = np.mgrid[:SIDE, :SIDE]
WEDGE = (X * 0.99 + Y * 0.06 < 24) | (Y - X * 0.05 < 12)
ALPHA = 3.2 / 2 / np.sqrt(2 ** (1 / 3) - 1)


def moffat(x: float, y: float, peak: float) -> np.ndarray:
    return peak * (1 + ((X - x) ** 2 + (Y - y) ** 2) / ALPHA**2) ** -3.0


@pytest.fixture(scope="module")
def light() -> np.ndarray:
    rng = np.random.default_rng(1)
    places = zip(*rng.uniform(0, SIDE, (2, 50)), 10 ** rng.uniform(1.5, 3.5, 50), strict=True)
    return np.sum([moffat(*star) for star in places], axis=0)


@pytest.fixture(scope="module")
def image(light) -> np.ndarray:
    return SKY + light + np.random.default_rng(0).normal(0, SIGMA, light.shape)


def found_in(plane: np.ndarray) -> np.ndarray:
    return np.asarray(find_unusable(np.ascontiguousarray(plane)))


@pytest.mark.parametrize("value", [0, -32768, -99999.9, 1e30, -3.4e38, 65535, SKY, np.nan])
def test_fill_around_a_tilted_frame_is_no_data(image, value) -> None:
    np.testing.assert_array_equal(found_in(np.where(WEDGE, value, image).astype("f4")), WEDGE)


@pytest.mark.parametrize("value", [0, 65535])
def test_fill_of_integers(image, value) -> None:
    plane = np.where(WEDGE, value, image.round().clip(1, 60000)).astype(">u2")
    np.testing.assert_array_equal(found_in(plane), WEDGE)


def test_fill_of_a_sky_at_zero_and_fill_that_was_rounded(image) -> None:
    plane = np.where(WEDGE, 0, image - SKY).astype("f4")
    np.testing.assert_array_equal(found_in(plane), WEDGE)
    plane = np.where(WEDGE, -99999.9, image).astype("f4")
    rounded = WEDGE & (np.random.default_rng(3).random(WEDGE.shape) < 0.2)
    plane[rounded] = np.nextafter(plane[rounded], np.float32(0))
    np.testing.assert_array_equal(found_in(plane), WEDGE)


def test_several_values_gaps_holes_and_thin_rims(image) -> None:
    truth = WEDGE.copy()
    plane = np.where(WEDGE, 0, image)
    for area, value in (
        (np.s_[220:], -1000),
        (np.s_[:, 120:127], 0),
        (np.s_[150:170, 60:90], -1000),
        (np.s_[:, -1], -1000),
    ):
        plane[area], truth[area] = value, True
    found = find_unusable(plane)
    np.testing.assert_array_equal(np.asarray(found), truth)
    assert found.fill_values == (-1000.0, 0.0)
    assert found.fill_pixels == truth.sum()


def test_frames_rotated_by_interpolation_lose_their_blended_rim(image) -> None:
    for order, fill in ((1, 0.0), (3, -1000.0)):
        plane = rotate(image, 17, order=order, cval=fill)
        covered = rotate(np.ones_like(image), 17, order=1, cval=0) > 0.999
        found = found_in(plane.astype("f4"))
        assert not (~covered & ~found).any()
        assert np.count_nonzero(covered & found) < 3000


def test_values_that_stand_for_none_are_found_one_by_one(image) -> None:
    plane = image.astype("f4")
    plane[50, 50], plane[60, 61], plane[70, 7], plane[0, 0] = 1e30, -3.4e38, np.inf, np.nan
    truth = np.zeros(plane.shape, dtype=bool)
    truth[[50, 60, 70, 0], [50, 61, 7, 0]] = True
    np.testing.assert_array_equal(found_in(plane), truth)


def saturated(radius: float) -> np.ndarray:
    peak = 30000 * (1 + radius**2 / ALPHA**2) ** 3
    noise = np.random.default_rng(5).normal(SKY, SIGMA, (SIDE, SIDE))
    return np.minimum(moffat(128, 128, peak) + noise, 30000)


def bleeding() -> np.ndarray:
    plane = saturated(6)
    plane[:, 125:132] = 30000
    return plane


def clipped_nebula() -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(6).normal(0, 1, (SIDE, SIDE)), 20)
    return np.clip(smooth, 0, None) / smooth.max()


DATA = {
    "a model without noise": lambda light: light.astype("f4"),
    "a model on a sky": lambda light: (light + 100).astype("f4"),
    "stamps on nothing": lambda light: np.where(light > 1, light, 0),
    "0.02 photons": lambda light: np.random.default_rng(1).poisson(0.02 + light / 1e3),
    "0.3 photons": lambda light: np.random.default_rng(1).poisson(0.3 + light / 1e3).astype("f4"),
    "coarse integers": lambda light: (light / 50 + 12).round().clip(0, 255).astype("u1"),
    "a clipped sky": lambda light: np.clip(
        light + np.random.default_rng(2).normal(-3, SIGMA, light.shape), 0, None
    ),
    "a smooth clipped sky": lambda light: np.clip(
        gaussian_filter(light + np.random.default_rng(2).normal(0, SIGMA, light.shape), 3), 0, None
    ),
    "a clipped nebula": lambda _: clipped_nebula(),
    "an 8-bit nebula": lambda _: (60 * clipped_nebula()).round().astype("u1"),
    "a saturated star": lambda _: saturated(6).astype("u2"),
    "a large saturated star": lambda _: saturated(25).astype("u2"),
    "a saturated star at the edge": lambda _: np.roll(saturated(15), 125, 0).astype("f4"),
    "a bleeding star": lambda _: bleeding().astype("u2"),
    "one value": lambda light: np.full(light.shape, 7.0),
}


@pytest.mark.parametrize("kind", DATA)
def test_constant_data_are_data(light, kind) -> None:
    assert not found_in(DATA[kind](light)).any()


def test_a_window_of_the_mask_is_that_part_of_it(image) -> None:
    mask = np.zeros(image.shape, dtype=bool)
    mask[100:110, 200:] = True
    plane = np.where(WEDGE, 0, image)
    found = find_unusable(plane, mask)
    whole = WEDGE | mask
    np.testing.assert_array_equal(np.asarray(found), whole)
    np.testing.assert_array_equal(found[3:117, 13:231], whole[3:117, 13:231])
    np.testing.assert_array_equal(found[90:111], whole[90:111])
    assert not found.all()
    assert find_unusable(np.full((9, 9), np.nan)).all()
    assert find_unusable(plane, np.ones_like(mask)).all()


@pytest.mark.parametrize(("factor", "dtype"), [(1e25, "f4"), (1e-25, "f4"), (1e300, "f8")])
def test_planes_beyond_float32_get_a_unit_of_a_power_of_two(image, factor, dtype) -> None:
    plane = (image * factor).astype(dtype)
    opened = open_plane(plane)
    assert np.frexp(opened.unit)[0] == 0.5
    np.testing.assert_array_equal(opened.data[:] * opened.unit, plane)
    assert 1e-3 < np.std(opened.data[:64]) < 1e3
    assert open_plane(image).data is image


def test_values_that_run_on_to_the_end_of_the_range_stop_nothing() -> None:
    rng = np.random.default_rng(8)
    plane = 10 ** rng.uniform(-300, 300, (96, 96)) * rng.choice([-1, 1], (96, 96))
    for scale in (1.0, 1e8):
        quality = asr.measure(plane * scale)
        assert quality.n_stars == (0,)
