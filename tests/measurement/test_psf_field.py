from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.measurement.measuring import measure as measure_quality


def measure(image):
    (plane,) = measure_quality(image).planes
    return plane.psf.field


def distortion(ellipticity, theta):
    return ellipticity * np.array([np.cos(2 * theta), np.sin(2 * theta)])


@pytest.mark.parametrize("shape", [(560, 620), (700, 460)])
def test_a_field_that_changes_is_measured(make_sky, shape):
    sky = make_sky(shape=shape)
    field = measure(sky.image)
    assert field is not None
    assert field.shape == shape
    fwhm, ellipticity, theta = field.at(sky.x, sky.y)
    assert np.abs(fwhm / sky.fwhm - 1).max() < 0.03
    off = distortion(ellipticity, theta) - distortion(sky.ellipticity, sky.theta)
    assert np.hypot(*off).max() < 0.03
    low, high = field.fwhm_range()
    assert low == pytest.approx(2.8, rel=0.02)
    assert high == pytest.approx(3.8, rel=0.03)
    # In the mean over the frame the radial shapes nearly cancel.
    assert field.mean().ellipticity < 0.05
    assert field.mean().fwhm == pytest.approx(np.exp(np.log(sky.fwhm).mean()), rel=0.02)


def test_the_stars_of_the_edge_count_among_those_of_the_psf(make_sky):
    sky = make_sky()
    (plane,) = measure_quality(sky.image).planes
    stars = plane.psf_stars
    used = [np.hypot(stars.x - x, stars.y - y).min() < 2 for x, y in zip(sky.x, sky.y, strict=True)]
    at_edge = sky.radius > 0.8
    assert np.mean(np.array(used)[at_edge]) > 0.85


def test_stars_point_to_the_middle(make_sky):
    field = measure(make_sky().image)
    ny, nx = field.shape
    for x, y in ((0, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1)):
        psf = field.psf_at(x, y)
        away = psf.theta - np.arctan2(y - ny / 2, x - nx / 2)
        assert np.cos(2 * away) > 0.98
        assert psf.ellipticity == pytest.approx(0.25, abs=0.03)


def test_a_width_alone_leaves_the_shape_alone(make_sky):
    field = measure(make_sky(ellipticity=0.0).image)
    assert field is not None
    assert not field.coefficients[1:, 1:].any()


@pytest.mark.parametrize("seed", range(8))
def test_one_psf_stays_one(make_sky, seed):
    stars = ((8, 8), (10, 12), (16, 18))[seed % 3]
    sky = make_sky(fwhm=(3.0, 3.0), ellipticity=0.0, seed=seed, stars=stars)
    assert measure(sky.image) is None


def test_a_change_too_small_to_matter_is_none(make_sky):
    assert measure(make_sky(fwhm=(3.0, 3.06), ellipticity=0.01).image) is None


def test_nothing_is_told_of_parts_without_stars(make_sky):
    assert measure(make_sky(empty=np.s_[:200, 400:]).image) is None


def test_few_stars_tell_nothing(make_sky):
    assert measure(make_sky(stars=(4, 5)).image) is None
