"""Stacks of frames that overlap in part: all pixels of any frame, or those of all."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.wcs import WCS

import astro_sr_plugin as asr
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.stacking.output_frame import find_box
from tests.stacking.conftest import Field

NOISE, SKY = 4.0, 300.0
SHAPE = (140, 160)
STARTS = ((0, 0), (0, 60), (50, 0), (50, 60))
"""First rows and columns of the frames in the field."""


@pytest.fixture(scope="module")
def mosaic():
    """The field, and frames of parts of it, each with a gradient of its own, two of each part."""
    rng = np.random.default_rng(8)
    y, x = (place.ravel() for place in np.mgrid[12:178:9j, 12:208:10j])
    x, y = x + rng.uniform(-5, 5, x.size), y + rng.uniform(-5, 5, y.size)
    field = Field(x, y, np.exp(rng.uniform(np.log(1500), np.log(40000), x.size)), (190, 220))
    light = field.render(fwhm=2.5)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = (10.0, 20.0), (-3e-4, 3e-4), (50.0, 60.0)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frames = []
    for number, (top, left) in enumerate(STARTS * 2):
        own = light[top : top + SHAPE[0], left : left + SHAPE[1]] + SKY
        slope = rng.uniform(-0.2, 0.2, 2)
        own = own + slope[0] * rows + slope[1] * columns + rng.normal(0, NOISE, SHAPE)
        frames.append(CCDData(own, unit="adu", wcs=wcs if number == 0 else None))
    return light, frames


def test_a_union_has_the_pixels_of_all_frames_and_no_steps(mosaic) -> None:
    light, frames = mosaic
    found = asr.stack(frames, reference=0, frame="union", jobs=1)
    assert found.image.shape == light.shape
    data = found.image.data
    sky = np.abs(light) < 0.5
    difference = np.where(sky & np.isfinite(data), data - light, np.nan)
    for axis, edges in ((0, (50, 140)), (1, (60, 160))):
        for edge in edges:
            before, after = (
                np.take(difference, np.arange(*span), axis)
                for span in ((edge - 2, edge), (edge, edge + 2))
            )
            assert abs(np.nanmedian(after) - np.nanmedian(before)) < 0.3 * NOISE
    # Skies go on beyond the reference as they do in it, so that frames agree there.
    assert (found.n_used[145:, 165:] == 2).mean() > 0.95
    assert found.n_used[0, 0] == 2
    assert found.n_used[95, 110] == 8
    # The first frame, whose grid is kept, begins in the corner.
    assert found.image.wcs.pixel_to_world(49, 59).ra.deg == pytest.approx(10.0, abs=1e-7)


def test_world_coordinates_follow_where_pixels_lie_before_the_reference(mosaic) -> None:
    light, frames = mosaic
    frames = [frames[3].copy(), *frames]
    frames[0].wcs = frames[1].wcs
    found = asr.stack(frames, reference=0, frame="union", jobs=1)
    assert found.image.shape == light.shape
    y, x = 59 + STARTS[3][0], 49 + STARTS[3][1]
    assert found.image.wcs.pixel_to_world(x, y).dec.deg == pytest.approx(20.0, abs=1e-7)


def test_an_intersection_is_covered_by_all_frames(mosaic) -> None:
    _, frames = mosaic
    found = asr.stack(frames, reference=0, frame="intersection", drizzle=None, jobs=1)
    assert found.image.shape == pytest.approx((90, 100), abs=2)
    assert found.n_used.min() >= 6


@pytest.mark.parametrize("angle", [0.0, 20.0])
def test_boxes_of_turned_frames(angle: float) -> None:
    turn = np.radians(angle)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin, 5], [sin, cos, -8], [0, 0, 1]])
    transforms = [Transform.identity((60, 80)), Transform.from_matrix(matrix, (60, 80))]
    union = find_box(transforms, "union")
    corners = np.array(transforms[1].to_reference([0, 79, 0, 79], [0, 0, 59, 59]))
    assert union.x <= min(0, corners[0].min() + 0.5)
    assert union.y + union.ny > max(59, corners[1].max() - 0.5)
    shared = find_box(transforms, "intersection")
    y, x = np.mgrid[shared.y : shared.y + shared.ny, shared.x : shared.x + shared.nx]
    u, v = transforms[1].to_image(x, y)
    assert x.size > 1000
    assert (u >= 0).all()
    assert (u <= 79).all()
    assert (v >= 0).all()
    assert (v <= 59).all()
    moved = transforms[1].within(shared.y, shared.x, shared.shape)
    np.testing.assert_allclose(moved.to_image(0, 0), (u[0, 0], v[0, 0]))


def test_frames_that_share_no_pixel_have_no_intersection() -> None:
    away = Transform.from_matrix([[1, 0, 100], [0, 1, 0], [0, 0, 1]], (60, 80))
    assert find_box([Transform.identity((60, 80)), away], "intersection").shape == (0, 0)


def test_an_unknown_choice_is_refused(mosaic) -> None:
    with pytest.raises(asr.InputError, match="reference, union, intersection"):
        asr.stack(mosaic[1], frame="all")
