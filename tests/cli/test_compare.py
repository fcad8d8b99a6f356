"""The ``compare`` command: what it writes, where, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image


@pytest.fixture
def pair(field_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """An image, and the same with all light doubled; the test stands in their folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(field_path, "stack.fits")
    with fits.open("stack.fits") as hdus:
        fits.PrimaryHDU(2 * hdus[0].data, hdus[0].header).writeto("bright.fits")
    return "stack.fits", "bright.fits"


def test_page_and_picture_without_an_output(astro_sr: Callable[..., Any], pair: Any) -> None:
    result = astro_sr("compare", *pair, "--json")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert record["output"] == ["bright_compare.html", "bright_compare.png"]
    assert record["flux_ratio"] == pytest.approx(2.0)
    assert record["n_stars"] == len(record["stars"]) >= 1
    assert record["magnitude_difference"] == pytest.approx(-2.5 * np.log10(2), abs=1e-4)
    # The slope of the sky is doubled too.
    assert record["fwhm_after"] == pytest.approx(record["fwhm_before"], rel=1e-3)
    page = Path("bright_compare.html").read_text(encoding="utf-8")
    assert "stack.fits" in page
    assert 'src="http' not in page
    with Image.open("bright_compare.png") as picture:
        assert picture.width > 2 * 96
    again = astro_sr("compare", *pair)
    assert again.code == 2
    assert "bright_compare.html" in again.err


def test_a_folder_labels_and_crops(astro_sr: Callable[..., Any], pair: Any) -> None:
    Path("pages").mkdir()
    words = ("-o", "pages", "--labels", "first night", "<both> nights", "--crop", "40,50")
    result = astro_sr("compare", *pair, *words, "--crop-size", 32, "--stretch", "asinh")
    assert result.code == 0, result.err
    page = Path("pages/bright_compare.html").read_text(encoding="utf-8")
    assert "first night" in page
    assert "&lt;both&gt; nights" in page
    assert "x 40, y 50" in page
    assert "AsinhStretch" in page
    assert Path("pages/bright_compare.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "page.bmp"), "page.bmp"),
        (("--crop", "here"), "here"),
        (("--crop", "4000,3"), "4000"),
        (("--crop-size", "2"), "crop_size"),
        (("--stretch", "none"), "none"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], message: str, astro_sr: Callable[..., Any], pair: Any
) -> None:
    before = sorted(Path().iterdir())
    result = astro_sr("compare", *pair, *words)
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert sorted(Path().iterdir()) == before
