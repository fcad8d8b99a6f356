"""Raw frames of a colour camera whose stars are hardly wider than a pixel."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.nddata import CCDData

import astro_sr_plugin as asr

FWHM, SKY = 1.8, (350.0, 200.0, 275.0)


@pytest.fixture
def night(field):
    """Shifts, and dithered frames of which each pixel records one colour."""
    rng = np.random.default_rng(3)
    shifts = [(0.0, 0.0), *rng.uniform(-3, 3, (11, 2))]
    sky = np.tile(np.array([[SKY[0], SKY[1]], [SKY[1], SKY[2]]]), [n // 2 for n in field.shape])
    meta = Header({"BAYERPAT": "RGGB"})
    frames = []
    for shift in shifts:
        light = field.render(fwhm=FWHM, shift=shift) + sky
        raw = (light + rng.normal(0, 4, light.shape)).astype(np.float32)
        frames.append(CCDData(raw, unit="adu", meta=meta))
    return np.array(shifts), frames


def test_stars_that_are_smaller_than_a_super_pixel_register_the_frames(night) -> None:
    shifts, frames = night
    found = asr.register(frames[:4], reference=0)
    assert sorted(found.transforms) == [0, 1, 2, 3]
    moved = np.column_stack([found.table["shift_x"], found.table["shift_y"]])
    np.testing.assert_allclose(moved, -shifts[:4], atol=0.08)
    assert found.table["stars"].min() > 50


def test_stars_are_no_outliers_and_cosmic_rays_are(field, night, aperture_flux) -> None:
    """Interpolated colours of single frames deviate from their mean beside stars."""
    shifts, frames = night
    found = asr.stack(frames, reference=0, jobs=1)
    assert found.table["used"].all()
    np.testing.assert_allclose(found.table["scale"], 1, atol=0.01)
    x, y = field.places()
    expected = aperture_flux(field.render(fwhm=FWHM), x, y)
    for plane in found.image.data:
        own = aperture_flux(plane, x, y)
        assert np.sum(own * expected) / np.sum(expected**2) == pytest.approx(1, abs=0.03)
    rng = np.random.default_rng(5)
    rows, columns = rng.integers(10, 190, 40), rng.integers(10, 210, 40)
    frames[4].data[rows, columns] += 3000
    spoilt = asr.stack(frames, reference=0, jobs=1).image.data
    y, x = np.rint(rows - shifts[4, 1]).astype(int), np.rint(columns - shifts[4, 0]).astype(int)
    # The mean of 12 frames with one such pixel is 250 too high.
    assert np.nanmedian(np.abs(spoilt - found.image.data)[:, y, x].max(axis=0)) < 10
