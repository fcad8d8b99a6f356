"""Pixels that are no linear light, as a user of the command line meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits


@pytest.fixture
def raw_path(field_path: Path, tmp_path: Path) -> Path:
    """Return a raw frame whose red and blue pixels get half the light of the green ones."""
    data, header = fits.getdata(field_path, header=True)
    gains = np.tile([[0.5, 1.0], [1.0, 0.5]], (48, 48))
    header["BAYERPAT"] = "RGGB"
    fits.writeto(tmp_path / "raw.fits", (data * gains).astype("f4"), header)
    return tmp_path / "raw.fits"


@pytest.mark.parametrize("verb", ["denoise", "remove-stars", "measure", "star-mask", "deconvolve"])
def test_raw_frames_are_refused(verb: str, astro_sr: Any, raw_path: Path, tmp_path: Path) -> None:
    words = [] if verb == "measure" else ["-o", tmp_path / "out.fits"]
    result = astro_sr(verb, raw_path, *words)
    assert result.code == 2
    assert "--debayer superpixel" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["raw.fits"]


@pytest.mark.parametrize(("method", "side"), [("superpixel", 48), ("bilinear", 96)])
def test_debayered_on_the_way(
    method: str, side: int, astro_sr: Any, raw_path: Path, tmp_path: Path
) -> None:
    words = ("--debayer", method, "--model", "wiener", "-o", tmp_path / "out.fits")
    result = astro_sr("denoise", raw_path, *words, "--json")
    assert result.code == 0, result.err
    data, header = fits.getdata(tmp_path / "out.fits", header=True)
    assert data.shape == (3, side, side)
    assert "BAYERPAT" not in header
    levels = np.median(data, axis=(1, 2))
    np.testing.assert_allclose(levels / levels[1], [0.5, 1.0, 0.5], rtol=0.01)
    measured = astro_sr("measure", raw_path, "--debayer", method, "--json")
    assert json.loads(measured.out)["shape"] == [3, side, side]


def test_filters_may_be_given_and_frames_taken_as_they_are(
    astro_sr: Any, raw_path: Path, tmp_path: Path
) -> None:
    fits.delval(raw_path, "BAYERPAT")
    unknown = astro_sr("measure", raw_path, "--debayer", "superpixel")
    assert unknown.code == 2
    assert "--cfa-pattern" in unknown.err
    given = ("--debayer", "superpixel", "--cfa-pattern", "bggr")
    assert astro_sr("measure", raw_path, *given).code == 0
    fits.setval(raw_path, "BAYERPAT", value="RGGB")
    forced = astro_sr("star-mask", raw_path, "--force", "-o", tmp_path / "mask.fits")
    assert forced.code == 0
    assert forced.err == ""


def test_batches_debayer_first(astro_sr: Any, raw_path: Path, tmp_path: Path) -> None:
    words = ("--debayer", "superpixel", "--step", "denoise", "model=wiener")
    result = astro_sr("batch", raw_path, "-o", tmp_path / "results", *words)
    assert result.code == 0, result.err
    (written,) = (tmp_path / "results").glob("*.fits")
    assert fits.getdata(written).shape == (3, 48, 48)
