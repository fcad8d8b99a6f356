"""Messages in the words of the command line, each once, and what they mean for the exit code."""

from __future__ import annotations

import ast
import json
import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import astro_sr_plugin as asr
from astro_sr_plugin.cli.console import Console
from astro_sr_plugin.cli.program import build_parser
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


def messages() -> list[str]:
    """Return the texts of the package that name keywords; what is filled in reads 0."""
    found = []
    for path in Path(asr.__file__).parent.rglob("*.py"):
        if {"cli", "report", "training", "simulation"} & set(path.parts):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if not isinstance(node, ast.JoinedStr | ast.Constant) or id(node) in docstrings:
                continue
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "0" for p in parts)
            if " " in text and "\n" not in text and re.search(r"\b[a-z_]+=[^\s\"]", text):
                found.append(text)
    return found


PYTHON_ONLY = {"shape", "channels", "samples", "sampler"}
"""Keywords in messages of functions that no command calls with them, and parts of ``--sampling``,
which are the same in both."""


def test_every_keyword_in_a_message_is_an_option_of_a_command() -> None:
    commands = next(a for a in build_parser()._actions if isinstance(a.choices, dict)).choices
    options = {action.dest for command in commands.values() for action in command._actions}
    texts = messages()
    assert len(texts) > 30
    left = [in_options(text, options) for text in texts]
    unknown = {
        name
        for text in left
        for name in re.findall(r"\b([a-z]+(?:_[a-z]+)*)=[^\s\"]", text)
        if name not in PYTHON_ONLY
    }
    assert unknown == set()
    assert not [text for text in left if re.search(r"--[a-z-]+ True\b", text)]


def test_keywords_of_other_names_become_their_options() -> None:
    options = {"cfa_pattern", "debayer", "hdu"}
    assert in_options("give it by pattern='RGGB'", options) == "give it by --cfa-pattern 'RGGB'"
    assert in_options("use method='bilinear'", options) == "use --debayer 'bilinear'"
    assert in_options("use method='bilinear'", {"hdu"}) == "use method='bilinear'"


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
    assert found == {"output": "a.fits", "exit_code": 0, "warnings": ["give --psf FWHM,BETA"]}
    assert not console.unchanged


def test_work_that_was_not_done_is_remembered() -> None:
    console = Console(quiet=True)
    with console.listening():
        warnings.warn("no star was found", UnchangedWarning, stacklevel=1)
    assert console.unchanged


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["denoise", "--json", "no.fits", "-o", "out.fits"], 2, "no.fits"),
        (["denoise", "--json", "a.fits"], 2, "required: -o/--output"),
        (["compare", "no.fits", "no.fits", "--json"], 2, "no.fits"),
        (["models", "show", "none", "--json"], 2, "there is no model 'none'"),
    ],
)
def test_errors_are_one_json_object(
    words: list[str], code: int, reason: str, astro_sr: Callable[..., Any]
) -> None:
    result = astro_sr(*words)
    found = json.loads(result.out)
    assert set(found) == {"error", "exit_code", "warnings"}
    assert (result.code, found["exit_code"]) == (code, code)
    assert reason in found["error"]
    assert f"astro-sr: error: {found['error']}" in result.err


def test_results_before_an_error_stand_in_its_object(
    astro_sr: Callable[..., Any], field_path: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.fits"
    damaged.write_bytes(b"SIMPLE  =")
    found = json.loads(astro_sr("measure", field_path, damaged, "--json").out)
    assert [Path(entry["input"]) for entry in found["results"]] == [field_path]
    assert "damaged.fits" in found["error"]


def test_the_log_of_the_package_says_what_is_done(
    field_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "astro_sr_plugin")
    asr.denoise(field_path, model="wiener")
    text = caplog.text
    for word in ("field.fits", "model wiener", "denoise", "noise", "tiles"):
        assert word in text
    assert {record.levelno for record in caplog.records} <= {logging.INFO, logging.DEBUG}


@pytest.mark.parametrize("strict", [True, False])
def test_stars_that_are_not_there_are_reported(
    strict: bool, astro_sr: Callable[..., Any], tmp_path: Path
) -> None:
    noise = np.random.default_rng(3).normal(500, 8, (96, 96)).astype(np.float32)
    fits.writeto(tmp_path / "empty.fits", noise)
    words = ["--strict"] if strict else []
    output = tmp_path / "starless.fits"
    result = astro_sr("remove-stars", tmp_path / "empty.fits", "-o", output, "--json", *words)
    assert result.code == int(strict)
    assert "warning: no stars were found, so none were removed" in result.err
    assert any("no stars were found" in text for text in json.loads(result.out)["warnings"])
    assert output.exists()


def test_measure_ends_with_what_to_run(
    astro_sr: Callable[..., Any], field_path: Path, tmp_path: Path
) -> None:
    last = astro_sr("measure", field_path).out.strip().splitlines()[-1]
    assert last.startswith(f"To run next: astro-sr deconvolve {field_path} -o sharp.fits (stars of")
    clean = tmp_path / "clean.fits"
    said = astro_sr("denoise", field_path, "-o", clean, "--model", "wiener").out
    assert re.search(
        r"px FWHM, 2\.\d\d -> 2\.\d\d arcsec, model wiener\S*, on \w+, [\d.]+ s$", said
    )
    assert "denoise was done already" in astro_sr("measure", clean).out
    refused = astro_sr("deconvolve", clean, "-o", tmp_path / "sharp.fits")
    assert refused.code == 2
    assert "--force" in refused.err
