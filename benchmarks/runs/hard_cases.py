"""What the verbs make of images that are hard: saturation, spikes, trails, glow and others."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin import AstroSRError, AstroSRWarning
from benchmarks.arguments import add_options, one_of
from benchmarks.figures.hard_cases import general_figures, own_figures
from benchmarks.figures.pictures import save_greys, save_sheet
from benchmarks.figures.results import made_with, plain, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.verbs import VERBS, options_of
from benchmarks.truth.hard_cases import CASES, make_case
from benchmarks.truth.scene import Scene, reduced

__all__ = ["Outcome", "run_case"]

_MANY = 50  # invented sources beyond which an audit takes minutes to find the obvious
_SHEET = (484, 168)  # width and height of a picture of the contact sheet
_COLUMNS = {
    "label": ("case", ""),
    "before": ("input (dB)", ".1f"),
    "db": ("result (dB)", ".1f"),
    "bias": ("bias (mag)", "+.3f"),
    "invented": ("invented", ".0f"),
    "lost": ("lost", ""),
    "pit": ("darkest pixel", ".1f"),
    "ring": ("darkest ring", ".1f"),
    "ring_share": ("missing light", ".2%"),
    "peak": ("peak residual", ".1%"),
    "verdict": ("audit", ""),
}


@dataclass(frozen=True)
class Outcome:
    """What a verb did with a case.

    Attributes
    ----------
    case, task : str
        Name of the case and task.
    image : numpy.ndarray or None
        The result; None if the image was refused.
    figures, before, own : dict
        Of the result, of the input as it is (every pixel repeated if there are more), and those
        that only this case has.
    messages : tuple of str
        Warnings, or the reason of a refusal.
    audit : tuple of str
        The failed checks of `astro_sr_plugin.audit`, or why there are none.
    """

    case: str
    task: str
    image: NDArray[np.floating] | None
    figures: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()


def run_case(
    scene: Scene, task: str, *, audit: bool = True, measured: asr.Quality | None = None
) -> tuple[Scene, Outcome]:
    """Give a case to a verb.

    Parameters
    ----------
    scene : Scene
        From `make_case`.
    task : str
        One of `TASKS`.
    audit : bool
        Whether the result is held against the input as well.
    measured : Quality, optional
        What was measured of the scene, for several verbs.

    Returns
    -------
    scene : Scene
        What the result is compared with: on the pixels of the reduced image where the verb
        reduced it, otherwise the scene given.
    outcome : Outcome
        What came of it.
    """
    case = CASES[scene.kind]
    image = CCDData(scene.observed.copy(), unit="adu")
    options: dict[str, Any] = {} if task == "denoise" else dict(case.options)
    if case.in_range:
        options |= options_of(scene, task)
    if measured is not None:
        options["measured"] = measured
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = VERBS[task](image, **options)
        except AstroSRError as error:
            return scene, Outcome(scene.kind, task, None, messages=(f"refused: {error}",))
    messages = tuple(str(w.message) for w in caught if issubclass(w.category, AstroSRWarning))
    if task != "denoise" and case.options.get("auto_scale"):
        factor = scene.observed.shape[0] * (2 if task == "super-resolve" else 1)
        scene = reduced(scene, round(factor / result.shape[0]))
        image = CCDData(scene.observed, unit="adu")
    pixels = np.asarray(result.data)
    figures = general_figures(scene, task, pixels)
    audit = audit and figures["invented"] < _MANY
    return scene, Outcome(
        scene.kind,
        task,
        pixels,
        figures,
        general_figures(scene, task, scene.untouched(task)),
        own_figures(scene, task, pixels),
        messages,
        _audited(image, result) if audit else ("no audit",),
    )


def _audited(image: CCDData, result: CCDData) -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tuple(asr.audit(image, result).failed)
        except AstroSRError as error:
            return (f"no audit: {error}",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    cases = tuple(CASES)
    parser.add_argument("--cases", type=one_of(cases), default=cases, help="comma-separated")
    add_options(parser, "tasks", "size", "seed", size=256)


def main(options: argparse.Namespace) -> int:
    """Give every case to every verb, and write the report and the pictures."""
    crops = options.out / "crops"
    crops.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for name in options.cases:
        scene = make_case(name, size=options.size, seed=options.seed)
        for task in options.tasks:
            seen, outcome = run_case(scene, task)
            outcomes.append(outcome)
            say(*_row(outcome).values())
            if outcome.image is not None:
                _save_crop(seen, outcome, crops / f"{name}-{task}.png")
    pictures = [crops / f"{name}-deconvolve.png" for name in options.cases]
    if shown := [picture for picture in pictures if picture.exists()]:
        save_sheet(shown, crops / "hard_cases.jpg", size=_SHEET)
    record = [
        {name: value for name, value in vars(outcome).items() if name != "image"}
        for outcome in outcomes
    ]
    text = write_results(
        options.out,
        "hard_cases",
        title="Hard cases",
        made=made_with(options.tasks),
        sections=[
            f"Frames of {options.size} x {options.size} pixels, seed {options.seed}.",
            *_sections(outcomes),
        ],
        record={
            "setting": {"size": options.size, "seed": options.seed},
            "rows": plain(record, 4),
        },
    )
    print(text)
    return 0


def _save_crop(scene: Scene, outcome: Outcome, path: Path) -> None:
    """Write a PNG of the input, the result and the truth, stretched alike."""
    shown = [
        (f"{outcome.case}: input", scene.observed),
        (f"{outcome.task} {outcome.figures['db']:.1f} dB", outcome.image),
        ("truth", scene.truth(outcome.task)),
    ]
    greys = []
    for label, image in shown:
        scale = image.shape[0] // scene.observed.shape[0]
        level = scene.background_at(scale).mean()
        greys.append((label, (image - level) / float(scene.sigma)))
    save_greys(greys, path, span=6.2)


def _row(outcome: Outcome) -> dict[str, Any]:
    figures = outcome.figures
    label = f"{outcome.case} {outcome.task}"
    if not figures:
        return {"label": label}
    return figures | {
        "label": label,
        "before": outcome.before["db"],
        "bias": figures["bias"] if figures["stars"] >= 3 else None,
        "lost": f"{figures['lost']:.0f} of {figures['sources']:.0f}",
        "verdict": _verdict(outcome),
    }


def _verdict(outcome: Outcome) -> str:
    if not outcome.audit:
        return "kept"
    return "none" if outcome.audit[0].startswith("no audit") else "broken"


def _sections(outcomes: Sequence[Outcome]) -> list[str]:
    sections = [figures_table([_row(outcome) for outcome in outcomes], _COLUMNS)]
    for title, lines in (
        ("What only this case shows", [_own(o) for o in outcomes if o.own]),
        ("Warnings and refusals", _grouped((o, text) for o in outcomes for text in o.messages)),
        ("What the audit finds", _grouped((o, text) for o in outcomes for text in o.audit)),
    ):
        sections += [f"## {title}", "\n".join(lines) or "Nothing."]
    return sections


def _own(outcome: Outcome) -> str:
    figures = ", ".join(f"{name} {value:.3g}" for name, value in outcome.own.items())
    return f"- {outcome.case} {outcome.task}: {figures}"


def _grouped(found: Iterable[tuple[Outcome, str]]) -> list[str]:
    """Return a line per case and text, with the tasks that it is about."""
    groups: dict[tuple[str, str], list[str]] = {}
    for outcome, text in found:
        tasks = groups.setdefault((outcome.case, text), [])
        if outcome.task not in tasks:
            tasks.append(outcome.task)
    return [f"- {case}, {', '.join(tasks)}: {text}" for (case, text), tasks in groups.items()]
