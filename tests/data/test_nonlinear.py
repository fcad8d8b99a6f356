"""Pixels that are a curve of the light are made linear where the header has it, else refused."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

from astro_sr_plugin import denoise, measure, star_mask
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.data.nonlinear import undo_asinh
from astro_sr_plugin.exceptions import AstroSRWarning, InputError

RNG = np.random.default_rng(17)
ALPHA = 1.0857362  # as the IPP documentation prints it


def stack(shape=(40, 41)):
    """Light, and the pixels and header of a Pan-STARRS stack of it by the formula of the IPP."""
    light = RNG.normal(10, 12, shape)
    light[5, 6], light[7, 8] = 3e5, -4e3
    offset, softening = light.mean(), np.sqrt(ALPHA) * 12
    stored = ALPHA * np.arcsinh((light - offset) / (2 * softening))
    return light, stored, fits.Header({"BSOFTEN": softening, "BOFFSET": offset})


def test_pan_starrs_stacks_are_made_linear_once(tmp_path):
    light, stored, header = stack()
    path = tmp_path / "a.fits"
    fits.writeto(path, stored.astype("f4"), header)
    with pytest.warns(AstroSRWarning, match="compressed by asinh .*made linear") as caught:
        image = read_image(path)
    assert len(caught) == 1
    np.testing.assert_allclose(image.data, light, rtol=2e-5, atol=1e-4)
    assert image.data.dtype == np.float32
    assert not {"BSOFTEN", "BOFFSET"} & set(image.meta)
    assert "made linear" in str(image.meta["HISTORY"])
    for name in ("b.fits", "b.xisf", "b.tif"):
        again = read_image(write_image(image, tmp_path / name, dtype="original"))
        np.testing.assert_array_equal(again.data, image.data)


def test_compressed_integers_with_blank_are_made_linear(tmp_path):
    light, stored, header = stack()
    low, high = stored.min(), stored.max()
    scale = (high - low) / 65000
    numbers = np.rint((stored - low) / scale - 32500).astype("i2")
    numbers[0, :5] = -32768
    hdu = fits.ImageHDU(numbers, header)
    hdu.header.update({"BSCALE": scale, "BZERO": low + 32500 * scale, "BLANK": -32768})
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits")
    with pytest.warns(AstroSRWarning, match="made linear"):
        image = read_image(tmp_path / "a.fits")
    assert np.isnan(image.data[0, :5]).all()
    assert image.mask.sum() == 5
    good = ~image.mask
    slope = np.cosh(stored / ALPHA) * 2 * header["BSOFTEN"] / ALPHA
    assert np.all(np.abs(image.data - light)[good] <= 0.51 * (scale * slope)[good] + 1e-3)
    assert write_image(image, tmp_path / "b.fits", dtype="original")


def test_keywords_left_in_a_linear_file_do_not_count(tmp_path):
    light, _, header = stack()
    fits.writeto(tmp_path / "a.fits", light, header)
    image = read_image(tmp_path / "a.fits")
    np.testing.assert_array_equal(image.data, light)
    assert "BSOFTEN" not in image.meta


def test_the_uncertainty_follows_the_slope():
    _, stored, header = stack()
    image = CCDData(stored, unit="adu", meta=header, uncertainty=StdDevUncertainty(stored * 0 + 1))
    with pytest.warns(AstroSRWarning, match="made linear"):
        linear = undo_asinh(image, "a")
    step = 1e-5
    up = CCDData(stored + step, unit="adu", meta=header)
    with pytest.warns(AstroSRWarning, match="made linear"):
        numeric = (undo_asinh(up, "a").data - linear.data) / step
    np.testing.assert_allclose(linear.uncertainty.array, numeric, rtol=1e-3)


@pytest.mark.parametrize("verb", [denoise, measure, star_mask])
def test_images_in_memory_are_refused(verb):
    _, stored, header = stack()
    with pytest.raises(InputError, match="BSOFTEN and BOFFSET.*read_image makes them linear"):
        verb(CCDData(stored, unit="adu", meta=header))


@pytest.mark.parametrize(
    "text",
    ["mag", "mag/arcsec^2", "mag arcsec-2", "log(Jy)", "log10(counts)", "dex", "sqrt(adu)", "dB"],
)
def test_magnitudes_logarithms_and_roots_are_refused(tmp_path, text):
    fits.writeto(tmp_path / "a.fits", RNG.normal(21, 0.1, (40, 40)), fits.Header({"BUNIT": text}))
    with pytest.raises(InputError, match="not proportional to light"):
        star_mask(tmp_path / "a.fits")
    assert star_mask(tmp_path / "a.fits", force=True).shape == (40, 40)


@pytest.mark.parametrize("unit", [u.mag, u.ABmag, u.dex(u.Jy), u.mag / u.arcsec**2, u.dB])
def test_units_of_astropy_are_refused(unit):
    image = CCDData(RNG.normal(21, 0.1, (40, 40)), unit=u.adu)
    image._unit = unit  # CCDData itself takes only some of them
    with pytest.raises(InputError, match="not proportional to light"):
        star_mask(image)


@pytest.mark.parametrize(
    "text", ["nanomaggy", "Jy/beam", "MJy/sr", "electron/s", "counts", "ADU", "DN", "erg/cm2/s", ""]
)
def test_units_of_light_are_taken(tmp_path, text):
    fits.writeto(tmp_path / "a.fits", RNG.normal(21, 1, (40, 40)), fits.Header({"BUNIT": text}))
    assert star_mask(tmp_path / "a.fits").shape == (40, 40)
