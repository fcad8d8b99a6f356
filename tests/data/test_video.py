"""Videos: SER files good and bad, AVI files, cubes, folders."""

from __future__ import annotations

import struct
import sys
from datetime import datetime
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from astropy.io import fits

from astro_sr_plugin import open_video
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError, InputError

SHAPE = (14, 18)
TICKS = int((datetime(2026, 11, 27) - datetime(1, 1, 1)).total_seconds()) * 10_000_000


def ser_bytes(
    frames: np.ndarray, *, colour: int = 0, flag: int = 0, depth: int = 8, count: int | None = None
) -> bytes:
    """A SER file of frames (n, ny, nx) or (n, ny, nx, 3), in the byte order of the array."""
    n, ny, nx = frames.shape[:3]
    head = b"LUCAM-RECORDER" + struct.pack("<7i", 0, colour, flag, nx, ny, depth, n)[:28]
    if count is not None:
        head = head[:38] + struct.pack("<i", count)
    head += b"Galileo".ljust(40, b"\0") + b"ASI".ljust(40, b"\0") + bytes(40) + bytes(16)
    assert len(head) == 178
    return head + frames.tobytes()


def smooth_frames(n: int = 4, depth: int = 8) -> np.ndarray:
    """Frames whose neighbouring pixels are alike, each with its own level."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    top = 2**depth - 1
    wave = 0.4 + 0.2 * np.sin(0.4 * x + 0.3 * y)
    frames = np.stack([top * (wave + 0.1 * k) for k in range(n)])
    return frames.astype(np.uint8 if depth <= 8 else np.uint16)


@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("depth", [12, 16])
def test_bytes_are_read_in_their_order_whatever_the_flag_says(
    tmp_path: Path, flag: int, order: str, depth: int
) -> None:
    frames = smooth_frames(depth=depth)
    path = tmp_path / "a.ser"
    path.write_bytes(ser_bytes(frames.astype(order), flag=flag, depth=depth))
    video = open_video(path)
    assert (len(video), video.bits, video.header["OBSERVER"]) == (4, depth, "Galileo")
    for number, frame in video.frames():
        np.testing.assert_array_equal(frame, frames[number])
        assert frame.dtype == np.uint16


@pytest.mark.parametrize(
    ("colour", "pattern"), [(0, ""), (8, "RGGB"), (9, "GRBG"), (10, "GBRG"), (11, "BGGR")]
)
def test_mono_and_raw_colour_frames(tmp_path: Path, colour: int, pattern: str) -> None:
    frames = smooth_frames()
    (tmp_path / "a.ser").write_bytes(ser_bytes(frames, colour=colour))
    video = open_video(tmp_path / "a.ser")
    assert (video.shape, video.pattern) == (SHAPE, pattern)
    assert [number for number, _ in video.frames([3, 1])] == [1, 3]


@pytest.mark.parametrize(("colour", "red"), [(100, 0), (101, 2)])
def test_frames_in_colour_become_red_green_blue(tmp_path: Path, colour: int, red: int) -> None:
    frames = np.zeros((2, *SHAPE, 3), np.uint8)
    frames[..., red] = 200
    (tmp_path / "a.ser").write_bytes(ser_bytes(frames, colour=colour))
    video = open_video(tmp_path / "a.ser")
    _, frame = next(video.frames())
    assert frame.shape == (3, *SHAPE)
    assert [int(plane.max()) for plane in frame] == [200, 0, 0]


@pytest.mark.parametrize(("count", "cut", "found"), [(0, 0, 4), (900, 0, 4), (4, 30, 3)])
def test_frames_are_counted_in_the_file(tmp_path: Path, count: int, cut: int, found: int) -> None:
    content = ser_bytes(smooth_frames(), count=count)
    (tmp_path / "a.ser").write_bytes(content[: len(content) - cut])
    with pytest.warns(AstroSRWarning, match=f"the file holds {found}"):
        assert len(open_video(tmp_path / "a.ser")) == found


def test_times_stand_in_the_trailer(tmp_path: Path) -> None:
    stamps = TICKS + np.arange(4, dtype="<i8") * 250_000
    (tmp_path / "a.ser").write_bytes(ser_bytes(smooth_frames()) + stamps.tobytes())
    video = open_video(tmp_path / "a.ser")
    assert video.start == datetime(2026, 11, 27)
    assert video.times[-1] - video.times[0] == np.timedelta64(75, "ms")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (ser_bytes(smooth_frames())[:100], "cut off inside of its header"),
        (ser_bytes(smooth_frames())[:190], "no complete frame"),
        (ser_bytes(smooth_frames(), depth=77), "14 pixels of 77 bits"),
    ],
)
def test_files_without_frames_are_refused_in_one_sentence(
    tmp_path: Path, content: bytes, text: str
) -> None:
    (tmp_path / "a.ser").write_bytes(content)
    with pytest.raises(ImageReadError, match=text):
        open_video(tmp_path / "a.ser")


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    frames = smooth_frames(4, depth=16)
    imagecodecs.imwrite(tmp_path / "f10.png", frames[3])
    tifffile.imwrite(tmp_path / "f9.tif", frames[2])
    fits.writeto(tmp_path / "f2.fits", frames[1])
    imagecodecs.imwrite(tmp_path / "f1.png", frames[0])
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "f3.png").write_bytes(b"no picture")
    imagecodecs.imwrite(tmp_path / "f4.png", frames[0][:-2])
    video = open_video(tmp_path)
    found = {video.frame_name(number): frame for number, frame in video.frames()}
    assert list(found) == ["f1.png", "f2.fits", "f9.tif", "f10.png"]
    for frame, wanted in zip(found.values(), frames, strict=True):
        np.testing.assert_array_equal(frame, wanted)
    assert "not a picture" in video.faults[2]
    assert "its shape 12 x 18 is not 14 x 18" in video.faults[3]


def test_colour_pictures_keep_the_order_of_their_colours(tmp_path: Path) -> None:
    picture = np.zeros((*SHAPE, 3), np.uint8)
    picture[..., 0] = 200
    for name in ("a.png", "b.jpg"):
        imagecodecs.imwrite(tmp_path / name, picture)
    for _, frame in open_video(tmp_path).frames():
        np.testing.assert_allclose(frame.mean((1, 2)), [200, 0, 0], atol=3)


def test_cubes_in_files_and_in_memory(tmp_path: Path) -> None:
    frames = smooth_frames(depth=16)
    header = fits.Header({"BAYERPAT": "GRBG"})
    fits.writeto(tmp_path / "cube.fits", frames, header)
    video = open_video(tmp_path / "cube.fits")
    assert video.pattern == "GRBG"
    for source in (video, open_video(frames), open_video(list(frames))):
        assert len(source) == 4
        for number, frame in source.frames():
            np.testing.assert_array_equal(frame, frames[number])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("gone.ser", "no such file or folder"),
        ([], "there are no images"),
        (np.zeros((5, 5)), r"a video is \(n, ny, nx\)"),
        (np.zeros((0, 5, 5)), "holds no frame"),
        (7, "the video is a int"),
    ],
)
def test_what_is_no_video_is_refused(source: object, text: str) -> None:
    with pytest.raises(InputError, match=text):
        open_video(source)


def test_without_pyav_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.avi").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"pip install 'astro_sr_plugin\[video\]'"):
        open_video(tmp_path / "a.avi")


def write_avi(path: Path, frames: np.ndarray, codec: str, pixels: str, form: str) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format=form)))
        container.mux(stream.encode())


def test_avi_files_in_grey_and_in_colour(tmp_path: Path) -> None:
    frames = smooth_frames()
    write_avi(tmp_path / "grey.avi", frames, "ffv1", "gray", "gray")
    video = open_video(tmp_path / "grey.avi")
    assert (len(video), video.shape, video.bits) == (4, SHAPE, 8)
    for number, frame in video.frames([1, 2]):
        np.testing.assert_array_equal(frame, frames[number])
    picture = np.zeros((2, *SHAPE, 3), np.uint8)
    picture[..., 0] = 200
    write_avi(tmp_path / "red.avi", picture, "rawvideo", "bgr24", "rgb24")
    assert open_video(tmp_path / "red.avi").shape == (3, *SHAPE)
    for _, frame in open_video(tmp_path / "red.avi").frames():
        np.testing.assert_allclose(frame.mean((1, 2)), [200, 0, 0], atol=3)


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "a.avi").write_bytes(b"RIFF" + bytes(300))
    with pytest.raises(ImageReadError, match="cannot be decoded"):
        open_video(tmp_path / "a.avi")
