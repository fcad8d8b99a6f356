"""Work on parts of an image in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
import torch

from astro_sr_plugin.threads import map_in_order

__all__ = ["map_in_threads"]

Part = TypeVar("Part")
Result = TypeVar("Result")


def map_in_threads(work: Callable[[Part], Result], parts: Iterable[Part]) -> list[Result]:
    """Return what some work makes of each part, in as many threads as PyTorch uses.

    NumPy does not warn of what is infinite, or becomes so.
    """

    # Threads have settings of their own.
    @np.errstate(invalid="ignore", over="ignore")
    def quietly(part: Part) -> Result:
        return work(part)

    parts = list(parts)
    jobs = 1 if len(parts) == 1 else torch.get_num_threads()
    return list(map_in_order(quietly, parts, jobs))
