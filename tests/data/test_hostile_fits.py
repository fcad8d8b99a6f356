"""Streams, damaged files and odd headers: a result or one sentence, in bounded time and memory."""

import io
import os
import threading

import numpy as np
import pytest
from astropy.io import fits

from astro_sr_plugin.data.formats.registry import read_image, write_image
from astro_sr_plugin.exceptions import ImageReadError

DATA = np.random.default_rng(3).normal(100, 5, (24, 20)).astype("f4")


def file_of(*hdus):
    stream = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(stream)
    return stream.getvalue()


def with_card(raw, keyword, value, start=0):
    """Replace or insert a card, as a program that does not care for the standard would."""
    card = f"{keyword:8}= {value:>20}".ljust(80).encode()
    place = raw.find(f"{keyword:8}=".encode(), start)
    if place < 0:
        place = raw.index(b"END     ", start)
        assert (place + 80) % 2880, "no room for a card"
        return raw[:place] + card + b"END".ljust(80) + raw[place + 160 :]
    return raw[:place] + card + raw[place + 80 :]


PLAIN = file_of(fits.PrimaryHDU(DATA))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("kind", [".fits", ".fits.gz", ".xisf", ".tif"])
def test_a_named_pipe_is_read_once(tmp_path, kind):
    write_image(DATA, tmp_path / f"a{kind}")
    raw = (tmp_path / f"a{kind}").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(raw))
    writer.start()
    image = read_image(pipe)
    writer.join()
    np.testing.assert_array_equal(image.data, DATA)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_named_in_messages(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(PLAIN[:4000]))
    writer.start()
    with pytest.raises(ImageReadError, match=f"cannot read {pipe}: it is truncated"):
        read_image(pipe)
    writer.join()


@pytest.mark.parametrize("start", [0, len(PLAIN)])
def test_more_axes_than_the_standard_allows(tmp_path, start):
    raw = with_card(PLAIN + PLAIN.replace(b"SIMPLE  ", b"XTENSION"), "NAXIS", "99999999999", start)
    (tmp_path / "a.fits").write_bytes(raw)
    if start:
        np.testing.assert_array_equal(read_image(tmp_path / "a.fits").data, DATA)
    else:
        with pytest.raises(ImageReadError, match="NAXIS is 99999999999"):
            read_image(tmp_path / "a.fits")


@pytest.mark.parametrize("side", ["4000000000", "99999999999999999999"])
def test_sides_are_bounded_before_room_is_made(tmp_path, side):
    (tmp_path / "a.fits").write_bytes(with_card(PLAIN, "NAXIS1", side))
    with pytest.raises(ImageReadError, match="truncated|corrupt"):
        read_image(tmp_path / "a.fits")
    packed = file_of(fits.PrimaryHDU(), fits.CompImageHDU(DATA.astype("i2")))
    for keyword in ("ZNAXIS1", "ZNAXIS2"):
        (tmp_path / "b.fits").write_bytes(with_card(packed, keyword, side))
        with pytest.raises(ImageReadError, match="truncated|corrupt"):
            read_image(tmp_path / "b.fits")


def test_damaged_tiles(tmp_path):
    packed = bytearray(file_of(fits.PrimaryHDU(), fits.CompImageHDU(DATA.astype("i4"))))
    place = packed.rindex(b"END     ") // 2880 * 2880 + 2880 + 24 * 8
    packed[place : place + 200] = b"\xff" * 200
    (tmp_path / "a.fits").write_bytes(packed)
    with pytest.raises(ImageReadError, match="damaged or truncated"):
        read_image(tmp_path / "a.fits")


def test_a_header_of_many_cards_comes_back_in_full(tmp_path):
    hdu = fits.PrimaryHDU(DATA)
    cards = [(f"K{i:05d}", i / 7, f"number {i}") for i in range(600)]
    cards += [(f"S{i:05d}", f"it's {i}", "text") for i in range(300)]
    hdu.header.extend(cards)
    for i in range(300):
        hdu.header["HISTORY"] = f"step {i} / of many"
    hdu.writeto(tmp_path / "a.fits")
    first = read_image(tmp_path / "a.fits")
    write_image(first, tmp_path / "b.fits")
    for image in (first, read_image(tmp_path / "b.fits")):
        for keyword, value, comment in cards:
            assert (image.meta[keyword], image.meta.comments[keyword]) == (value, comment)
        assert list(image.meta["HISTORY"]) == [f"step {i} / of many" for i in range(300)]


@pytest.mark.parametrize("value", ["32768", "'32768'", "' 3.2768E4'"])
def test_a_zero_point_may_be_a_text(tmp_path, value):
    raw = file_of(fits.PrimaryHDU(np.arange(12, dtype="i2").reshape(3, 4)))
    (tmp_path / "a.fits").write_bytes(with_card(raw, "BZERO", value))
    image = read_image(tmp_path / "a.fits")
    np.testing.assert_array_equal(image.data, np.arange(12).reshape(3, 4) + 32768)
    assert image.meta["ASRDTYPE"] == "uint16"


@pytest.mark.parametrize("value", ["'2^15'", "'NaN'", "T", "1E400"])
@pytest.mark.parametrize("keyword", ["BZERO", "BSCALE", "BLANK"])
def test_a_scale_that_is_no_number_is_refused(tmp_path, keyword, value):
    raw = file_of(fits.PrimaryHDU(np.ones((3, 4), "i2")))
    (tmp_path / "a.fits").write_bytes(with_card(raw, keyword, value))
    with pytest.raises(ImageReadError, match=f"{keyword} .*allowed is a finite number"):
        read_image(tmp_path / "a.fits")


def test_a_scale_of_zero_is_refused(tmp_path):
    raw = file_of(fits.PrimaryHDU(np.ones((3, 4), "i2")))
    (tmp_path / "a.fits").write_bytes(with_card(raw, "BSCALE", "0"))
    with pytest.raises(ImageReadError, match="BSCALE is 0"):
        read_image(tmp_path / "a.fits")
