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
from types import FrameType

__all__ = [
    "AstroSRError",
    "AstroSRWarning",
    "ImageReadError",
    "InputError",
    "ModelError",
    "OutOfMemoryError",
    "OutputError",
    "UnchangedWarning",
    "warn",
]


_PACKAGE = __name__.partition(".")[0]


class AstroSRError(Exception):
    """Base class of every error raised on purpose by the package."""

    exit_code = 1


class InputError(AstroSRError, ValueError):
    """A parameter or an image cannot be used; the message says which, and what is allowed."""

    exit_code = 2


class ImageReadError(InputError):
    """A file is missing, damaged, empty, or not an image."""


class OutputError(InputError):
    """The output cannot be written, or exists already."""


class ModelError(InputError):
    """A model is unknown, or its weights file is damaged or is not the one its card describes."""


class OutOfMemoryError(AstroSRError):
    """Not even the smallest tile fits into the memory of the device."""


class AstroSRWarning(UserWarning):
    """The result is valid, but something about the input deserves the user's attention."""


class UnchangedWarning(AstroSRWarning):
    """A verb could not do its work on an image, or on planes of it, which come back unchanged."""


def warn(text: str, category: type[AstroSRWarning] = AstroSRWarning) -> None:
    """Warn the user, on behalf of the line outside of the package that called it."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)
