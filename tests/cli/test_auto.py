"""The auto command: it chooses, checks, and keeps what passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import astro_sr_plugin as asr
from astro_sr_plugin.cli.suggestion import suggest


def write_field(path: Path, fwhm: float, *, count: int = 40, side: int = 160) -> Path:
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:side, :side]
    image = rng.normal(300.0, 5.0, (side, side))
    for column, row in rng.uniform(6, side - 7, (count, 2)):
        radius = np.hypot(x - column, y - row)
        light = (1 + (radius / (1.05 * fwhm)) ** 2) ** -3.0
        image += np.exp(rng.uniform(6, 10)) / fwhm**2 * light
    fits.writeto(path, image.astype(np.float32))
    return path


@pytest.mark.parametrize(
    ("fwhm", "count", "choice"),
    [(3.6, 40, "deconvolve"), (2.2, 40, "super-resolve"), (3.0, 0, "denoise")],
)
def test_the_choice_follows_the_stars(
    astro_sr: Any, tmp_path: Path, fwhm: float, count: int, choice: str
) -> None:
    source = write_field(tmp_path / "field.fits", fwhm, count=count)
    record = json.loads(astro_sr("auto", source, "--json").out)
    assert record["choice"] == choice
    target = Path(record["output"])
    assert target == tmp_path / "field_auto.fits"
    if count:
        assert record["audit"]["passed"]
        assert asr.audit(source, target).passed
    assert (tmp_path / "field_auto_compare.html").exists()
    assert {path.name for path in tmp_path.iterdir()} == {
        "field.fits", "field_auto.fits", "field_auto_compare.html",
    }  # fmt: skip


def test_stars_of_any_shape_are_sharpened_if_their_psf_is_known() -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:200, :200]
    image = rng.normal(100.0, 2.0, (200, 200))
    for column, row in rng.uniform(12, 187, (30, 2)):
        flux = np.exp(rng.uniform(6, 8))
        for dx, part in ((0.0, 1.0), (3.5, 0.6), (6.0, 0.3)):  # a tail, as of coma
            image += part * flux * np.exp(-((x - column - dx) ** 2 + (y - row) ** 2) / 4.5)
    quality = asr.measure(image)
    assert max(quality.residual_fraction) > 0.22
    assert suggest(quality, {}).verb == "deconvolve"
    # A plane without a usable pixel has no say.
    with pytest.warns(asr.AstroSRWarning, match="nothing is measured"):
        quality = asr.measure(np.stack([image, np.full_like(image, np.nan)]))
    assert suggest(quality, {}).verb == "deconvolve"


def test_nothing_is_written_where_nothing_is_to_be_done(astro_sr: Any, tmp_path: Path) -> None:
    source = tmp_path / "flat.fits"
    fits.writeto(source, np.full((64, 64), 7.0, np.float32))
    before = source.read_bytes()
    result = astro_sr("auto", source)
    assert result.code in (0, 2)
    assert "no noise" in result.out + result.err or "every usable pixel" in result.err
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["flat.fits"]


def test_a_name_with_dots_is_kept_whole(astro_sr: Any, tmp_path: Path) -> None:
    source = write_field(tmp_path / "M31.night.2.fits", 3.0, count=0, side=64)
    assert astro_sr("auto", source).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "M31.night.2.fits", "M31.night.2_auto.fits", "M31.night.2_auto_compare.html",
    }  # fmt: skip


def test_results_are_not_replaced_unasked(astro_sr: Any, tmp_path: Path) -> None:
    source = write_field(tmp_path / "field.fits", 3.0, count=0, side=64)
    (tmp_path / "field_auto_compare.html").write_text("mine")
    result = astro_sr("auto", source)
    assert result.code == 2
    assert "field_auto_compare.html" in result.err
    assert not (tmp_path / "field_auto.fits").exists()
