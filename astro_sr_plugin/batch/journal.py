"""What is finished already, by content: a journal beside the results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Journal", "hash_file", "job_of"]

_NAME = "astro-sr-batch.jsonl"


def hash_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of the bytes of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def job_of(recipe: str, source: Path, hdu: int | str | None, dtype: str | None) -> str:
    """Return a hash of all that a result depends on: input, recipe, models and number format.

    Parameters
    ----------
    recipe : str
        From `Recipe.identity`.
    source : Path
        The input file; its content counts, not its name or date.
    hdu, dtype : int or str, optional
        What is read of it, and how the result is stored.
    """
    text = json.dumps([recipe, hash_file(source), hdu, dtype])
    return hashlib.sha256(text.encode()).hexdigest()


class Journal:
    """The file ``astro-sr-batch.jsonl`` of a folder of results, one line of JSON per result.

    A line is written before its result gets its name, so that a run that is cut off at any moment
    leaves no result without a line. Later lines count more.

    Parameters
    ----------
    folder : Path
        Where the results are.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _NAME
        self._lines: dict[str, dict[str, Any]] = {}
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                self._lines[entry["output"]] = entry
            except (json.JSONDecodeError, KeyError, TypeError):
                # The last line of a run that lost its power.
                continue

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def add(self, name: str, sha256: str, job: str, **facts: Any) -> None:
        """Write a line.

        Parameters
        ----------
        name : str
            Of the result, in the folder.
        sha256 : str
            Of its bytes.
        job : str
            From `job_of`.
        **facts
            Whatever a person may want to know.
        """
        entry = {"output": name, "sha256": sha256, "job": job, **facts}
        start = b"" if self._ends_well() else b"\n"
        with self._path.open("ab") as file:
            file.write(start + json.dumps(entry, default=str).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines[name] = entry

    def trouble(self, output: Path, job: Callable[[], str]) -> str | None:
        """Say why an existing file is not the finished result of a job; None if it is.

        Parameters
        ----------
        output : Path
            The file.
        job : callable
            Returns the hash of `job_of`; not called where the file alone decides.
        """
        entry = self._lines.get(output.name)
        if entry is None:
            return "a file of this name exists that no batch has written"
        if hash_file(output) != entry.get("sha256"):
            return "the existing result is damaged or was changed since it was written"
        if entry.get("job") != job():
            return "the existing result was made of another input, or by another recipe or model"
        return None

    def _ends_well(self) -> bool:
        if not self._path.exists() or self._path.stat().st_size == 0:
            return True
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
