"""The profile of a star through turbulence."""

from __future__ import annotations

import galsim
import numpy as np
import pytest

from astro_sr_plugin.measurement.psf.seeing import kolmogorov_stamp


@pytest.mark.parametrize("fwhm", [1.5, 3.0, 7.5])
def test_it_is_the_profile_of_galsim(fwhm):
    image = galsim.ImageD(65, 65)
    galsim.Kolmogorov(fwhm=fwhm).drawImage(image, scale=1)
    stamp = kolmogorov_stamp(fwhm, 32)
    assert stamp.shape == (65, 65)
    # What leaves a side of the periodic frame comes in at the other: a few 1e-6 at these widths.
    assert np.abs(stamp - image.array).max() < 2e-3 * image.array.max()
