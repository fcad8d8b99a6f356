"""What a type checker and ``help()`` know of the public functions."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import astro_sr_plugin as asr

PROGRAM = """
from pathlib import Path
from typing import assert_type

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.typing import NDArray

import astro_sr_plugin as asr

def images(ccd: CCDData, array: NDArray[np.float32], path: Path, hdus: fits.HDUList) -> None:
    assert_type(asr.denoise(ccd, strength=0.5), CCDData)
    assert_type(asr.deconvolve(path, psf=3.0), CCDData)
    assert_type(asr.super_resolve(hdus), CCDData)
    assert_type(asr.remove_stars(ccd), tuple[CCDData, CCDData])
    assert_type(asr.apply_stretch(ccd, "asinh"), CCDData)
    assert_type(asr.undo_stretch("a.fits", hdu=1), CCDData)
    assert_type(asr.debayer(ccd), CCDData)
    asr.denoise(array).mean()
    asr.measure(array).to_table()
    asr.denoise(ccd, vigour=0.5)  # no such keyword
    asr.denoise(array).header  # an array has no header
"""
CONFIG = """
[mypy]
follow_imports = silent
[mypy-astropy.nddata.*]
follow_untyped_imports = True
[mypy-astropy.io.fits.*]
follow_untyped_imports = True
[mypy-astropy.*]
ignore_missing_imports = True
[mypy-torch.*]
follow_imports = skip
"""


@pytest.mark.slow
def test_a_type_checker_knows_the_kind_of_the_result(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    program, config = tmp_path / "program.py", tmp_path / "mypy.ini"
    program.write_text(PROGRAM)
    config.write_text(CONFIG)
    words = ["--config-file", str(config), "--cache-dir", str(tmp_path / "cache")]
    report, failure, _ = api.run([*words, "--no-error-summary", str(program)])
    assert failure == ""
    lines = PROGRAM.splitlines()
    expected = [n for n, line in enumerate(lines, 1) if "#" in line]
    found = {int(n) for n in re.findall(r":(\d+): error", report)}
    assert sorted(found) == expected, report


@pytest.mark.parametrize(
    "name", [name for name in asr.__all__ if inspect.isfunction(getattr(asr, name))]
)
def test_help_describes_every_parameter_once(name: str) -> None:
    function = getattr(asr, name)
    text = inspect.getdoc(function).partition("\nReturns\n")[0]
    lines = re.findall(
        r"^\*{0,2}(\w+(?:, \w+)*)(?: : |$)", text.partition("---\n")[2], re.MULTILINE
    )
    described = [word for line in lines for word in line.split(", ")]
    assert sorted(described) == sorted(inspect.signature(function).parameters)
