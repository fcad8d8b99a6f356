"""Registration by Siril and by astroalign, as matrices from frames to the reference."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from benchmarks.peers.siril import Siril

__all__ = ["register_by_astroalign", "register_by_siril"]

Matrix = NDArray[np.float64]


def register_by_siril(
    siril: Siril, images: Sequence[NDArray[np.float32]]
) -> tuple[int, list[Matrix | None], float]:
    """Run ``register -2pass`` on frames.

    Parameters
    ----------
    siril : Siril
        Where it lives.
    images : sequence of ndarray, shape (ny, nx)
        Frames in electrons.

    Returns
    -------
    reference : int
        Number of the frame that Siril takes.
    matrices : list of ndarray or None
        From pixels of each frame to those of the reference; None where Siril has none.
    seconds : float
        Seconds of processors that Siril takes, with the start of the program.
    """
    for number, image in enumerate(images, start=1):
        scaled = (image / 65535.0).astype(np.float32)
        fits.writeto(siril.work / f"night_{number:05d}.fit", scaled, overwrite=True)
    (siril.work / "night_.seq").unlink(missing_ok=True)
    seconds = siril.script(["setcpu 1", "set32bits", "register night_ -2pass"])
    lines = (siril.work / "night_.seq").read_text(encoding="utf-8").splitlines()
    header = next(line for line in lines if line.startswith("S "))
    reference = int(re.sub(r"^S '[^']*' ", "", header).split()[4])
    height = images[0].shape[0]
    # Siril counts rows from the last one of the array.
    flip = np.array([[1.0, 0, 0], [0, -1, height - 1], [0, 0, 1]])
    found: list[Matrix | None] = []
    for line in lines:
        if re.match(r"R\w ", line):
            numbers = np.array(line.split("H")[1].split(), dtype=float).reshape(3, 3)
            known = abs(np.linalg.det(numbers)) > 0
            found.append(flip @ numbers @ flip if known else None)
    return max(reference, 0), found, seconds


def register_by_astroalign(image: NDArray, reference: NDArray) -> Matrix | None:
    """Find the similarity of two images, or of two lists of places, the brightest first.

    None where astroalign finds none.
    """
    import astroalign

    try:
        transform, _ = astroalign.find_transform(image, reference)
    except (astroalign.MaxIterError, TypeError, ValueError):
        return None
    return np.asarray(transform.params, dtype=np.float64)
