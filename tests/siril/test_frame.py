"""Regions, headers and temporary files between Siril and the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astro_sr_siril.frame import (
    Region,
    as_float,
    for_siril,
    merge_headers,
    parse_header,
    read_result,
    shift_grid,
    write_input,
)
from astropy.io import fits
from astropy.io.fits import Header
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

HEIGHT, WIDTH = 40, 60


@given(st.integers(0, 59), st.integers(0, 39), st.integers(1, 60), st.integers(1, 40))
def test_selections_count_from_the_top(x: int, top: int, w: int, h: int) -> None:
    w, h = min(w, WIDTH - x), min(h, HEIGHT - top)
    image = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    region = Region.from_selection((x, top, w, h), image.shape)
    wanted = image[HEIGHT - top - h : HEIGHT - top, x : x + w]
    np.testing.assert_array_equal(region.cut(image), wanted)
    np.testing.assert_array_equal(region.cut(np.stack([image] * 3))[1], wanted)


@given(st.integers(-80, 80), st.integers(-80, 80), st.integers(0, 90), st.integers(0, 90))
def test_selections_are_kept_inside(x: int, top: int, w: int, h: int) -> None:
    region = Region.from_selection((x, top, w, h), (HEIGHT, WIDTH))
    if region is not None:
        assert region.width > 0 < region.height
        assert 0 <= region.x <= region.x + region.width <= WIDTH
        assert 0 <= region.y <= region.y + region.height <= HEIGHT


def test_no_selection_is_none() -> None:
    assert Region.from_selection(None, (HEIGHT, WIDTH)) is None
    assert Region.from_selection((WIDTH, 0, 10, 10), (HEIGHT, WIDTH)) is None


def test_a_grown_region_finds_its_middle_again() -> None:
    image = np.random.default_rng(1).random((HEIGHT, WIDTH))
    region = Region(2, 30, 11, 9)
    outer = region.grown(16, image.shape)
    assert (outer.x, outer.y) == (0, 14)
    assert outer.y + outer.height == HEIGHT
    again = region.within(outer).cut(outer.cut(image))
    np.testing.assert_array_equal(again, region.cut(image))
    big = outer.cut(image).repeat(2, 0).repeat(2, 1)
    twice = region.within(outer, 2).cut(big)
    np.testing.assert_array_equal(twice[::2, ::2], region.cut(image))


def test_whole_numbers_become_what_siril_shows() -> None:
    pixels = np.array([[0, 1, 65535]], np.uint16)
    np.testing.assert_allclose(as_float(pixels), [[0, 1 / 65535, 1]], rtol=1e-7)
    floats = np.array([[-0.5, 3.0, np.nan]], np.float32)
    np.testing.assert_array_equal(as_float(floats), floats)


def test_headers_from_siril_lose_only_what_is_broken() -> None:
    text = "\n".join(
        [
            "SIMPLE  =                    T / file does conform to FITS standard",
            "BITPIX  =                  -32 / number of bits per data pixel",
            "NAXIS   =                    2 / number of data axes",
            "BZERO   =                   0. / Offset data range to that of unsigned short",
            "EQUINOX =      9.87654321E+107 / Equatorial equinox",
            "OBJECT  = 'M 31    '           / Name of the object of interest",
            "FOO     =                 3.25",
            "COMMENT a remark",
            "BROKEN  = 'no end",
            "END",
        ]
    )
    header = parse_header(text + "\0", ["one", "two"])
    assert header["OBJECT"] == "M 31"
    assert header["FOO"] == 3.25
    assert list(header["HISTORY"]) == ["one", "two"]
    assert list(header["COMMENT"]) == ["a remark"]
    assert not {"SIMPLE", "BITPIX", "NAXIS", "BZERO", "EQUINOX", "END"} & set(header)
    assert parse_header(None) == Header()


def test_a_result_adds_to_the_header_only_what_was_done() -> None:
    original = Header({"OBJECT": "M 31", "ASRTASK": "stretch", "ASRSTR": "mtf", "CRPIX1": 10.0})
    original["HISTORY"] = "before"
    result = Header({"OBJECT": "M 31", "ASRTASK": "denoise", "CRPIX1": 3.0, "BUNIT": "adu"})
    result["HISTORY"] = "before"
    result["HISTORY"] = "denoised"
    merged = merge_headers(original, result)
    assert merged["ASRTASK"] == "denoise"
    assert merged["CRPIX1"] == 10
    assert "ASRSTR" not in merged
    assert "BUNIT" not in merged
    assert list(merged["HISTORY"]) == ["before", "denoised"]
    assert original["ASRTASK"] == "stretch"


def test_a_part_keeps_its_sky() -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cdelt = [20.5, 11.0], [83.0, -5.0], [-1e-3, 1e-3]
    header = wcs.to_header()
    part = WCS(shift_grid(header, 7, 4))
    apart = wcs.pixel_to_world(15, 9).separation(part.pixel_to_world(8, 5))
    assert apart.arcsec < 1e-6
    assert header["CRPIX1"] == 20.5
    assert shift_grid(Header({"A": 1}), 3, 3) == Header({"A": 1})


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_the_text_for_siril_is_made_of_whole_cards(dtype: type) -> None:
    header = Header({"OBJECT": "M 31", "LONG": "x" * 100, "HIERARCH many words": 1, "FOO": 3.25})
    header["HISTORY"] = "not for this"
    text = for_siril(header, np.zeros((3, 4, 5), dtype))
    lines = text.splitlines()
    assert all(len(line) == 80 for line in lines)
    assert lines[-1].strip() == "END"
    again = Header.fromstring(text, sep="\n")
    assert [again[f"NAXIS{i}"] for i in (1, 2, 3)] == [5, 4, 3]
    assert again["BITPIX"] == (-32 if dtype is np.float32 else 16)
    assert again["OBJECT"] == "M 31"
    assert again["FOO"] == 3.25
    assert "HISTORY" not in again


def test_files_carry_pixels_and_header(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).normal(size=(3, 6, 7)).astype(np.float32)
    pixels[0, 0, 0] = np.nan
    write_input(tmp_path / "a.fits", pixels, Header({"OBJECT": "x", "ASRTASK": "y"}))
    again, header = read_result(tmp_path / "a.fits")
    np.testing.assert_array_equal(again, pixels)
    assert again.dtype == np.float32
    assert again.dtype.isnative
    assert header["OBJECT"] == "x"
    assert "BITPIX" not in header
    write_input(tmp_path / "b.fits", np.full((2, 3), 40000, np.uint16), Header())
    assert fits.getdata(tmp_path / "b.fits").max() == 40000
