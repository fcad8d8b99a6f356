"""Large images are filled piece by piece, in little memory, and appear only when complete."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import StdDevUncertainty

from astro_sr_plugin.data.formats.fits_stream import create_fits
from astro_sr_plugin.data.formats.registry import read_image
from astro_sr_plugin.data.strips import iter_strips, release
from astro_sr_plugin.exceptions import InputError, OutputError

RNG = np.random.default_rng(3)
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@pytest.mark.parametrize("shape", [(13, 17), (3, 13, 17)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fill_in_any_order(check, tmp_path, shape, dtype):
    data = RNG.normal(size=shape).astype(dtype)
    header = fits.Header([("OBJECT", "M 1"), ("BITPIX", 16)])
    with create_fits(tmp_path / "a.fits", header, shape, dtype) as stream:
        assert stream.data.shape == shape
        assert not np.any(stream.data)
        stream.data[..., 7:, :] = data[..., 7:, :]
        stream.release()
        assert not (tmp_path / "a.fits").exists()
        stream.data[..., :7, :] = data[..., :7, :]
        stream.mask = data > 1
        stream.uncertainty = StdDevUncertainty(np.abs(data))
    back = read_image(check(tmp_path / "a.fits"))
    np.testing.assert_array_equal(back.data, data)
    np.testing.assert_array_equal(back.mask, data > 1)
    np.testing.assert_array_equal(back.uncertainty.array, np.abs(data))
    assert back.meta["OBJECT"] == "M 1"
    assert back.data.dtype.newbyteorder("=") == dtype


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_failure_leaves_nothing(tmp_path, error):
    (tmp_path / "a.fits").write_bytes(b"old")
    with pytest.raises(error):  # noqa: PT012, SIM117 - the error has to come from within
        with create_fits(tmp_path / "a.fits", None, (5, 5), overwrite=True) as stream:
            stream.data[:] = 1
            raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a.fits"]
    assert (tmp_path / "a.fits").read_bytes() == b"old"


def test_full_disk_is_noticed_before_the_work(tmp_path):
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
    try:
        with (
            pytest.raises(OutputError, match="not enough room"),
            create_fits(tmp_path / "a.fits", None, (500, 500)),
        ):
            pytest.fail("the work must not start")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_streamed(tmp_path):
    (tmp_path / "b.fits").write_bytes(b"old")
    for name, shape, dtype, error, reason in (
        ("a.fits", (5, 5), "int16", InputError, "dtype='int16'"),
        ("a.fits", (5,), "float32", InputError, "shape="),
        ("a.fits", (0, 5), "float32", InputError, "shape="),
        ("a.tif", (5, 5), "float32", OutputError, "has to end in"),
        ("b.fits", (5, 5), "float32", OutputError, "exists already"),
    ):
        with pytest.raises(error, match=reason), create_fits(tmp_path / name, None, shape, dtype):
            pass


def resident():
    """Resident memory in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


@LINUX
def test_memory_stays_low(tmp_path):
    shape = (3000, 5000)
    with create_fits(tmp_path / "a.fits", None, shape) as stream:
        start = resident()
        for rows in range(0, shape[0], 500):
            stream.data[rows : rows + 500] = rows
            stream.release()
            assert resident() - start < 15
    ccd = read_image(tmp_path / "a.fits")
    start = resident()
    for rows in range(0, shape[0], 500):
        assert ccd.data[rows : rows + 500].max() == rows
        release(ccd.data)
    assert resident() - start < 15


def test_release_keeps_changed_values(tmp_path):
    fits.PrimaryHDU(np.ones((500, 500), "f4")).writeto(tmp_path / "a.fits")
    ccd = read_image(tmp_path / "a.fits")
    ccd.data[3] = 7
    release(ccd.data[1:])
    assert ccd.data[3, 3] == 7
    assert ccd.data[4, 3] == 1
    release(np.ones(3))


@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5), (2, 1, 9)])
def test_strips_cover_the_array_once(shape):
    data = np.arange(np.prod(shape)).reshape(shape)
    pieces = list(iter_strips(data, max_bytes=100))
    np.testing.assert_array_equal(np.concatenate([p.ravel() for p in pieces]), data.ravel())
    assert all(np.shares_memory(piece, data) for piece in pieces)


@LINUX
def test_ctrl_c_leaves_nothing(tmp_path):
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from astro_sr_plugin.data.formats.fits_stream import create_fits\n"
        f"with create_fits({str(tmp_path / 'a.fits')!r}, None, (50, 50)) as stream:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
    assert list(tmp_path.iterdir()) == []
