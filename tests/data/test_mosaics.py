"""Raw mosaics are recognised, refused, and made colour images with the right colours and places."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS

from astro_sr_plugin import debayer, denoise, measure, star_mask
from astro_sr_plugin.data.cfa import find_cfa
from astro_sr_plugin.data.debayer import interpolate_colours
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.exceptions import AstroSRWarning, InputError

RNG = np.random.default_rng(3)
X_TRANS = "GBGGRGRGRBGBGBGGRGGRGGBGBGBRGRGRGGBG"
# Red, green and blue as planes over x and y: interpolation and means keep them exactly.
SLOPES = {"R": (1, 2, 300), "G": (4, 5, 600), "B": (7, -8, 900)}


def colours(ny, nx):
    y, x = np.mgrid[:ny, :nx]
    return {c: a * x + b * y + k for c, (a, b, k) in SLOPES.items()}


def mosaic(shape, pattern, dtype="f8"):
    """Take a raw frame whose first pixel has the first filter of the pattern."""
    side = int(len(pattern) ** 0.5)
    block = np.array(list(pattern)).reshape(side, side)
    filters = np.tile(block, [n // side + 1 for n in shape])[: shape[0], : shape[1]]
    raw = np.zeros(shape)
    for colour, light in colours(*shape).items():
        raw[filters == colour] = light[filters == colour]
    return raw.astype(dtype)


def raw_frame(pattern="RGGB", shape=(96, 98), **keywords):
    gains = {"R": 0.5, "G": 1.0, "B": 0.35}
    block = np.array([gains[c] for c in pattern]).reshape(2, 2)
    sky = 200 + 200 * np.tile(block, [n // 2 for n in shape]) + RNG.normal(0, 8, shape)
    meta = fits.Header({"BAYERPAT": pattern, **keywords})
    return CCDData(sky.astype("f4"), unit="adu", meta=meta)


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u2", ">i4"])
def test_superpixel_is_the_mean_of_each_colour_in_its_block(pattern, dtype):
    raw = mosaic((21, 24), pattern, dtype)
    result = debayer(raw, "superpixel", pattern=pattern)
    assert result.shape == (3, 10, 12)
    blocks = raw[:20].astype("f8").reshape(10, 2, 12, 2)
    for plane, colour in zip(result, "RGB", strict=True):
        places = [divmod(i, 2) for i, c in enumerate(pattern) if c == colour]
        expected = np.mean([blocks[:, i, :, j] for i, j in places], axis=0)
        np.testing.assert_allclose(plane, expected, rtol=1e-6)


@pytest.mark.parametrize("shift", [(0, 0), (1, 2), (4, 5), (3, 3)])
def test_superpixel_of_x_trans_has_all_colours_in_the_middle_of_its_block(shift):
    block = np.roll(np.array(list(X_TRANS)).reshape(6, 6), shift, (0, 1))
    raw = mosaic((20, 23), "".join(block.ravel()))
    result = debayer(raw, "superpixel", pattern="".join(block.ravel()))
    for plane, (a, b, _) in zip(result, SLOPES.values(), strict=True):
        np.testing.assert_allclose(np.diff(plane, axis=1), 3 * a)
        np.testing.assert_allclose(np.diff(plane, axis=0), 3 * b)


@pytest.mark.parametrize("pattern", ["RGGB", "GBRG", X_TRANS])
def test_bilinear_keeps_what_was_measured_and_planes_of_colour(pattern):
    raw = mosaic((25, 26), pattern)
    result = debayer(raw, "bilinear", pattern=pattern)
    assert result.shape == (3, 25, 26)
    assert np.all((result == raw).any(axis=0))
    inner = (slice(2, -2), slice(2, -2))
    if len(pattern) == 4:
        for plane, light in zip(result, colours(25, 26).values(), strict=True):
            np.testing.assert_allclose(plane[inner], light[inner], rtol=1e-12)
    assert np.all(np.isfinite(result))


@pytest.mark.parametrize("pattern", ["RGGB", "GBRG"])
def test_cubic_polynomials_are_kept(pattern):
    y, x = np.mgrid[:25, :26] / 10
    light = 3 + x - 2 * y + x * y - 0.7 * x**2 + 0.4 * y**3 - 0.2 * x**2 * y + 0.1 * x**3
    filters = np.array(list(pattern)).reshape(2, 2)
    result = interpolate_colours(light, filters, cubic=True)
    np.testing.assert_allclose(result[:, 3:-3, 3:-3], np.array([light] * 3)[:, 3:-3, 3:-3])
    # Bands are parts of the whole; beside missing values there are means.
    band = interpolate_colours(light[5:20], np.roll(filters, -5, 0), cubic=True)
    np.testing.assert_allclose(band[:, 3:-3], result[:, 8:17], rtol=1e-12)
    spoilt = light.copy()
    spoilt[12, 12] = np.nan
    (colour,) = np.flatnonzero(np.array(list("RGB")) == filters[0, 0])
    found = interpolate_colours(spoilt, filters, cubic=True)
    assert np.argwhere(np.isnan(found)).tolist() == [[colour, 12, 12]]
    assert np.nanmax(np.abs(found - result)) < 0.2


def test_bilinear_leaves_missing_pixels_out_of_the_means():
    raw = mosaic((12, 12), "RGGB")
    raw[4, 4] = np.nan
    mask = np.zeros(raw.shape, bool)
    mask[7, 7] = True
    image = CCDData(raw, unit="adu", mask=mask, meta=fits.Header({"BAYERPAT": "RGGB"}))
    result = debayer(image)
    assert np.isnan(result.data).sum() == 1
    assert np.isnan(result.data[0, 4, 4])
    assert result.data[0, 4, 5] == raw[4, 6]
    assert result.mask[2, 7, 7]
    assert result.mask[2, 6, 6]
    assert not result.mask[1].any()


def test_superpixels_lie_where_they_lie_on_the_sky(tmp_path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [10, 20]
    wcs.wcs.crpix, wcs.wcs.cdelt = [30.2, 40.7], [-1e-3, 1e-3]
    for pattern, side, first in (
        ("RGGB", 2, 0),
        (X_TRANS, 3, 0),
        (X_TRANS[6:] + X_TRANS[:6], 3, 2),
    ):
        meta = wcs.to_header()
        meta.update({"BAYERPAT": pattern, "XPIXSZ": 3.0, "XBAYROFF": 0, "YBAYROFF": 0})
        raw = CCDData(mosaic((60, 60), pattern), unit="adu", wcs=wcs, meta=meta)
        result = debayer(raw, "superpixel")
        there = result.wcs.all_pix2world([[5, 7]], 0)
        middle = (side - 1) / 2
        here = [[5 * side + middle, 7 * side + middle + first]]
        np.testing.assert_allclose(there, wcs.all_pix2world(here, 0), rtol=1e-12)
        assert result.wcs.pixel_shape == result.shape[:0:-1]
        assert result.meta["XPIXSZ"] == pytest.approx(3.0 * side)
        assert not {"BAYERPAT", "XBAYROFF", "YBAYROFF"} & set(result.meta)
        assert "debayered (superpixel)" in str(result.meta["HISTORY"])
        path = write_image(result, tmp_path / "a.fits", overwrite=True)
        np.testing.assert_allclose(read_image(path).wcs.all_pix2world([[5, 7]], 0), there)
        full = debayer(raw, "bilinear")
        np.testing.assert_allclose(
            full.wcs.all_pix2world([[5, 7]], 0), wcs.all_pix2world([[5, 7]], 0)
        )


@pytest.mark.parametrize("ny", [40, 41])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("order", ["TOP-DOWN", "BOTTOM-UP", None])
def test_row_order_and_offsets_count(ny, x, y, order):
    # The sensor from the upper left corner of the display, cut at (x, y).
    sensor = np.tile(np.array([["R", "G"], ["G", "B"]]), (30, 30))
    shown = sensor[y : y + ny, x : x + 30]
    stored = shown[::-1] if order == "BOTTOM-UP" else shown
    meta = fits.Header({"BAYERPAT": "RGGB", "XBAYROFF": x, "YBAYROFF": y})
    if order:
        meta["ROWORDER"] = order
    assert find_cfa(meta, (ny, 30)).pattern == "".join(stored[:2, :2].ravel())


@pytest.mark.parametrize("ny", [40, 41])
@pytest.mark.parametrize("order", ["TOP-DOWN", "BOTTOM-UP"])
@pytest.mark.parametrize("name", ["a.fits", "a.fits.fz", "a.xisf", "a.tif"])
def test_a_red_field_stays_red_through_every_format(tmp_path, ny, order, name):
    meta = fits.Header({"BAYERPAT": "GRBG", "YBAYROFF": 1, "ROWORDER": order})
    filters = find_cfa(meta, (ny, 42)).filters
    red = np.tile(filters, (21, 21))[:ny] == "R"
    raw = CCDData(np.where(red, 1000.0, 100.0), unit="adu", meta=meta)
    result = debayer(read_image(write_image(raw, tmp_path / name)), "superpixel")
    assert np.all(result.data[0] == 1000)
    assert np.all(result.data[1:] == 100)


@pytest.mark.parametrize("verb", [denoise, measure, star_mask])
def test_verbs_refuse_raw_frames_with_the_way_out(verb):
    with pytest.raises(InputError, match=r"RGGB mosaic.*debayer\(image, 'superpixel'\)"):
        verb(raw_frame())
    with pytest.raises(InputError, match="raw mosaic"):
        verb(CCDData(raw_frame().data, unit="adu", meta={"CFAIMAGE": True}))


def test_forced_raw_frames_are_measured():
    assert measure(raw_frame(), force=True).shape == (96, 98)


def test_leftover_keywords_do_not_matter():
    raw = raw_frame(XBINNING=2)
    binned = raw.data.reshape(48, 2, 49, 2).mean((1, 3))
    grey = debayer(raw).data.mean(0)
    one_filter = RNG.normal(300, 8, (96, 96)).astype("f4")
    for data in (binned, grey, one_filter, debayer(raw).data):
        assert star_mask(CCDData(data, unit="adu", meta=raw.meta)).shape == data.shape[-2:]
    for text in ("", "NONE", "RAW16", "MONO", "FALSE"):
        meta = fits.Header({"BAYERPAT": text, "COLORTYP": text})
        assert find_cfa(meta, (96, 96)) is None


def test_mosaics_without_keywords_are_pointed_out():
    for pattern in ("RGGB", "GBRG"):
        with pytest.warns(AstroSRWarning, match="look like the raw mosaic"):
            star_mask(raw_frame(pattern).data)
    y, x = np.mgrid[:96, :96]
    for even_and_odd in (y % 2, x % 2):  # amplifiers of a camera for one filter
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            star_mask(RNG.normal(300, 8, (96, 96)) + 40 * even_and_odd)


def test_what_cannot_be_debayered():
    raw = raw_frame()
    for wrong, reason in (
        ({"method": "vng"}, "allowed are superpixel, bilinear"),
        ({"pattern": "RGB"}, "is no colour filter array"),
        ({"pattern": "CYGM"}, "'CYGM' cannot be debayered"),
    ):
        with pytest.raises(InputError, match=reason):
            debayer(raw, **wrong)
    with pytest.raises(InputError, match="does not say which pixels"):
        debayer(raw.data)
    with pytest.raises(InputError, match="has one plane"):
        debayer(np.zeros((3, 8, 8)), pattern="RGGB")
    with pytest.raises(InputError, match="smaller than one block"):
        debayer(np.zeros((1, 8)), "superpixel", pattern="RGGB")
    with pytest.raises(InputError, match="not those of an X-Trans"):
        debayer(np.zeros((12, 12)), "superpixel", pattern="RGGBGB" * 6)
    raw.uncertainty = StdDevUncertainty(np.ones(raw.shape))
    with pytest.warns(AstroSRWarning, match="uncertainty of the mosaic"):
        assert debayer(raw).uncertainty is None
