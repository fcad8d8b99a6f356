"""Run PlanetarySystemStacker (GPL-3) from an environment of its own.

It installs with ``pip install --no-deps planetary-system-stacker`` and then its dependencies
without their pins (numpy, scipy, opencv-python-headless, astropy, PyQt5, psutil, matplotlib,
scikit-image).
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

__all__ = ["stack_by_pss", "write_ser"]

_LIMIT = 600
"""Seconds after which it is given up."""


def write_ser(path: Path, frames: NDArray) -> None:
    """Write mono frames (n, ny, nx) of 8 or 16 bits, little-endian, as a SER file."""
    n, ny, nx = frames.shape
    head = struct.pack("<7i", 0, 0, 0, nx, ny, 8 * frames.itemsize, n)
    path.write_bytes(b"LUCAM-RECORDER" + head + bytes(136) + frames.tobytes())


def stack_by_pss(
    program: Path, frames: NDArray[np.uint8], percent: int
) -> tuple[NDArray[np.float64], float]:
    """Stack frames of a planet.

    Parameters
    ----------
    program : Path
        ``PlanetarySystemStacker`` of its environment.
    frames : ndarray, shape (n, ny, nx)
        The video.
    percent : int
        Of the frames at each alignment point.

    Returns
    -------
    image : ndarray
        On the part of the frame that all frames cover.
    seconds : float
        Wall time with the start of the program.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_ser(Path(folder) / "video.ser", frames)
        words = [program, "video.ser", "--out_format", "tiff", "-m", "Planet", "-s", str(percent)]
        start = time.perf_counter()
        subprocess.run(
            [str(word) for word in words],
            cwd=folder,
            env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
            timeout=_LIMIT,
            check=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - start
        return tifffile.imread(Path(folder) / "video_pss.tiff").astype(float), seconds
