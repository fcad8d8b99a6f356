"""Every script: the customs of Siril's collection, and options that astro-sr understands."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest
from astro_sr_siril.errors import ScriptError
from astro_sr_siril.machine import machine_flags
from astro_sr_siril.program import parse
from astro_sr_siril.verb import Verb

from astro_sr_plugin.cli.program import build_parser

SCRIPTS = sorted((Path(__file__).parents[2] / "siril_scripts").glob("*.py"))
NAMES = [path.stem for path in SCRIPTS]


def verb_of(path: Path) -> Verb:
    values = runpy.run_path(str(path), run_name="looked_at").values()
    (verb,) = [value for value in values if isinstance(value, Verb)]
    return verb


@pytest.fixture(params=SCRIPTS, ids=NAMES)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


def named(name: str) -> Verb:
    return verb_of(SCRIPTS[NAMES.index(f"AstroSR_{name}")])


def test_there_is_a_script_for_every_menu_entry() -> None:
    entries = "Denoise Deconvolve SuperResolve RemoveStars StarMask Measure Stretch Unstretch"
    assert {name.removeprefix("AstroSR_") for name in NAMES} >= {*entries.split(), "Panel", "Stack"}


def test_a_script_follows_the_customs(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    about = ast.get_docstring(tree)
    assert "(c) " in about
    assert "Contact: " in about
    assert "SPDX-License-Identifier: BSD-3-Clause" in about
    assert re.search(rf"^In a script file: pyscript {path.name}", about, re.MULTILINE)
    version = re.search(r'^VERSION = "([0-9.]+)"$', text, re.MULTILINE)[1]
    assert f"# {version} " in text.partition("# Version History")[2]
    # sirilpy first, then what has to be installed, then what needs it.
    order = [text.index(part) for part in ("import sirilpy", "ensure_installed(", "from astro_sr_")]
    assert order == sorted(order)
    assert re.search(r'run\(\w+, requires="1\.4\.0"\)', text)
    assert len(text.splitlines()) < 80


def test_astro_sr_understands_what_a_script_asks(path: Path) -> None:
    verb = verb_of(path)
    values = verb.defaults()
    switches = [option.key for option in verb.options if option.default is False]
    # The panel does one thing at a time.
    values |= {key: True for key in (switches[:1] if verb.name == "panel" else switches)}
    extra = machine_flags(verb, "wiener", "cpu")
    for line in verb.command_lines(values):
        words = [line[0], "in.fits", *line[1:], *extra, "--progress", "line"]
        if verb.result != "report":
            words += ["-o", "out.fits"]
        if verb.beside_flag:
            words += [verb.beside_flag, "beside.fits"]
        build_parser().parse_args(words)


def test_arguments_have_one_dash() -> None:
    verb = named("Deconvolve")
    values, found = parse(verb, ["-stars", "0.25", "-extended=1", "-target-fwhm=2.5", "-whole"])
    assert values == {
        "stars": 0.25,
        "extended": 1.0,
        "target_fwhm": 2.5,
        "luminance_only": False,
        "psf": "",
        "force": False,
    }
    assert found.whole
    assert verb.command_lines(values) == [
        ["deconvolve", "--stars", "0.25", "--extended", "1.0", "--target-fwhm", "2.5"]
    ]


def test_what_is_not_given_is_left_to_astro_sr() -> None:
    verb = named("SuperResolve")
    values, found = parse(verb, [])
    assert verb.command_lines(values) == [["super-resolve", "--scale", "2"]]
    assert machine_flags(verb, found.model, found.device) == []


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Denoise", ["-strength", "1.5"], "-strength 1.5 is not allowed; it goes from 0 to 1"),
        ("Denoise", ["-strength", "-1"], "-strength -1 is not allowed; it goes from 0 to 1"),
        ("Denoise", ["-strength"], "-strength"),
        ("Denoise", ["extra"], "extra"),
        ("Denoise", ["-device", "abacus"], "abacus"),
        ("Stretch", ["-name", "sqrt"], "-name sqrt is not allowed; it is one of mtf, "),
        ("Stretch", ["-whole"], "-whole"),
        ("Measure", ["-model", "wiener"], "-model"),
    ],
)
def test_wrong_arguments_are_refused(name: str, arguments: list[str], message: str) -> None:
    with pytest.raises(ScriptError) as error:
        parse(named(name), arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_panel_does_one_thing() -> None:
    panel = named("Panel")
    values, _ = parse(panel, ["-denoise", "-strength", "0.5"])
    assert panel.command_lines(values) == [["denoise", "--strength", "0.5"]]
    values, _ = parse(panel, ["-super-resolve", "-deconvolve"])
    with pytest.raises(ScriptError, match="deconvolve and super-resolve are ticked; tick one"):
        panel.command_lines(values)
    # If nothing is ticked, the command chooses.
    assert panel.command_lines(panel.defaults()) == [["auto", "--no-page"]]
