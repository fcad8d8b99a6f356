"""What goes wrong is written into the log, nothing is saved, and siril-cli ends with an error."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import astro_sr_plugin as asr
from tests.e2e.conftest import HERE, SIZE, Siril, write


@pytest.fixture(scope="module")
def loaded(siril: Siril) -> str:
    """Return the name of an image."""
    write(siril, "frail", colours=1, bits=32, solved=True)
    return "frail"


WRONG = [
    ("Denoise", ["-strength", "3"], "-strength 3 is not allowed; it goes from 0 to 1"),
    ("Denoise", ["-strength", "much"], "invalid float value: 'much'"),
    ("Denoise", ["-strenght", "1"], "unrecognized arguments: -strenght"),
    ("Denoise", ["-model", "no-such-model"], "no-such-model"),
    ("Deconvolve", ["-target-fwhm", "0.2"], "-target-fwhm 0.2 is not allowed"),
    ("Stretch", ["-name", "cubic"], "-name cubic is not allowed; it is one of mtf, asinh"),
    ("Unstretch", [], "ASRSTR"),
    ("Panel", ["-denoise", "-deconvolve"], "are ticked; tick one"),
    ("Denoise", ["-command", "/no/such/astro-sr"], "does not exist or cannot be run"),
]


def test_wrong_arguments(siril: Siril, loaded: str) -> None:
    """A script that refuses closes the image, so that the line after the last one fails."""
    before = hashlib.sha256((siril.work / f"{loaded}.fit").read_bytes()).hexdigest()
    lines = []
    for script, arguments, _ in WRONG:
        lines += [f"load {loaded}", siril.script(script, *arguments)]
    done = siril.run(*lines, "save not_to_be")
    assert done.code != 0
    said = [line for line in done.log.splitlines() if line.startswith("log: AstroSR: ")]
    for line, (_, _, reason) in zip(said, WRONG, strict=True):
        assert reason in line
    assert "Traceback" not in done.log
    assert not (siril.work / "not_to_be.fit").exists()
    assert hashlib.sha256((siril.work / f"{loaded}.fit").read_bytes()).hexdigest() == before
    assert not list(siril.work.glob("astro_sr_*"))


def test_no_image(siril: Siril) -> None:
    scripts = ("Denoise", "Measure", "StarMask", "SuperResolve")
    done = siril.run(*(siril.script(script) for script in scripts), "save not_to_be")
    assert done.code != 0
    assert done.log.count("log: AstroSR: no image is loaded in Siril") == len(scripts)
    assert not (siril.work / "not_to_be.fit").exists()


def test_a_file_beside_the_image_is_replaced_only_on_request(siril: Siril, loaded: str) -> None:
    mask = siril.work / f"{loaded}_starmask.fit"
    mask.write_text("precious")
    # Siril goes on after a script whatever it says, until a line needs the image.
    done = siril.run(f"load {loaded}", siril.script("StarMask"), "stat")
    assert done.code != 0
    assert "exists already; give -overwrite" in done.log
    assert mask.read_text() == "precious"
    done = siril.run(f"load {loaded}", siril.script("StarMask", "-overwrite"), "close")
    assert done.code == 0, done.log[-2000:]
    assert asr.read_image(mask).data.max() == 1


@pytest.mark.parametrize("whom", ["command", "script"])
def test_killed_in_the_middle(siril: Siril, loaded: str, whom: str) -> None:
    slow = siril.work / "slow"
    slow.write_text(
        "#!/bin/sh\n"
        f"echo $PPID > {siril.work}/script.pid\n"
        f"echo $$ > {siril.work}/command.pid\n"
        "exec sleep 120\n"
    )
    slow.chmod(0o755)
    for name in ("script.pid", "command.pid"):
        (siril.work / name).unlink(missing_ok=True)
    ssf = siril.work / "killed.ssf"
    line = siril.script("Denoise")
    ssf.write_text(f"requires 1.4.0\nload {loaded}\n{line}\nsave not_to_be\n")
    log = siril.work / "killed.log"
    with log.open("wb") as stream:
        running = subprocess.Popen(
            [str(HERE / "siril_root.sh"), "run", str(siril.root), str(siril.work)]
            + ["env", f"ASTRO_SR_COMMAND={slow}", "timeout", "120"]
            + ["siril-cli", "-o", "-d", str(siril.work), "-s", str(ssf)],
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        wait_for(siril.work / "script.pid", siril.work / "command.pid")
        number = int((siril.work / f"{whom}.pid").read_text())
        os.kill(number, signal.SIGKILL if whom == "command" else signal.SIGTERM)
        running.wait(60)
    assert running.returncode != 0
    assert not (siril.work / "not_to_be.fit").exists()
    assert not list(siril.work.glob("astro_sr_*"))
    sleeping = int((siril.work / "command.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(sleeping, 0)
    if whom == "command":
        assert "was killed by signal 9" in log.read_text()


def wait_for(*paths: Path) -> None:
    end = time.monotonic() + 60
    while not all(path.exists() and path.read_text().strip() for path in paths):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_only_the_selection_changes(siril: Siril) -> None:
    pixels = write(siril, "chosen", colours=3, bits=16, solved=True)
    x, top, w, h = 100, 5, 30, 24
    done = siril.run(
        *("load chosen", f"boxselect {x} {top} {w} {h}"),
        *(siril.script("Denoise", "-model=wiener"), "save chosen_part"),
        *("crop", "save chosen_crop"),
        *("load chosen", f"boxselect {x} {top} {w} {h}"),
        *(siril.script("Denoise", "-model=wiener", "-whole"), "save chosen_whole"),
        *("load chosen", f"boxselect {x} {top} {w} {h}"),
        *(siril.script("SuperResolve", "-model=bicubic"), "save chosen_x2"),
    )
    assert done.code == 0, done.log[-2000:]
    part = siril.image("chosen_part").data
    y = SIZE - top - h
    inside = np.zeros(pixels.shape, bool)
    inside[:, y : y + h, x : x + w] = True
    # The selection is worked on with 128 pixels around it: here that is all to the right and top.
    left, low = max(x - 128, 0), max(y - 128, 0)
    wanted = asr.denoise(np.ascontiguousarray(pixels[:, low:, left:]), model="wiener")
    wanted = wanted[:, y - low : y - low + h, x - left : x - left + w]
    np.testing.assert_array_equal(part[~inside], pixels[~inside])
    np.testing.assert_allclose(part[inside].reshape(wanted.shape), wanted, atol=1e-6)
    assert not np.allclose(part[inside], pixels[inside], atol=1e-5)
    # What was selected still is.
    np.testing.assert_array_equal(siril.image("chosen_crop").data, part[:, y : y + h, x : x + w])
    whole = siril.image("chosen_whole").data
    np.testing.assert_allclose(whole, asr.denoise(pixels, model="wiener"), atol=1e-6)
    big = siril.image("chosen_x2")
    assert big.data.shape == (3, 2 * h, 2 * w)
    from astropy.wcs import WCS

    old, new = WCS(siril.image("chosen").header, naxis=2), WCS(big.header, naxis=2)
    apart = old.pixel_to_world(x - 0.5, y - 0.5).separation(new.pixel_to_world(-0.5, -0.5))
    assert apart.arcsec < 0.01
