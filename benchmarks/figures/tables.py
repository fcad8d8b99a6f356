"""Figures in Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Columns", "figures_table", "markdown_table", "number_text"]

Columns = Mapping[str, tuple[str, str]]
"""Name of a figure -> heading and format; a format of "" is that of text."""

ABSENT = "–"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def figures_table(rows: Iterable[Mapping[str, Any]], columns: Columns) -> str:
    """Return a Markdown table of the figures of each row; those that a row lacks are dashes."""
    lines = [
        [number_text(row.get(name), form) for name, (_, form) in columns.items()] for row in rows
    ]
    return markdown_table([heading for heading, _ in columns.values()], lines)


def number_text(value: Any, form: str = ".1f") -> str:
    """Return a number as text; a dash where there is none or it is not finite."""
    if isinstance(value, str):
        return value
    return ABSENT if value is None or not np.isfinite(value) else format(value, form)
