"""Trails, cosmic rays, columns, ghosts and dots in single planes, found by a network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.models.spec import Model
from astro_sr_plugin.restoration.conditions import make_conditions
from astro_sr_plugin.restoration.plane import NormalisedPlane

__all__ = ["find_contaminants"]

_LIMITS = {
    "trail": (0.0, -2.0),
    "cosmic-ray": (-2.0, -4.0),
    "column": (0.0, -2.0),
    "ghost": (1.0, 0.0),
    "dot": (1.0, 0.0),
}
"""Logits: a contaminant has a pixel of the first at least, and reaches as far as the second. On
simulated skies that no network is trained on, they cost less than 0.1 % of the pixels of stars."""
_NEIGHBOURS = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong together."""


def find_contaminants(
    plane: NormalisedPlane, model: Model, kinds: Iterable[str], runtime: Runtime
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Find what is not of the sky in a plane.

    Parameters
    ----------
    plane : NormalisedPlane
        The plane.
    model : Model
        A network that returns the logits of `KINDS`.
    kinds : iterable of str
        Those that are looked for.
    runtime : Runtime
        Device, tiles, progress.

    Returns
    -------
    mask : ndarray of bool, shape (ny, nx)
        Spoiled pixels.
    counts : dict of int
        How many contaminants there are of each kind.
    """
    limits = np.array([_LIMITS[kind] for kind in KINDS])[:, :, None, None]
    steps = np.zeros((len(KINDS), *plane.shape), np.uint8)
    predictor = Predictor(model, make_conditions(plane, None, 1), runtime)
    for first, logits in predictor.strips(plane.read_as_planes, plane.shape):
        rows = slice(first, first + logits.shape[1])
        steps[:, rows] = (logits > limits[:, 0]).astype(np.uint8) + (logits > limits[:, 1])
    mask, counts = np.zeros(plane.shape, bool), {}
    for kind in kinds:
        found, counts[kind] = _connected(steps[KINDS.index(kind)])
        mask |= found
    return mask & ~plane.mask[:, :], counts


def _connected(steps: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], int]:
    """Return the likely pixels that are connected to certain ones, and how many groups they are."""
    labels, count = ndimage.label(steps > 0, _NEIGHBOURS)
    kept = np.zeros(count + 1, bool)
    kept[labels[steps > 1]] = True
    return kept[labels], int(kept.sum())
