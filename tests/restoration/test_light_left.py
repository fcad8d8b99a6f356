"""Light that is left where stars were, of images made for it."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.restoration.frame import open_frame
from astro_sr_plugin.restoration.light_left import MOST_LEFT, measure_light_left
from tests.conftest import render_sky


@pytest.fixture(scope="module")
def field():
    """Return an image of stars, its sky, and the place of one of the brightest of them."""
    # The rows are more than those that are worked with at a time.
    sky = render_sky(shape=(580, 310), stars=(12, 7), fwhm=(3.0, 3.0), ellipticity=0.0)
    image = sky.image.astype(np.float64)
    empty = np.random.default_rng(2).normal(300, 5, image.shape)
    inside = (np.abs(sky.x - 155) < 110) & (np.abs(sky.y - 290) < 250)
    brightest = np.argmax(np.where(inside, sky.flux, 0))
    return image, empty, (sky.x[brightest], sky.y[brightest])


def measured(image, starless):
    return measure_light_left(open_frame(image, "remove-stars").planes[0], starless)


@pytest.mark.parametrize("left", [0.0, 0.1, -0.1])
def test_the_part_that_is_left_or_missing(field, left):
    image, empty, (x, y) = field
    rows, columns = np.indices(image.shape)
    near = np.hypot(columns - x, rows - y) < 12
    starless = np.where(near, empty + left * (image - empty), empty)
    found = measured(image, starless)
    assert len(found.parts) > 20
    distance = np.hypot(*(found.places - (x, y)).T)
    wrong = found.parts > MOST_LEFT
    if left:
        assert wrong.sum() == 1
        assert distance[wrong][0] < 1
        # Of the tenth, three standard deviations of the noise count as noise.
        assert found.parts.max() == pytest.approx(0.1, abs=0.02)
    else:
        assert not wrong.any()
        assert distance.min() < 1


def test_stars_with_a_hot_pixel_and_pixels_without_data_do_not_count(field):
    image, empty, (x, y) = field
    column, row = round(x), round(y)
    hot, starless = image.copy(), empty.copy()
    hot[row + 2, column + 1] = starless[row + 2, column + 1] = 1e5
    found = measured(hot, starless)
    assert not (found.parts > MOST_LEFT).any()
    assert np.hypot(*(found.places - (x, y)).T).min() > 5
    hole, starless = image.copy(), empty.copy()
    hole[row + 4 : row + 9, column + 4 : column + 9] = np.nan
    starless[np.isnan(hole)] = np.nan
    assert not (measured(hole, starless).parts > MOST_LEFT).any()


def test_a_star_whose_surroundings_hold_no_data_does_not_count(field):
    image, empty, (x, y) = field
    rows, columns = np.indices(image.shape)
    distance = np.hypot(columns - x, rows - y)
    around = (distance > 7) & (distance < 20)
    hole, starless = np.where(around, np.nan, image), np.where(around, np.nan, empty)
    found = measured(hole, starless)
    assert len(found.parts) > 20
    assert np.hypot(*(found.places - (x, y)).T).min() > 5


def test_an_image_smaller_than_the_rings_says_nothing(field):
    image, empty, (x, y) = field
    row, column = round(y), round(x)
    small = np.s_[row - 15 : row + 16, column - 15 : column + 16]
    plane = open_frame(image[small], "remove-stars", psf=3.0).planes[0]
    assert len(measure_light_left(plane, empty[small]).parts) == 0


def test_the_verb_says_so(field):
    image = CCDData(field[0].astype(np.float32), unit="adu")
    with pytest.warns(asr.UnchangedWarning) as said:
        # A PSF of half the width: what lies beside the cores stays.
        starless, _ = asr.remove_stars(image, psf=1.6)
    count = starless.meta["ASRLEFT"]
    assert count > 0
    assert f"more than 2% of the light of {count} of " in str(said[0].message)
