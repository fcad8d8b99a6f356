"""Messages of the package in the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["in_options"]

# A keyword and its value: a tuple, a text in quotes, or a word up to a mark that ends it.
_KEYWORD = re.compile(r"\b([a-z]+(?:_[a-z]+)*)=(\([^)]*\)|'[^']*'|[^\s,;:()]+)")
# A call of a function of the package that is an option of commands.
_CALL = re.compile(r"\b([a-z_]+)\(image, '([^']*)'\)")

_OPTIONS = {
    "pattern": "cfa_pattern",
    "method": "debayer",
    "suffix": "format",
    "byteorder": "byte_order",
    "diameters": "diameter",
    "kinds": "kind",
}
"""Options whose names are not those of the keywords, which commands of other functions have too."""


def in_options(text: str, options: Collection[str]) -> str:
    """Write keywords of Python functions in a message as options of a command.

    Parameters
    ----------
    text : str
        The message, such as ``give it by psf=(fwhm, beta)``.
    options : collection of str
        Names of the options that the command has, such as ``psf``; other keywords stay.

    Returns
    -------
    str
        The message, such as ``give it by --psf FWHM,BETA``. ``True`` is left out, for it is what
        the option alone says. A call such as ``debayer(image, 'superpixel')`` becomes
        ``--debayer superpixel``.
    """

    def replace_call(found: re.Match[str]) -> str:
        name, value = found.groups()
        return f"--{name.replace('_', '-')} {value}" if name in options else found.group()

    def replace(found: re.Match[str]) -> str:
        keyword, value = found.groups()
        name = keyword if keyword in options else _OPTIONS.get(keyword, "")
        if name not in options:
            return found.group()
        option = f"--{name.replace('_', '-')}"
        if value == "True":
            return option
        if value.startswith("("):
            value = value.strip("()").replace(", ", ",")
            # Names of values stand in capitals in the help.
            value = value.upper() if re.fullmatch(r"[a-z,]+", value) else value
        return f"{option} {value}"

    return _KEYWORD.sub(replace, _CALL.sub(replace_call, text))
