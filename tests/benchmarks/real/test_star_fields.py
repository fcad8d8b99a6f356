"""What is left where stars were taken out, of images made for it."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from benchmarks.real.star_fields import Field, starless_promises
from tests.conftest import render_sky


@pytest.fixture(scope="module")
def field():
    """Return a field of stars, the light of its stars, and the place of one of the brightest."""
    sky = render_sky(shape=(280, 310), stars=(6, 7), fwhm=(3.0, 3.0), ellipticity=0.0)
    image = sky.image.astype(np.float64)
    light = image - np.random.default_rng(2).normal(300, 5, image.shape)
    measured = asr.measure(image)
    inside = (np.abs(sky.x - 155) < 110) & (np.abs(sky.y - 140) < 95)
    brightest = np.argmax(np.where(inside, sky.flux, 0))
    place = sky.x[brightest], sky.y[brightest]
    return Field("made", CCDData(image, unit="adu"), measured), light, place


@pytest.mark.parametrize(("left", "kept"), [(0.0, True), (0.1, False), (-0.1, False)])
def test_light_that_stays_or_is_missing_is_found(field, left, kept):
    frame, light, (x, y) = field
    rows, columns = np.indices(light.shape)
    near = np.hypot(columns - x, rows - y) < 12
    stars = light * np.where(near, 1 - left, 1)
    failed, worst = starless_promises(frame, frame.image.data - stars, stars)
    assert (not failed) == kept
    if not kept:
        assert "1 of" in failed[0]
        assert np.hypot(worst[0] - x, worst[1] - y) < 1


def test_a_hot_pixel_beside_a_star_is_no_light_of_it(field):
    frame, light, (x, y) = field
    image = frame.image.data.copy()
    image[round(y) + 2, round(x) + 1] += 40 * light.max()
    hot = Field("made", CCDData(image, unit="adu"), frame.measured)
    failed, _ = starless_promises(hot, image - light, light)
    assert not failed
    # Any other light there counts.
    failed, _ = starless_promises(frame, image - 0.9 * light, 0.9 * light)
    assert failed
