"""Choices of a stack on which its result depends."""

from __future__ import annotations

import re
from dataclasses import dataclass

from astro_sr_plugin.exceptions import InputError, check_choice
from astro_sr_plugin.registration.resample import check_kernel
from astro_sr_plugin.stacking.combination import COMBINATIONS, Combination
from astro_sr_plugin.stacking.drizzling import Drizzling
from astro_sr_plugin.stacking.normalisation import (
    NORMALISATIONS,
    WEIGHTS,
    NormalisationMode,
    WeightMode,
)
from astro_sr_plugin.stacking.output_frame import OUTPUT_FRAMES, OutputFrame
from astro_sr_plugin.stacking.rejection import Method

__all__ = ["DEFAULT_MEMORY", "StackOptions", "read_memory"]

DEFAULT_MEMORY = 4 * 10**9
"""Bytes for pixels."""
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_LEAST_MEMORY = 100 * 10**6
"""Bytes below which nothing can be stacked."""


@dataclass(frozen=True)
class StackOptions:
    """Choices of `stack`, with their meanings there."""

    align: bool
    reference: int | None
    combine: Combination
    rejection: Method
    limits: tuple[float, float]
    weights: WeightMode
    normalise: NormalisationMode
    kernel: str
    cosmic_rays: bool | None
    memory: int
    drizzling: Drizzling | None
    super_resolution: int | None
    frame: OutputFrame = "reference"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("combine", self.combine, COMBINATIONS),
            ("frame", self.frame, OUTPUT_FRAMES),
            ("weights", self.weights, WEIGHTS),
            ("normalise", self.normalise, NORMALISATIONS),
        ):
            check_choice(name, value, allowed)
        check_kernel(self.kernel)
        if self.drizzling is not None:
            self.drizzling.check()
        unlike = self.drizzling is not None or self.combine != "mean"
        if self.super_resolution is not None and unlike:
            msg = "super_resolve cannot be used together with drizzle or with combine='median'"
            raise InputError(msg)


def read_memory(memory: float | str) -> int:
    """Read an amount of memory, such as ``"4GB"``, in bytes.

    Raises
    ------
    InputError
        If it is no amount, or too small.
    """
    match = re.fullmatch(r"\s*([\d.]+)\s*([KMGT]?)I?B?\s*", str(memory).upper())
    try:
        size = float(match[1]) * _UNITS[match[2]] if match else float("nan")
    except ValueError:
        size = float("nan")
    if not size >= _LEAST_MEMORY:
        msg = f"memory={memory!r} cannot be used; allowed are amounts such as 4GB, from 100MB on"
        raise InputError(msg)
    return int(size)
