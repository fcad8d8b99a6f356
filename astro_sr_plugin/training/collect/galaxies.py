"""Pictures of galaxies from Galaxy10 DECaLS, one file of 2.7 GB."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from astro_sr_plugin.data.galaxy10 import Galaxy10, GalaxyPicture
from astro_sr_plugin.data.output import finish, make_folder, write_errors, writing
from astro_sr_plugin.training.collect.collect import COLUMNS, Collected, write_table
from astro_sr_plugin.training.collect.web import Web, sha256_of
from astro_sr_plugin.training.pictures.manifest import MANIFEST

__all__ = ["GALAXY10", "GALAXY10_SHA256", "collect_galaxies"]

GALAXY10 = "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5"
"""Where the file is."""
GALAXY10_SHA256 = "19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571"
"""Its checksum, as its authors give it."""
_MOST_BYTES = 4 * 2**30
"""Most bytes of the file."""
_CREDIT = "Galaxy10 DECaLS (H. Leung, J. Bovy); DESI Legacy Imaging Surveys; Galaxy Zoo"
_LICENSE = "terms of the DESI Legacy Imaging Surveys"
_SOURCE = "https://zenodo.org/records/10845026"


def collect_galaxies(
    folder: str | Path,
    *,
    count: int = 100,
    file: str | Path | None = None,
    address: str = GALAXY10,
    sha256: str = GALAXY10_SHA256,
    pause: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Take pictures of galaxies from Galaxy10 DECaLS, with the list that training reads.

    The file is downloaded once into the folder; a download that was cut goes on where it ended.

    Parameters
    ----------
    folder : path
        Made if it is missing. It gets the pictures as PNG, and ``manifest.csv``.
    count : int
        How many pictures, evenly spaced in the file.
    file : path, optional
        The file, if it is there already.
    address, sha256 : str
        Where it is downloaded from, and its checksum.
    pause : float
        Least seconds between two requests.
    progress : callable, optional
        Called with the number of pictures that are there and `count`.

    Returns
    -------
    Collected
        How many pictures are there, and came now.

    Raises
    ------
    InputError
        If the file cannot be downloaded or read, or nothing can be written.
    """
    folder = Path(folder)
    make_folder(folder)
    source = folder / address.rsplit("/", 1)[-1] if file is None else Path(file)
    if file is None and not source.exists():
        part = source.with_name(f".{source.name}.download")
        Web(pause).download(address, part, most=_MOST_BYTES, sha256=sha256)
        with write_errors(source):
            finish(part, source)
    rows, new = [], 0
    with Galaxy10(source) as galaxies:
        places = np.linspace(0, len(galaxies) - 1, min(count, len(galaxies))).round().astype(int)
        for done, number in enumerate(places, start=1):
            target = folder / f"galaxy_{number:05d}.png"
            galaxy = galaxies[int(number)]
            if not target.exists():
                _write(galaxy, target)
                new += 1
            rows.append(_row(galaxy, target))
            if progress is not None:
                progress(done, len(places))
    write_table(folder / MANIFEST, COLUMNS, rows)
    return Collected(len(rows), new, 0)


def _write(galaxy: GalaxyPicture, target: Path) -> None:
    from PIL import Image

    with writing(target) as part:
        Image.fromarray(galaxy.pixels).save(part, format="PNG")


def _row(galaxy: GalaxyPicture, path: Path) -> dict[str, str]:
    place = f"{galaxy.ra:.5f} {galaxy.dec:+.5f}"
    return {
        "file": path.name,
        "object": place,
        "credit": _CREDIT,
        "license": _LICENSE,
        "source": _SOURCE,
        "title": f"kind {galaxy.kind}",
        "sha256": sha256_of(path),
    }
