"""From file to file: one image, or with ``--hdu all`` every image of a FITS file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astro_sr_plugin as asr
from astro_sr_plugin.cli.options import open_image
from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.nddata import CCDData

__all__ = ["chosen_images", "process_file", "wants_all"]


def wants_all(args: argparse.Namespace) -> bool:
    """Whether ``--hdu all`` is given.

    Raises
    ------
    InputError
        With ``--mask``, ``--report`` or ``--strict``, which are for one image.
    """
    if str(args.hdu).lower() != "all":
        return False
    if getattr(args, "mask", None) is not None:
        msg = "--mask is for one image; with --hdu all, run the command on each of them"
        raise InputError(msg)
    for name in ("report", "strict"):
        if getattr(args, name, False):
            msg = f"--{name} checks one image; with --hdu all, run 'astro-sr audit' on each"
            raise InputError(msg)
    return True


def chosen_images(path: Path, args: argparse.Namespace) -> dict[Any, str]:
    """Return the number (or what ``--hdu`` gives) and the name of every image to work on."""
    return {**asr.list_images(path)} if wants_all(args) else {args.hdu: ""}


def process_file(
    work: Callable[[CCDData], CCDData], source: Path, target: Path, args: argparse.Namespace
) -> dict[str, Header]:
    """Read, work and write.

    Parameters
    ----------
    work : callable
        Takes an image and gives one.
    source, target : Path
        Input and output file.
    args : argparse.Namespace
        With ``hdu, overwrite, dtype``.

    Returns
    -------
    dict of str to fits.Header
        Name (empty for a single image) and header of every result.
    """
    if wants_all(args):
        if getattr(args, "debayer", None) is not None:
            msg = "--debayer works on one image; it does not go with --hdu all"
            raise InputError(msg)
        return asr.map_images(work, source, target, dtype=args.dtype, overwrite=args.overwrite)
    result = work(open_image(source, args))
    asr.write_image(result, target, dtype=args.dtype, overwrite=args.overwrite)
    return {"": result.meta}
