"""Messages of astro-sr in the words of the scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from astro_sr_siril.verb import PSF, Verb

__all__ = ["in_script_words"]

_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]*)")
_NEXT = re.compile(r"\bastro-sr ([a-z-]+) .+? -o \S+( (?=--auto-scale))?")
"""A command line that astro-sr suggests."""

_DEBAYER = r"--debayer superpixel or --debayer bilinear"
_BY_SIRIL = (
    (re.compile(_DEBAYER), "debayering"),
    (re.compile(r"--auto-scale\b"), "resampling"),
)
"""What Siril itself does."""

_OF_NETWORKS = ("model", "device")
_OF_FILES = ("output", "overwrite")
_FIELDS = {"model": "Model", "device": "Runs on", "overwrite": "Replace the file beside the image"}
"""Fields of every window, beside those of the options of a verb."""


def in_script_words(text: str, verb: Verb, folder: Path, *, window: bool = False) -> str:
    """Write a message of astro-sr in the words of a script.

    Parameters
    ----------
    text : str
        A warning, an error or a report.
    verb : Verb
        Whose options are named.
    folder : Path
        Of the temporary files, whose names mean nothing to the user.
    window : bool
        Whether options are the fields of a window, by their labels, or typed with one dash.

    Returns
    -------
    str
        The message.
    """
    text = _NEXT.sub(lambda found: script_of(found[1]) + (" after " if found[2] else ""), text)
    text = re.sub(re.escape(str(folder)) + r"[\\/][\w.-]*\w", "the image", text)
    text = text.replace("(astro-sr unstretch, undo_stretch)", "(AstroSR_Unstretch)")
    for pattern, work in _BY_SIRIL:
        text = pattern.sub(f"{work} in Siril", text)
    return _OPTION.sub(_namer(verb, window), text)


def script_of(verb: str) -> str:
    """Name the script that stands for a verb of astro-sr."""
    return "AstroSR_" + "".join(part.capitalize() for part in verb.split("-"))


def _namer(verb: Verb, window: bool) -> Callable[[re.Match[str]], str]:
    # A report of the measurement recommends the star profile for other scripts.
    labels = {option.name: option.label for option in (PSF, *verb.options)}
    typed = {*labels, *(_OF_NETWORKS if verb.network else ()), *(_OF_FILES if verb.beside else ())}
    shown = {name: label for name, label in {**_FIELDS, **labels}.items() if name in typed}

    def name(found: re.Match[str]) -> str:
        option = found[1]
        if window and option in shown:
            return f"'{shown[option]}'"
        if not window and option in typed:
            return f"-{option}"
        return f"the option --{option} of the command astro-sr"

    return name
