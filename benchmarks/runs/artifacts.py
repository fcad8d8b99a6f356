"""Contaminants found and filled by the network, beside LA Cosmic for cosmic rays.

Star fields through the telescopes of the run ``optics``, and the skies of ``star_removal``: stars
with halos and spikes, galaxies, a nebula. No network was trained on them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from benchmarks.arguments import add_options, one_of
from benchmarks.figures.artifacts import Tally
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.cosmic_rays import COSMIC_RAY_FINDERS
from benchmarks.truth.contaminants import KINDS, Contaminated, contaminate
from benchmarks.truth.optics import OPTICS, make_optics_scene
from benchmarks.truth.star_removal import SKIES, make_starry

_OURS = "network"
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


def main(options: argparse.Namespace) -> int:
    """Spoil every scene, run all methods, and write the report."""
    by_kind: dict[tuple[str, str], Tally] = {}
    by_sky: dict[tuple[str, str], Tally] = {}
    for sky, case in _cases(options):
        _run_network(sky, case, options.model, by_kind, by_sky)
        for method, find in COSMIC_RAY_FINDERS.items():
            mask, clean = find(case.scene)
            tally = by_kind.setdefault((_RAY, method), Tally())
            tally.add_kind(case, _RAY, mask)
            tally.add_residual(case, _RAY, clean)
            harm = by_sky.setdefault((sky, method), Tally())
            harm.add_harm(case, [mask], np.where(mask, clean, case.scene.observed))
        say(sky, case.scene.kind, case.scene.seed)
    text = write_results(
        options.out,
        "artifacts",
        title="Contaminants",
        made=made_with(["remove-artifacts"], models=[options.model] if options.model else ()),
        sections=[
            f"Frames of {options.size} x {options.size} pixels, seeds"
            f" {', '.join(map(str, options.seeds))}: {', '.join((*options.telescopes, *SKIES))}.",
            figures_table(_rows(by_kind), _KIND_COLUMNS),
            figures_table(_rows(by_sky), _HARM_COLUMNS),
        ],
        record={"kinds": _rows(by_kind), "skies": _rows(by_sky)},
    )
    print(text)
    return 0


def _cases(options: argparse.Namespace) -> Iterator[tuple[str, Contaminated]]:
    """Yield the group of a sky, and the sky with contaminants."""
    for seed in options.seeds:
        scenes = [
            *((k, make_optics_scene(k, seed, size=options.size)) for k in options.telescopes),
            *((sky, make_starry(sky, size=options.size, seed=seed).scene) for sky in SKIES),
        ]
        for number, (sky, scene) in enumerate(scenes):
            yield sky, contaminate(scene, np.random.default_rng([seed, number]))


def _run_network(
    sky: str,
    case: Contaminated,
    model: str | None,
    by_kind: dict[tuple[str, str], Tally],
    by_sky: dict[tuple[str, str], Tally],
) -> None:
    image = CCDData(case.scene.observed, unit="adu")
    measured = asr.measure(image)

    def clean(**options: Any) -> Any:
        return asr.remove_artifacts(image, method="unet", model=model, measured=measured, **options)

    whole = clean(kinds=tuple(KINDS))
    masks = []
    for kind in KINDS:
        masks.append(clean(kinds=kind).mask)
        tally = by_kind.setdefault((kind, _OURS), Tally())
        tally.add_kind(case, kind, masks[-1])
        tally.add_residual(case, kind, whole.data)
    for name, kinds in _PARTS.items():
        found = np.any([masks[list(KINDS).index(kind)] for kind in kinds], axis=0)
        result = np.where(found, whole.data, case.scene.observed)
        by_sky.setdefault((sky, f"{_OURS}, {name}"), Tally()).add_harm(case, [found], result)


def _rows(tallies: dict[tuple[str, str], Tally]) -> list[dict[str, Any]]:
    return [
        {"label": f"{what}, {method}", **tally.figures()}
        for (what, method), tally in tallies.items()
    ]
