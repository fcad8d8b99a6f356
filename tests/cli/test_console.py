"""Messages in the words of the command line, each once, and what they mean for the exit code."""

from __future__ import annotations

import json
import warnings

import pytest

from astro_sr_plugin.cli.console import Console
from astro_sr_plugin.cli.wording import in_options
from astro_sr_plugin.exceptions import AstroSRWarning, UnchangedWarning

OPTIONS = {"psf", "target_fwhm", "auto_scale", "model", "uncertainty", "scale"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give it by psf=(fwhm, beta)", "give it by --psf FWHM,BETA"),
        ("psf=(3.0, 0.5) is out of range", "--psf 3.0,0.5 is out of range"),
        ("target_fwhm=1.4 px is too narrow", "--target-fwhm 1.4 px is too narrow"),
        ("reduce it by auto_scale=True; or not", "reduce it by --auto-scale; or not"),
        ("scale=3, for which", "--scale 3, for which"),
        ("use model='wiener'", "use --model 'wiener'"),
        ("ellipticity=2 is no option here", "ellipticity=2 is no option here"),
        ("the sky is flat; chi-square = 2", "the sky is flat; chi-square = 2"),
    ],
)
def test_keywords_become_options(text: str, expected: str) -> None:
    assert in_options(text, OPTIONS) == expected


def test_a_warning_is_shown_once_and_stands_in_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(json_output=True, options=OPTIONS)
    with console.listening():
        for _ in range(3):
            warnings.warn("give psf=(fwhm, beta)", AstroSRWarning, stacklevel=1)
    console.record(output="a.fits")
    console.finish()
    printed = capsys.readouterr()
    assert printed.err == "astro-sr: warning: give --psf FWHM,BETA\n"
    found = json.loads(printed.out)
    assert found == {"output": "a.fits", "warnings": ["give --psf FWHM,BETA"]}
    assert not console.unchanged


def test_work_that_was_not_done_is_remembered() -> None:
    console = Console(quiet=True)
    with console.listening():
        warnings.warn("no star was found", UnchangedWarning, stacklevel=1)
    assert console.unchanged
