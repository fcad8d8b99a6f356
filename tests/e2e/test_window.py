"""The windows, in a real Siril with windows under a virtual screen: clicked through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import astro_sr_plugin as asr
from astro_sr_plugin.models.srcnn import SRCNN
from tests.e2e.conftest import HERE, SIZE, Siril, write


def drive(siril: Siril, script: str, image: str, model: str = "") -> dict[str, Any]:
    """Click through the window of a script, and return what was seen."""
    out = siril.work / "pictures"
    out.mkdir(exist_ok=True)
    driver = siril.work / "drive_window.py"
    driver.write_text((HERE / "drive_window.py").read_text())
    seen = out / f"AstroSR_{script}.json"
    done = siril.show(
        seen,
        f"load {image}",
        f"pyscript {driver} {siril.scripts} AstroSR_{script} {out} {model}",
    )
    assert seen.exists(), done.log[-3000:]
    result = json.loads(seen.read_text())
    assert "error" not in result, result["error"]
    result["pictures"] = out
    return result


@pytest.fixture(scope="module")
def denoised(siril: Siril) -> dict[str, Any]:
    """Click through the window of Denoise with a colour image of 16 bits."""
    write(siril, "window", colours=3, bits=16, solved=True)
    return drive(siril, "Denoise", "window")


@pytest.mark.xdist_group("denoised")
def test_preview_and_cancel_leave_the_image_alone(denoised: dict[str, Any]) -> None:
    assert denoised["busy"] == [True, False]
    assert denoised["preview"].startswith("denoise: ")
    assert denoised["drawn"]
    assert denoised["unchanged by preview"]
    assert denoised["cancelled"] == "Cancelled"
    assert denoised["unchanged by cancel"]


@pytest.mark.xdist_group("denoised")
def test_apply_gives_the_result_of_the_package(siril: Siril, denoised: dict[str, Any]) -> None:
    pixels = siril.image("window").data.astype(np.float32) / np.float32(65535)
    strength = denoised["remembered"]["strength"]
    assert 0 < strength < 1
    applied = np.load(denoised["pictures"] / "AstroSR_Denoise_applied.npy")
    assert applied.dtype == np.float32
    wanted = asr.denoise(pixels, strength=strength)
    np.testing.assert_allclose(applied, wanted, atol=2e-6 * pixels.max())
    saved = asr.read_image(denoised["pictures"] / "AstroSR_Denoise_applied.fit")
    np.testing.assert_array_equal(saved.data, applied)
    assert list(saved.meta["HISTORY"]) == [
        "stacked with care",
        f"AstroSR denoise --strength {strength}",
    ]
    assert saved.meta["ASRTASK"] == "denoise"
    assert saved.meta["MYKEY"] == 3.25


@pytest.mark.xdist_group("denoised")
def test_undo_brings_back_pixels_and_header(denoised: dict[str, Any]) -> None:
    assert denoised["undone"] == "Undone"
    assert denoised["dtype"] == denoised["undone dtype"] == "uint16"
    assert denoised["undone equal"]

    assert lasting(denoised["header undone"]) == pytest.approx(lasting(denoised["header"]))


def lasting(header: str) -> dict[str, float | str]:
    """Return the numbers and texts of a header that Siril does not renew by itself."""
    renewed = ("MIPS", "DATE ", "BZERO", "BSCALE", "EQUINOX", "PROGRAM", "COMMENT", "END")
    found: dict[str, float | str] = {}
    for line in header.splitlines():
        if line.startswith(renewed):
            continue
        keyword, _, text = line.partition("=")
        value = text.split(" /")[0].strip(" '")
        try:
            found[keyword.strip()] = float(value)
        except ValueError:
            found[keyword.strip()] = value
    return found


def test_undo_of_a_larger_image(siril: Siril) -> None:
    write(siril, "large", colours=1, bits=32, solved=True)
    network = siril.work / "srcnn_x2.pth"
    torch.save(SRCNN(widths=(4, 4)).state_dict(), network)
    seen = drive(siril, "SuperResolve", "large", str(network))
    assert seen["applied shape"] == [2 * SIZE, 2 * SIZE]
    assert seen["model"] == str(network)
    saved = asr.read_image(seen["pictures"] / "AstroSR_SuperResolve_applied.fit")
    assert saved.meta["ASRMODEL"] == "srcnn_x2"
    original = asr.read_image(siril.work / "large.fit")
    corner = original.wcs.pixel_to_world(-0.5, -0.5)
    assert corner.separation(saved.wcs.pixel_to_world(-0.5, -0.5)).arcsec < 0.01
    assert seen["undone equal"]
    assert card(seen["header undone"], "CRPIX1") == original.meta["CRPIX1"]


def card(header: str, keyword: str) -> float:
    (line,) = [line for line in header.splitlines() if line.startswith(keyword)]
    return float(line.split("=")[1].split("/")[0])


@pytest.mark.parametrize("script", ["Measure", "Panel"])
def test_other_windows_open_and_work(siril: Siril, script: str) -> None:
    write(siril, "other", colours=1, bits=32, solved=False)
    seen = drive(siril, script, "other")
    if script == "Measure":
        assert seen["applied"] == "Done"
    else:
        assert seen["applied"].startswith("denoise: ")
        assert seen["remembered"]["denoise"]
        assert seen["undone equal"]


@pytest.mark.xdist_group("denoised")
def test_the_pictures_show_something(denoised: dict[str, Any]) -> None:
    folder: Path = denoised["pictures"]
    for what in ("opened", "preview", "applied", "undone"):
        with Image.open(folder / f"AstroSR_Denoise_{what}.png") as picture:
            assert picture.width > 600
            assert np.asarray(picture.convert("L")).std() > 20
