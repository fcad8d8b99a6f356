"""Rendered profiles hold the light that they should hold."""

from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.measurement.psf.profiles import (
    MoffatProfile,
    diffraction_wing,
    moffat_stamp,
)


def test_a_stamp_holds_the_enclosed_flux() -> None:
    profile = MoffatProfile(3.0, 2.5, 0.0, 0.0)
    stamp = moffat_stamp(profile, 0.0, 0.0, 30)
    y, x = np.mgrid[-30:31, -30:31]
    within = stamp[np.hypot(x, y) < 20].sum()
    assert within == pytest.approx(profile.enclosed(20.0), abs=1e-3)


def test_an_elliptical_star_lies_along_its_angle() -> None:
    stamp = moffat_stamp(MoffatProfile(4.0, 3.5, 0.4, np.pi / 6), 0.3, -0.2, 20)
    y, x = np.mgrid[-20:21, -20:21]
    x, y = x - 0.3, y + 0.2
    near = stamp * (np.hypot(x, y) < 8)
    xx, yy, xy = (near * x * x).sum(), (near * y * y).sum(), (near * x * y).sum()
    assert 0.5 * np.arctan2(2 * xy, xx - yy) == pytest.approx(np.pi / 6, abs=0.02)
    assert (near * x).sum() / near.sum() == pytest.approx(0, abs=0.02)


def test_half_of_the_light_beyond_a_square_lies_beyond_one_of_twice_its_side() -> None:
    wing = diffraction_wing(400, 10)
    y, x = np.abs(np.mgrid[-400:401, -400:401])
    assert wing[np.maximum(x, y) <= 10].sum() == 0
    assert wing[np.maximum(x, y) > 20].sum() == pytest.approx(0.5, abs=0.03)
