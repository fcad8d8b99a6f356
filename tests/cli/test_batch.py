"""The ``batch`` command: flags and files, exit codes, JSON, and Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from astro_sr_plugin.models.dncnn import DnCNN

JOURNAL = "astro-sr-batch.jsonl"


@pytest.fixture
def lights(field_path: Path, tmp_path: Path) -> Path:
    """Return a folder with two images."""
    folder = tmp_path / "lights"
    folder.mkdir()
    for name in ("a.fits", "b.fits"):
        shutil.copy(field_path, folder / name)
    return folder


def results(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.fits"))


def test_flags_and_a_recipe_file_are_one(
    astro_sr: Callable[..., Any], lights: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[step]]\nverb = "denoise"\nstrength = 0.8\n[[step]]\nverb = "deconvolve"\n'
        "stars = 0.7\npsf = [3.2, 3.0]\nforce = true\n"
    )
    flags = ("--denoise", "0.8", "--step", "deconvolve", "stars=0.7", "psf=3.2,3", "force=true")
    out = tmp_path / "out"
    result = astro_sr("batch", lights, "-o", out, *flags, "--json")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert record["counts"] == {"done": 2, "skipped": 0, "failed": 0, "pending": 0}
    assert [step["verb"] for step in record["recipe"]] == ["denoise", "deconvolve"]
    last = record["results"][0]["steps"][-1]
    assert last["task"] == "deconvolve"
    assert last["fwhm_in"] > last["fwhm_out"]
    assert "Progress: 100.00% (2/2 images processed)" in result.err
    assert results(out) == ["a_denoised_sharp.fits", "b_denoised_sharp.fits"]
    again = astro_sr("batch", lights / "*.fits", "-o", out, "--recipe", recipe, "--json")
    assert json.loads(again.out)["counts"]["skipped"] == 2


def test_a_network_of_another_project_in_a_recipe(
    astro_sr: Callable[..., Any], lights: Path, tmp_path: Path
) -> None:
    def save(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(DnCNN(width=4).state_dict(), tmp_path / "net.pth")

    save(1)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[step]]\nverb = "denoise"\nmodel = "net.pth"\npsf = [3.2, 3.0]\n')
    words = ("batch", lights, "-o", tmp_path / "out", "--recipe", recipe, "--json")
    result = astro_sr(*words)
    assert result.code == 0, result.err
    assert results(tmp_path / "out") == ["a_denoised.fits", "b_denoised.fits"]
    header = fits.getheader(tmp_path / "out" / "a_denoised.fits")
    assert (header["ASRMODEL"], abs(header["ASRFLUXA"]) < 2) == ("net", True)
    assert json.loads(astro_sr(*words).out)["counts"]["skipped"] == 2
    # Other weights under the same name are another model.
    save(2)
    assert "by another recipe or model" in astro_sr(*words).err


def test_the_order_of_the_flags_is_the_order_of_the_work(
    astro_sr: Callable[..., Any], lights: Path, tmp_path: Path
) -> None:
    words = ("--unstretch", "--stretch", "asinh", "--unstretch", "--dry-run", "--json")
    result = astro_sr("batch", lights, "-o", tmp_path / "out", *words)
    assert result.code == 0, result.err
    recipe = json.loads(result.out)["recipe"]
    assert [step["verb"] for step in recipe] == ["unstretch", "stretch", "unstretch"]
    assert recipe[1]["name"] == "asinh"
    assert not (tmp_path / "out").exists()


def test_exit_code_and_report_when_some_fail(
    astro_sr: Callable[..., Any], lights: Path, tmp_path: Path
) -> None:
    (lights / "c.fits").write_text("clouds")
    words = ("batch", lights, "-o", tmp_path / "out", "--denoise")
    result = astro_sr(*words)
    assert result.code == 1
    assert "1 of 3 images failed" in result.err
    assert "c.fits" in result.err
    assert "2 done, 1 failed" in result.out
    assert results(tmp_path / "out") == ["a_denoised.fits", "b_denoised.fits"]
    record = json.loads(astro_sr(*words, "--json").out)
    assert [entry["status"] for entry in record["results"]] == ["skipped", "skipped", "failed"]
    quiet = astro_sr(*words, "--quiet")
    assert (quiet.code, quiet.out, len(quiet.err.splitlines())) == (1, "", 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--recipe"),
        (("--denoise", "--recipe", "r.toml"), "--recipe"),
        (("--recipe", "nowhere.toml"), "nowhere.toml"),
        (("--denoise", "lights"), "inputs stand before"),
        (("--step", "denoise", "lights"), "inputs stand before"),
        (("--step", "deconvolve", "psf=1,2,3"), "psf"),
        (("--step", "measure"), "measure"),
        (("--step", "denoise", "stars=1"), "stars"),
        (("--denoise", "1.5"), "1.5"),
        (("--denoise", "--jobs", "0"), "--jobs 0"),
        (("--denoise", "--format", ".jpeg"), ".jpeg"),
    ],
)
def test_wrong_usage(
    words: tuple[str, ...],
    message: str,
    astro_sr: Callable[..., Any],
    lights: Path,
    tmp_path: Path,
) -> None:
    result = astro_sr("batch", lights, "-o", tmp_path / "out", *words)
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_nothing_to_do(astro_sr: Callable[..., Any], tmp_path: Path) -> None:
    for word in ("*.fits", "none.fits", "."):
        result = astro_sr("batch", tmp_path / word, "-o", tmp_path / "out", "--denoise")
        assert result.code == 2
        assert "input" in result.err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_keeps_what_is_finished(jobs: int, lights: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    # The last one takes so long that the signal comes before its end.
    large = np.tile(fits.getdata(lights / "a.fits"), (14, 14))
    large += rng.normal(0, 1, large.shape).astype(np.float32)
    fits.PrimaryHDU(large).writeto(lights / "c.fits")
    fits.PrimaryHDU(large[::-1]).writeto(lights / "d.fits")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "astro_sr_plugin", "batch", lights, "-o", out]
    command += ["--denoise", "--progress", "line", "--jobs", str(jobs)]

    def start() -> subprocess.Popen[str]:
        # As from a terminal: a group of its own, whose members all get the signal and hear it.
        return subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    with start() as process:
        assert process.stderr is not None
        for count in (1, 2):
            assert f"({count}/4 images" in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130, rest
    assert "Traceback" not in rest
    assert {path.name for path in out.iterdir()} == {JOURNAL, *results(out)}
    assert results(out) == ["a_denoised.fits", "b_denoised.fits"]
    for name in results(out):
        with fits.open(out / name, checksum=True) as hdus:
            hdus.verify("exception")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh", "powershell"])
def test_completion_scripts(shell: str, astro_sr: Callable[..., Any]) -> None:
    result = astro_sr("completion", shell)
    assert result.code == 0, result.err
    assert "astro-sr" in result.out
    assert "super-resolve" in result.out
    assert astro_sr("completion", "cmd").code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_completion_in_bash(astro_sr: Callable[..., Any], tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(astro_sr("completion", "bash").out)
    ask = (
        'source "$0"; COMP_WORDS=(astro-sr "$@"); COMP_CWORD=$#; '
        'f=$(complete -p astro-sr | sed "s/.*-F \\([^ ]*\\).*/\\1/"); $f; echo "${COMPREPLY[@]}"'
    )

    def completed(*words: str) -> list[str]:
        command = ["bash", "-c", ask, str(script), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=script.parent
        )
        return done.stdout.split()

    assert set(completed("de")) == {"denoise", "deconvolve", "demo"}
    assert completed("batch", "--sched") == ["--scheduler"]
    assert set(completed("stretch", "--name", "a")) == {"asinh"}
    assert completed("denoise", "compl") == ["completion.bash"]
