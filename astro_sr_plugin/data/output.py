"""Output files that appear only when they are complete."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from astro_sr_plugin.exceptions import OutputError

__all__ = ["check_place", "finish", "part_of", "write_errors", "writing"]

# Bytes of the final name that a part file repeats; common file systems allow 255 in all, and some
# that encrypt names 143.
_NAME_BYTES = 120


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
        folder = target.parent
        if not folder.is_dir():
            msg = f"cannot write {target}: the folder {folder} does not exist"
            raise OutputError(msg)
        if target.is_dir():
            msg = f"cannot write {target}: it is a folder, not a file"
            raise OutputError(msg)
        if target.exists() and not overwrite:
            msg = f"cannot write {target}: it exists already (overwriting has to be asked for)"
            raise OutputError(msg)
        if not os.access(folder, os.W_OK):
            msg = f"cannot write {target}: the folder {folder} is not writable"
            raise OutputError(msg)
    return target


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
        # numpy tells of a short write in words only: "100 requested and 40 written".
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
