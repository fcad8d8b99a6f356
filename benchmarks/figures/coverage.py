"""How often the truth lies within the uncertainty of a result, by the brightness of the result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.training.calibrate import COVERAGES

__all__ = ["EDGES", "coverage_table"]

EDGES = (0.0, 1.0, 3.0, 10.0, 30.0, 100.0, np.inf)
"""Edges of the bins of brightness, in noise sigma of a pixel."""


def coverage_table(
    pulls: NDArray[np.float64], level: NDArray[np.float64]
) -> list[dict[str, float]]:
    """Return, for each bin of brightness and for all, the shares (per cent) that are covered."""
    size = np.abs(level)
    bins = [(low, high) for low, high in zip(EDGES[:-1], EDGES[1:], strict=True)]
    rows = []
    for low, high in [*bins, (0.0, np.inf)]:
        inside = np.abs(pulls[(size >= low) & (size < high)])
        shares = {
            str(per_cent): 100 * float(np.mean(inside < width)) if inside.size else float("nan")
            for per_cent, width in COVERAGES.items()
        }
        rows.append({"from": low, "to": high, "pixels": float(inside.size), **shares})
    return rows
