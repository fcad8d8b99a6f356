"""Messages of astro-sr reach the user in the words of the script."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astro_sr_siril import FORCE, PSF, Number, Verb
from astro_sr_siril.command import Command
from astro_sr_siril.errors import ScriptError
from astro_sr_siril.frame import Frame
from astro_sr_siril.job import Job
from astro_sr_siril.words import in_script_words, script_of
from astropy.io.fits import Header

from tests.cli.conftest import make_field
from tests.siril.test_scripts import NAMES, SCRIPTS, verb_of

TARGET = Number("target-fwhm", "Star width afterwards", None, low=1)
SHARPEN = Verb("deconvolve", "Deconvolve", "1", "", (TARGET, PSF, FORCE))
MEASURE = Verb("measure", "Measure", "1", "", (FORCE,), result="report", network=False)
FOLDER = Path("/tmp/astro_sr_1a2b")


@pytest.mark.parametrize(
    ("said", "typed", "shown"),
    [
        ("give it by --psf FWHM,BETA", "-psf FWHM,BETA", "'Star profile' FWHM,BETA"),
        ("--target-fwhm 0.5 is too narrow", "-target-fwhm 0.5", "'Star width afterwards' 0.5"),
        ("--force uses them as they are", "-force uses", "'Use the pixels as they are' uses"),
        ("try a smaller --tile-size", *["the option --tile-size of the command astro-sr"] * 2),
        ("choose a --device", "-device", "'Runs on'"),
        ("--model a.pth is damaged", "-model a.pth", "'Model' a.pth"),
        ("reduce the image by --auto-scale", *["by resampling in Siril"] * 2),
        (f"{FOLDER}/0.fits: the WCS is invalid", *["the image: the WCS is invalid"] * 2),
        ("first (astro-sr unstretch, undo_stretch)", *["first (AstroSR_Unstretch)"] * 2),
        (
            f"To run next: astro-sr super-resolve {FOLDER}/0.fits -o big.fits (stars of 2 px)",
            *["To run next: AstroSR_SuperResolve (stars of 2 px)"] * 2,
        ),
    ],
)
def test_options_and_files_have_the_names_of_the_script(said: str, typed: str, shown: str) -> None:
    for window, expected in ((False, typed), (True, shown)):
        text = in_script_words(said, SHARPEN, FOLDER, window=window)
        assert expected in text
        assert str(FOLDER) not in text


def test_suggested_scripts_exist() -> None:
    verbs = {verb_of(path).name: name for path, name in zip(SCRIPTS, NAMES, strict=True)}
    for verb in ("denoise", "deconvolve", "super-resolve", "unstretch"):
        assert script_of(verb) == verbs[verb]


def run(
    command: Command, pixels: np.ndarray, header: Header, *, window: bool
) -> tuple[str, list[str]]:
    frame = Frame(pixels[::-1].astype(np.float32), header, None, None)
    warnings: list[str] = []
    job = Job(MEASURE, MEASURE.defaults(), command, [], window=window)
    outcome = job.run(frame, None, progress=lambda word, done: None, warn=warnings.append)
    return outcome.report, warnings


def test_a_report_names_no_file_and_a_script_to_run(warm: Command) -> None:
    report, warnings = run(warm, make_field(), Header(), window=False)
    assert "AstroSR_" in report.partition("To run next: ")[2]
    assert "0.fits" not in "".join([report, *warnings])


@pytest.mark.parametrize("window", [False, True])
def test_a_refusal_is_in_the_words_of_the_script(window: bool, warm: Command) -> None:
    header = Header({"BUNIT": "mag"})
    expected = "'Use the pixels as they are' uses" if window else "; -force uses them"
    with pytest.raises(ScriptError, match=expected) as error:
        run(warm, make_field(), header, window=window)
    assert "--" not in str(error.value)
