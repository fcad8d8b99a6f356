"""Masks in files of their own: their bits mean what the header says."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.data.formats.masks import read_mask
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError, InputError

RNG = np.random.default_rng(5)
SHAPE = (48, 56)
PIXELS = RNG.normal(100, 3, SHAPE).astype("f4")
DECAM = {"PRODTYPE": "dqmask", "PLVER": "V4.1"}
PS1 = {"MSKNAM00": "DETECTOR", "MSKVAL00": 1, "MSKNAM01": "GHOST", "MSKVAL01": 2}


@pytest.fixture
def image(tmp_path):
    """Write an image with a ruined pixel, whose mask lies in another file."""
    pixels = PIXELS.copy()
    pixels[10, 20] = 60_000
    fits.writeto(tmp_path / "image.fits", pixels, fits.Header({"INSTRUME": "ZTF/MOSAIC"}))
    return tmp_path / "image.fits"


def write(path, bits, header=None, **options):
    """Write a mask with bits in one row of three pixels; the others are 0."""
    values = np.zeros(SHAPE, "i2")
    values[10, 20:23] = bits
    hdu = fits.ImageHDU(values, fits.Header(header or {}), **options)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path


@pytest.mark.parametrize(
    ("header", "bits", "expected"),
    [
        # 7 marks what differs from other exposures.
        (DECAM, (3, 7, 8), (True, False, True)),
        (PS1, (1, 2, 3), (True, False, True)),
        # Bit 1 says that a source was found; bit 9 that the detector is dead there.
        ({"INSTRUME": "ZTF/MOSAIC"}, (512, 2, 514), (True, False, True)),
        ({}, (1, 0, 1), (True, False, True)),
    ],
)
def test_bits_mean_what_the_header_says(tmp_path, header, bits, expected):
    found = read_mask(write(tmp_path / "mask.fits", bits, header))
    assert tuple(found[10, 20:23]) == expected
    assert found.sum() == sum(expected)


def test_the_image_says_the_instrument_where_the_mask_does_not(tmp_path, image):
    path = write(tmp_path / "mask.fits", (512, 2, 514))
    with pytest.warns(AstroSRWarning, match="meaning of the bits 1, 9 is not known"):
        assert read_mask(path).sum() == 3
    found = read_mask(path, meta=asr.read_image(image).meta)
    assert tuple(found[10, 20:23]) == (True, False, True)


def test_the_extension_of_the_image_is_that_of_the_mask(tmp_path):
    hdus = [fits.PrimaryHDU()]
    for name, column in (("N1", 4), ("N2", 7)):
        values = np.zeros(SHAPE, "u1")
        values[0, column] = 1
        hdus.append(fits.CompImageHDU(values, fits.Header(DECAM), name=name))
    fits.HDUList(hdus).writeto(tmp_path / "ood.fits.fz")
    assert np.argwhere(read_mask(tmp_path / "ood.fits.fz", hdu="N2")).tolist() == [[0, 7]]
    assert np.argwhere(read_mask(tmp_path / "ood.fits.fz")).tolist() == [[0, 4]]
    with pytest.raises(ImageReadError, match="no HDU 'N3'"):
        read_mask(tmp_path / "ood.fits.fz", hdu="N3")


@pytest.mark.parametrize("name", ["mask.xisf", "mask.tif", "mask.fits"])
def test_numbers_in_every_format_exclude_where_they_are_not_zero(tmp_path, name):
    values = np.zeros(SHAPE, "f4")
    values[3, 4] = 0.5
    asr.write_image(values, tmp_path / name)
    assert np.argwhere(read_mask(tmp_path / name)).tolist() == [[3, 4]]


def test_a_verb_takes_the_file_as_the_array(tmp_path, image):
    path = write(tmp_path / "mask.fits", (512, 2, 0))
    excluded = np.zeros(SHAPE, bool)
    excluded[10, 20] = True
    by_file = asr.denoise(image, mask=path, model="wiener")
    by_array = asr.denoise(image, mask=excluded, model="wiener")
    np.testing.assert_array_equal(by_file.data, by_array.data)
    np.testing.assert_array_equal(by_file.mask, excluded)
    assert by_file.data[10, 20] == 60_000


def test_masks_that_cannot_be_used_are_refused(tmp_path, image):
    with pytest.raises(ImageReadError, match="cannot read the mask .*none.fits"):
        asr.denoise(image, mask=tmp_path / "none.fits", model="wiener")
    fits.writeto(tmp_path / "small.fits", np.zeros((5, 6), "u1"))
    with pytest.raises(InputError, match=r"mask has shape \(5, 6\)"):
        asr.denoise(image, mask=tmp_path / "small.fits", model="wiener")


def test_the_command_line_takes_the_file(tmp_path, image, capsys):
    mask = write(tmp_path / "mask.fits", (512, 2, 0))
    out = tmp_path / "out.fits"
    words = ["denoise", image, "-o", out, "--mask", mask, "--model", "wiener"]
    assert main([str(word) for word in words]) == 0
    assert np.argwhere(fits.getdata(out, "MASK")).tolist() == [[10, 20]]
    assert main(["measure", str(image), "--mask", str(mask), "--json"]) == 0
    capsys.readouterr()
    assert main(["measure", str(image), "--mask", str(mask), "--hdu", "all", "--json"]) == 2
    assert "--mask is for one image" in json.loads(capsys.readouterr().out)["error"]


def test_weights_count_relative_to_each_other(recwarn):
    """Weights of drizzled images are exposure times, not inverse variances."""
    weight = np.ones(SHAPE, "f4")
    weight[:, 28:] = 4
    pixels = (100 + (PIXELS - 100) / np.sqrt(weight)).astype("f4")
    results = [
        asr.denoise(
            CCDData(pixels, unit="adu", uncertainty=InverseVariance(factor * weight)),
            model="wiener",
        )
        for factor in (1, 700)
    ]
    np.testing.assert_allclose(results[0].data, results[1].data, rtol=1e-5)
