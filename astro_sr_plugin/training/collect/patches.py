"""Patches of pictures, and the smaller ones that a network gets: pairs for other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astro_sr_plugin.data.output import make_folder, writing
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.training.collect.collect import COLUMNS, write_table
from astro_sr_plugin.training.pictures.manifest import MANIFEST, is_held_out, read_manifest
from astro_sr_plugin.training.pictures.picture_file import middle_square, read_colours

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["make_patches"]

_LEAST_SIZE = 16
"""Least side of a patch in pixels."""


def make_patches(
    pictures: str | Path,
    folder: str | Path,
    *,
    size: int = 256,
    scale: int = 2,
    validation: float = 0.3,
    whole: bool = False,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Cut pictures into patches, and reduce each for the network to enlarge.

    Of each picture ``2 (min(height, width) // size - 1)`` random crops are taken (as AstroSWIN
    does), one at least, or its largest square reduced to `size`. Objects, not patches, are split
    between training and validation, so that no network is measured on what it has seen.

    Parameters
    ----------
    pictures : path
        Folder of pictures with ``manifest.csv``.
    folder : path
        Made if it is missing. It gets ``truth`` and ``input``, and ``manifest.csv`` with the
        credits, the columns ``input`` and ``part``; it serves as a folder of pictures too.
    size : int
        Side of a patch.
    scale : int
        The input has ``size / scale`` pixels a side (bicubic with antialiasing).
    validation : float
        Share of the objects for validation, 0 to 0.9.
    whole : bool
        Whether each picture gives one patch: all of it.
    seed : int
        Of the places of the crops.
    progress : callable, optional
        Called with the number of pictures done and their number.

    Returns
    -------
    dict
        Number of patches of ``training`` and of ``validation``, and of pictures that are too small
        (``too_small``).

    Raises
    ------
    InputError
        If a parameter is out of range, a picture cannot be read, or nothing can be written.
    """
    if size < _LEAST_SIZE or scale < 1 or size % scale:
        msg = (
            f"size={size}, scale={scale}: the size has to be a multiple of the scale, of 16 or more"
        )
        raise InputError(msg)
    if not 0 <= validation <= 0.9:  # noqa: PLR2004
        msg = f"validation={validation} is out of range; allowed is 0 to 0.9"
        raise InputError(msg)
    pictures, folder = Path(pictures), Path(folder)
    rows = read_manifest(pictures)
    for place in (folder, folder / "truth", folder / "input"):
        make_folder(place)
    rng = np.random.default_rng(seed)
    made: list[dict[str, str]] = []
    counts = {"training": 0, "validation": 0, "too_small": 0}
    for done, row in enumerate(rows, start=1):
        part = "validation" if is_held_out(row["object"], validation) else "training"
        patches = list(_cut(pictures / row["file"], size, rng, whole=whole))
        counts["too_small"] += not patches
        for number, patch in enumerate(patches):
            name = f"{Path(row['file']).stem}_{number:03d}.png"
            smaller = middle_square(patch, size // scale)
            for kind, image in (("truth", patch), ("input", smaller)):
                with writing(folder / kind / name, overwrite=True) as to:
                    image.save(to, format="PNG")
            files = {"file": f"truth/{name}", "input": f"input/{name}", "part": part, "sha256": ""}
            made.append(row | files)
            counts[part] += 1
        if progress is not None:
            progress(done, len(rows))
    write_table(folder / MANIFEST, (*COLUMNS, "input", "part"), made)
    return counts


def _cut(path: Path, size: int, rng: np.random.Generator, *, whole: bool) -> Iterator[Image]:
    """Yield the patches of a picture; none if it is smaller than one."""
    picture, _ = read_colours(path)
    side = min(picture.size)
    if side < size:
        return
    if whole:
        yield middle_square(picture, size)
        return
    for _ in range(max(1, 2 * (side // size - 1))):
        x, y = (int(rng.integers(length - size + 1)) for length in picture.size)
        yield picture.crop((x, y, x + size, y + size))
