"""What the random files found: each file or image as small as it can be, made in code."""

import contextlib
import struct

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from astropy.io.fits import Header

from astro_sr_plugin import denoise, measure
from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.data.wcs_keywords import read_wcs
from astro_sr_plugin.exceptions import AstroSRError, AstroSRWarning, ImageReadError, InputError

TAN = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0}
TAN |= {"CRPIX1": 5.0, "CRPIX2": 6.0, "CDELT1": -1e-3, "CDELT2": 1e-3}


def header_with(cards):
    header = Header()
    header.update(TAN | cards)
    return header


def test_tiff_whose_last_page_is_followed_by_itself(tmp_path):
    path = tmp_path / "circle.tif"
    tifffile.imwrite(path, np.arange(12, dtype="u2").reshape(3, 4), metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        first = file.pages[0].offset
    tags = struct.unpack_from("<H", content, first)[0]
    struct.pack_into("<I", content, first + 2 + 12 * tags, len(content))
    content += struct.pack("<HI", 0, len(content))  # a page without tags
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match="hdu=N reads another"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, hdu=0).data, np.arange(12).reshape(3, 4))


@pytest.mark.parametrize("lost", [2, 60, 130])
def test_tiff_cut_off_within_its_last_page(tmp_path, lost):
    path = tmp_path / "cut.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((4, 7), "f4"), metadata=None)
        file.write(np.ones((50, 60), "u1"), metadata=None)
    content = path.read_bytes()
    with tifffile.TiffFile(path) as file:
        directory = file.pages[1].offset
    path.write_bytes(content[: directory + 140 - lost])
    with pytest.raises(ImageReadError, match="cannot read .*cut.tif"):
        read_image(path)


# wcslib ended the process for each of these (astropy 8.0).
@pytest.mark.parametrize(
    "cards",
    [
        {"XPIXELSZ": "wide"},
        {"PLTDECSN": 3},
        {"CNPIX1": True},
        {f"PC0{i}_0{j}": 1.0 for i in range(1, 10) for j in range(1, 10)},
        {f"PPO{i}": "a text instead of a number that is quite long" for i in range(1, 7)},
        {"EQUINOX": "J2000", "RADESYS": 2000.0},
    ],
)
def test_world_coordinates_without_the_cards_that_wcslib_cannot_read(cards):
    wcs = read_wcs(header_with(cards), shape=(9, 9), source="file")
    np.testing.assert_allclose(wcs.all_pix2world([[5, 6]], 1), [[10, 20]])


@pytest.mark.parametrize(
    ("keyword", "value", "allowed"),
    [
        ("CRVAL1", "x", "a finite number"),
        ("CRPIX2", True, "a finite number"),
        ("CDELT1", "NaN", "a finite number"),
        ("CTYPE1", 3, "a text"),
        ("A_ORDER", 20_000, "a whole number up to 9"),
        ("WCSAXES", -1, "a whole number up to 9"),
    ],
)
def test_world_coordinates_with_a_wrong_value_are_left_out(keyword, value, allowed):
    header = header_with({keyword: value})
    with pytest.warns(AstroSRWarning, match=f"{keyword} = .* is not {allowed}"):
        assert read_wcs(header, shape=(9, 9), source="file") is None


def test_numbers_in_quotes_are_coordinates():
    wcs = read_wcs(header_with({"CRVAL1": "30.5"}), shape=(9, 9), source="file")
    np.testing.assert_allclose(wcs.all_pix2world([[5, 6]], 1), [[30.5, 20]])


def test_fits_header_that_gives_the_layout_twice(tmp_path):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((3, 4), "i4"), Header({"ANOTHER": 16})).writeto(path)
    path.write_bytes(path.read_bytes().replace(b"ANOTHER ", b"BITPIX  "))
    with pytest.raises(ImageReadError, match="BITPIX is in it twice"):
        read_image(path)


def xisf(path, attributes, block=b"", length=None):
    base = {"geometry": "4:3:1", "sampleFormat": "UInt16"}
    base |= {"location": f"attachment:1024:{len(block)}"} | attributes
    inner = " ".join(f'{key}="{value}"' for key, value in base.items())
    xml = f'<xisf xmlns="http://www.pixinsight.com/xisf"><Image {inner}/></xisf>'.encode()
    head = b"XISF0100" + struct.pack("<II", len(xml) if length is None else length, 0) + xml
    path.write_bytes(head.ljust(1024, b"\0") + block)
    return path


@pytest.mark.parametrize(
    ("attributes", "length", "reason"),
    [
        ({}, 2**32 - 1, "truncated within its header"),
        ({"compression": "zstd:99999999999"}, None, "99999999999 bytes instead of 24"),
        ({"compression": "zlib:24", "subblocks": "4,99999999999"}, None, "instead of 24"),
        ({"compression": "zlib:24", "subblocks": "-1,-1:25,25"}, None, "blocks of sizes"),
        ({"compression": "zlib"}, None, "damaged"),
        ({"location": "attachment:-5:24"}, None, "lies at byte -5"),
        ({"geometry": "99999999999999999999:99999999999:1"}, None, "instead of"),
    ],
)
def test_xisf_sizes_that_are_not_those_of_the_file(tmp_path, attributes, length, reason):
    with pytest.raises(ImageReadError, match=reason):
        read_image(xisf(tmp_path / "a.xisf", attributes, bytes(24), length))


def tiff_with(path, tag, offset, value, **options):
    """Overwrite a part of the entry of a tag in the first directory."""
    pixels = np.arange(48, dtype="u2").reshape(6, 8)
    tifffile.imwrite(path, pixels, photometric="minisblack", byteorder="<", **options)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[tag].offset
    content = bytearray(path.read_bytes())
    struct.pack_into("<I" if offset > 2 else "<H", content, place + offset, value)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("tag", "offset", "value"),
    [
        (258, 0, 324),  # BitsPerSample becomes TileOffsets: an image without axes
        (279, 8, 0),  # a strip of no bytes would be read as zeros
        (256, 8, 2**31 - 1),  # an image of two thousand million columns
        (273, 8, 2**32 - 1),  # a strip beyond the end of the file
    ],
)
def test_tiff_with_wrong_tags(tmp_path, tag, offset, value, caplog):
    path = tiff_with(tmp_path / "a.tif", tag, offset, value, compression="zlib")
    with pytest.raises(ImageReadError, match="cannot read"):
        read_image(path)
    assert not caplog.records


def test_tiff_with_an_odd_tag_that_says_nothing_about_the_pixels(tmp_path, caplog):
    path = tiff_with(tmp_path / "a.tif", 305, 2, 19)
    np.testing.assert_array_equal(read_image(path).data, np.arange(48).reshape(6, 8))
    assert not caplog.records


def test_tiles_of_integers_of_64_bits(tmp_path):
    data = np.array([[2**52, -5], [-(2**52), 3]])
    back = read_image(write_image(data, tmp_path / "a.fits.fz"))
    np.testing.assert_array_equal(back.data, data)


def test_values_near_the_end_of_float64_do_not_fit_into_integers(tmp_path):
    data = np.array([[1e308, -1e308], [1.5, 0.0]])
    with pytest.raises(InputError, match="do not fit"):
        write_image(data, tmp_path / "a.fits", dtype="int16")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("TFIELDS", "99999999999"), ("BLANK", "NaN"), ("BSCALE", "1,5"), ("BLANK", "2.5")],
)
def test_fits_cards_that_the_parser_cannot_read(tmp_path, keyword, value):
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((3, 4), "i4"), Header({"ANOTHER": 16})).writeto(path)
    content = path.read_bytes()
    place = content.index(b"ANOTHER ")
    card = f"{keyword:<8}= {value:>20}".ljust(80).encode()
    path.write_bytes(content[:place] + card + content[place + 80 :])
    with pytest.raises(ImageReadError, match=f"{keyword} is {value}; allowed"):
        read_image(path)


@pytest.mark.parametrize("level", [1e-18, 1e-6])
def test_small_values_never_become_a_black_file(tmp_path, level):
    data = np.random.default_rng(1).normal(level, 0.1 * level, (20, 20))
    with pytest.warns(AstroSRWarning, match="do not fill dtype='uint16'"):
        path = write_image(data, tmp_path / "a.fits", dtype="uint16")
    np.testing.assert_allclose(read_image(path).data, data, atol=1e-4 * level)
    with pytest.raises(InputError, match="only a few values"):
        write_image(data, tmp_path / "a.tif", dtype="uint16")


def test_one_large_value_in_integers_is_read_again(tmp_path):
    data = np.random.default_rng(1).normal(0, 1, (20, 20))
    data[3, 4] = 1e30
    with pytest.warns(AstroSRWarning, match="do not fill dtype='uint16'"):
        path = write_image(data, tmp_path / "a.fits", dtype="uint16")
    np.testing.assert_allclose(read_image(path).data, data, atol=1e26)


@pytest.mark.parametrize("version", ["NaN", "'a'", "1E400"])
def test_fits_extension_whose_version_is_no_number(tmp_path, version):
    path = tmp_path / "a.fits"
    hdu = fits.ImageHDU(np.ones((3, 4), "f4"), Header({"ANOTHER": 16}), name="SCI")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    content = path.read_bytes()
    place = content.index(b"ANOTHER ")
    card = f"EXTVER  = {version:>20}".ljust(80).encode()
    path.write_bytes(content[:place] + card + content[place + 80 :])
    np.testing.assert_array_equal(read_image(path, hdu="SCI").data, 1)


@pytest.mark.parametrize(("dtype", "scale"), [("i2", 1e36), ("i2", 1e-40), ("f4", 1e30)])
def test_scaled_values_outside_float32(tmp_path, dtype, scale):
    path = tmp_path / "a.fits"
    stored = np.array([[1, 20_000], [300, -7]], dtype)
    fits.PrimaryHDU(stored).writeto(path)
    fits.setval(path, "BSCALE", value=scale)
    np.testing.assert_allclose(read_image(path).data, stored * np.float64(scale), rtol=1e-15)


EXTREMES = {
    dtype: np.array([0, 1, -1, 1e-45, np.finfo(dtype).max, np.finfo(dtype).min], dtype)
    for dtype in ("f4", "f8")
}


@pytest.mark.parametrize(
    "image",
    [
        EXTREMES["f4"][np.random.default_rng(4).integers(0, 6, (8, 4))],
        EXTREMES["f8"][np.random.default_rng(0).integers(0, 6, (8, 4))],
        np.random.default_rng(5).normal(0, 1e-60, (32, 40)),
        np.array([0x7F800001, 0x3F800000, 0x40000000], "u4").view("f4")[
            np.random.default_rng(6).integers(0, 3, (16, 24))
        ],
        np.array([0, 255, 0, 1], "f4")[np.random.default_rng(3).integers(0, 4, (32, 40))],
        np.random.default_rng(0).normal(0, 1e18, (32, 40)),
    ],
)
def test_extreme_values_are_measured_or_refused(image):
    with contextlib.suppress(AstroSRError):
        measure(image)
    with contextlib.suppress(AstroSRError):
        result = denoise(image, model="wiener")
        assert result.shape == image.shape
        assert np.isfinite(result[np.isfinite(image)]).all()


def test_results_beyond_float32_come_back_as_they_were():
    largest = np.finfo("f4").max
    image = np.array([[np.nan, largest, largest, -largest, 1e30, np.nan]], "f4")
    result = denoise(image, model="wiener")
    assert np.isfinite(result[np.isfinite(image)]).all()


def test_unknown_encoding_of_an_xisf_header(tmp_path):
    header = b'<?xml version="1.0" encoding="UTFD"?><xisf version="1.0"></xisf>'
    path = tmp_path / "a.xisf"
    path.write_bytes(b"XISF0100" + struct.pack("<II", len(header), 0) + header)
    with pytest.raises(ImageReadError, match="unknown encoding"):
        read_image(path)


def test_truncated_tiff_does_not_lose_planes(tmp_path):
    path = tmp_path / "a.tif"
    planes = np.arange(96, dtype="f4").reshape(4, 4, 6)
    tifffile.imwrite(path, planes, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    content = path.read_bytes()
    path.write_bytes(content[:second])
    with pytest.raises(ImageReadError, match="missing"):
        read_image(path)


@pytest.mark.parametrize("largest", [np.finfo("f8").max, 1e300])
def test_values_at_the_end_of_float64_come_back_as_they_were(largest):
    rng = np.random.default_rng(2)
    image = np.array([0, 1e-45, 1, largest, -largest])[rng.integers(0, 5, (3, 9, 7))]
    result = denoise(image, model="wiener")
    assert np.isfinite(result).all()


def test_one_difference_that_is_far_smaller_than_the_others_is_no_step():
    image = np.zeros((40, 48))
    image[30, 47] = 1e-6  # at the edge: one difference
    image[33, 35] = image[26, 16] = 1.0
    assert measure(image).n_stars == (0,)


@pytest.mark.filterwarnings("ignore::astro_sr_plugin.AstroSRWarning")
def test_pixels_beyond_float32_in_units_of_the_noise():
    image = np.random.default_rng(1).normal(0.1, 0.4, (9, 8))
    image[6, 3], image[2, 2] = 3.4e38, -3.4e38
    result = denoise(image, model="wiener")
    assert (result[6, 3], result[2, 2]) == (image[6, 3], image[2, 2])
