"""The vectors that steer AstroSleuth NEXT, from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from astro_sr_plugin.exceptions import ModelError
from astro_sr_plugin.models.astrosleuth import CONDITION_LENGTH
from astro_sr_plugin.models.external.files import read_json

__all__ = ["read_condition"]

_SLIDERS = ("stars", "detail", "spikes")
"""Vectors that are added to the one named ``average``, each times a factor of -1 to 1."""

_STRONGEST = 5.0
"""Largest strength that AstroSleuth offers."""


def read_condition(path: Path) -> tuple[Tensor, float]:
    """Read the vector that steers AstroSleuth NEXT.

    Parameters
    ----------
    path : Path
        JSON like the ``conds.json`` of AstroSleuth: lists of 512 numbers named ``average``,
        ``stars``, ``detail`` and ``spikes``. It may have ``strength`` (0 to 5, by default 1), and
        ``amounts``: factors of the last three, of -1 to 1, by default 0.

    Returns
    -------
    vector : Tensor, shape (512,)
        average + the amount times the vector of each of the others.
    strength : float

    Raises
    ------
    ModelError
        If the file cannot be read, or a number is out of its range.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise _bad(path, str(error)) from error
    amounts = content.get("amounts", {})
    if not isinstance(amounts, dict):
        raise _bad(path, "amounts is no JSON object")
    vector = _vector(path, content, "average")
    for name in _SLIDERS:
        amount = _number(path, amounts, name, 0.0, (-1.0, 1.0))
        if amount:
            vector = vector + np.float32(amount) * _vector(path, content, name)
    strength = _number(path, content, "strength", 1.0, (0.0, _STRONGEST))
    return torch.from_numpy(vector), strength


def _vector(path: Path, content: dict[str, Any], name: str) -> NDArray[np.float32]:
    try:
        vector = np.asarray(content.get(name), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _bad(path, f"{name} is no list of numbers") from error
    largest = np.finfo(np.float32).max
    if vector.shape != (CONDITION_LENGTH,) or not (np.abs(vector) <= largest).all():
        raise _bad(path, f"{name} has to be a list of {CONDITION_LENGTH} finite numbers")
    return vector.astype(np.float32)


def _number(
    path: Path, content: dict[str, Any], name: str, default: float, limits: tuple[float, float]
) -> float:
    value = content.get(name, default)
    low, high = limits
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _bad(path, f"{name}={value!r}; allowed is {low:g} to {high:g}")
    return float(value)


def _bad(path: Path, reason: str) -> ModelError:
    return ModelError(f"condition={str(path)!r} cannot be used: {reason}")
