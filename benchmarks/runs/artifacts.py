"""Contaminants found and filled by the network and by templates, beside LA Cosmic for cosmic rays.

The same frames without contaminants show what is taken for one. Star fields through the telescopes
of the run ``optics``, an empty one, and the skies of ``star_removal``: stars with halos and spikes,
galaxies, a nebula. No network was trained on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray
from scipy import ndimage

import astro_sr_plugin as asr
from benchmarks.arguments import add_options, one_of
from benchmarks.figures.artifacts import CleanTally, GalaxyTally, Tally, isophotes
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.cosmic_rays import COSMIC_RAY_FINDERS
from benchmarks.truth.contaminants import KINDS, Contaminated, contaminate
from benchmarks.truth.optics import OPTICS, make_optics_scene
from benchmarks.truth.scene import Scene
from benchmarks.truth.star_removal import SKIES, make_starry

_EMPTY = "empty"
"""A sky without stars."""
_OURS, _SHAPES = "network", "templates"
_RAY = "cosmic-ray"
_PARTS = {
    "all kinds": tuple(KINDS),
    "by default": ("trail", _RAY, "column"),
    "cosmic rays": (_RAY,),
}
"""Kinds whose harm is counted together."""

_KIND_COLUMNS = {
    "label": ("kind, method", ""),
    "recall": ("recall", ".1%"),
    "precision": ("precision", ".1%"),
    "before": ("error before (sigma)", ".1f"),
    "after": ("after", ".1f"),
}
_HARM_COLUMNS = {
    "label": ("skies, method", ""),
    "harm": ("pixels of stars and galaxies masked", ".2%"),
    "stars": ("stars", ".0f"),
    "changed": ("changed by over 1 %", ".1%"),
    "false_per_mpx": ("false pixels per megapixel", ".0f"),
}
_CLEAN_COLUMNS = {
    "label": ("without contaminants, method", ""),
    "alarms": ("false alarms per megapixel", ".1f"),
    "masked": ("pixels of them", ".0f"),
    "stars": ("stars", ".0f"),
    "stars_changed": ("changed by over 1 %", ".1%"),
    "galaxies": ("galaxies", ".0f"),
    "galaxy_median": ("change of isophotal flux, median", ".2%"),
    "galaxy_worst": ("worst", ".2%"),
}
_GALAXY_COLUMNS = {
    "label": ("galaxies with contaminants, method", ""),
    "touched": ("galaxies", ".0f"),
    "before_median": ("error of isophotal flux before, median", ".1%"),
    "after_median": ("after", ".1%"),
    "before_worst": ("before, worst", ".0%"),
    "after_worst": ("after, worst", ".0%"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    add_options(parser, "seeds", "size", size=320)
    parser.add_argument(
        "--telescopes",
        type=one_of(OPTICS),
        default=tuple(OPTICS),
        help=f"comma-separated, of {', '.join(OPTICS)} (default: all)",
    )
    parser.add_argument("--model", help="a file of weights (default: the shipped network)")


@dataclass
class _Report:
    """Tallies by what they are of."""

    kinds: dict[str, Tally] = field(default_factory=dict)
    skies: dict[str, Tally] = field(default_factory=dict)
    clean: dict[str, CleanTally] = field(default_factory=dict)
    galaxies: dict[str, GalaxyTally] = field(default_factory=dict)

    def harm(
        self, case: _Case, method: str, mask: NDArray[np.bool_], result: NDArray[np.floating]
    ) -> None:
        """Count what a method does to a frame with contaminants."""
        spoiled = case.contaminated
        self.skies.setdefault(f"{case.sky}, {method}", Tally()).add_harm(spoiled, [mask], result)
        self.galaxies.setdefault(method, GalaxyTally()).add(spoiled, case.isophotes, result)

    def alarm(
        self,
        case: _Case,
        method: str,
        mask: NDArray[np.bool_],
        result: NDArray[np.floating],
        alarms: int,
    ) -> None:
        """Count what a method does to a frame without contaminants."""
        tally = self.clean.setdefault(method, CleanTally())
        tally.add(case.scene, case.isophotes, mask, result, alarms)


@dataclass(frozen=True)
class _Case:
    """A frame without and with contaminants, and the isophotes of its galaxies."""

    sky: str
    scene: Scene
    contaminated: Contaminated
    isophotes: Sequence[NDArray[np.bool_]]

    @cached_property
    def images(self) -> tuple[tuple[CCDData, asr.Quality], ...]:
        """The frame without and with contaminants, each with its measurement."""
        pixels = (self.scene.observed, self.contaminated.scene.observed)
        images = (CCDData(observed, unit="adu") for observed in pixels)
        return tuple((image, asr.measure(image)) for image in images)


def main(options: argparse.Namespace) -> int:
    """Run all methods on every frame, with and without contaminants, and write the report."""
    report = _Report()
    skies = (*options.telescopes, *SKIES, _EMPTY)
    for case in _cases(options.seeds, skies, options.size):
        _run_network(case, options.model, report)
        _run_templates(case, report)
        for method, find in COSMIC_RAY_FINDERS.items():
            mask, clean = find(case.contaminated.scene)
            tally = report.kinds.setdefault(f"{_RAY}, {method}", Tally())
            tally.add_kind(case.contaminated, _RAY, mask)
            tally.add_residual(case.contaminated, _RAY, clean)
            report.harm(case, method, mask, np.where(mask, clean, case.contaminated.scene.observed))
            mask, clean = find(case.scene)
            result = np.where(mask, clean, case.scene.observed)
            report.alarm(case, method, mask, result, int(ndimage.label(mask, np.ones((3, 3)))[1]))
        say(case.sky, case.scene.kind, case.scene.seed)
    tables = {
        "kinds": (report.kinds, _KIND_COLUMNS),
        "skies": (report.skies, _HARM_COLUMNS),
        "clean": (report.clean, _CLEAN_COLUMNS),
        "galaxies": (report.galaxies, _GALAXY_COLUMNS),
    }
    text = write_results(
        options.out,
        "artifacts",
        title="Contaminants",
        made=made_with(["remove-artifacts"], models=[options.model] if options.model else ()),
        sections=[
            f"Frames of {options.size} x {options.size} pixels, seeds"
            f" {', '.join(map(str, options.seeds))}: {', '.join(skies)}.",
            *(figures_table(_rows(tallies), columns) for tallies, columns in tables.values()),
        ],
        record={name: _rows(tallies) for name, (tallies, _) in tables.items()},
    )
    print(text)
    return 0


def _cases(seeds: Sequence[int], skies: Sequence[str], size: int) -> Iterator[_Case]:
    """Yield the frames."""
    for seed in seeds:
        for number, sky in enumerate(skies):
            regions: list[NDArray[np.bool_]] = []
            if sky in SKIES:
                starry = make_starry(sky, size=size, seed=seed)
                scene = starry.scene
                regions = isophotes(scene, starry.galaxies)
            elif sky == _EMPTY:
                scene = _without_light(make_optics_scene("few-stars", seed, size=size))
            else:
                scene = make_optics_scene(sky, seed, size=size)
            spoiled = contaminate(scene, np.random.default_rng([seed, number]))
            yield _Case(sky, scene, spoiled, regions)


def _without_light(scene: Scene) -> Scene:
    """Return the sky and its noise alone."""
    noise = np.random.default_rng(scene.seed).standard_normal(scene.observed.shape)
    none = np.empty(0)
    return replace(
        scene,
        observed=(scene.background + scene.sigma * noise).astype(np.float32),
        truth_denoise=scene.background,
        x=none,
        y=none,
        flux=none,
        neighbour=none,
    )


def _run_network(case: _Case, model: str | None, report: _Report) -> None:
    def clean(number: int, kinds: tuple[str, ...]) -> CCDData:
        image, measured = case.images[number]
        return asr.remove_artifacts(
            image, method="unet", model=model, measured=measured, kinds=kinds
        )

    observed = case.contaminated.scene.observed
    whole = clean(1, tuple(KINDS))
    masks = {}
    for kind in KINDS:
        masks[kind] = clean(1, (kind,)).mask
        tally = report.kinds.setdefault(f"{kind}, {_OURS}", Tally())
        tally.add_kind(case.contaminated, kind, masks[kind])
        tally.add_residual(case.contaminated, kind, whole.data)
    for name, kinds in _PARTS.items():
        found = np.any([masks[kind] for kind in kinds], axis=0)
        report.harm(case, f"{_OURS}, {name}", found, np.where(found, whole.data, observed))
    for name, kinds in (*_PARTS.items(), ("ghosts", ("ghost",)), ("dots", ("dot",))):
        _add_alarms(case, f"{_OURS}, {name}", clean(0, kinds), report)


def _run_templates(case: _Case, report: _Report) -> None:
    clean, spoiled = (asr.remove_artifacts(i, measured=measured) for i, measured in case.images)
    for kind in ("dot", "ghost"):
        tally = report.kinds.setdefault(f"{kind}, {_SHAPES}", Tally())
        tally.add_kind(case.contaminated, kind, spoiled.mask)
        tally.add_residual(case.contaminated, kind, spoiled.data)
    report.harm(case, _SHAPES, spoiled.mask, spoiled.data)
    _add_alarms(case, _SHAPES, clean, report)


def _add_alarms(case: _Case, method: str, result: CCDData, report: _Report) -> None:
    report.alarm(case, method, result.mask, result.data, int(result.meta["ASRARTIF"]))


def _rows(tallies: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"label": label, **tally.figures()} for label, tally in tallies.items()]
