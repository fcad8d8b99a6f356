"""The command that stacks frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astro_sr_plugin.cli import main


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A folder with lights, darks and a bias of 60 x 70 pixels."""
    rng = np.random.default_rng(8)
    kinds = {"light": (4, 500, 60.0), "dark": (3, 498, 60.0), "bias": (1, 100, 0.0)}
    for kind, (number, level, seconds) in kinds.items():
        folder = tmp_path / f"{kind}s"
        folder.mkdir()
        for k in range(number):
            cards = {"IMAGETYP": kind, "EXPTIME": seconds, "GAIN": 100, "INSTRUME": "Camera"}
            hdu = fits.PrimaryHDU(rng.normal(level, 5, (60, 70)).astype(np.uint16))
            hdu.header.update(cards)
            hdu.writeto(folder / f"{kind}_{k}.fits")
    return tmp_path


def test_frames_are_calibrated_and_stacked(night: Path, capsys) -> None:
    output = night / "stack.fits"
    lights, darks = str(night / "lights"), str(night / "darks")
    words = ["stack", lights, "-o", str(output), "--dark", darks, "--no-align", "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["used"], told["left_out"]) == (4, 4, {})
    with fits.open(output) as hdus:
        assert np.median(hdus[0].data) == pytest.approx(2, abs=1)
        # Unsigned integers below the dark become negative.
        assert -30 < hdus[0].data.min() < 0
        assert hdus[0].header["NCOMBINE"] == 4
    assert sorted(path.name for path in night.iterdir()) == [
        "biass",
        "darks",
        "lights",
        "stack.fits",
    ]


def test_the_plan_is_shown_and_nothing_is_written(night: Path, capsys) -> None:
    words = ["stack", str(night / "lights"), "--library", str(night), "--plan"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 frames of 70 x 60 pixels, 60 s"
    assert "  dark: 3 frames from dark_0.fits (60 s, gain 100)" in lines
    assert not list(night.glob("*.fits"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["{lights}"], "-o OUTPUT is missing"),
        (["{lights}", "-o", "{out}", "--flat", "{lights}", "--dark", "{biass}"], "no dark frame"),
        (["{lights}", "-o", "{out}", "--library", "{out}"], "is no folder"),
        (["{lights}", "-o", "{out}", "--rejection", "best"], "--rejection"),
        (["{lights}", "-o", "{out}", "--reference", "x.fits"], "--reference"),
        (["{lights}/light_0.fits", "-o", "{out}", "--no-align"], "two frames or more"),
        (["{lights}", "-o", "{night}/none/stack.fits"], "does not exist"),
        (["{lights}", "-o", "{out}", "--memory", "1kB"], "--memory"),
        (["gone*.fits", "-o", "{out}"], "matches no file"),
    ],
)
def test_bad_input_is_one_sentence(night: Path, words: list[str], text: str, capsys) -> None:
    places = {
        "lights": str(night / "lights"),
        "biass": str(night / "biass"),
        "night": str(night),
        "out": str(night / "stack.fits"),
    }
    assert main(["stack", *(word.format(**places) for word in words)]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if not line.startswith("Progress")]
    assert len(lines) == 1
    assert lines[0].startswith("astro-sr: error: ")
    assert text in lines[0]
    assert not (night / "stack.fits").exists()


def test_strict_refuses_a_frame_that_cannot_be_used(night: Path, capsys) -> None:
    fits.writeto(night / "lights" / "light_9.fits", np.zeros((60, 70), np.int16))
    output = night / "stack.fits"
    words = ["stack", str(night / "lights"), "-o", str(output), "--no-align"]
    assert main([*words, "--strict"]) == 2
    assert "light_9.fits: every pixel is 0" in capsys.readouterr().err
    assert not output.exists()
    assert main(words) == 0
    assert "1 of 5 frames are left out (light_9.fits" in capsys.readouterr().err


def test_an_interrupted_run_resumes(night: Path, monkeypatch, capsys) -> None:
    output = night / "stack.fits"
    words = ["stack", str(night / "lights"), "-o", str(output), "--no-align", "--resume"]
    broken = night / "lights" / "light_3.fits"
    content = broken.read_bytes()
    from astro_sr_plugin.cli.console import LineProgress

    def interrupt(self: LineProgress, done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = sorted(night.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(LineProgress, "__call__", interrupt)
        assert main(words[:-1]) == 130
        assert sorted(night.rglob("*")) == before
        assert main(words) == 130
    assert not output.exists()
    kept = night / ".stack.fits.resume"
    assert len(list(kept.glob("frame_*.npz"))) == 1
    assert main(words) == 0
    assert output.exists()
    assert not kept.exists()
    assert broken.read_bytes() == content


def test_a_full_disk_is_one_sentence_and_leaves_nothing(night: Path, capsys) -> None:
    """A bound on the size of files stands for the disk."""
    resource = pytest.importorskip("resource")
    output = night / "stack.fits"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        code = main(["stack", str(night / "lights"), "-o", str(output), "--no-align"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line.lower()]
    assert code == 2
    assert len(lines) == 1
    assert "stack.fits" in lines[0]
    assert sorted(path.name for path in night.iterdir()) == ["biass", "darks", "lights"]
