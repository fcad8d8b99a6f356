"""The verbs on frames of many telescopes: which results keep the promises that the audit checks.

The folder --data is searched for FITS files; of every folder below it the first few are taken, and
of each frame its middle. Frames without stars are named and left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray

import astro_sr_plugin as asr
from benchmarks.arguments import one_of
from benchmarks.figures.pictures import save_row, save_sheet
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.real.star_fields import (
    VERBS,
    Field,
    Outcome,
    brightest,
    find_frames,
    open_field,
    run_verb,
)
from benchmarks.truth.scene import planes_of

_SIDE = 1024
"""Side in pixels of the middle of a frame that is worked on."""
_CUT = 64
"""Side in pixels of the cut-outs that are shown."""
_ZOOM = 224
"""Screen pixels of each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--verbs", type=one_of(VERBS), default=("deconvolve",))
    parser.add_argument("--only", default="", metavar="WORD", help="part of the frames' paths")
    parser.add_argument("--each", type=int, default=1, help="frames of every folder (1)")
    parser.add_argument("--side", type=int, default=_SIDE, help=f"of the middle (pixels, {_SIDE})")


def main(options: argparse.Namespace) -> int:
    """Run the verbs on every frame, and write the report, crops and a contact sheet."""
    outcomes: list[Outcome] = []
    left_out: list[str] = []
    pictures: list[Path] = []
    for path in find_frames(options.data, options.each):
        name = str(path.relative_to(options.data))
        if options.only not in name:
            continue
        try:
            frame = open_field(path, name, options.side)
        except asr.AstroSRError as error:
            left_out.append(f"{name}: {error}")
            say(left_out[-1])
            continue
        results: list[tuple[Outcome, CCDData | None]] = []
        for verb in options.verbs:
            start = time.perf_counter()
            outcome, result = run_verb(frame, verb)
            results.append((outcome, result))
            text = outcome.refused or "; ".join(outcome.failed) or "kept"
            say(f"{name} {verb} {time.perf_counter() - start:.1f} s: {text}")
        outcomes += [outcome for outcome, _ in results]
        pictures.append(options.out / "crops" / f"{name.replace('/', '_')}.png")
        _save_cuts(frame, results, pictures[-1])
        _write(options.out, options.verbs, outcomes, left_out)
    if pictures:
        size = ((len(options.verbs) + 1) * (_ZOOM + 4) * 2 - 4, _ZOOM + 18)
        save_sheet(pictures, options.out / "real_frames.jpg", size=size, columns=2)
    return 0


def _write(
    out: Path, verbs: Sequence[str], outcomes: Sequence[Outcome], left_out: Sequence[str]
) -> None:
    sections = []
    for verb in verbs:
        own = [outcome for outcome in outcomes if outcome.verb == verb]
        made = [outcome for outcome in own if not outcome.refused]
        kept = [outcome for outcome in made if not outcome.failed]
        announced = [outcome for outcome in made if outcome.failed and outcome.said]
        sections += [
            f"## {verb}",
            f"{len(own)} frames, {len(made)} results: {len(kept)} keep all promises, "
            f"{len(announced)} of the other {len(made) - len(kept)} came with a warning.",
            "| frame | promises broken | said by the verb |\n|---|---|---|\n"
            + "\n".join(
                f"| {o.name} | {o.refused or '; '.join(o.failed) or '-'} | "
                f"{' '.join(o.said) or '-'} |"
                for o in own
            ),
        ]
    if left_out:
        sections += ["## Left out", "\n".join(f"- {text}" for text in left_out)]
    write_results(
        out,
        "real_frames",
        title="Frames of many telescopes",
        made=made_with(verbs),
        sections=sections,
        record={"rows": [asdict(outcome) for outcome in outcomes], "left_out": list(left_out)},
    )


def _save_cuts(frame: Field, results: Sequence[tuple[Outcome, CCDData | None]], path: Path) -> None:
    """Save cut-outs about the brightest star, and about the worst place of the results."""
    plane = planes_of(frame.image.data)[0]
    worst = [outcome.worst for outcome, _ in results if outcome.worst is not None]
    places = [brightest(plane), worst[0] if worst else None]
    cuts: list[tuple[str, NDArray[np.floating]]] = []
    for place in places:
        if place is None:
            continue
        x, y = (round(p) for p in place)
        images = [(frame.name[-30:], plane)]
        images += [(o.verb, planes_of(r.data)[0]) for o, r in results if r is not None]
        for label, image in images:
            scale = image.shape[0] // plane.shape[0]
            first = [
                int(np.clip(c - _CUT // 2, 0, max(0, n - _CUT)))
                for c, n in zip((y, x), plane.shape, strict=True)
            ]
            rows, columns = (slice(k * scale, (k + _CUT) * scale) for k in first)
            cuts.append((label, image[rows, columns] - frame.measured.background[0]))
    save_row(cuts, frame.measured.sigma[0], path, side=_ZOOM)
