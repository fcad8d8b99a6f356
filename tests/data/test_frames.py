"""Frames that are read in strips of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from astro_sr_plugin.data.frames import FrameSequence, open_frame
from astro_sr_plugin.exceptions import ImageReadError

PIXELS = np.random.default_rng(3).integers(0, 60000, (24, 32)).astype(np.uint16)


@pytest.fixture
def write(tmp_path: Path):
    def make(name: str, data: np.ndarray, **cards) -> Path:
        path = tmp_path / name
        hdu = fits.CompImageHDU if name.endswith(".fz") else fits.PrimaryHDU
        opened = hdu(data)
        opened.header.update(cards)
        opened.writeto(path)
        return path

    return make


@pytest.mark.parametrize("name", ["a.fits", "a.fit.fz", "a.fits.gz"])
def test_strips_are_those_of_the_whole_frame(write, name: str) -> None:
    frame = open_frame(write(name, PIXELS, EXPTIME=5.0, FILTER="Ha"))
    assert frame.shape == PIXELS.shape
    assert (frame.header.exptime, frame.header.filter) == (5.0, "HA")
    assert (frame.rows(5, 9) == PIXELS[5:9]).all()
    assert (frame.rows() == PIXELS).all()
    assert frame.rows().dtype == np.float32


def test_integers_and_floats_of_plain_files_are_mapped(write) -> None:
    assert open_frame(write("i.fits", PIXELS)).is_mapped
    assert open_frame(write("f.fits", PIXELS.astype(np.float32))).is_mapped


def test_blank_masked_and_infinite_pixels_are_nan(write) -> None:
    path = write("b.fits", PIXELS.astype(np.int32), BLANK=int(PIXELS[2, 3]))
    assert np.isnan(open_frame(path).rows(2, 3)[0, 3])
    mask = np.zeros(PIXELS.shape, bool)
    mask[4, 5] = True
    data = PIXELS.astype(np.float64)
    data[6, 7] = np.inf
    strip = open_frame(CCDData(data, unit="adu", mask=mask)).rows(4, 8)
    assert np.argwhere(np.isnan(strip)).tolist() == [[0, 5], [2, 7]]


def test_compressed_frames_can_go_to_the_disk(write, tmp_path: Path) -> None:
    paths = [write("a.fits.fz", PIXELS), write("b.fits", PIXELS)]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    frames = FrameSequence(paths, scratch=scratch)
    assert all(frame.is_mapped for frame in frames)
    assert all((frame.rows(3, 7) == PIXELS[3:7]).all() for frame in frames)
    assert len(list(scratch.iterdir())) == 1


def test_a_frame_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.fits"
    bad.write_bytes(b"SIMPLE  =                    T" + bytes(100))
    frames = FrameSequence([PIXELS, bad])
    assert frames[0].shape == PIXELS.shape
    with pytest.raises(ImageReadError, match=r"bad\.fits"):
        _ = frames[1]
