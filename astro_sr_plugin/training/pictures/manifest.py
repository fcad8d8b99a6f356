"""The list of the pictures of a folder: what each shows, whom to name, under what terms."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from astro_sr_plugin.exceptions import InputError

__all__ = ["MANIFEST", "REQUIRED", "is_held_out", "list_credits", "read_manifest"]

MANIFEST = "manifest.csv"
"""Name of the list in the folder of the pictures."""
REQUIRED = ("file", "object", "credit", "license")
"""Columns that the list has to have."""
_HELD_OUT = 0.25
"""Share of the objects that is kept for validation."""


def read_manifest(folder: str | Path) -> list[dict[str, str]]:
    """Read the list of the pictures of a folder.

    Parameters
    ----------
    folder : path
        Holds ``manifest.csv``, a table with the columns ``file``, ``object``, ``credit`` and
        ``license``, and any others.

    Returns
    -------
    list of dict
        The rows, texts by the names of their columns.

    Raises
    ------
    InputError
        If there is no such table, or a column is missing or empty.
    """
    path = Path(folder) / MANIFEST
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"list of pictures {str(path)!r} cannot be read: {error}"
        raise InputError(msg) from error
    if not rows or any(not row.get(column) for row in rows for column in REQUIRED):
        msg = f"list of pictures {str(path)!r} needs the columns {', '.join(REQUIRED)}, all filled"
        raise InputError(msg)
    return rows


def list_credits(rows: Iterable[Mapping[str, str]]) -> str:
    """Return whom a network owes its pictures to, as one line."""
    return "; ".join(sorted({f"{row['credit']} ({row['license']})" for row in rows}))


def is_held_out(name: str, share: float = _HELD_OUT) -> bool:
    """Return whether an object is for validation: always the same, whatever else is there.

    Parameters
    ----------
    name : str
        The object.
    share : float
        Share of the objects that is kept; those of a smaller share are among those of a greater.
    """
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    # Its digits backwards are a fraction: one of four numbers ends in 00, and is below a quarter.
    return int(f"{number:032b}"[::-1], 2) < share * 2**32
