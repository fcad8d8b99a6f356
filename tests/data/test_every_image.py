"""Every image of a file is worked on, and everything else comes through."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.data.formats.every_image import list_images, map_images
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.exceptions import AstroSRWarning

RNG = np.random.default_rng(11)
SHAPE = (32, 40)


@pytest.fixture
def mef(tmp_path):
    """Make a file in the layout of Hubble's, with two detectors and a table."""
    primary = fits.PrimaryHDU()
    primary.header.update({"TELESCOP": "HST", "INSTRUME": "ACS", "OBJECT": "M 51"})
    primary.header["HISTORY"] = "of the file"
    hdus = [primary]
    for version in (1, 2):
        science = fits.ImageHDU(RNG.normal(100, 3, SHAPE).astype("f4"), name="SCI", ver=version)
        science.header.update({"CCDCHIP": version, "BUNIT": "electron"})
        science.header["HISTORY"] = f"of chip {version}"
        bits = np.zeros(SHAPE, "i2")
        bits[version, 5], bits[9, 9] = 4, 64
        hdus += [
            science,
            fits.ImageHDU(np.full(SHAPE, 3, "f4"), name="ERR", ver=version),
            fits.ImageHDU(bits, name="DQ", ver=version),
        ]
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])], name="WCSCORR")
    fits.HDUList([*hdus, table]).writeto(tmp_path / "flt.fits", checksum=True)
    return tmp_path / "flt.fits"


def names_of(path):
    with fits.open(path) as hdus:
        return [(hdu.name, hdu.ver) for hdu in hdus]


def test_images_are_listed(mef):
    assert list_images(mef) == {1: "SCI,1", 4: "SCI,2"}


def test_every_image_is_changed_and_the_rest_is_copied(mef, tmp_path, check):
    def double(image):
        assert image.mask.sum() == 1
        error = StdDevUncertainty(2 * image.uncertainty.array)
        return CCDData(2 * image.data, unit=image.unit, meta=image.meta, uncertainty=error)

    headers = map_images(double, mef, tmp_path / "out.fits")
    assert list(headers) == ["SCI,1", "SCI,2"]
    check(tmp_path / "out.fits")
    assert names_of(tmp_path / "out.fits") == names_of(mef)
    with fits.open(mef) as before, fits.open(tmp_path / "out.fits") as after:
        for version in (1, 2):
            np.testing.assert_array_equal(
                after["SCI", version].data, 2 * before["SCI", version].data
            )
            assert np.all(after["ERR", version].data == 6)
            np.testing.assert_array_equal(after["DQ", version].data, before["DQ", version].data)
            header = after["SCI", version].header
            assert (header["CCDCHIP"], list(header["HISTORY"])) == (version, [f"of chip {version}"])
            assert "OBJECT" not in header
        assert after[0].header["OBJECT"] == "M 51"
        np.testing.assert_array_equal(after["WCSCORR"].data["a"], [1, 2])
    assert read_image(tmp_path / "out.fits", hdu="SCI,2").meta["OBJECT"] == "M 51"


def test_masks_follow_the_pixels(mef, tmp_path, recwarn, check):
    arguments = ["super-resolve", str(mef), "--hdu", "all", "-o", str(tmp_path / "big.fits")]
    assert main([*arguments, "--model", "bicubic", "--psf", "3,3", "--progress", "none"]) == 0
    check(tmp_path / "big.fits")
    with fits.open(mef) as before, fits.open(tmp_path / "big.fits") as after:
        for version in (1, 2):
            assert after["SCI", version].shape == (64, 80)
            expected = before["DQ", version].data.repeat(2, 0).repeat(2, 1)
            np.testing.assert_array_equal(after["DQ", version].data, expected)
            assert after["DQ", version].data.dtype == ">i2"
        assert "ERR" not in after


def test_measure_shows_every_image(mef, capsys):
    assert main(["measure", str(mef), "--hdu", "all", "--json", "--progress", "none"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [result["hdu"] for result in results] == ["SCI,1", "SCI,2"]


def test_an_error_in_the_work_leaves_nothing(mef, tmp_path):
    def fail(image):
        raise RuntimeError(image.meta["CCDCHIP"])

    with pytest.raises(RuntimeError):
        map_images(fail, mef, tmp_path / "out.fits")
    assert [path.name for path in tmp_path.iterdir()] == ["flt.fits"]


def test_what_is_refused(mef, tmp_path):
    with pytest.raises(asr.OutputError, match=r"\.fits, \.fit or \.fts"):
        map_images(asr.denoise, mef, tmp_path / "out.fits.fz")
    with pytest.raises(asr.ImageReadError, match="every image of a file"):
        read_image(mef, hdu="all")
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    with pytest.raises(asr.ImageReadError, match="holds no image; it has 0 PRIMARY"):
        map_images(asr.denoise, tmp_path / "empty.fits", tmp_path / "out.fits")


@pytest.mark.parametrize(
    "function",
    [asr.measure, asr.star_mask, asr.apply_stretch, lambda p, hdu: asr.audit(p, p, hdu=hdu)],
)
def test_functions_take_an_extension(mef, function):
    with pytest.raises(asr.ImageReadError, match="there is no HDU 'SCI,3'"):
        function(mef, hdu="SCI,3")


def test_a_stretch_of_a_file_is_undone_on_its_file(mef, tmp_path):
    asr.write_image(asr.apply_stretch(mef, hdu=("SCI", 2)), tmp_path / "s.fits")
    again = asr.undo_stretch(tmp_path / "s.fits")
    np.testing.assert_allclose(again.data, read_image(mef, hdu="SCI,2").data, rtol=1e-6)


def test_distortion_tables_of_finer_pixels_are_left_out_with_a_warning(mef, tmp_path):
    with fits.open(mef) as hdus:
        header = hdus["SCI", 2].header
        header["CPDIS1"], header["D2IMDIS1"] = "LOOKUP", "LOOKUP"
        hdus.writeto(tmp_path / "tables.fits")

    def enlarge(image):
        data = image.data.repeat(2, -1).repeat(2, -2)
        return CCDData(data, unit=image.unit, meta=image.meta)

    with pytest.warns(AstroSRWarning, match=r"SCI,2: the world .* leave out the distortion tables"):
        map_images(enlarge, tmp_path / "tables.fits", tmp_path / "out.fits")
    assert "CPDIS1" not in fits.getheader(tmp_path / "out.fits", ("SCI", 2))
    map_images(lambda image: image, tmp_path / "tables.fits", tmp_path / "same.fits")
    assert fits.getheader(tmp_path / "same.fits", ("SCI", 2))["CPDIS1"] == "LOOKUP"
