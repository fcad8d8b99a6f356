"""Which images a batch takes, and what their results are called."""

from __future__ import annotations

import codecs
import glob
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from astro_sr_plugin.data.formats.registry import FORMATS, find_suffix, name_result
from astro_sr_plugin.exceptions import ImageReadError, InputError, OutputError

__all__ = ["find_inputs", "name_outputs"]

_LISTS = (".txt", ".lst", ".list")
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by their byte order mark; UTF-32 is left out, since nothing saves lists so."""
_ZERO_BYTES = 0.25
"""Part of every other byte that is 0 in UTF-16 without a byte order mark, at least."""
_SUFFIXES = sorted(suffix for form in FORMATS for suffix in form.suffixes)


def find_inputs(words: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Find the images that folders, lists, patterns and names stand for.

    Parameters
    ----------
    words : iterable of str or Path
        Each a folder (the images directly in it, by suffix), a list (a text file ``.txt``,
        ``.lst``, ``.list`` or ``@FILE`` with one path per line, ``-`` for standard input), a
        pattern with ``* ? [ ]`` (``**`` for all folders below) or an image file. Lists may be in
        UTF-8 or UTF-16, with quotes around the paths, or with backslashes in them.

    Returns
    -------
    list of Path
        In the order given, those of a folder or pattern by name; each once.

    Raises
    ------
    ImageReadError
        A word stands for nothing.
    """
    found: dict[Path, None] = {}
    for word in words:
        found.update(dict.fromkeys(_expand(os.fspath(word))))
    return list(found)


def _expand(word: str) -> list[Path]:
    path = Path(word)
    if path.is_dir():
        shown = [p for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith(".")]
        return _some([p for p in shown if find_suffix(p)], word, "holds no images")
    if word == "-" or word.startswith("@") or path.suffix.lower() in _LISTS:
        return _some(_read_list(word), word, "names no images")
    if path.is_file():
        return [path]
    if glob.has_magic(word):
        matches = [Path(match) for match in sorted(glob.glob(word, recursive=True))]
        return _some([p for p in matches if p.is_file()], word, "matches no file")
    msg = f"input {word!r} does not exist"
    raise ImageReadError(msg)


def _some(paths: list[Path], word: str, trouble: str) -> list[Path]:
    if not paths:
        msg = f"input {word!r} {trouble}"
        raise ImageReadError(msg)
    return paths


def _read_list(word: str) -> list[Path]:
    try:
        if word == "-":
            content = sys.stdin.buffer.read()
        else:
            content = Path(word.removeprefix("@")).read_bytes()
    except OSError as error:
        msg = f"list {word!r} cannot be read: {error}"
        raise ImageReadError(msg) from error
    lines = [line.strip() for line in _decode(content).splitlines()]
    # A missing image is reported with its own name, so that the others are done.
    return [_find(line) for line in lines if line and not line.startswith("#")]


def _decode(content: bytes) -> str:
    """Decode a list by its byte order mark, its zero bytes, or else as the system names files."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    pairs = max(1, len(content) // 2)
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        # In UTF-16 every other byte of a Latin letter is 0; 'find -print0' writes one per path.
        if content[first::2].count(0) > _ZERO_BYTES * pairs:
            return content.decode(encoding, errors="replace")
    # Bytes that are not UTF-8 stay what they are: Linux names files by bytes.
    return content.replace(b"\0", b"\n").decode("utf-8", errors="surrogateescape")


def _find(line: str) -> Path:
    """Return the file that a line of a list names, or the line itself if there is none.

    Tried are the line as it is, without the quotes around it, with the bytes of Windows-1252, and
    with slashes for backslashes.
    """
    quoted = len(line) > 1 and line[0] == line[-1] and line[0] in "\"'"
    name = line[1:-1].strip() if quoted else line
    names = [line, name]
    content = name.encode("utf-8", errors="surrogateescape")
    if content.decode("utf-8", errors="replace") != name:
        names.append(content.decode("cp1252", errors="replace"))
    names.append(names[-1].replace("\\", "/"))
    return next((Path(one) for one in names if Path(one).exists()), Path(name))


def name_outputs(
    inputs: list[Path], folder: Path, *, ending: str, suffix: str | None = None
) -> list[Path]:
    """Name the result of each input, ``stack.fits`` becomes ``stack_<ending>.fits``.

    Parameters
    ----------
    inputs : list of Path
        The images.
    folder : Path
        Where the results go.
    ending : str
        Not empty.
    suffix : str, optional
        The file format, such as ``.xisf``; that of the input by default.

    Returns
    -------
    list of Path
        One per input.

    Raises
    ------
    InputError
        Two inputs would have one result.
    OutputError
        A result would be an input, or the format is unknown.
    """
    if not ending or "/" in ending or "\\" in ending:
        msg = f"ending {ending!r} is not usable in a file name"
        raise InputError(msg)
    suffix = f".{suffix.lower().lstrip('.')}" if suffix else None
    if suffix is not None and suffix not in _SUFFIXES:
        msg = f"format {suffix!r} cannot be written; allowed are {', '.join(_SUFFIXES)}"
        raise OutputError(msg)
    outputs = []
    for path in inputs:
        outputs.append(folder / name_result(path, ending, suffix))
    taken: dict[Path, Path] = {}
    sources = {path.absolute() for path in inputs}
    for source, target in zip(inputs, outputs, strict=True):
        if target in taken:
            msg = f"{str(taken[target])!r} and {str(source)!r} would both become {str(target)!r}"
            raise InputError(msg)
        if target.absolute() in sources:
            msg = f"{str(target)!r} would be the result of {str(source)!r} and is an input"
            raise OutputError(msg)
        taken[target] = source
    return outputs
