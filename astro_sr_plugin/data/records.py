"""Results for programs and people: plain values for JSON, aligned text, HTML."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Literal

__all__ = ["align_rows", "as_html", "as_plain"]

Row = Sequence[str]


def as_plain(value: Any) -> Any:
    """Turn a result into what JSON can hold.

    Parameters
    ----------
    value : object
        Dataclasses, named tuples and mappings become dictionaries, sequences and arrays lists, and
        numbers of NumPy those of Python. NaN and infinity become None; anything else becomes text.

    Examples
    --------
    >>> as_plain({"shape": (3, 4), "fwhm": float("nan")})
    {'shape': [3, 4], 'fwhm': None}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: as_plain(getattr(value, name)) for name in names}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return as_plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def align_rows(rows: Sequence[Row], align: Literal["<", ">"] = "<") -> str:
    """Return rows as lines of text with aligned columns.

    Parameters
    ----------
    rows : sequence of sequences of str
        A row of two cells among longer ones is a label and a text that runs over all columns.
    align : {'<', '>'}
        Whether the columns after the first are aligned on the left or on the right.

    Examples
    --------
    >>> print(align_rows([("Channel", "R", "G"), ("Stars", "12", "8"), ("Unit", "adu")], ">"))
    Channel   R  G
    Stars    12  8
    Unit     adu
    """
    columns = max(len(row) for row in rows)
    full = [row for row in rows if len(row) == columns]
    widths = [max(len(row[0]) for row in rows)]
    widths += [max(len(row[k]) for row in full) for k in range(1, columns)]
    lines = []
    for row in rows:
        side = align if len(row) == columns else "<"
        cells = [f"{row[0]:<{widths[0]}}"]
        cells += [f"{cell:{side}{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_html(rows: Sequence[Row], *, header: bool = False) -> str:
    """Return rows as an HTML table, as notebooks show it.

    Parameters
    ----------
    rows : sequence of sequences of str
        As for `align_rows`.
    header : bool
        Whether the first row is the header; otherwise the first cell of each row is.
    """
    columns = max(len(row) for row in rows)
    lines = []
    for number, row in enumerate(rows):
        cells = []
        for k, text in enumerate(row):
            tag = "th" if (number == 0 if header else k == 0) else "td"
            wide = f' colspan="{columns - 1}"' if k == 1 and len(row) == 2 < columns else ""
            cells.append(f"<{tag}{wide}>{escape(text)}</{tag}>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"
