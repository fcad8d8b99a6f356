"""Ctrl-C, termination and a reader that goes away."""

from __future__ import annotations

import json
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
    image = rng.normal(300, 5, (700, 700)).astype(np.float32)
    image[rng.integers(5, 695, 120), rng.integers(5, 695, 120)] += 3000
    for axis in (0, 1):
        image = (np.roll(image, 1, axis) + image + np.roll(image, -1, axis)) / 3
    fits.PrimaryHDU(image).writeto(path)
    return path


def _hear_signals() -> None:
    """Undo what a background shell does to its children: they ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGINT, 130, "out.fits"), (signal.SIGTERM, 143, "out.fits.gz")],
    ids=["Ctrl-C, streamed", "terminate, in memory"],
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


def _run_in_shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            line.replace("astro-sr", f"{sys.executable} -m astro_sr_plugin"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("verb", "ending"),
    [
        ("denoise --model wiener --progress line", ">&- 2>&- <&-"),
        ("denoise --model wiener --progress line", "2>&1 | true"),
        ("stretch", "--json >&-"),
        ("stretch", "--json | true"),
    ],
    ids=["all closed", "no reader", "stdout closed", "no reader of stdout"],
)
def test_work_is_done_whoever_listens(
    verb: str, ending: str, field_path: Path, tmp_path: Path
) -> None:
    done = _run_in_shell(f"astro-sr {verb} {field_path} -o out.fits {ending}", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rror" not in done.stderr
    assert fits.getdata(tmp_path / "out.fits").shape == (96, 96)
    assert [path.name for path in tmp_path.iterdir()] == ["out.fits"]


def test_nothing_goes_to_the_wrong_stream(field_path: Path, tmp_path: Path) -> None:
    command = f"astro-sr measure {field_path} --json 2>&-"
    assert json.loads(_run_in_shell(command, tmp_path).stdout)["shape"] == [96, 96]
    assert _run_in_shell("astro-sr measure no.fits 2>&-", tmp_path).returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_result_that_cannot_be_printed_is_an_error(field_path: Path, tmp_path: Path) -> None:
    done = _run_in_shell(f"astro-sr measure {field_path} --json > /dev/full", tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "astro-sr: error: No space left on device"
