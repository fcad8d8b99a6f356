"""Numbers in headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["read_number"]


def read_number(meta: Mapping[str, Any], keyword: str) -> float | None:
    """Return the value of a keyword; None where it is missing, no number or not finite.

    Parameters
    ----------
    meta : mapping
        Header or dictionary. Texts that hold a number count.
    keyword : str
        Its name.

    Examples
    --------
    >>> read_number({"EGAIN": "0.8", "GAIN": float("nan")}, "EGAIN")
    0.8
    """
    value = meta.get(keyword)
    if isinstance(value, bool) or not isinstance(value, str | int | float | np.number):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None
