"""An image of a multi-extension file comes with its own mask, uncertainty and flags."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty

import astro_sr_plugin as asr
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.exceptions import AstroSRWarning

SHAPE = (6, 8)
# One pixel of each bit.
BITS = np.zeros(SHAPE, "i4")
BITS.ravel()[:24] = 1 << np.arange(24)


def image(value, name, ver=1, header=None):
    return fits.ImageHDU(np.full(SHAPE, value, "f4"), header, name=name, ver=ver)


def flags(name, ver=1, header=None, values=BITS):
    return fits.ImageHDU(values, fits.Header(header or {}), name=name, ver=ver)


def save(path, *hdus, **keywords):
    primary = fits.PrimaryHDU()
    primary.header.update(keywords)
    fits.HDUList([primary, *hdus]).writeto(path)
    return path


def excluded_bits(ccd):
    """Return the numbers of the bits whose pixel is excluded."""
    assert not ccd.mask.ravel()[24:].any()
    return np.flatnonzero(ccd.mask.ravel()).tolist()


LSST = {"BAD": 0, "SAT": 1, "INTRP": 2, "CR": 3, "EDGE": 4, "DETECTED": 5}
LSST |= {"DETECTED_NEGATIVE": 6, "SUSPECT": 7, "NO_DATA": 8}


def lsst(**further):
    return {f"HIERARCH MP_{name}": bit for name, bit in (LSST | further).items()}


def test_planes_of_lsst_by_name(tmp_path):
    path = tmp_path / "a.fits"
    values = BITS % (1 << 9)
    save(path, image(1, "IMAGE"), flags("MASK", header=lsst(), values=values), image(4, "VARIANCE"))
    ccd = read_image(path)
    assert excluded_bits(ccd) == [0, 1, 3, 4, 8]
    assert isinstance(ccd.uncertainty, VarianceUncertainty)
    assert np.all(ccd.uncertainty.array == 4)
    np.testing.assert_array_equal(ccd.flags["MASK"], values)


def test_a_coadd_keeps_pixels_where_one_exposure_had_a_cosmic_ray(tmp_path):
    path = tmp_path / "a.fits"
    values = BITS % (1 << 10)
    save(path, image(1, "IMAGE"), flags("MASK", header=lsst(CLIPPED=9), values=values))
    assert excluded_bits(read_image(path)) == [0, 1, 8]


def test_unknown_planes_are_named_and_exclude_nothing(tmp_path):
    path = tmp_path / "a.fits"
    save(path, image(1, "IMAGE"), flags("MASK", header=lsst(MYSTERY=9), values=BITS % (1 << 10)))
    with pytest.warns(AstroSRWarning, match=r"MASK: bits of unknown meaning \(9\) are set"):
        assert excluded_bits(read_image(path)) == [0, 1, 3, 4, 8]


@pytest.mark.parametrize(
    ("keywords", "names", "bits", "expected"),
    [
        ({"TELESCOP": "JWST", "INSTRUME": "NIRCAM"}, ("SCI", "DQ"), 24, [0]),
        (
            {"TELESCOP": "HST", "INSTRUME": "ACS"},
            ("SCI", "DQ"),
            15,
            [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14],
        ),
        (
            {"TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR"},
            ("SCI", "DQ"),
            15,
            [0, 1, 2, 3, 4, 7, 8, 12, 14],
        ),
        ({"TELESCOP": "Gemini-North", "INSTRUME": "GMOS-N"}, ("SCI", "DQ"), 7, [0, 2, 3, 4, 6]),
        (
            {"TELESCOP": "CTIO 4.0-m telescope", "INSTRUME": "DECam"},
            ("SCI", "MSK"),
            12,
            [0, 1, 3, 4, 6, 7, 9, 10],
        ),
        ({"TELESCOP": "EUCLID", "INSTRUME": "VIS"}, ("3-4.E.SCI", "3-4.E.FLG"), 24, [0, 3, 4, 22]),
    ],
)
def test_bits_by_telescope(tmp_path, keywords, names, bits, expected):
    path = tmp_path / "a.fits"
    values = BITS % (1 << bits)
    save(path, image(1, names[0]), flags(names[1], values=values), **keywords)
    assert excluded_bits(read_image(path)) == expected


def test_planes_of_pan_starrs_by_name(tmp_path):
    cards = {"MSKNAM00": "DETECTOR", "MSKVAL00": 1, "MSKNAM01": "GHOST", "MSKVAL01": 2}
    cards |= {"MSKNAM02": "CONV.BAD", "MSKVAL02": 4}
    path = save(tmp_path / "a.fits", image(1, "SCI"), flags("MASK", header=cards, values=BITS % 8))
    assert excluded_bits(read_image(path)) == [0, 2]


@pytest.mark.parametrize(
    ("version", "expected"), [("V5.2", [1, 2, 3, 4, 5, 6, 8]), ("V3.1.0", [1, 2, 3, 5, 6, 7, 9])]
)
def test_values_of_the_decam_pipeline(tmp_path, version, expected):
    codes = np.zeros(SHAPE, "i2")
    codes.ravel()[:10] = np.arange(10)
    cards = {"PRODTYPE": "dqmask", "PLVER": version}
    path = save(tmp_path / "a.fits", image(1, "SCI"), flags("DQ", header=cards, values=codes))
    assert excluded_bits(read_image(path)) == expected


def test_bits_without_a_meaning_exclude_with_a_warning(tmp_path):
    path = save(tmp_path / "a.fits", image(1, "SCI"), flags("DQ", values=BITS % 8))
    with pytest.warns(AstroSRWarning, match=r"6\.2 % of them.* bits 0, 1, 2 is not"):
        assert excluded_bits(read_image(path)) == [0, 1, 2]


def test_a_mask_of_0_and_1_needs_no_meaning(tmp_path):
    values = (BITS > 0).astype("u1")
    path = save(tmp_path / "a.fits", image(1, "SCI"), flags("MASK", values=values))
    ccd = read_image(path)
    np.testing.assert_array_equal(ccd.mask, BITS > 0)
    assert ccd.flags is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("UNCERT", StdDevUncertainty),
        ("ERR", StdDevUncertainty),
        ("STDDEV", StdDevUncertainty),
        ("SIGMA", StdDevUncertainty),
        ("VAR", VarianceUncertainty),
        ("VARIANCE", VarianceUncertainty),
        ("IVAR", InverseVariance),
        ("WHT", InverseVariance),
        ("WEIGHT", InverseVariance),
    ],
)
def test_uncertainties_by_name(tmp_path, name, kind):
    path = save(tmp_path / "a.fits", image(1, "SCI"), image(2, "AREA"), image(3, name))
    ccd = read_image(path)
    assert type(ccd.uncertainty) is kind
    assert np.all(ccd.uncertainty.array == 3)


def test_the_error_comes_before_the_weight(tmp_path):
    hdus = [image(1, "SCI"), image(2, "WHT"), image(3, "VAR_POISSON"), image(4, "ERR")]
    ccd = read_image(save(tmp_path / "a.fits", *hdus))
    assert np.all(ccd.uncertainty.array == 4)


def pairs():
    """Return files of two images with companions, and the name of the second image."""
    yield [image(1, "SCI"), image(3, "ERR"), image(2, "SCI", 2), image(4, "ERR", 2)], "SCI,2"
    yield [image(1, "SCI"), image(2, "SCI", 2), image(4, "ERR", 2), image(3, "ERR")], "SCI,2"
    yield [image(1, "A.SCI"), image(4, "B.RMS"), image(3, "A.RMS"), image(2, "B.SCI")], "B.SCI"
    yield [image(1, "N1"), image(3, "ERR"), image(2, "N2"), image(4, "ERR")], "N2"
    yield [image(1, "SCI_1"), image(3, "ERR_1"), image(2, "SCI_2"), image(4, "ERR_2")], "SCI_2"


@pytest.mark.parametrize(("hdus", "second"), list(pairs()))
def test_an_image_has_its_own_companions(tmp_path, hdus, second):
    path = save(tmp_path / "a.fits", *hdus)
    with pytest.warns(AstroSRWarning, match="1 more images are not"):
        first = read_image(path)
    assert (first.data[0, 0], first.uncertainty.array[0, 0]) == (1, 3)
    other = read_image(path, hdu=second)
    assert (other.data[0, 0], other.uncertainty.array[0, 0]) == (2, 4)


def test_a_companion_of_another_shape_is_not_used(tmp_path):
    other = fits.ImageHDU(np.ones((3, 3), "f4"), name="ERR")
    assert read_image(save(tmp_path / "a.fits", image(1, "SCI"), other)).uncertainty is None


@pytest.mark.parametrize("suffix", [".fits", ".fits.fz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4"])
def test_flags_are_written_back(tmp_path, suffix, dtype):
    values = (BITS % (1 << 5)).astype(dtype)
    if dtype != "u1":
        values.ravel()[30] = np.iinfo(dtype).max // 2 + 1
    path = save(tmp_path / "a.fits", image(1, "SCI"), flags("DQ", values=values), TELESCOP="JWST")
    ccd = read_image(path)
    result = tmp_path / f"b{suffix}"
    write_image(ccd, result)
    again = read_image(result)
    assert again.flags["DQ"].dtype == values.dtype
    np.testing.assert_array_equal(again.flags["DQ"], values)
    np.testing.assert_array_equal(again.mask, ccd.mask)
    with fits.open(result) as hdus:
        assert "MASK" not in hdus


def test_a_mask_that_says_more_than_the_flags_is_kept(tmp_path):
    values = BITS % (1 << 9)
    path = save(tmp_path / "a.fits", image(1, "IMAGE"), flags("MASK", header=lsst(), values=values))
    ccd = read_image(path)
    ccd.mask[5, 5] = True
    write_image(ccd, tmp_path / "b.fits")
    again = read_image(tmp_path / "b.fits")
    np.testing.assert_array_equal(again.mask, ccd.mask)
    np.testing.assert_array_equal(again.flags["MASK"], values)


def test_a_plain_array_of_flags_is_written(tmp_path):
    write_image(CCDData(np.ones(SHAPE, "f4"), unit="adu", flags=BITS), tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        np.testing.assert_array_equal(hdus["DQ"].data, BITS)


@pytest.mark.parametrize("streamed", [False, True])
def test_flags_follow_the_pixels_of_a_doubled_image(tmp_path, streamed):
    values = np.zeros((32, 32), "i4")
    values[3, 4], values[5, 6] = 1, 4
    data = np.random.default_rng(0).normal(100, 1, (32, 32)).astype("f4")
    hdus = [fits.ImageHDU(data, name="SCI"), flags("DQ", values=values)]
    path = save(tmp_path / "a.fits", *hdus, TELESCOP="JWST")
    out = {"out": tmp_path / "b.fits"} if streamed else {}
    big = asr.super_resolve(path, model="bicubic", psf=(3, 3), **out)
    np.testing.assert_array_equal(big.flags["DQ"], values.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(big.mask, (values & 1).repeat(2, 0).repeat(2, 1) > 0)


@pytest.mark.parametrize(
    "names",
    [
        ("CAMERA.CCD 1.1 cal", "CAMERA.CCD 1.1 uncert"),
        ("DET11.SCI", "DET11.RMS"),
        ("SCI", "ERR"),
    ],
)
def test_planes_that_describe_an_image_are_no_images(tmp_path, names):
    others = [image(9, name) for name in ("CON", "CTX", "VAR_POISSON", "AREA")]
    ccd = read_image(save(tmp_path / "a.fits", image(5, names[0]), *others, image(2, names[1])))
    assert (ccd.data[0, 0], ccd.uncertainty.array[0, 0]) == (5, 2)
