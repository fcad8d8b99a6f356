"""Trails, cosmic rays, columns, ghosts and dots in single planes, found by a network."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.models.spec import Model
from astro_sr_plugin.restoration.conditions import make_conditions
from astro_sr_plugin.restoration.plane import NormalisedPlane
from astro_sr_plugin.restoration.star_veto import StarVeto

__all__ = ["find_contaminants"]


@dataclass(frozen=True)
class _Rule:
    """What makes a group of pixels a contaminant.

    Attributes
    ----------
    certain, likely : float
        Logits: it has a pixel of the first at least, and reaches as far as the second.
    gap : int
        Pixels over which its parts belong together.
    length : float
        Pixels that it is long at least.
    straight : bool
        Whether it has to be straight. What need not be is nothing beside saturated pixels.
    """

    certain: float
    likely: float
    gap: int = 0
    length: float = 0.0
    straight: bool = False


_RULES = {
    "trail": _Rule(1.0, -1.0, gap=8, length=100.0, straight=True),
    "cosmic-ray": _Rule(-2.0, -4.0),
    "column": _Rule(0.0, -2.0, length=10.0),
    "ghost": _Rule(1.0, 0.0),
    "dot": _Rule(1.0, 0.0),
}
"""Chosen on simulated skies that no network is trained on, where they cost less than 0.1 % of the
pixels of stars. A galaxy seen edge-on is like a short trail."""
_NEIGHBOURS = np.ones((3, 3), bool)
"""Pixels that touch at a corner belong together."""
_LEAST_RATIO = 20.0
"""Length of what is straight over the standard deviation of its pixels across it."""
_SHORT = 0.7
"""Share of the shorter side of a small image that is as good as the length."""
_AROUND_SATURATED = 5
"""Side in pixels of the square around saturated pixels in which edges are as sharp as those of
cosmic rays, and light runs along columns."""


def find_contaminants(
    plane: NormalisedPlane, model: Model, kinds: Iterable[str], runtime: Runtime
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Find what is not of the sky in a plane.

    What has the PSF of the plane is a star, and no cosmic ray or dot.

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
    rules = [_RULES[kind] for kind in KINDS]
    certain, likely = (
        np.array([getattr(rule, name) for rule in rules])[:, None, None]
        for name in ("certain", "likely")
    )
    steps = np.zeros((len(KINDS), *plane.shape), np.uint8)
    predictor = Predictor(model, make_conditions(plane, None, 1), runtime)
    for first, logits in predictor.strips(plane.read_as_planes, plane.shape):
        rows = slice(first, first + logits.shape[1])
        steps[:, rows] = (logits > likely).astype(np.uint8) + (logits > certain)
    saturated = _around_saturated(plane)
    veto = StarVeto(plane)
    stars = {"cosmic-ray": veto.stars_of_rays, "dot": veto.stars_of_dots}
    mask, counts = np.zeros(plane.shape, bool), {}
    for kind in kinds:
        found, counts[kind] = _groups(steps[KINDS.index(kind)], _RULES[kind], saturated)
        if kind in stars:
            found &= ~stars[kind](found)
            counts[kind] = int(ndimage.label(found, _NEIGHBOURS)[1])
        mask |= found
    return mask & ~plane.mask[:, :], counts


def _around_saturated(plane: NormalisedPlane) -> NDArray[np.bool_]:
    saturated = plane.saturated(0, plane.shape[0], 1)
    if saturated is None:
        return np.zeros(plane.shape, bool)
    return np.asarray(ndimage.maximum_filter(saturated > 0, _AROUND_SATURATED))


def _groups(
    steps: NDArray[np.uint8], rule: _Rule, saturated: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], int]:
    """Return the likely pixels of groups that keep a rule, and how many groups they are."""
    likely = steps > 0
    joined = ndimage.maximum_filter(likely, 2 * rule.gap + 1) if rule.gap else likely
    labels, count = ndimage.label(joined, _NEIGHBOURS)
    labels[~likely] = 0
    kept = np.zeros(count + 1, bool)
    kept[labels[steps > 1]] = True
    kept[0] = False
    if not rule.straight:
        kept[labels[saturated]] = False
    if rule.length:
        least = min(rule.length, _SHORT * min(steps.shape))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            if kept[number]:
                pixels = np.argwhere(labels[box] == number)
                long = min(len(pixels), math.hypot(*np.ptp(pixels, axis=0)) + 1) >= least
                kept[number] = long and (not rule.straight or _is_straight(pixels))
    return kept[labels], int(kept.sum())


def _is_straight(pixels: NDArray[np.int64]) -> bool:
    """Return whether pixels (n, 2) lie along a line; arms of spirals do not."""
    length = math.hypot(*np.ptp(pixels, axis=0))
    across = math.sqrt(max(float(np.linalg.eigvalsh(np.cov(pixels.T))[0]), 0.0))
    return length >= _LEAST_RATIO * across
