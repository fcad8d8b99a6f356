"""Before and after the work: the command, the file beside the image, the result in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from astro_sr_siril.command import Command, find_command
from astro_sr_siril.errors import ScriptError
from astro_sr_siril.frame import Frame, merge_headers
from astro_sr_siril.job import Outcome, paste
from astro_sr_siril.session import Session
from astro_sr_siril.verb import Verb

__all__ = ["choose_command", "deliver", "place_beside"]


def choose_command(session: Session, given: str | None = None) -> Command:
    """Return the command that does the work; one that is given is remembered."""
    command = find_command(given, session.settings.get("command", ""))
    if given:
        session.settings.put("command", command.words[0])
    return command


def place_beside(
    session: Session, verb: Verb, frame: Frame, output: str | None, overwrite: bool
) -> Path | None:
    """Return the file that is to appear beside the image, None if none is.

    Raises
    ------
    ScriptError
        If it exists and is not to be replaced, is the image itself, or its folder is missing.
    """
    if not verb.beside:
        return None
    path = session.beside(frame, verb.beside)
    if output:
        path = path.parent / Path(output).expanduser()
    if path.suffix.lower() not in (".fit", ".fits", ".fts"):
        msg = f"-output {path} has to end in .fit, .fits or .fts"
        raise ScriptError(msg)
    if not path.parent.is_dir():
        msg = f"the folder {path.parent} does not exist"
        raise ScriptError(msg)
    if frame.path is not None and path.exists() and path.samefile(frame.path):
        msg = f"{path} is the image itself; name another file"
        raise ScriptError(msg)
    if path.exists() and not overwrite:
        msg = f"{path} exists already; give -overwrite, or tick the box, to replace it"
        raise ScriptError(msg)
    return path


def deliver(
    session: Session, verb: Verb, frame: Frame, outcome: Outcome, beside: Path | None
) -> None:
    """Put a result where it belongs, and say so in the log.

    Parameters
    ----------
    session : Session
        Where to.
    verb : Verb
        What was done.
    frame : Frame
        The image it was done to.
    outcome : Outcome
        The result.
    beside : Path or None
        The file for what goes beside the image.
    """
    session.log(outcome.report)
    if not outcome.changed:
        return
    extra = outcome.pixels if verb.result == "file" else outcome.beside
    if beside is not None and extra is not None:
        # Nothing was taken, or found, outside of the region.
        full = np.zeros((*extra.shape[:-2], *frame.shape), np.float32)
        outcome.region.cut(full)[...] = extra
        session.save(beside, full, merge_headers(frame.header, outcome.header))
    if verb.result == "image":
        pixels, header = paste(frame, outcome)
        session.write(frame, pixels, header, f"AstroSR {outcome.label}")
