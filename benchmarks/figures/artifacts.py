"""How much of contaminants is found and taken away, and what stars and galaxies lose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.truth.contaminants import Contaminated
from benchmarks.truth.rendering import Galaxy
from benchmarks.truth.scene import Scene

__all__ = ["CleanTally", "GalaxyTally", "Tally", "bright_pixels", "isophotes"]

Mask = NDArray[np.bool_]
_BRIGHT = 10.0
"""Light of the sky in noise sigma from which a pixel belongs to a star or galaxy that is seen."""
_ISOLATED = 30.0
"""Least signal-to-noise ratio of the stars whose light is measured."""

_ISOPHOTE = 2.0
"""Light in noise sigma at the edge of a galaxy."""


def bright_pixels(case: Contaminated) -> Mask:
    """Return pixels of stars and galaxies that nothing touches."""
    return np.asarray((case.sky > _BRIGHT * case.noise) & ~case.touched)


def isophotes(scene: Scene, galaxies: Sequence[Galaxy]) -> list[Mask]:
    """Return the pixels within the isophote of each galaxy, and of what is blended with it."""
    light = scene.truth_denoise - scene.background.astype(float)
    labels, _ = ndimage.label(light > _ISOPHOTE * scene.sigma)
    numbers = {int(labels[round(galaxy.y), round(galaxy.x)]) for galaxy in galaxies}
    return [labels == number for number in sorted(numbers - {0})]


def _flux(image: NDArray, inside: Mask, scene: Scene) -> float:
    """Return the light of an image within an isophote over the true light of the sky there."""
    light = image.astype(float) - scene.background
    true = scene.truth_denoise.astype(float) - scene.background
    return float(light[inside].sum() / true[inside].sum())


class CleanTally:
    """What a method takes for contaminants where there are none."""

    def __init__(self) -> None:
        self._alarms = self._pixels = self._masked = 0
        self._stars: list[float] = []
        self._galaxies: list[float] = []

    def add(
        self, scene: Scene, inside: Sequence[Mask], mask: Mask, result: NDArray, alarms: int
    ) -> None:
        """Count alarms on a frame, with the isophotes of its galaxies."""
        self._alarms += alarms
        self._pixels += mask.size
        self._masked += int(mask.sum())
        self._stars += _star_changes(scene, result, np.zeros(mask.shape, bool))
        for region in inside:
            fluxes = (_flux(image, region, scene) for image in (result, scene.observed))
            self._galaxies.append(abs(float(np.subtract(*fluxes))))

    def figures(self) -> dict[str, float]:
        """Return the figures.

        ``alarms`` and ``masked``: contaminants and their pixels of a million; ``stars_changed``:
        stars whose light changed by more than 1 %; ``galaxy_median``, ``galaxy_worst``: change of
        the isophotal flux of galaxies.
        """
        changes = np.array(self._galaxies or [np.nan])
        return {
            "alarms": 1e6 * self._alarms / self._pixels,
            "masked": 1e6 * self._masked / self._pixels,
            "stars": float(len(self._stars)),
            "stars_changed": float(np.mean(np.array(self._stars or [np.nan]) > 0.01)),
            "galaxies": float(len(self._galaxies)),
            "galaxy_median": float(np.median(changes)),
            "galaxy_worst": float(changes.max()),
        }


class GalaxyTally:
    """Errors of the isophotal flux of galaxies that contaminants touch."""

    def __init__(self) -> None:
        self._errors: list[tuple[float, float]] = []

    def add(self, case: Contaminated, inside: Sequence[Mask], result: NDArray) -> None:
        """Measure the galaxies of a frame."""
        for region in inside:
            if (case.touched & region).any():
                fluxes = (_flux(i, region, case.scene) for i in (case.scene.observed, result))
                before, after = (abs(flux - 1) for flux in fluxes)
                self._errors.append((before, after))

    def figures(self) -> dict[str, float]:
        """Return ``touched`` galaxies, and the median and worst error before and after."""
        errors = np.array(self._errors or [(np.nan, np.nan)])
        return {
            "touched": float(len(self._errors)),
            "before_median": float(np.median(errors[:, 0])),
            "after_median": float(np.median(errors[:, 1])),
            "before_worst": float(errors[:, 0].max()),
            "after_worst": float(errors[:, 1].max()),
        }


def _star_changes(scene: Scene, result: NDArray, touched: Mask) -> list[float]:
    """Return the change of the light of stars that nothing touches, over it."""
    rows, columns = np.indices(touched.shape)
    changes = []
    for x, y, snr, flux in zip(scene.x, scene.y, scene.snr, scene.flux, strict=True):
        inside = np.hypot(columns - x, rows - y) < 1.5 * scene.fwhm
        if snr > _ISOLATED and not (touched & inside).any():
            change = (result.astype(float) - scene.observed)[inside].sum() / flux
            changes.append(abs(float(change)))
    return changes


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
        self._changes += _star_changes(case.scene, result, case.touched)

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
