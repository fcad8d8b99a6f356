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
        Header or dictionary. Texts that hold a number count, also with a decimal comma.
    keyword : str
        Its name.

    Examples
    --------
    >>> read_number({"EGAIN": "0.8", "GAIN": float("nan")}, "EGAIN")
    0.8
    >>> read_number({"EXPTIME": "6,4E-05"}, "EXPTIME")
    6.4e-05
    """
    value = meta.get(keyword)
    if isinstance(value, bool) or not isinstance(value, str | int | float | np.number):
        return None
    if isinstance(value, str) and value.count(",") == 1 and "." not in value:
        value = value.replace(",", ".")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if np.isfinite(number) else None
