"""Finding the command, running it for real, and a whole job without Siril."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astro_sr_siril import command as command_module
from astro_sr_siril.command import Command, find_command
from astro_sr_siril.errors import CancelledError, ScriptError
from astro_sr_siril.frame import Frame, Region
from astro_sr_siril.job import MARGIN, Job, paste
from astro_sr_siril.settings import Settings
from astro_sr_siril.verb import Slider, Verb
from astropy.io import fits
from astropy.io.fits import Header

import astro_sr_plugin as asr
from tests.cli.conftest import make_field

DENOISE = Verb("denoise", "Denoise", "1", "", (Slider("strength", "Strength", 1.0),))
MEASURE = Verb("measure", "Measure", "1", "", result="report", network=False)
OWN = [sys.executable, "-m", "astro_sr_plugin"]
posix = pytest.mark.skipif(os.name == "nt", reason="makes shell scripts")


def make_executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def run(command: Command, *words: str, folder: Path) -> tuple[str, list[float], list[str]]:
    fractions: list[float] = []
    warnings: list[str] = []
    said = command.run(list(words), folder, progress=fractions.append, warn=warnings.append)
    return said, fractions, warnings


@pytest.fixture
def nothing_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Hide the package and every command; return a folder on the search path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("ASTRO_SR_COMMAND", raising=False)
    monkeypatch.setattr(command_module, "_NOTE", tmp_path / "command.txt")
    return folder


def test_the_package_in_this_python_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASTRO_SR_COMMAND", raising=False)
    assert find_command(remembered="/bin/sh").words == OWN


@posix
def test_commands_are_found_in_order(nothing_found: Path, tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="astro-sr was not found.*-command PATH"):
        find_command()
    on_path = make_executable(nothing_found / "astro-sr", "#!/bin/sh\n")
    assert find_command().words == [str(on_path)]
    noted = make_executable(tmp_path / "noted", "#!/bin/sh\n")
    (tmp_path / "command.txt").write_text(f"{noted}\n")
    assert find_command().words == [str(noted)]
    remembered = make_executable(tmp_path / "remembered", "#!/bin/sh\n")
    assert find_command(remembered=str(remembered)).words == [str(remembered)]
    assert find_command(remembered=str(tmp_path / "gone")).words == [str(noted)]
    given = make_executable(tmp_path / "given", "#!/bin/sh\n")
    assert find_command(str(given), str(remembered)).words == [str(given)]
    with pytest.raises(ScriptError, match="does not exist or cannot be run"):
        find_command(str(tmp_path / "gone"), str(remembered))


@posix
def test_the_variable_names_a_command(nothing_found: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_executable(nothing_found / "other", "#!/bin/sh\n")
    monkeypatch.setenv("ASTRO_SR_COMMAND", str(other))
    assert find_command().words == [str(other)]


def test_a_run_tells_progress_and_result(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "a.fits", make_field())
    words = ["denoise", str(tmp_path / "a.fits"), "-o", str(tmp_path / "b.fits")]
    said, fractions, warnings = run(
        Command(OWN, own=True), *words, "--model", "wiener", folder=tmp_path
    )
    assert "96 x 96 pixels" in said
    assert fractions[-1] == 1
    assert fractions == sorted(fractions)
    assert not [line for line in warnings if "Traceback" in line]


def test_a_failure_is_the_sentence_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="^input '.*none.fits' does not exist$"):
        run(Command(OWN, own=True), "measure", str(tmp_path / "none.fits"), folder=tmp_path)


@posix
def test_other_failures_are_sentences_too(tmp_path: Path) -> None:
    crash = make_executable(tmp_path / "crash", "#!/bin/sh\necho bang >&2\nexit 5\n")
    with pytest.raises(ScriptError, match="ended with code 5: bang"):
        run(Command([str(crash)], own=False), "measure", folder=tmp_path)
    killed = make_executable(tmp_path / "killed", "#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(ScriptError, match="killed by signal 9"):
        run(Command([str(killed)], own=False), "measure", folder=tmp_path)
    with pytest.raises(ScriptError, match="cannot be run"):
        run(Command([str(tmp_path / "none")], own=False), "measure", folder=tmp_path)


@posix
def test_another_environment_does_not_inherit_the_python_of_siril(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/of/siril")
    show = make_executable(tmp_path / "show", "#!/bin/sh\nenv\n")
    said, _, _ = run(Command([str(show)], own=False), "x", folder=tmp_path)
    assert "/of/siril" not in said


@posix
def test_much_output_holds_nothing_up(tmp_path: Path) -> None:
    text = "#!/bin/sh\ni=0\nwhile [ $i -lt 4000 ]; do echo 0123456789012345678901234567890\n"
    text += "echo 'astro-sr: warning: w' >&2; i=$((i+1)); done\n"
    talk = make_executable(tmp_path / "talk", text)
    said, _, warnings = run(Command([str(talk)], own=False), "x", folder=tmp_path)
    assert len(said) > 100_000
    assert len(warnings) == 4000


@posix
def test_stopping_while_it_starts_ends_the_command(tmp_path: Path) -> None:
    class Hasty(Command):
        def _start(self, words: list[str], stdout: Any) -> subprocess.Popen[str]:
            process = super()._start(words, stdout)
            self.started = process
            self.stop()
            return process

    slow = make_executable(tmp_path / "slow", "#!/bin/sh\nexec sleep 60\n")
    command = Hasty([str(slow)], own=False)
    with pytest.raises(CancelledError):
        run(command, "x", folder=tmp_path)
    assert command.started.returncode not in (None, 0)


@posix
def test_stopping_ends_the_command(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    slow = make_executable(tmp_path / "slow", f"#!/bin/sh\necho $$ > {pid}\nexec sleep 60\n")
    command = Command([str(slow)], own=False)
    ends: list[type[BaseException]] = []

    def work() -> None:
        try:
            run(command, "x", folder=tmp_path)
        except CancelledError as error:
            ends.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    while not (pid.exists() and pid.read_text().strip()):
        time.sleep(0.01)
    command.stop()
    thread.join(20)
    assert ends == [CancelledError]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    with pytest.raises(CancelledError):
        run(command, "x", folder=tmp_path)


def make_frame(dtype: type = np.float32) -> Frame:
    size = MARGIN + 90
    pixels = make_field(size)
    if dtype is np.float32:
        pixels = pixels / np.float32(65535)
    else:
        pixels = np.clip(np.rint(pixels), 0, 65535).astype(dtype)
    header = Header({"OBJECT": "field", "CRPIX1": 5.0, "CRPIX2": 6.0})
    return Frame(pixels, header, None, None)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_a_job_on_a_region_changes_only_that(
    dtype: type, warm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = make_frame(dtype)
    before = frame.pixels.copy()
    job = Job(DENOISE, {"strength": 0.5}, warm, ["--model", "wiener"])
    steps: list[tuple[str, float]] = []
    region = Region(10, 20, 40, 30)
    outcome = job.run(
        frame, region, progress=lambda *step: steps.append(step), warn=lambda text: None
    )
    pixels, header = paste(frame, outcome)
    np.testing.assert_array_equal(frame.pixels, before)
    whole = before if dtype is np.float32 else before / np.float32(65535)
    outer = whole[: 20 + 30 + MARGIN, : 10 + 40 + MARGIN]
    wanted = whole.copy()
    wanted[20:50, 10:50] = asr.denoise(outer, strength=0.5, model="wiener")[20:50, 10:50]
    np.testing.assert_allclose(pixels, wanted, atol=1e-7)
    assert header["ASRTASK"] == "denoise"
    assert header["CRPIX1"] == 5
    assert steps[0] == ("denoise", 0.0)
    assert steps[-1] == ("denoise", 1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_report_changes_nothing(warm: Command) -> None:
    frame = make_frame(np.uint16)
    job = Job(MEASURE, {}, warm, [])
    outcome = job.run(frame, None, progress=lambda *step: None, warn=lambda text: None)
    assert "FWHM [pixel]" in outcome.report
    part = Region(3, 4, 120, 100)
    outcome = job.run(frame, part, progress=lambda *step: None, warn=lambda text: None)
    assert "120 x 100 pixels" in outcome.report


def test_a_command_may_leave_the_image_as_it_is(warm: Command) -> None:
    frame = make_frame()
    frame.header["ASRTASK"] = "denoise"
    panel = Verb("panel", "Panel", "1", "", steps=lambda values: [["auto", "--no-page"]])
    region = Region(60, 70, 40, 30)
    outcome = Job(panel, {}, warm, []).run(
        frame, region, progress=lambda *step: None, warn=lambda text: None
    )
    assert not outcome.changed
    assert "done already" in outcome.report
    # A preview shows the region itself.
    np.testing.assert_array_equal(outcome.pixels, frame.pixels[70:100, 60:100])


def test_a_failing_job_leaves_no_files(
    warm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    job = Job(DENOISE, {"strength": 1.0}, warm, ["--model", "no-such-model"])
    with pytest.raises(ScriptError, match="no-such-model"):
        job.run(make_frame(), None, progress=lambda *step: None, warn=lambda text: None)
    assert list(tmp_path.iterdir()) == []


def test_settings_are_remembered(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "deep")
    settings.put("denoise", {"strength": 0.5})
    settings.put("command", "/bin/x")
    again = Settings(tmp_path / "deep")
    assert again.get("denoise", {}) == {"strength": 0.5}
    assert again.get("command", "") == "/bin/x"
    assert again.get("denoise", "") == ""
    (tmp_path / "deep" / "astro_sr.json").write_text("{ not json")
    assert Settings(tmp_path / "deep").get("command", "none") == "none"
