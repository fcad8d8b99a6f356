"""Every kind of FITS image comes in with the right values, and damaged ones say what is wrong."""

import bz2
import gzip
import hashlib
import os
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty, VarianceUncertainty

from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError

RNG = np.random.default_rng(5)


def save(path, data, header=None, **keywords):
    hdu = fits.PrimaryHDU(data)
    hdu.header.update(header or {})
    hdu.writeto(path, **keywords)
    return path


@pytest.mark.parametrize(
    ("stored", "float_type"),
    [
        ("uint8", "float32"),
        ("int16", "float32"),
        ("uint16", "float32"),
        ("int32", "float64"),
        ("uint32", "float64"),
        ("int64", "float64"),
        ("float32", ">f4"),
        ("float64", ">f8"),
    ],
)
def test_types(tmp_path, stored, float_type):
    values = RNG.integers(0, 200, (7, 5)).astype(stored)
    values[0, :2] = np.iinfo(stored).max if np.dtype(stored).kind in "iu" else -1e5
    if stored == "int64":
        values[0, :2] = 2**52
    ccd = read_image(save(tmp_path / "a.fits", values))
    assert ccd.data.dtype == np.dtype(float_type)
    assert ccd.meta["ASRDTYPE"] == stored
    np.testing.assert_array_equal(ccd.data, values.astype("f8"))
    assert ccd.unit == u.adu
    assert ccd.mask is None
    assert ccd.wcs is None


def test_scaled_integers_and_blank(tmp_path):
    stored = np.array([[1, 2, -99], [4, 5, 6]], dtype="int16")
    hdu = fits.PrimaryHDU(stored)
    hdu.header["BLANK"] = -99
    hdu.writeto(tmp_path / "a.fits")
    raw = bytearray((tmp_path / "a.fits").read_bytes())
    cards = b"BSCALE  =                  0.5".ljust(80) + b"BZERO   =                100.0".ljust(
        80
    )
    place = raw.index(b"END     ")
    raw[place : place + 240] = cards + b"END".ljust(80)
    (tmp_path / "b.fits").write_bytes(raw)
    ccd = read_image(tmp_path / "b.fits")
    np.testing.assert_array_equal(ccd.data, [[100.5, 101, np.nan], [102, 102.5, 103]])
    np.testing.assert_array_equal(ccd.mask, stored == -99)
    assert ccd.data.dtype == np.float32


def test_nan_is_kept_and_floats_are_mapped(tmp_path):
    data = RNG.normal(size=(6, 9)).astype("f4")
    data[2, 3] = np.nan
    path = save(tmp_path / "a.fits", data)
    before = hashlib.sha256(path.read_bytes()).digest()
    ccd = read_image(path)
    assert isinstance(ccd.data, np.memmap)
    np.testing.assert_array_equal(ccd.data, data)
    ccd.data[0, 0] = 7
    del ccd
    assert hashlib.sha256(path.read_bytes()).digest() == before
    whole = read_image(path, memmap=False)
    assert not isinstance(whole.data, np.memmap)
    np.testing.assert_array_equal(whole.data, data)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".fz"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_compressed(tmp_path, suffix, dtype):
    data = RNG.integers(0, 60000, (40, 30)).astype(dtype)
    path = tmp_path / f"a.fits{suffix}"
    if suffix == ".fz":
        kind = {"compression_type": "RICE_1"} if dtype == "uint16" else {"quantize_level": 0}
        kind = kind if dtype == "uint16" else kind | {"compression_type": "GZIP_1"}
        fits.CompImageHDU(data, **kind).writeto(path)
    else:
        plain = save(tmp_path / "a.fits", data).read_bytes()
        path.write_bytes((gzip if suffix == ".gz" else bz2).compress(plain))
    ccd = read_image(path)
    np.testing.assert_array_equal(ccd.data, data.astype("f8"))
    assert ccd.meta["ASRDTYPE"] == dtype
    assert ccd.data.flags.writeable


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        ((3, 4, 5), (3, 4, 5)),
        ((7, 4, 5), (7, 4, 5)),
        ((1, 4, 5), (4, 5)),
        ((1, 1, 4, 5), (4, 5)),
        ((1, 3, 4, 5), (3, 4, 5)),
        ((1, 5), (1, 5)),
    ],
)
def test_shapes(tmp_path, shape, result):
    data = RNG.normal(size=shape).astype("f4")
    ccd = read_image(save(tmp_path / "a.fits", data))
    np.testing.assert_array_equal(ccd.data, data.reshape(result))


def test_extensions_by_number_and_name(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header.update({"OBJECT": "M 51", "EXPTIME": 30.0, "GAIN": 1.0, "CRVAL1": 7.0})
    one = fits.ImageHDU(np.ones((4, 4), "f4"), name="SCI", ver=1)
    one.header.update({"GAIN": 2.0, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL2": 5.0})
    two = fits.ImageHDU(np.full((4, 4), 2, "i2"), name="SCI", ver=2)
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])], name="CAT")
    line = fits.ImageHDU(np.arange(5.0), name="LINE")
    path = tmp_path / "a.fits"
    fits.HDUList([primary, table, one, two, line]).writeto(path)
    with pytest.warns(AstroSRWarning, match=r"SCI,1 is used, and 1 more .* 3 SCI,2 \(4x4\)"):
        ccd = read_image(path)
    assert ccd.data[0, 0] == 1
    assert (ccd.meta["OBJECT"], ccd.meta["EXPTIME"], ccd.meta["GAIN"]) == ("M 51", 30.0, 2.0)
    assert "CRVAL1" not in ccd.meta
    for hdu in (3, "3", "SCI,2", "sci, 2", ("SCI", 2)):
        assert read_image(path, hdu=hdu).data[0, 0] == 2
    with pytest.raises(
        ImageReadError, match=r"no HDU 9; it has 0 PRIMARY \(no data\), 1 CAT \(tab"
    ):
        read_image(path, hdu=9)
    with pytest.raises(ImageReadError, match="no HDU 'DQ'"):
        read_image(path, hdu="DQ")
    with pytest.raises(ImageReadError, match="'CAT' is a table"):
        read_image(path, hdu="CAT")
    with pytest.raises(ImageReadError, match="'LINE' is 1-D"):
        read_image(path, hdu="LINE")
    with pytest.raises(ImageReadError, match="HDU 0 has no data"):
        read_image(path, hdu=0)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("adu", u.adu),
        ("ADU", u.adu),
        ("electrons/s", u.electron / u.s),
        ("ELECTRONS/S", u.electron / u.s),
        ("Counts", u.count),
        ("MJy/sr", u.MJy / u.sr),
        ("10**-20 erg/s/cm**2", u.Unit("1e-20 erg / (s cm2)")),
        ("data value", u.adu),
    ],
)
def test_units(tmp_path, text, unit):
    ccd = read_image(save(tmp_path / "a.fits", np.ones((3, 3), "f4"), {"BUNIT": text}))
    assert ccd.unit == unit
    assert ccd.meta["BUNIT"] == text


@pytest.mark.parametrize("kind", [StdDevUncertainty, VarianceUncertainty])
def test_files_of_ccddata(tmp_path, kind):
    data = RNG.normal(size=(5, 6)).astype("f4")
    mask = data > 0.5
    path = tmp_path / "a.fits"
    CCDData(data, unit="electron", mask=mask, uncertainty=kind(np.abs(data))).write(path)
    ccd = read_image(path)
    np.testing.assert_array_equal(ccd.mask, mask)
    assert type(ccd.uncertainty) is kind
    np.testing.assert_array_equal(ccd.uncertainty.array, np.abs(data))
    assert ccd.unit == u.electron


def test_wcs_of_a_colour_cube_is_two_dimensional(tmp_path):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 3.0, "CRPIX2": 2.0}
    cards |= {"CD1_1": -1e-3, "CD2_2": 1e-3, "CRVAL1": 10.0, "CRVAL2": 20.0}
    ccd = read_image(save(tmp_path / "a.fits", np.ones((3, 4, 5), "f4"), cards))
    assert ccd.wcs.naxis == 2
    np.testing.assert_allclose(ccd.wcs.all_pix2world([[2, 1]], 0), [[10, 20]])
    spectrum = {"CTYPE1": "WAVE", "CUNIT1": "m", "CTYPE2": "RA---TAN", "CTYPE3": "DEC--TAN"}
    assert read_image(save(tmp_path / "b.fits", np.ones((3, 4, 5), "f4"), spectrum)).wcs is None


def test_invalid_wcs_is_left_with_a_warning(tmp_path):
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": 1.0, "CD1_2": 1.0}
    cards |= {"CD2_1": 1.0, "CD2_2": 1.0}
    path = save(tmp_path / "a.fits", np.ones((3, 4), "f4"), cards)
    with pytest.warns(AstroSRWarning, match="WCS of the image is invalid"):
        ccd = read_image(path)
    assert ccd.wcs is None
    assert ccd.meta["CTYPE1"] == "RA---TAN"


def failure(path, **keywords):
    with pytest.raises(ImageReadError) as caught:
        read_image(path, **keywords)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_what_is_no_image(tmp_path):
    assert "no such file" in failure(tmp_path / "nothing.fits")
    assert "it is a folder" in failure(tmp_path)
    (tmp_path / "a.fits").write_text("hello, this is text\n")
    assert "a text file" in failure(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(b"")
    assert "is empty" in failure(tmp_path / "b.fits")
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "PNG" in failure(tmp_path / "c.png")
    (tmp_path / "d.fits").write_bytes(b"SIMPLE  =                    T")
    assert "cannot read" in failure(tmp_path / "d.fits")
    (tmp_path / "e.fits.gz").write_bytes(gzip.compress(b"no FITS at all"))
    assert "cannot read" in failure(tmp_path / "e.fits.gz")


def test_empty_and_one_dimensional(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    assert "holds no image" in failure(tmp_path / "a.fits")
    assert "only 1-D data" in failure(save(tmp_path / "b.fits", np.arange(5.0)))
    save(tmp_path / "c.fits", np.ones((2, 3), "f4"))
    raw = (tmp_path / "c.fits").read_bytes()
    length = b"NAXIS1  =                    "
    (tmp_path / "c.fits").write_bytes(raw.replace(length + b"3", length + b"0"))
    assert "zero pixels" in failure(tmp_path / "c.fits")
    assert "zero pixels" in failure(tmp_path / "c.fits", hdu=0)
    save(tmp_path / "d.fits", np.ones((2, 3, 4, 5), "f4"))
    assert "only 4-D data" in failure(tmp_path / "d.fits")


@pytest.mark.parametrize("dtype", ["f4", "i2"])
@pytest.mark.parametrize("cut", [2880 * 3, 2880 * 4 + 100])
def test_truncated(tmp_path, dtype, cut):
    raw = save(tmp_path / "a.fits", np.ones((200, 200), dtype)).read_bytes()
    (tmp_path / "b.fits").write_bytes(raw[:cut])
    assert "truncated" in failure(tmp_path / "b.fits")
    packed = gzip.compress(raw)
    (tmp_path / "c.fits.gz").write_bytes(packed[: len(packed) // 2])
    assert "truncated" in failure(tmp_path / "c.fits.gz")
    noise = RNG.integers(0, 30000, (200, 200)).astype("i2")
    fits.CompImageHDU(noise).writeto(tmp_path / "d.fits.fz", overwrite=True)
    raw = (tmp_path / "d.fits.fz").read_bytes()
    (tmp_path / "d.fits.fz").write_bytes(raw[: len(raw) // 2])
    assert "truncated" in failure(tmp_path / "d.fits.fz")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_no_permission(tmp_path):
    path = save(tmp_path / "a.fits", np.ones((3, 3), "f4"))
    path.chmod(0)
    assert "permission denied" in failure(path)


def test_odd_headers_lose_nothing(odd_file, odd_values):
    ccd = read_image(odd_file)
    for key, value in odd_values.items():
        assert ccd.meta[key] == value, key
    assert [card.value for card in ccd.meta.cards if card.keyword == "TWICE"] == [1, 2]
    assert ccd.meta["LONG"] == "one two three"
    assert ccd.meta["NOVAL"] is None
    assert "EQUINOX" not in ccd.meta
    assert list(ccd.meta["HISTORY"]) == ["a first", "second"]
    assert any(re.search("garbage", text) for text in ccd.meta["COMMENT"])
    np.testing.assert_array_equal(ccd.data, np.ones((4, 4)))
