"""How much of contaminants is found and taken away, and what stars and galaxies lose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.truth.contaminants import Contaminated

__all__ = ["Tally", "bright_pixels"]

Mask = NDArray[np.bool_]
_BRIGHT = 10.0
"""Light of the sky in noise sigma from which a pixel belongs to a star or galaxy that is seen."""
_ISOLATED = 30.0
"""Least signal-to-noise ratio of the stars whose light is measured."""


def bright_pixels(case: Contaminated) -> Mask:
    """Return pixels of stars and galaxies that nothing touches."""
    return np.asarray((case.sky > _BRIGHT * case.noise) & ~case.touched)


class Tally:
    """Pixels and stars, counted over many scenes."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._changes: list[float] = []
        self._errors: dict[str, list[NDArray[np.float64]]] = {"before": [], "after": []}

    def _add(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def add_kind(self, case: Contaminated, kind: str, found: Mask) -> None:
        """Count what a search for one kind found."""
        spoiled = case.spoiled(kind)
        near = ndimage.binary_dilation(np.abs(case.light[kind]) > 0.5 * case.noise, np.ones((3, 3)))
        self._add("spoiled", spoiled.sum())
        self._add("hit", (spoiled & found).sum())
        self._add("found", found.sum())
        self._add("right", (found & near).sum())

    def add_residual(self, case: Contaminated, kind: str, result: NDArray[np.floating]) -> None:
        """Keep the errors of an image before and after, where a kind spoils it."""
        spoiled = case.spoiled(kind)
        for name, image in (("before", case.scene.observed), ("after", result)):
            error = (image.astype(float) - case.scene.truth_denoise) / case.noise
            self._errors[name].append(np.abs(error[spoiled]))

    def add_harm(self, case: Contaminated, masks: Sequence[Mask], result: NDArray) -> None:
        """Count untouched pixels of stars and galaxies in the masks, and what stars lose."""
        found = np.any(masks, axis=0)
        bright = bright_pixels(case)
        self._add("bright", bright.sum())
        self._add("harmed", (found & bright).sum())
        untouched = ~case.touched
        self._add("untouched", untouched.sum())
        self._add("false", (found & untouched).sum())
        scene = case.scene
        rows, columns = np.indices(found.shape)
        for x, y, snr, flux in zip(scene.x, scene.y, scene.snr, scene.flux, strict=True):
            inside = np.hypot(columns - x, rows - y) < 1.5 * scene.fwhm
            if snr > _ISOLATED and not (case.touched & inside).any():
                change = (result.astype(float) - scene.observed)[inside].sum() / flux
                self._changes.append(abs(float(change)))

    def figures(self) -> dict[str, float]:
        """Return the figures.

        ``recall``: spoiled pixels that were found; ``precision``: found ones with such light within
        a pixel; ``harm``: untouched pixels of more than 10 sigma that were taken for spoiled;
        ``false_per_mpx``: untouched pixels of a million that were; ``changed``: untouched stars
        whose light changed by more than 1 %; ``before``, ``after``: median error of spoiled pixels
        in noise sigma.
        """
        sums = self._sums

        def share(part: str, whole: str) -> float:
            return sums[part] / sums[whole] if sums.get(whole) else float("nan")

        figures = {}
        if "spoiled" in sums:
            figures |= {"recall": share("hit", "spoiled"), "precision": share("right", "found")}
        if "bright" in sums:
            figures |= {
                "harm": share("harmed", "bright"),
                "false_per_mpx": 1e6 * share("false", "untouched"),
                "stars": float(len(self._changes)),
                "changed": float(np.mean(np.array(self._changes) > 0.01)),
            }
        for name, errors in self._errors.items():
            if errors:
                figures[name] = float(np.median(np.concatenate(errors)))
        return figures
