"""The frames of a sequence or of a folder, stacked into a file that Siril then shows."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from astro_sr_siril.command import Command
from astro_sr_siril.errors import ScriptError
from astro_sr_siril.session import Session
from astro_sr_siril.verb import Values, Verb

__all__ = ["stack_series"]

_FILES = ("dark", "flat", "bias", "library")
"""Options that name files or folders of frames."""


def stack_series(
    session: Session,
    verb: Verb,
    values: Values,
    command: Command,
    output: str | None,
    overwrite: bool,
) -> None:
    """Stack frames, and let Siril load the result.

    Parameters
    ----------
    session : Session
        Siril.
    verb : Verb
        With the options ``folder`` and those of ``astro-sr stack``.
    values : dict
        Their values; relative names are those of Siril's working folder.
    command : Command
        Who does it.
    output : str, optional
        The file; named after the sequence or the folder by default.
    overwrite : bool
        Whether it may be replaced.

    Raises
    ------
    ScriptError
        If there are no frames, or the command fails.
    """
    here = session.folder
    name, frames = _frames(session, values["folder"])
    target = here / Path(output or f"{name}_stack.fit").expanduser()
    if target.exists() and not overwrite:
        msg = f"{target} exists already; give -overwrite to replace it"
        raise ScriptError(msg)
    placed = {
        key: str(here / Path(value).expanduser()) if key in _FILES and value else value
        for key, value in values.items()
    }
    (line,) = verb.command_lines(placed)
    words = [line[0], *map(str, frames), *line[1:], "-o", str(target)]
    words += ["--overwrite"] if overwrite else []

    def tell(done: float) -> None:
        session.progress(verb.title, done)

    def plain(text: str) -> str:
        known = "|".join([*(option.name for option in verb.options), "overwrite"])
        return re.sub(rf"(?<![\w-])--({known})\b", r"-\1", text)

    with tempfile.TemporaryDirectory(prefix="astro_sr_") as folder:
        try:
            said = command.run(
                words, Path(folder), progress=tell, warn=lambda text: session.warn(plain(text))
            )
        except ScriptError as error:
            raise ScriptError(plain(str(error))) from error
    session.log(said)
    session.show(target)


def _frames(session: Session, folder: str) -> tuple[str, list[Path]]:
    """Name of the series, and its frames or the folder with them."""
    if folder:
        path = session.folder / Path(folder).expanduser()
        if not path.is_dir():
            msg = f"-folder {path} is no folder"
            raise ScriptError(msg)
        return path.name, [path]
    name, files = session.sequence()
    if not files:
        msg = "no sequence of FITS files is open in Siril; open one, or give -folder FOLDER"
        raise ScriptError(msg)
    return name, files
