"""Interpolation keeps the PSF, and so it needs none."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData, block_reduce
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin import InputError

FWHM = 3.0


@pytest.fixture(scope="module")
def field() -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:120, :120]
    image = rng.normal(100.0, 2.0, y.shape)
    for xc, yc in rng.uniform(10, 110, (20, 2)):
        square = (x - xc) ** 2 + (y - yc) ** 2
        image += 1500.0 * np.exp(-square / (2 * (FWHM * gaussian_fwhm_to_sigma) ** 2))
    return image.astype(np.float32)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("options", [{}, {"luminance_only": True}])
def test_an_image_without_stars_is_interpolated(scale, options):
    rng = np.random.default_rng(3)
    image = rng.normal(100.0, 5.0, (3, 72, 80)) + np.linspace(0.0, 30.0, 80)
    ccd = CCDData(image.astype(np.float32), unit="adu")
    big = asr.super_resolve(ccd, scale=scale, model="bicubic", **options)
    assert big.shape == (3, scale * 72, scale * 80)
    assert not {"ASRFWHMI", "ASRFWHMO"} & set(big.meta)
    blocks = block_reduce(big.data, (1, 8 * scale, 8 * scale), np.mean)
    expected = block_reduce(image, (1, 8, 8), np.mean)
    np.testing.assert_allclose(blocks, expected, atol=1.0)


def test_the_header_of_an_interpolated_image_states_the_width_of_its_stars(field):
    big = asr.super_resolve(CCDData(field, unit="adu"), model="bicubic")
    assert big.meta["ASRFWHMO"] == pytest.approx(2 * big.meta["ASRFWHMI"])
    found = asr.measure(big).fwhm[0]
    assert found == pytest.approx(big.meta["ASRFWHMO"], rel=0.1)


def test_no_other_width_can_be_asked_for(field):
    with pytest.raises(InputError, match=r"target_fwhm=3\.0 .*'bicubic' keeps the PSF"):
        asr.super_resolve(field, model="bicubic", target_fwhm=3.0)
