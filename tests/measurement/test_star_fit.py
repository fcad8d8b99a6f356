"""A star and its sky are found from the pixels that are usable."""

from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp
from astro_sr_plugin.measurement.psf.star_fit import SplinePSF, cut_around, fit_star, light_weight

PROFILE = MoffatProfile(3.0, 3.0, 0.0, 0.0)
PSF = moffat_stamp(PROFILE, 0.0, 0.0, 12)


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("sky", [0.0, 40.0])
def test_flux_and_sky_in_any_unit(unit: float, sky: float) -> None:
    usable = 0.5 * PSF.max() > PSF
    data = (3000 * PSF + sky)[usable]
    fit = fit_star(data, light_weight(data), PSF[usable] * unit, sky_error=np.inf)
    assert fit is not None
    assert fit[0][0] == pytest.approx(3000 / unit)
    assert fit[1] == pytest.approx(sky, abs=1e-6)


def test_a_sky_that_was_subtracted_stays_zero() -> None:
    data = (500 * PSF).ravel()
    fit = fit_star(data, np.ones(data.size), PSF.ravel(), sky_error=0.0)
    assert fit is not None
    assert fit[0] == pytest.approx([500.0])
    assert fit[1] == 0.0


def test_pixels_without_the_star_do_not_determine_it() -> None:
    data = np.ones(50)
    assert fit_star(data, data, np.zeros(50)) is None
    assert fit_star(data, data, np.ones(50)) is None


def test_the_psf_moves_by_fractions_of_a_pixel() -> None:
    moved = SplinePSF(PSF).moved(0.3, -0.4)
    expected = moffat_stamp(PROFILE, -0.4, 0.3, 12)
    # Cubic splines of a star of FWHM 3 pixels are right to 1 % of its peak.
    np.testing.assert_allclose(moved, expected, rtol=0, atol=0.01 * PSF.max())


def test_squares_at_the_edge_of_a_plane_are_cut() -> None:
    window, part = cut_around(1, 30, 5, 12, (40, 32))
    assert window == (0, 7, 25, 32)
    assert PSF[part].shape == window.shape
    assert np.unravel_index(PSF[part].argmax(), window.shape) == (1, 5)
