"""Images whose stars are wider than the models need are reduced first, if that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS

import astro_sr_plugin as asr
from astro_sr_plugin.models.filters import make_moffat_psf
from astro_sr_plugin.restoration.frame import open_frame
from astro_sr_plugin.restoration.reduce import reduce_image

SKY, SIGMA = 100.0, 1.0


def make_image(fwhm, shape=(303, 322)):
    rng = np.random.default_rng(5)
    psf = make_moffat_psf(*torch.tensor([fwhm, 3.5, 0.0, 0.0])[:, None])[0].numpy()
    r = psf.shape[0] // 2
    light = np.zeros((shape[0] + 2 * r, shape[1] + 2 * r))
    for y in range(40, shape[0] - 30, 60):
        for x in range(40, shape[1] - 30, 60):
            light[y : y + 2 * r + 1, x : x + 2 * r + 1] += rng.uniform(1e4, 4e4) * psf
    image = SKY + light[r:-r, r:-r] + rng.normal(0, SIGMA, shape)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [10.0, 20.0], [101.5, 87.0]
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    header = fits.Header({"OBJECT": "wide stars"}) + wcs.to_header()
    return CCDData(image.astype(np.float32), unit=u.adu, wcs=wcs, meta=header)


@pytest.mark.parametrize(("verb", "scale"), [(asr.deconvolve, 1), (asr.super_resolve, 2)])
def test_wide_stars_are_reduced(verb, scale):
    image = make_image(9.0)
    with pytest.warns(asr.AstroSRWarning, match="reduced 2 times"):
        out = verb(image, auto_scale=True, device="cpu")
    assert out.shape == (151 * scale, 161 * scale)
    assert out.unit == u.adu
    assert out.meta["ASRFWHMI"] == pytest.approx(4.5, rel=0.05)
    assert np.median(out.data) == pytest.approx(SKY, abs=0.5)
    # The first star keeps its place in the sky.
    peak = np.unravel_index(int(out.data[: 35 * scale, : 35 * scale].argmax()), (35 * scale,) * 2)
    sky = out.wcs.pixel_to_world(peak[1], peak[0])
    assert sky.separation(image.wcs.pixel_to_world(40, 40)).deg < 1.5e-4


def test_narrow_stars_are_left_alone():
    image = make_image(3.0)
    plain, asked = (asr.deconvolve(image, auto_scale=a, device="cpu") for a in (False, True))
    np.testing.assert_array_equal(plain.data, asked.data)


def test_without_it_the_user_is_told():
    with pytest.warns(asr.AstroSRWarning, match="auto_scale"):
        asr.deconvolve(make_image(9.5), device="cpu")


def test_a_given_psf_goes_not_with_it():
    with pytest.raises(asr.InputError, match="auto_scale=True"):
        asr.deconvolve(make_image(9.0), psf=9.0, auto_scale=True)


def test_blocks_use_what_is_usable():
    data = np.arange(36, dtype=np.float32).reshape(6, 6)
    data[0, 0] = np.nan
    data[2:4, 2:4] = np.nan
    mask = np.zeros(data.shape, bool)
    mask[0, 2] = True
    mask[4, 4:6] = mask[5, 4] = True
    reduced = reduce_image(open_frame(CCDData(data, unit="adu", mask=mask), "denoise"), 2).data
    assert reduced.dtype == np.float32
    assert reduced[0, 0] == pytest.approx(np.nanmean(data[:2, :2]))
    assert reduced[0, 1] == pytest.approx((data[0, 3] + data[1, 2] + data[1, 3]) / 3)
    assert np.isnan(reduced[1, 1])
    assert np.isnan(reduced[2, 2])
    assert reduced[2, 0] == data[4:, :2].mean()
