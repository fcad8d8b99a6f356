"""What the documentation must hold besides building without warnings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import astro_sr_plugin as asr
from astro_sr_plugin.cli.program import build_parser

DOCS = Path(__file__).parents[1] / "docs"
GALLERY = DOCS / "images" / "gallery"
PAGES = sorted(DOCS.glob("*.rst"))
_LARGEST_PICTURE = 300_000
"""Bytes of one picture of the gallery, so that a clone of the repository stays small."""


def commands() -> list[str]:
    """Return the names of all commands, as the help lists them."""
    return re.findall(r"^    ([a-z][a-z-]+)\b", build_parser().format_help(), re.MULTILINE)


def test_the_help_lists_commands() -> None:
    assert {"denoise", "deconvolve", "measure", "doctor", "siril"} <= set(commands())


@pytest.mark.parametrize("name", commands())
def test_every_command_has_its_help_on_the_page_of_commands(name: str) -> None:
    text = (DOCS / "command_line.rst").read_text(encoding="utf-8")
    assert re.search(rf"^\.\. command-help:: {re.escape(name)}\b", text, re.MULTILINE)


def test_every_command_has_its_json_fields_on_the_page_of_commands() -> None:
    text = (DOCS / "command_line.rst").read_text(encoding="utf-8")
    table = text.partition("The JSON object\n---")[2]
    named = {words.split()[0] for words in re.findall(r"``([a-z][a-z -]+)``", table)}
    assert set(commands()) - {"completion"} <= named


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "api" / "index.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   (\w+)$", text, re.MULTILINE))
    assert set(asr.__all__) <= listed


def test_every_page_is_reached_from_the_index() -> None:
    text = (DOCS / "index.rst").read_text(encoding="utf-8")
    listed = set(re.findall(r"^   (\w+)$", text, re.MULTILINE))
    assert {page.stem for page in PAGES} - {"index"} <= listed


def test_pictures_of_the_gallery_are_small_shown_and_credited() -> None:
    pictures = sorted(GALLERY.glob("*.jpg"))
    page = (DOCS / "gallery.rst").read_text(encoding="utf-8")
    credits = (GALLERY / "README.md").read_text(encoding="utf-8")
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < _LARGEST_PICTURE
        assert f"images/gallery/{picture.name}" in page
        assert f"| {picture.stem} |" in credits
