"""The ``audit`` command, and ``--report`` and ``--strict`` of the verbs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A field of Gaussian stars in a folder of its own; the test stands in it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:144, :144]
    image = rng.normal(500.0, 8.0, (144, 144))
    for yc in range(25, 130, 30):
        for xc in range(25, 130, 30):
            dx, dy = rng.uniform(-3, 3, 2)
            square = (x - xc - dx) ** 2 + (y - yc - dy) ** 2
            image += rng.uniform(200, 4000) * np.exp(-0.5 * square / 1.5**2)
    fits.writeto("stack.fits", image.astype(np.float32))
    return "stack.fits"


@pytest.mark.parametrize("verb", ["denoise", "deconvolve", "super-resolve"])
def test_a_verb_checks_its_result(verb: str, stack: str, astro_sr: Callable[..., Any]) -> None:
    result = astro_sr(verb, stack, "-o", "out.fits", "--strict", "--json")
    record = json.loads(result.out)
    assert record["audit"]["spurious"] == []
    assert record["audit"]["flux_ratio"] == pytest.approx(1, abs=2e-4)
    assert result.code == (0 if record["audit"]["passed"] else 1)
    done = astro_sr(verb, stack, "-o", "again.fits", "--report")
    assert done.code == 0
    assert "spurious" in done.out


def test_finer_pixels_that_keep_the_sum(stack: str, astro_sr: Callable[..., Any]) -> None:
    words = ("--conserve-flux", "--report", "--json")
    record = json.loads(astro_sr("super-resolve", stack, "-o", "out.fits", *words).out)
    assert record["audit"]["flux_ratio"] == pytest.approx(1, abs=2e-4)
    again = json.loads(astro_sr("audit", stack, "out.fits", "--conserve-flux", "--json").out)
    assert again["audit"]["n_sources"] == record["audit"]["n_sources"]


def test_a_spurious_star_fails_a_check(stack: str, astro_sr: Callable[..., Any]) -> None:
    assert astro_sr("denoise", stack, "-o", "clean.fits").code == 0
    assert astro_sr("audit", stack, "clean.fits", "--strict").code == 0
    with fits.open("clean.fits", mode="update") as hdus:
        y, x = np.mgrid[:144, :144]
        hdus[0].data += 200 * np.exp(-0.5 * ((x - 70) ** 2 + (y - 70) ** 2) / 1.5**2)
    warned = astro_sr("audit", stack, "clean.fits")
    assert warned.code == 0
    assert "not supported" in warned.err
    assert astro_sr("audit", stack, "clean.fits", "--strict").code == 1


def test_what_cannot_be_checked(stack: str, astro_sr: Callable[..., Any]) -> None:
    assert astro_sr("audit", stack, "missing.fits").code == 2
    fits.writeto("small.fits", np.ones((20, 20), np.float32))
    refused = astro_sr("audit", stack, "small.fits")
    assert refused.code == 2
    assert "shape" in refused.err
    mixed = astro_sr("deconvolve", stack, "-o", "half.fits", "--stars", 0.5, "--report")
    assert mixed.code == 2
    assert "--stars is 0.5" in mixed.err
    assert not Path("half.fits").exists()


def test_each_file_has_an_extension_of_its_own(stack: str, astro_sr: Callable[..., Any]) -> None:
    pixels = fits.getdata(stack)
    other = fits.ImageHDU(np.zeros((20, 20), np.float32), name="OTHER")
    hdus = [fits.PrimaryHDU(), other, fits.ImageHDU(pixels, name="SCI")]
    fits.HDUList(hdus).writeto("mef.fits")
    words = ("--hdu", "SCI", "--json")
    for after, more in ((stack, ()), ("mef.fits", ("--after-hdu", 2))):
        found = json.loads(astro_sr("audit", "mef.fits", after, *words, *more).out)
        assert found["audit"]["flux_ratio"] == pytest.approx(1)
    assert astro_sr("compare", "mef.fits", stack, "--hdu", "SCI", "-o", "a.png").code == 0
    refused = astro_sr("audit", stack, "mef.fits")
    assert refused.code == 2
    assert "shape" in refused.err
