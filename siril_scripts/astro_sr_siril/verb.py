"""What a menu entry does: its options and the command that does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from astro_sr_siril.errors import ScriptError

__all__ = [
    "FORCE",
    "PSF",
    "Choice",
    "Number",
    "Option",
    "Slider",
    "Switch",
    "Text",
    "Values",
    "Verb",
    "flags",
]

Values = dict[str, Any]


@dataclass(frozen=True)
class Option:
    """An option of a script, ``-name`` on its command line and ``--name`` for ``astro-sr``.

    Parameters
    ----------
    name : str
        As it is typed, without the dash.
    label : str
        In the window.
    default : object
        Its value if it is not given.
    help : str
        One line.
    """

    name: str
    label: str
    default: Any
    help: str = ""

    @property
    def key(self) -> str:
        """Its name among the values."""
        return self.name.replace("-", "_")

    def flags(self, value: Any) -> list[str]:
        """Return what is given to ``astro-sr`` for a value."""
        return [] if value is None or value == "" else [f"--{self.name}", str(value)]

    def check(self, value: Any) -> None:
        """Raise `ScriptError` for a value that is not allowed."""


@dataclass(frozen=True)
class Number(Option):
    """A number that may be left out; the field of the window is then empty."""

    low: float = 0.0
    high: float = 100.0

    def check(self, value: Any) -> None:
        """Raise `ScriptError` for a number outside the range."""
        if value is not None and not self.low <= value <= self.high:
            range_ = f"it goes from {self.low:g} to {self.high:g}"
            msg = f"-{self.name} {value:g} is not allowed; {range_}"
            raise ScriptError(msg)


@dataclass(frozen=True)
class Slider(Number):
    """A number between two ends, set by a slider."""

    high: float = 1.0


@dataclass(frozen=True)
class Switch(Option):
    """Something that is done or not."""

    default: bool = False

    def flags(self, value: Any) -> list[str]:
        """Return the option alone if it is on."""
        return [f"--{self.name}"] if value else []


@dataclass(frozen=True)
class Text(Option):
    """A text; the field of the window may be empty."""

    default: str = ""


@dataclass(frozen=True)
class Choice(Option):
    """One of several words."""

    choices: tuple[str, ...] = ()

    def check(self, value: Any) -> None:
        """Raise `ScriptError` for another word."""
        if value not in self.choices:
            msg = f"-{self.name} {value} is not allowed; it is one of {', '.join(self.choices)}"
            raise ScriptError(msg)


FORCE = Switch(
    "force",
    "Use the pixels as they are",
    help="work on an image that the script is not for: a mosaic, magnitudes, a stretched image, "
    "one that was denoised or sharpened before",
)
PSF = Text(
    "psf",
    "Star profile",
    help="FWHM or FWHM,BETA or FWHM,BETA,ELLIPTICITY,THETA of the stars, in pixels (theta in "
    "radians), or a FITS image of a star, instead of what is measured",
)


@dataclass(frozen=True)
class Verb:
    """A menu entry.

    Parameters
    ----------
    name : str
        The verb of ``astro-sr``.
    title : str
        Of the window.
    version : str
        Of the script.
    about : str
        One or two sentences for the user.
    options : tuple of Option
        Its options.
    result : {'image', 'file', 'report', 'stack'}
        Whether the image in Siril changes, a file appears beside it, or a text in the log; or
        whether frames are stacked, without a window.
    beside : str
        Ending of the file that appears beside the image: ``"stars"`` gives ``m31_stars.fit``.
    beside_flag : str
        Option of ``astro-sr`` for that file, if it is not its output.
    network : bool
        Whether a network works, which may be chosen, and where it runs.
    whole : bool
        Whether it always works on the whole image.
    steps : callable, optional
        Gives the command lines, without input and output, for the values of the options, if it is
        not one command with all of them.
    """

    name: str
    title: str
    version: str
    about: str
    options: tuple[Option, ...] = ()
    result: Literal["image", "file", "report", "stack"] = "image"
    beside: str = ""
    beside_flag: str = ""
    network: bool = True
    whole: bool = False
    steps: Callable[[Values], list[list[str]]] | None = None

    def defaults(self) -> Values:
        """Return the values of all options if none is given."""
        return {option.key: option.default for option in self.options}

    def check(self, values: Values) -> None:
        """Raise `ScriptError` for values that are not allowed."""
        for option in self.options:
            option.check(values[option.key])

    def command_lines(self, values: Values) -> list[list[str]]:
        """Return what ``astro-sr`` is called with, one list for each step."""
        if self.steps is not None:
            lines = self.steps(values)
            if not lines:
                msg = f"{self.title}: nothing is chosen to be done"
                raise ScriptError(msg)
            return lines
        return [[self.name, *flags(self.options, values)]]


def flags(options: tuple[Option, ...], values: Values) -> list[str]:
    """Return what is given to ``astro-sr`` for the values of some options."""
    return [flag for option in options for flag in option.flags(values[option.key])]
