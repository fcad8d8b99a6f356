"""Where results go: everything that can be refused is refused before any work is done."""

from __future__ import annotations

import tempfile
from pathlib import Path

from astro_sr_plugin.exceptions import InputError, OutputError

__all__ = ["PLAIN_FITS", "check_folder", "check_output", "plan_outputs"]

PLAIN_FITS = (".fits", ".fit", ".fts")
_COMPRESSION = (".fz", ".gz", ".bz2")


def plan_outputs(
    inputs: list[Path], output: Path, *, ending: str, overwrite: bool, suffix: str | None = None
) -> list[Path]:
    """Decide the output file of each input, and check that it can be written.

    Parameters
    ----------
    inputs : list of Path
        The input files.
    output : Path
        A file, or an existing folder (needed with several inputs).
    ending : str
        In a folder, ``stack.fits`` becomes ``stack_<ending>.fits``.
    overwrite : bool
        Whether an existing output may be replaced.
    suffix : str, optional
        The suffix in a folder; that of the input by default.

    Returns
    -------
    list of Path
        One output per input.

    Raises
    ------
    InputError
        Several inputs and one output file, or two inputs with the same output.
    OutputError
        An output exists, is an input, has an unknown ending, or its folder is missing or cannot be
        written.
    """
    from astro_sr_plugin.data.formats import registry as formats

    if not output.is_dir():
        if len(inputs) > 1:
            msg = f"output {str(output)!r} must be an existing folder when there are several inputs"
            raise InputError(msg)
        outputs = [output]
    else:
        outputs = [output / _name(path, ending, suffix) for path in inputs]
        doubled = {path for path in outputs if outputs.count(path) > 1}
        if doubled:
            msg = f"two inputs would both be written to {str(min(doubled))!r}"
            raise InputError(msg)
    for path in outputs:
        for source in inputs:
            if path.exists() and path.samefile(source):
                msg = f"output {str(path)!r} is an input; inputs are never changed"
                raise OutputError(msg)
        check_output(path, overwrite=overwrite)
        formats.check_output(path, overwrite=True)
    return outputs


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written.

    Raises
    ------
    OutputError
        It exists and may not be replaced, or its folder is missing or cannot be written.
    """
    if path.is_dir():
        msg = f"output {str(path)!r} is a folder, not a file"
        raise OutputError(msg)
    if path.exists() and not overwrite:
        msg = f"output {str(path)!r} exists already; give --overwrite to replace it"
        raise OutputError(msg)
    check_folder(path.absolute().parent)


def check_folder(folder: Path) -> None:
    """Check that a folder exists and that files can be made in it.

    Raises
    ------
    OutputError
        It does not exist, or nothing can be written there.
    """
    if not folder.is_dir():
        msg = f"the output folder {str(folder)!r} does not exist"
        raise OutputError(msg)
    try:
        # Permission bits say nothing about read-only or full file systems, nor to the superuser.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(2880))
    except OSError as error:
        msg = f"nothing can be written in the output folder {str(folder)!r}: {error.strerror}"
        raise OutputError(msg) from error


def _name(path: Path, ending: str, suffix: str | None) -> str:
    stem, own = path.stem, path.suffix
    if own.lower() in _COMPRESSION:
        stem, own = Path(stem).stem, Path(stem).suffix + own
    return f"{stem}_{ending}{suffix or own}"
