"""Where files may be written, and output files that appear only when they are complete."""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from astro_sr_plugin.exceptions import OutputError

__all__ = [
    "PLAIN_FITS",
    "check_folder",
    "check_place",
    "finish",
    "make_folder",
    "part_of",
    "write_errors",
    "writing",
]

#: Endings of FITS files that are not compressed.
PLAIN_FITS = (".fits", ".fit", ".fts")
# Bytes of the final name that a part file repeats; common file systems allow 255 in all, and some
# that encrypt names 143.
_NAME_BYTES = 120
# Length of the shortest FITS file, one block.
_PROBE_BYTES = 2880


def check_place(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Check that a file can be made at a path, before any work is done for it.

    Parameters
    ----------
    path : str or Path
        The file to be written. A link is followed.
    overwrite : bool, default False
        Whether a file that exists already may be replaced.

    Returns
    -------
    Path
        The file that will be replaced or made.

    Raises
    ------
    OutputError
        If the folder is missing or not writable, the path is a folder, or the file exists already
        and `overwrite` is False.
    """
    target = Path(path)
    with write_errors(target):
        if target.is_symlink():
            target = target.resolve()
        if target.is_dir():
            msg = f"cannot write {target}: it is a folder, not a file"
            raise OutputError(msg)
        if target.exists() and not overwrite:
            msg = f"cannot write {target}: it exists already; overwrite=True replaces it"
            raise OutputError(msg)
        check_folder(target.parent)
    return target


def check_folder(folder: Path) -> None:
    """Check that a folder exists and that files can be made in it.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    OutputError
        If it does not exist, or nothing can be written there.
    """
    if not folder.is_dir():
        msg = f"the output folder {folder} does not exist"
        raise OutputError(msg)
    try:
        # Permission bits say nothing about read-only or full file systems, nor to the superuser.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        msg = f"nothing can be written in the output folder {folder}: {error.strerror}"
        raise OutputError(msg) from error


def make_folder(folder: Path) -> None:
    """Make a folder, unless it exists, and check that files can be made in it.

    Parameters
    ----------
    folder : Path
        The folder; the one above it exists.

    Raises
    ------
    OutputError
        If it cannot be made, or nothing can be written there.
    """
    if not folder.exists():
        check_folder(folder.absolute().parent)
        with write_errors(folder):
            folder.mkdir()
    check_folder(folder)


def part_of(target: Path) -> Path:
    """Name the file in the same folder that takes the content until it is complete.

    Parameters
    ----------
    target : Path
        The final file.

    Returns
    -------
    Path
        A hidden name that nothing else uses.
    """
    # File systems count the bytes of a name, and one letter can take four of them.
    start = os.fsencode(target.name)[:_NAME_BYTES].decode(errors="ignore")
    return target.with_name(f".{start}.{secrets.token_hex(4)}.part")


def finish(part: Path, target: Path) -> None:
    """Put a complete part file in its place.

    Parameters
    ----------
    part, target : Path
        The part file and its final name, in one folder.

    Raises
    ------
    OSError
        If the disk reports an error at last.
    """
    descriptor = os.open(part, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.replace(target)


@contextmanager
def write_errors(target: Path) -> Iterator[None]:
    """Turn errors of the operating system into one sentence about the output file.

    Parameters
    ----------
    target : Path
        The file named in the message.

    Yields
    ------
    None

    Raises
    ------
    OutputError
        For any `OSError` inside.
    """
    try:
        yield
    except OSError as error:
        # numpy reports a short write in words only: "100 requested and 40 written".
        short = error.errno is None and "requested and" in str(error)
        if short or error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            reason = "there is not enough room on the disk"
        else:
            reason = (error.strerror or str(error)).lower()
        msg = f"cannot write {target}: {reason}"
        raise OutputError(msg) from error


@contextmanager
def writing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Write a file beside its final place, and move it there when it is complete.

    Parameters
    ----------
    path : str or Path
        The final file.
    overwrite : bool, default False
        Whether a file that exists already may be replaced.

    Yields
    ------
    Path
        The part file to write into; it is removed if anything fails, Ctrl-C included.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    target = check_place(path, overwrite=overwrite)
    part = part_of(target)
    try:
        with write_errors(target):
            yield part
            finish(part, target)
    finally:
        part.unlink(missing_ok=True)
