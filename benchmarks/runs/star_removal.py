"""How well stars are taken out of nebulae and galaxies, beside inpainting of a star mask.

The peers are given the star mask of the package; what they put in its place comes from around it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import astro_sr_plugin as asr
from benchmarks.arguments import add_options
from benchmarks.figures.pictures import save_greys
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.star_removal import BRIGHT_SNR, measure_removal
from benchmarks.figures.tables import figures_table
from benchmarks.peers.inpainting import biharmonic, interpolated
from benchmarks.truth.star_removal import SKIES, make_starry


def _ours(image: NDArray[np.float32]) -> NDArray[np.floating]:
    return np.asarray(asr.remove_stars(image)[0])


METHODS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]] = {
    "ours": _ours,
    "biharmonic": biharmonic,
    "interpolation": interpolated,
}
"""Functions of an image that return it without stars."""

_COLUMNS = {
    "label": ("sky, method", ""),
    "residual": ("residual", ".2%"),
    "residual_90": ("90 of 100 below", ".2%"),
    "level": ("under stars (sigma)", ".2f"),
    "level_each": ("each", ".2f"),
    "rms": ("rms there", ".2f"),
    "far": ("rms elsewhere", ".2f"),
    "knots": ("fine structure", ".3f"),
    "galaxy_least": ("galaxies, least", ".3f"),
    "galaxy_most": ("most", ".3f"),
    "halo": ("halo left", ".1%"),
    "spike": ("spikes left", ".1%"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    add_options(parser, "size", "seed", size=256)


def main(options: argparse.Namespace) -> int:
    """Take the stars out of every sky by each method, and write the report and the pictures."""
    crops = options.out / "crops"
    crops.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    exact = True
    for sky in SKIES:
        starry = make_starry(sky, size=options.size, seed=options.seed)
        scene = starry.scene
        exact &= _sum_is_input(scene.observed)
        shown = [("input", scene.observed), ("truth", starry.starless)]
        for method, remove in METHODS.items():
            result = remove(scene.observed)
            rows.append({"sky": sky, "method": method, **measure_removal(starry, result)})
            shown.insert(len(shown) - 1, (method, result))
            say(*rows[-1].items())
        greys = [(label, (image - scene.background) / float(scene.sigma)) for label, image in shown]
        save_greys(greys, crops / f"star-removal-{sky}.png", span=5.0)
    text = write_results(
        options.out,
        "star_removal",
        title="Star removal",
        made=made_with(["remove-stars"]),
        sections=[_about(options, exact), _table(rows)],
        record={
            "setting": {"size": options.size, "seed": options.seed},
            "sum_is_input": exact,
            "rows": rows,
        },
    )
    print(text)
    return 0


def _sum_is_input(image: NDArray[np.float32]) -> bool:
    """Return whether both parts add up to the input, to the last bit of float64."""
    starless, stars = (np.asarray(part, float) for part in asr.remove_stars(image))
    return np.array_equal(starless + stars, image.astype(float))


def _about(options: argparse.Namespace, exact: bool) -> str:
    return (
        f"Frames of {options.size} x {options.size} pixels, seed {options.seed}. Starless and stars"
        f" of this package: their sum in float64 {'is' if exact else 'is not'} the input to the"
        " last bit. Residual: light left at stars of a signal-to-noise ratio above"
        f" {BRIGHT_SNR:g}, over their flux."
    )


def _table(rows: Sequence[dict[str, Any]]) -> str:
    labelled = [row | {"label": f"{row['sky']} {row['method']}"} for row in rows]
    return figures_table(labelled, _COLUMNS)
