"""What is written passes the checks of FITS, and comes back the same; failures leave nothing."""

import hashlib
import resource

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS, DistortionLookupTable

from astro_sr_plugin.data.formats.checksum import RunningSum, encode_checksum
from astro_sr_plugin.data.formats.header import quiet
from astro_sr_plugin.data.formats.registry import check_output, read_image, write_image
from astro_sr_plugin.data.output import writing
from astro_sr_plugin.exceptions import InputError, OutputError

RNG = np.random.default_rng(9)
ALL_FITS = ["a.fits", "a.fit", "a.fits.gz", "a.fits.bz2", "a.fits.fz"]


def sky():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [10, 20], [8, 9], [-1e-3, 1e-3]
    wcs.wcs.set()
    return wcs


def image(shape=(12, 17), **parts):
    data = RNG.normal(100, 30, shape).astype("f4")
    return CCDData(data, unit="electron", **parts)


@pytest.mark.parametrize("name", ALL_FITS)
@pytest.mark.parametrize("shape", [(12, 17), (3, 12, 17), (5, 12, 17)])
def test_everything_travels(check, tmp_path, name, shape):
    data = image(shape).data
    data[..., 2, 3] = np.nan
    mask = data > 120
    deviation = np.abs(data)
    meta = fits.Header([("OBJECT", "M 1", "a name"), ("GAIN", 1.5), ("COMMENT", "c")])
    meta.add_history("first")
    given = CCDData(data, unit="electron / s", mask=mask, meta=meta, wcs=sky())
    given.uncertainty = StdDevUncertainty(deviation)
    path = write_image(given, tmp_path / name)
    back = read_image(check(path))
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_array_equal(back.mask, mask)
    np.testing.assert_array_equal(back.uncertainty.array, deviation)
    assert back.unit == u.electron / u.s
    assert (back.meta["OBJECT"], back.meta["GAIN"], list(back.meta["HISTORY"])) == (
        "M 1",
        1.5,
        ["first"],
    )
    points = [[1, 2], [10, 11]]
    np.testing.assert_allclose(back.wcs.all_pix2world(points, 0), sky().all_pix2world(points, 0))
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize("kind", [VarianceUncertainty, InverseVariance])
def test_kinds_of_uncertainty_and_plain_readers(check, tmp_path, kind):
    given = image(uncertainty=kind(np.ones((12, 17))))
    path = check(write_image(given, tmp_path / "a.fits"))
    assert type(read_image(path).uncertainty) is kind
    other = CCDData.read(path)
    assert type(other.uncertainty) is kind
    np.testing.assert_array_equal(other.data, given.data)


@pytest.mark.parametrize("name", ALL_FITS)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float64"])
def test_original_type_comes_back(check, tmp_path, name, dtype):
    data = RNG.integers(0, 200, (9, 8)).astype(dtype)
    data[0, 0] = 255
    fits.PrimaryHDU(data).writeto(tmp_path / "in.fits")
    ccd = read_image(tmp_path / "in.fits")
    path = write_image(ccd, tmp_path / name, dtype="original")
    with fits.open(check(path)) as hdus:
        stored = next(hdu.data for hdu in hdus if hdu.data is not None)
        assert stored.dtype.newbyteorder("=") == dtype
        np.testing.assert_array_equal(stored, data)
    assert not [key for key in fits.getheader(path, -1) if key.startswith("ASR")]


@pytest.mark.parametrize("name", ["a.fits", "a.fits.fz"])
def test_original_scale_and_blank_come_back(check, tmp_path, name):
    stored = np.array([[1, 2, -99], [4, -30000, 32000]], dtype="int16")
    header = fits.Header([("BSCALE", 0.25), ("BZERO", 1000.5), ("BLANK", -99)])
    hdu = fits.PrimaryHDU(stored, do_not_scale_image_data=True)
    hdu.header.update(header)
    hdu.writeto(tmp_path / "in.fits")
    ccd = read_image(tmp_path / "in.fits")
    assert ccd.data[0, 0] == 1000.75
    path = check(write_image(ccd, tmp_path / name, dtype="original"))
    with fits.open(path, do_not_scale_image_data=True) as hdus:
        assert len(hdus) == (2 if name.endswith("fz") else 1)
        np.testing.assert_array_equal(hdus[-1].data, stored)
        assert hdus[-1].header["BLANK"] == -99
    back = read_image(path)
    np.testing.assert_array_equal(back.data, ccd.data)
    np.testing.assert_array_equal(back.mask, ccd.mask)


def test_values_that_do_not_fit_are_refused(tmp_path):
    data = np.array([[0.0, 70000.0], [-3.0, 65535.4]])
    with pytest.raises(InputError, match=r"2 pixels do not fit into dtype='uint16' \(0 to 65535\)"):
        write_image(data, tmp_path / "a.fits", dtype="uint16")
    with pytest.raises(InputError, match="1 pixels do not fit into float32"):
        write_image(np.array([[1e39, 1.0]]), tmp_path / "a.fits", dtype="float32")
    with pytest.raises(InputError, match="'complex64' cannot be written"):
        write_image(data, tmp_path / "a.fits", dtype="complex64")
    with pytest.raises(InputError, match="cannot be written; allowed are"):
        write_image(data, tmp_path / "a.fits", dtype="no type")
    both_ends = np.array([[0, 65535, np.nan]])
    with pytest.raises(InputError, match="1 pixels are NaN"):
        write_image(both_ends, tmp_path / "a.fits", dtype="uint16")
    assert list(tmp_path.iterdir()) == []


def test_nan_becomes_blank_and_values_are_rounded(check, tmp_path):
    data = np.array([[0, np.nan, 2.6, 65534.4]])
    back = read_image(check(write_image(data, tmp_path / "a.fits", dtype="uint16")))
    np.testing.assert_array_equal(back.data, [[0, np.nan, 3, 65534]])
    np.testing.assert_array_equal(back.mask, [[False, True, False, False]])


@pytest.mark.parametrize("dtype", ["bool", ">i2", "float16", "longdouble", "int8"])
def test_types_of_arrays(check, tmp_path, dtype):
    data = RNG.integers(0, 2, (4, 5)).astype(dtype)
    back = read_image(check(write_image(data, tmp_path / "a.fits")))
    np.testing.assert_array_equal(back.data, data.astype("f8"))


@pytest.mark.parametrize("name", ALL_FITS)
def test_odd_headers_are_written_clean(check, tmp_path, odd_file, name):
    ccd = read_image(odd_file)
    back = read_image(check(write_image(ccd, tmp_path / name)))
    for card in ccd.meta.cards:
        if card.keyword not in ("TWICE", "COMMENT", "HISTORY", ""):
            assert back.meta[card.keyword] == ccd.meta[card.keyword]
    assert list(back.meta["HISTORY"]) == list(ccd.meta["HISTORY"])
    if name.endswith(".fz"):
        assert "TWICE   = 2" in back.meta["COMMENT"]
    else:
        assert back.meta.count("TWICE") == 2


@pytest.mark.parametrize("name", ["a.fits", "a.tif", "a.xisf"])
@pytest.mark.parametrize("text", ["'/x)il", "5'/px", "' / '", "''", "&'/ '" * 20 + "&"])
def test_quotes_in_texts_come_back(check, tmp_path, name, text):
    meta = fits.Header({"OBJECT": text})
    meta["OBSERVER"] = ("it's", "a '/' in a comment")
    write_image(image(meta=meta), tmp_path / name)
    back = read_image(tmp_path / name).meta
    assert back["OBJECT"] == text
    assert (back["OBSERVER"], back.comments["OBSERVER"]) == ("it's", "a '/' in a comment")
    if name == "a.fits":
        check(tmp_path / name)


def test_any_dict_as_metadata(check, tmp_path):
    meta = {"object": "Größe", "a very long key name": 3, "list": [1, 2], "none": None}
    meta |= {"nan": np.nan, "number": np.float32(2.5), "text": "x" * 200, "noted": (3, "why")}
    meta |= {"NAXIS": 7, "newline": "a\nb", "k" * 90: 1}
    back = read_image(check(write_image(NDData(np.ones((3, 4)), meta=meta), tmp_path / "a.fits")))
    assert back.meta["OBJECT"] == "Gro?e"
    assert back.meta["A VERY LONG KEY NAME"] == 3
    assert (back.meta["LIST"], back.meta["NUMBER"], back.meta["NAN"]) == ("[1, 2]", 2.5, "nan")
    assert (back.meta["TEXT"], back.meta["NOTED"], back.meta["NEWLINE"]) == ("x" * 200, 3, "a b")
    assert back.shape == (3, 4)


def test_header_read_by_astropy_with_bad_cards_is_written_clean(check, tmp_path, odd_file):
    with quiet(), fits.open(odd_file) as hdus:
        header = hdus[0].header
        path = write_image(CCDData(np.ones((3, 4)), unit="adu", meta=header), tmp_path / "a.fits")
    back = read_image(check(path))
    assert back.meta["GAIN"] == "1,5"
    assert back.meta["LONG"] == "one two three"


def test_slices_move_the_coordinates(check, tmp_path):
    with_header = CCDData(np.ones((20, 30)), unit="adu", wcs=sky(), meta=sky().to_header())
    write_image(with_header, tmp_path / "a.fits")
    cut = read_image(tmp_path / "a.fits")[4:12, 7:25]
    back = read_image(check(write_image(cut, tmp_path / "b.fits")))
    there = back.wcs.all_pix2world([[1, 2]], 0)
    np.testing.assert_allclose(there, sky().all_pix2world([[8, 6]], 0), rtol=1e-12)


def test_lookup_distortions_travel(check, tmp_path):
    wcs = sky()
    table = RNG.normal(size=(5, 6)).astype("f4")
    wcs.cpdis1 = DistortionLookupTable(table, (1, 1), (1, 1), (4, 4))
    wcs.cpdis2 = DistortionLookupTable(-table, (1, 1), (1, 1), (4, 4))
    path = check(write_image(image(wcs=wcs), tmp_path / "a.fits"))
    back = read_image(path)
    points = RNG.uniform(0, 11, (20, 2))
    np.testing.assert_allclose(
        back.wcs.all_pix2world(points, 0), wcs.all_pix2world(points, 0), atol=1e-9
    )
    assert not [key for key in back.meta if key.startswith(("CPDIS", "DP"))]
    again = read_image(check(write_image(back, tmp_path / "b.fits")))
    np.testing.assert_array_equal(again.wcs.cpdis1.data, table)


def test_unit_is_kept_as_spelt(tmp_path):
    fits.PrimaryHDU(np.ones((3, 3)), fits.Header([("BUNIT", "ELECTRONS/S")])).writeto(
        tmp_path / "a.fits"
    )
    ccd = read_image(tmp_path / "a.fits")
    assert fits.getval(write_image(ccd, tmp_path / "b.fits"), "BUNIT") == "ELECTRONS/S"
    ccd.unit = "Jy"
    assert fits.getval(write_image(ccd, tmp_path / "c.fits"), "BUNIT") == "Jy"
    plain = write_image(np.ones((3, 3)), tmp_path / "d.fits")
    assert "BUNIT" not in fits.getheader(plain)


def test_input_stays_and_existing_output_needs_leave(tmp_path):
    path = write_image(image(), tmp_path / "a.fits")
    before = hashlib.sha256(path.read_bytes()).digest()
    ccd = read_image(path)
    with pytest.raises(OutputError, match="exists already"):
        write_image(ccd, path)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    values = ccd.data.copy()
    write_image(ccd.multiply(2), path, overwrite=True)
    np.testing.assert_array_equal(read_image(path).data, 2 * values)
    np.testing.assert_array_equal(ccd.data, values)


def test_places_that_cannot_be_written(tmp_path):
    ccd = image()
    for path, reason in (
        (tmp_path / "none" / "a.fits", "does not exist"),
        (tmp_path / "a.jpg", "has to end in one of .fits"),
        (tmp_path / ".fits", "has to end in one of .fits"),
    ):
        with pytest.raises(OutputError, match=reason):
            write_image(ccd, path)
        with pytest.raises(OutputError, match=reason):
            check_output(path)
    (tmp_path / "d.fits").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        write_image(ccd, tmp_path / "d.fits", overwrite=True)
    assert check_output(tmp_path / "a.fits") == tmp_path / "a.fits"


def test_links_are_followed(tmp_path):
    target = write_image(image(), tmp_path / "a.fits")
    (tmp_path / "link.fits").symlink_to(target)
    write_image(image((4, 5)), tmp_path / "link.fits", overwrite=True)
    assert (tmp_path / "link.fits").is_symlink()
    assert read_image(target).shape == (4, 5)


@pytest.mark.parametrize("name", [*ALL_FITS, "a.xisf", "a.tif"])
def test_full_disk_leaves_nothing(tmp_path, name):
    big = RNG.normal(size=(300, 300))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with pytest.raises(OutputError, match="not enough room"):
            write_image(big, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012, SIM117 - it has to come from within
        with writing(tmp_path / "a.fits") as part:
            part.write_bytes(b"half")
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 3, 4, 2880, 5001])
def test_checksum_is_that_of_astropy(size):
    data = RNG.integers(0, 256, size).astype("u1")
    total = RunningSum()
    for piece in np.array_split(data, 7):
        total.add(piece)
    hdu = fits.ImageHDU(data if size else None)
    hdu.add_checksum()
    assert str(total.value) == hdu.header["DATASUM"]


def test_encoded_checksum_makes_the_sum_minus_zero():
    for value in RNG.integers(0, 2**32, 200):
        text = encode_checksum(int(value))
        assert text.isalnum()
        total = RunningSum(int(value))
        # The text starts at column 12 of its card, one byte before a word boundary; the sum
        # was taken with zeros (0x30) in its place.
        total.add(np.frombuffer((text[1:] + text[0]).encode(), "u1"))
        zeros = RunningSum()
        zeros.add(b"0" * 16)
        assert total.value % 0xFFFFFFFF == zeros.value % 0xFFFFFFFF


def test_astropy_reads_what_we_write_without_being_told_the_unit(tmp_path):
    image = CCDData(np.ones((8, 9), np.float32), unit="adu")
    write_image(image, tmp_path / "counts.fits")
    assert CCDData.read(tmp_path / "counts.fits").unit == "adu"
