"""A real Siril with the scripts installed, and images whose stars are known."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import astro_sr_plugin

HERE = Path(__file__).parent
SIZE = 144
STARS = [(30.3, 28.7), (104.6, 31.2), (68.4, 70.1), (35.8, 108.3), (110.2, 104.9), (74.5, 119.6)]
"""Where the bright stars of the images are: x, y, counted from 0 at the first pixel."""


@dataclass
class Done:
    """What a run of Siril left behind."""

    code: int
    log: str


@dataclass
class Siril:
    """A Siril in its root, and a home and job folder for it."""

    root: Path
    work: Path
    scripts: Path
    runs: int = field(default=0)

    def enter(self, *command: str, limit: int = 540) -> Done:
        """Run a command in the root."""
        self.runs += 1
        log = self.work / f"run{self.runs}.log"
        script = str(HERE / "siril_root.sh")
        with log.open("wb") as stream:
            done = subprocess.run(
                [script, "run", str(self.root), str(self.work), "timeout", str(limit), *command],
                stdout=stream,
                stderr=subprocess.STDOUT,
                check=False,
            )
        return Done(done.returncode, log.read_text(encoding="utf-8", errors="replace"))

    def run(self, *lines: str, limit: int = 540) -> Done:
        """Run the lines of a script file in siril-cli."""
        ssf = self.work / f"run{self.runs + 1}.ssf"
        ssf.write_text("\n".join(["requires 1.4.0", *lines]) + "\n")
        return self.enter("siril-cli", "-o", "-d", str(self.work), "-s", str(ssf), limit=limit)

    def show(self, file: Path, *lines: str) -> Done:
        """Type lines into the command line of a Siril with windows, until a file appears."""
        starter = self.work / "siril_window.sh"
        starter.write_text((HERE / "siril_window.sh").read_text())
        screen = ("xvfb-run", "-a", "-s", "-screen 0 1400x1000x24")
        return self.enter(*screen, "bash", str(starter), str(file), *lines)

    def script(self, name: str, *arguments: str) -> str:
        """Return the line that runs a script."""
        return " ".join(["pyscript", str(self.scripts / f"AstroSR_{name}.py"), *arguments])

    def image(self, name: str) -> fits.PrimaryHDU:
        """Return an image that was saved."""
        with fits.open(self.work / f"{name}.fit") as hdus:
            return hdus[0].copy()


@pytest.fixture(scope="session")
def siril(tmp_path_factory: pytest.TempPathFactory) -> Siril:
    """Return the Siril of SIRIL_ROOT with the scripts installed by astro-sr."""
    root = os.environ.get("SIRIL_ROOT")
    if not root:
        pytest.skip("needs a real Siril; run 'make e2e-siril'")
    work = tmp_path_factory.mktemp("siril")
    command = work / "bin" / "astro-sr"
    command.parent.mkdir()
    # The command of another environment: that of the host, which lies under /host in the root.
    source = Path(astro_sr_plugin.__file__).parents[1]
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    call = f"env PYTHONPATH={source} OMP_NUM_THREADS={threads} {sys.executable} -m astro_sr_plugin"
    command.write_text(f'#!/bin/sh\nexec chroot /host {call} "$@"\n')
    command.chmod(0o755)
    folder = work / ".siril" / "scripts"
    subprocess.run(
        [sys.executable, "-m", "astro_sr_plugin", "siril", "install", "--folder", str(folder)],
        check=True,
        capture_output=True,
    )
    (folder / "astro_sr_siril" / "command.txt").write_text(str(command))
    return Siril(Path(root), work, folder)


def make_pixels(colours: int = 1, seed: int = 5) -> np.ndarray:
    """Return a field of stars and a nebula, float32 from 0 to 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    alpha = 3.4 / 2 / np.sqrt(2 ** (1 / 3) - 1)

    def star(xc: float, yc: float) -> np.ndarray:
        return (1 + ((x - xc) ** 2 + (y - yc) ** 2) / alpha**2) ** -3

    sky = 0.006 + 0.004 * np.exp(-((x - 90) ** 2 + (y - 60) ** 2) / 800)
    sky += sum(0.05 * (1 + 0.1 * i) * star(*place) for i, place in enumerate(STARS))
    for _ in range(30):
        sky += rng.uniform(0.002, 0.012) * star(*rng.uniform(6, SIZE - 6, 2))
    planes = [tint * sky + rng.normal(0, 2e-4, sky.shape) for tint in (1.0, 0.8, 0.6)[:colours]]
    return np.squeeze(np.array(planes, np.float32))


def make_header(solved: bool) -> fits.Header:
    """Return a header, with a rotated and sheared plate solution or without one."""
    header = fits.Header({"OBJECT": "field", "EXPTIME": 300.0, "MYKEY": 3.25, "FILTER": "L"})
    header["DATE-OBS"] = "2025-03-01T20:15:00"
    header["HISTORY"] = "stacked with care"
    if solved:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crpix = [60.25, 81.5]
        wcs.wcs.crval = [83.8, -5.4]
        wcs.wcs.cd = [[-2.1e-4, 3.0e-5], [2.8e-5, 2.0e-4]]
        header.update(wcs.to_header())
    return header


def write(siril: Siril, name: str, *, colours: int, bits: int, solved: bool) -> np.ndarray:
    """Write an image for Siril, and return its pixels as floats from 0 to 1."""
    pixels = make_pixels(colours)
    if bits == 16:
        pixels = np.clip(np.rint(pixels * 65535), 0, 65535).astype(np.uint16)
    header = make_header(solved)
    fits.writeto(siril.work / f"{name}.fit", pixels, header, overwrite=True)
    return pixels / np.float32(65535) if bits == 16 else pixels
