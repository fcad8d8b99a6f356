"""Ctrl-C, termination and a reader that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

COMMAND = [sys.executable, "-m", "astro_sr_plugin"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture(scope="module")
def large_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "large.fits"
    rng = np.random.default_rng(5)
    image = rng.normal(300, 5, (900, 900)).astype(np.float32)
    image[rng.integers(5, 895, 200), rng.integers(5, 895, 200)] += 3000
    for axis in (0, 1):
        image = (np.roll(image, 1, axis) + image + np.roll(image, -1, axis)) / 3
    fits.PrimaryHDU(image).writeto(path)
    return path


def _hear_signals() -> None:
    """Undo what a background shell does to its children: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("name", ["out.fits", "out.fits.gz"], ids=["streamed", "in memory"])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminate"]
)
def test_interrupted_work_leaves_nothing(
    number: signal.Signals, code: int, name: str, large_path: Path, tmp_path: Path
) -> None:
    command = [*COMMAND, "denoise", large_path, "-o", tmp_path / name]
    command += ["--tile-size", "128", "--device", "cpu", "--progress", "line"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=_hear_signals
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("Progress:"), first
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == code, rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "models", "list"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""
