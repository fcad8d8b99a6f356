"""Errors and warnings of the package.

The tree (the exit code of the command line in brackets)::

    AstroSRError                     [1]  anything that fails in the work itself
    ├── InputError (ValueError)      [2]  a parameter or an image that cannot be used
    │   ├── ImageReadError           [2]  missing, damaged or not an image
    │   ├── OutputError              [2]  a place that cannot be written, or that exists already
    │   └── ModelError               [2]  unknown model, damaged or swapped weights
    └── OutOfMemoryError             [1]  the smallest tile does not fit

    AstroSRWarning (UserWarning)     the work goes on, but the user should know
    └── UnchangedWarning             a verb could not do its work; the command line's --strict: [1]
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

__all__ = [
    "AstroSRError",
    "AstroSRWarning",
    "ImageReadError",
    "InputError",
    "KeptWarning",
    "ModelError",
    "OutOfMemoryError",
    "OutputError",
    "UnchangedWarning",
    "check_choice",
    "keep_warnings",
    "warn",
]


_PACKAGE = __name__.partition(".")[0]
KeptWarning = tuple[str, "type[AstroSRWarning]"]
"""Text and category of a warning."""
_KEPT: ContextVar[list[KeptWarning] | None] = ContextVar("kept_warnings", default=None)
"""Where warnings of this thread are kept instead of given."""


class AstroSRError(Exception):
    """Base class of every error raised on purpose by the package.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> try:
    ...     asr.denoise("gone.fits")
    ... except asr.AstroSRError as error:
    ...     print(error, error.exit_code)
    cannot read gone.fits: no such file or directory 2
    """

    exit_code = 1


class InputError(AstroSRError, ValueError):
    """A parameter or an image cannot be used; the message says which, and what is allowed.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> import numpy as np
    >>> asr.denoise(np.ones((8, 8)), strength=2)
    Traceback (most recent call last):
    astro_sr_plugin.exceptions.InputError: strength=2 is out of range; allowed is 0 (the input) \
    to 1 (the full effect)
    """

    exit_code = 2


class ImageReadError(InputError):
    """A file is missing, damaged, empty, or not an image.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> asr.read_image("gone.fits")
    Traceback (most recent call last):
    astro_sr_plugin.exceptions.ImageReadError: cannot read gone.fits: no such file or directory
    """


class OutputError(InputError):
    """The output cannot be written, or exists already.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> import numpy as np
    >>> asr.write_image(np.ones((8, 8)), "image.jpg")
    Traceback (most recent call last):
    astro_sr_plugin.exceptions.OutputError: cannot write image.jpg: the name has to end in ...
    """


class ModelError(InputError):
    """A model is unknown, or its weights file is damaged or is not the one its card describes.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> asr.load_model("denoise-fast", task="deconvolve")
    Traceback (most recent call last):
    astro_sr_plugin.exceptions.ModelError: model='denoise-fast' is for denoise (scale 1), not for \
    deconvolve
    """


class OutOfMemoryError(AstroSRError):
    """Not even the smallest tile fits into the memory of the device.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> issubclass(asr.OutOfMemoryError, asr.AstroSRError), asr.OutOfMemoryError.exit_code
    (True, 1)
    """


class AstroSRWarning(UserWarning):
    """The result is valid, but something about the input deserves the user's attention.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> import warnings
    >>> warnings.simplefilter("error", asr.AstroSRWarning)  # a script that is to stop at warnings
    >>> warnings.resetwarnings()
    """


class UnchangedWarning(AstroSRWarning):
    """A verb could not do its work on an image, or on planes of it, which come back unchanged.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> issubclass(asr.UnchangedWarning, asr.AstroSRWarning)
    True
    """


def check_choice(name: str, value: object, allowed: Iterable[str]) -> None:
    """Raise InputError unless the value of a parameter is one of those that are allowed."""
    choices = tuple(allowed)
    if value not in choices:
        msg = f"{name}={value!r} is not known; allowed are {', '.join(choices)}"
        raise InputError(msg)


def warn(text: str, category: type[AstroSRWarning] = AstroSRWarning) -> None:
    """Warn the user, on behalf of the line outside of the package that called it."""
    kept = _KEPT.get()
    if kept is not None:
        kept.append((text, category))
        return
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


@contextmanager
def keep_warnings() -> Iterator[list[KeptWarning]]:
    """Keep what `warn` is called with, in this thread, so that another process can give it."""
    kept: list[KeptWarning] = []
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)
