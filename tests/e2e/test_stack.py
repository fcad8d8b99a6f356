"""The script that stacks frames, in a real Siril: what it opens is what the package computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import astro_sr_plugin as asr
from tests.e2e.conftest import Siril, make_header, make_pixels

SEQUENCE = """S 'light_' 1 4 3 5 0 6 0 0 0
L 1
I 1 1
I 2 0
I 3 1
I 4 1
"""
"""File of a sequence of four frames, the second of which is excluded."""
DRIVER = """
import os, runpy, sys
# Siril takes a script that another script starts for one without windows.
os.environ.pop("SIRIL_PYTHON_CLI", None)
import sirilpy
siril = sirilpy.SirilInterface()
siril.connect()
# There is one connection.
siril.connect, sirilpy.SirilInterface = lambda: True, lambda: siril
sys.path.insert(0, "{scripts}")
sys.argv = ["{script}", "-rejection", "winsorized", "-overwrite"]
runpy.run_path("{script}", run_name="__main__")
siril.cmd("save", "{saved}.part")
os.rename("{saved}.part.fit", "{saved}")
"""


@pytest.fixture
def lights(siril: Siril) -> Path:
    """Return a folder with four frames of a field."""
    folder = siril.work / "lights"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    for k in range(4):
        pixels = np.roll(make_pixels(), (2 * k, -k), (0, 1))
        pixels += rng.normal(0, 2e-4, pixels.shape).astype(np.float32)
        fits.writeto(folder / f"light_{k + 1:05d}.fit", pixels, make_header(False), overwrite=True)
    return folder


def test_a_folder_is_stacked_and_opened(siril: Siril, lights: Path) -> None:
    done = siril.run(siril.script("Stack", "-folder", "lights"), "save shown")
    assert done.code == 0, done.log[-3000:]
    expected = asr.stack(sorted(lights.glob("*.fit")))
    shown = siril.image("shown")
    np.testing.assert_array_equal(shown.data, expected.image.data)
    assert shown.header["STACKCNT"] == 4
    assert (siril.work / "lights_stack.fit").exists()


def test_the_included_frames_of_the_open_sequence_are_stacked(siril: Siril, lights: Path) -> None:
    """Only a Siril with windows opens sequences."""
    saved, driver = lights / "shown.fit", siril.work / "drive_stack.py"
    script = siril.scripts / "AstroSR_Stack.py"
    driver.write_text(DRIVER.format(scripts=siril.scripts, script=script, saved=saved))
    (lights / "light_.seq").write_text(SEQUENCE)
    done = siril.show(saved, f"cd {lights}", "load_seq light_", f"pyscript {driver}")
    assert saved.exists(), done.log[-3000:]
    frames = [lights / f"light_{k:05d}.fit" for k in (1, 3, 4)]
    expected = asr.stack(frames, rejection="winsorized")
    with fits.open(saved) as hdus:
        np.testing.assert_array_equal(hdus[0].data, expected.image.data)
        assert hdus[0].header["REJMETH"] == "winsorized"
    assert (lights / "light_stack.fit").exists()


def test_what_is_missing_is_said(siril: Siril) -> None:
    (siril.work / "empty").mkdir()
    wrong = (["-folder", "nowhere"], [], ["-folder", "empty"])
    done = siril.run(*(siril.script("Stack", *words) for words in wrong), "save none")
    for text in ("nowhere is no folder", "no sequence of FITS files is open", "empty"):
        assert text in done.log, done.log[-2000:]
    assert done.code != 0
    assert not (siril.work / "none.fit").exists()
