"""Run a real Siril (>= 1.4) that lives in its own Debian root, and its denoise and rl commands.

Siril expects floats from 0 to 1: images are divided by 65535 on the way in and multiplied on the
way out. Needs Linux, root rights, and `unshare` and `chroot`.
"""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

__all__ = ["DECONVOLVE", "DENOISE", "Siril", "SirilError"]

_SCALE = 65535.0

DENOISE = {"plain": "denoise", "vst": "denoise -vst", "da3d": "denoise -da3d"}
"""Variants of the denoise command that are tried."""

_OWN = "setfindstar -sigma=1.0\nfindstar\nmakepsf stars"
_GIVEN = "makepsf load /job/psf.fit"
_RL = {
    "2 iterations": "rl -iters=2 -mul",
    "5 iterations": "rl -iters=5 -mul",
    "strong TV, 100 iterations": "rl -iters=100 -alpha=30 -tv -gdstep=0.005",
}
DECONVOLVE = {
    f"{label}, {name}": f"{psf}\n{command}"
    for label, psf in (("PSF from stars", _OWN), ("true PSF", _GIVEN))
    for name, command in _RL.items()
}
"""Variants of the rl command: PSF from Siril's own star finder, or the true one."""

_ENTER = """
set -e
mkdir -p "$1/job"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/job"
root="$1"; shift 2
exec chroot "$root" /usr/bin/env HOME=/job/home LC_ALL=C.UTF-8 PATH=/usr/bin:/bin "$@"
"""

_VENV = """
set -e
cd "$HOME"
where=.local/share/siril
mkdir -p "$where"
python3 -m venv --system-site-packages "$where/venv"
cp -r /usr/share/siril/python_module module
"$where/venv/bin/pip" install -q --no-index --no-deps --no-build-isolation ./module
mv module "$where/.python_module"
"""


class SirilError(RuntimeError):
    """Siril could not be run, or did not give an image."""


@dataclass(frozen=True)
class Siril:
    """A Siril in a root, and a job folder that it sees as /job.

    Parameters
    ----------
    root : pathlib.Path
        Folder with usr/bin/siril-cli of a whole Debian system.
    work : pathlib.Path
        Folder for its home and the images.
    """

    root: Path
    work: Path

    def _run(self, *command: str, limit: int) -> str:
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "home").mkdir(exist_ok=True)
        enter = ["unshare", "-m", "--propagation", "private", "sh", "-c", _ENTER, "sh"]
        places = [str(self.root.resolve()), str(self.work.resolve())]
        try:
            done = subprocess.run(
                [*enter, *places, "timeout", str(limit), *command],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            msg = f"the Siril root {self.root} cannot be entered: {error}"
            raise SirilError(msg) from error
        log = done.stdout + done.stderr
        if done.returncode:
            msg = f"siril in {self.root} ended with {done.returncode}: {log[-300:]}"
            raise SirilError(msg)
        return log

    def version(self) -> str:
        """Return the version that siril-cli states; raises SirilError if it cannot run."""
        if not (self.root / "usr/bin/siril-cli").exists():
            msg = f"{self.root} holds no usr/bin/siril-cli"
            raise SirilError(msg)
        if not (self.work / "home/.local/share/siril/.python_module").exists():
            self._run("sh", "-c", _VENV, limit=300)
        words = self._run("siril-cli", "--version", limit=60).split()
        return next((word for word in words if word[0].isdigit()), "unknown")

    def run(
        self, image: NDArray[np.float32], commands: str, psf: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Load an image, run commands on it, and return the image.

        Parameters
        ----------
        image : numpy.ndarray
            (ny, nx) or (3, ny, nx), ADU of a 16-bit scale.
        commands : str
            Lines of a Siril script.
        psf : numpy.ndarray, optional
            Written as psf.fit, for ``makepsf load``.

        Returns
        -------
        numpy.ndarray
            The result in ADU.

        Raises
        ------
        SirilError
            If Siril fails.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        result = self.work / "result.fit"
        result.unlink(missing_ok=True)
        scaled = np.asarray(image / _SCALE, np.float32)
        fits.writeto(self.work / "input.fit", scaled, overwrite=True)
        if psf is not None:
            fits.writeto(self.work / "psf.fit", np.asarray(psf, np.float32), overwrite=True)
        lines = ["requires 1.4.0", "setcpu 1", "set32bits", "load input", commands, "save result"]
        (self.work / "run.ssf").write_text("\n".join(lines) + "\n")
        log = self._run("siril-cli", "-d", "/job", "-s", "/job/run.ssf", limit=300)
        if not result.exists():
            msg = f"siril gave no image: {log[-300:]}"
            raise SirilError(msg)
        return np.asarray(fits.getdata(result), np.float64) * _SCALE

    def script(self, commands: Sequence[str], *, limit: int = 600) -> float:
        """Run commands in the job folder, and return the seconds of processors that it takes.

        Raises
        ------
        SirilError
            If Siril fails.
        """
        lines = ["requires 1.4.0", *commands]
        (self.work / "run.ssf").write_text("\n".join(lines) + "\n")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._run("siril-cli", "-d", "/job", "-s", "/job/run.ssf", limit=limit)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    def best(
        self,
        image: NDArray[np.float32],
        variants: dict[str, str],
        score: Callable[[NDArray[np.float64]], float],
        psf: NDArray[np.float64] | None = None,
    ) -> tuple[str, NDArray[np.float64] | None]:
        """Run several variants and return the name and the image of the best.

        The best has the smallest score; a variant that fails is left out, and the image is None
        where all fail.
        """
        name, best, least = "fails", None, np.inf
        for variant, commands in variants.items():
            try:
                output = self.run(image, commands, psf)
            except SirilError:
                continue
            value = score(output)
            if value < least:
                name, best, least = variant, output, value
        return name, best
