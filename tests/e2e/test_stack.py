"""The script that stacks a folder, in a real Siril: what it opens is what the package computes."""

from __future__ import annotations

import numpy as np
from astropy.io import fits

import astro_sr_plugin as asr
from tests.e2e.conftest import Siril, make_header, make_pixels


def test_a_folder_is_stacked_and_opened(siril: Siril) -> None:
    folder = siril.work / "lights"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for k in range(4):
        pixels = np.roll(make_pixels(), (2 * k, -k), (0, 1))
        pixels += rng.normal(0, 2e-4, pixels.shape).astype(np.float32)
        fits.writeto(folder / f"light_{k}.fit", pixels, make_header(False))
    done = siril.run(siril.script("Stack", "-folder", "lights"), "save shown")
    assert done.code == 0, done.log[-3000:]
    expected = asr.stack(sorted(folder.iterdir()))
    shown = siril.image("shown")
    np.testing.assert_array_equal(shown.data, expected.image.data)
    assert shown.header["STACKCNT"] == 4
    assert (siril.work / "lights_stack.fit").exists()


def test_what_is_missing_is_said(siril: Siril) -> None:
    (siril.work / "empty").mkdir()
    for arguments, text in (
        (["-folder", "nowhere"], "nowhere is no folder"),
        ([], "no sequence of FITS files is open"),
        (["-folder", "empty"], "empty"),
    ):
        done = siril.run(siril.script("Stack", *arguments), "save none")
        assert text in done.log, done.log[-2000:]
        assert done.code != 0
        assert not (siril.work / "none.fit").exists()
