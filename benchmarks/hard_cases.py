"""What the verbs make of images that are hard: saturation, spikes, trails, glow, and others.

``python -m benchmarks.hard_cases --out DIR`` writes hard_cases.md, hard_cases.json and crops/.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRError, AstroSRWarning
from benchmarks.crops import save_greys
from benchmarks.evaluation import untouched
from benchmarks.hard_figures import general_figures, own_figures
from benchmarks.hard_plans import CASES, make_case
from benchmarks.scenes import TASKS, Scene
from benchmarks.tables import markdown_table, plain

__all__ = ["Outcome", "main", "reduced", "run_case", "run_hard_cases", "save_sheet"]

_MANY = 50  # invented sources beyond which an audit takes minutes to tell the obvious
_SHEET = (484, 168)


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
    told : tuple of str
        Warnings, or the reason of a refusal.
    audit : tuple of str
        What `astro_sr_plugin.audit` finds broken, or why it cannot tell.
    """

    case: str
    task: str
    image: NDArray[np.floating] | None
    figures: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    audit: tuple[str, ...] = ()


def run_case(scene: Scene, task: str, *, audit: bool = True) -> tuple[Scene, Outcome]:
    """Give a case to a verb.

    Parameters
    ----------
    scene : Scene
        From `benchmarks.hard_plans.make_case`.
    task : str
        One of `benchmarks.scenes.TASKS`.
    audit : bool
        Whether the result is held against the input as well.

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
    options: dict[str, Any] = {}
    if task != "denoise":
        options = dict(case.options)
        if case.in_range:
            options["target_fwhm"] = scene.target_fwhm(task)
    verb = {
        "denoise": asr.denoise,
        "deconvolve": asr.deconvolve,
        "super-resolve": asr.super_resolve,
    }[task]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = verb(image, **options)
        except AstroSRError as error:
            return scene, Outcome(scene.kind, task, None, told=(f"refused: {error}",))
    told = tuple(str(w.message) for w in caught if issubclass(w.category, AstroSRWarning))
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
        general_figures(scene, task, untouched(scene, task)),
        own_figures(scene, task, pixels),
        told,
        _audited(image, result) if audit else ("no audit",),
    )


def _audited(image: CCDData, result: CCDData) -> tuple[str, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return tuple(asr.audit(image, result).broken)
        except AstroSRError as error:
            return (f"no audit: {error}",)


def reduced(scene: Scene, factor: int) -> Scene:
    """Return a scene as blocks of pixels see it, whose truths lie on the larger pixels."""
    side = scene.observed.shape[0] // factor
    place = (np.arange(side) + 0.5) * factor - 0.5

    def sampled(image: NDArray[np.floating], step: int = 1) -> NDArray[np.float32]:
        fine = (np.arange(side * step) + 0.5) * factor / step - 0.5
        grid = np.meshgrid(fine, fine, indexing="ij")
        return ndimage.map_coordinates(image.astype(float), grid, order=3).astype(np.float32)

    def blocks(image: NDArray[np.floating]) -> NDArray[np.float32]:
        cut = image[: side * factor, : side * factor].astype(float)
        return cut.reshape(side, factor, side, factor).mean(axis=(1, 3)).astype(np.float32)

    rows = np.round(place).astype(int)
    return replace(
        scene,
        fwhm=scene.fwhm / factor,
        observed=blocks(scene.observed),
        truth_denoise=blocks(scene.truth_denoise),
        truth_deconvolve=sampled(scene.truth_deconvolve),
        truth_x2=sampled(scene.truth_deconvolve, 2),
        background=blocks(scene.background),
        background_x2=sampled(scene.background, 2),
        sigma=scene.sigma / factor,
        excluded=scene.excluded[np.ix_(rows, rows)],
        x=(scene.x + 0.5) / factor - 0.5,
        y=(scene.y + 0.5) / factor - 0.5,
        flux=scene.flux / factor**2,
        neighbour=scene.neighbour / factor,
    )


def run_hard_cases(
    out: str | Path,
    *,
    cases: Sequence[str] = tuple(CASES),
    tasks: Sequence[str] = TASKS,
    size: int = 256,
    seed: int = 1,
) -> list[Outcome]:
    """Run the cases and write the report.

    Parameters
    ----------
    out : path
        Folder for hard_cases.md, hard_cases.json and crops/.
    cases, tasks : sequence of str
        What to run.
    size : int
        Side of the frames (pixels).
    seed : int
        Seed of the scenes.

    Returns
    -------
    list of Outcome
        One per case and task.
    """
    folder = Path(out)
    (folder / "crops").mkdir(parents=True, exist_ok=True)
    outcomes = []
    for name in cases:
        scene = make_case(name, size=size, seed=seed)
        for task in tasks:
            seen, outcome = run_case(scene, task)
            outcomes.append(outcome)
            print("  ".join(_cells(outcome)), file=sys.stderr, flush=True)
            if outcome.image is not None:
                save_crop(seen, outcome, folder / "crops" / f"{name}-{task}.png")
    record = [
        {name: value for name, value in vars(outcome).items() if name != "image"}
        for outcome in outcomes
    ]
    setting = {"size": size, "seed": seed}
    text = json.dumps({"setting": setting, "rows": plain(record, 4)}, indent=1, allow_nan=False)
    (folder / "hard_cases.json").write_text(text)
    (folder / "hard_cases.md").write_text(_report(outcomes, size, seed))
    save_sheet(folder / "crops", folder / "crops" / "hard_cases.jpg")
    return outcomes


def save_crop(scene: Scene, outcome: Outcome, path: str | Path) -> None:
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


def save_sheet(crops: str | Path, path: str | Path, *, task: str = "deconvolve") -> None:
    """Write a JPEG of the pictures of one task, in three columns."""
    pictures = [Path(crops) / f"{name}-{task}.png" for name in CASES]
    shown = [Image.open(picture) for picture in pictures if picture.exists()]
    width, height = _SHEET
    columns = 3
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (width + 6) - 6, rows * (height + 4) - 4))
    for i, picture in enumerate(shown):
        place = (i % columns * (width + 6), i // columns * (height + 4))
        sheet.paste(picture.resize(_SHEET, Image.Resampling.LANCZOS), place)
    sheet.save(path, quality=60, optimize=True)


def _cells(outcome: Outcome) -> list[str]:
    figures, before = outcome.figures, outcome.before
    if not figures:
        return [f"{outcome.case} {outcome.task}", *["–"] * 10]

    def text(value: float, form: str) -> str:
        return format(value, form) if np.isfinite(value) else "–"

    return [
        f"{outcome.case} {outcome.task}",
        f"{before['db']:.1f}",
        f"{figures['db']:.1f}",
        text(figures["bias"], "+.3f") if figures["stars"] >= 3 else "–",
        f"{figures['invented']:.0f}",
        f"{figures['lost']:.0f} of {figures['sources']:.0f}",
        f"{figures['pit']:.1f}",
        text(figures["ring"], ".1f"),
        text(figures["ring_share"], ".2%"),
        text(figures["peak"], ".1%"),
        _verdict(outcome),
    ]


def _verdict(outcome: Outcome) -> str:
    if not outcome.audit:
        return "kept"
    return "none" if outcome.audit[0].startswith("no audit") else "broken"


def _report(outcomes: Sequence[Outcome], size: int, seed: int) -> str:
    head = [
        "case",
        "input (dB)",
        "result (dB)",
        "bias (mag)",
        "invented",
        "lost",
        "darkest pixel",
        "darkest ring",
        "missing light",
        "peak residual",
        "audit",
    ]
    parts = [
        "# Hard cases",
        f"Frames of {size} x {size} pixels, seed {seed}.",
        markdown_table(head, [_cells(outcome) for outcome in outcomes]),
    ]
    for title, lines in (
        ("What only this case shows", [_own(o) for o in outcomes if o.own]),
        ("What the user is told", _grouped((o.case, o.task, t) for o in outcomes for t in o.told)),
        ("What the audit finds", _grouped((o.case, o.task, t) for o in outcomes for t in o.audit)),
    ):
        parts += [f"## {title}", "\n".join(lines) or "Nothing."]
    return "\n\n".join(parts) + "\n"


def _own(outcome: Outcome) -> str:
    figures = ", ".join(f"{name} {value:.3g}" for name, value in outcome.own.items())
    return f"- {outcome.case} {outcome.task}: {figures}"


def _grouped(found: Any) -> list[str]:
    """Return a line per case and text, with the tasks that it is about."""
    groups: dict[tuple[str, str], list[str]] = {}
    for case, task, text in found:
        tasks = groups.setdefault((case, text), [])
        if task not in tasks:
            tasks.append(task)
    return [f"- {case}, {', '.join(tasks)}: {text}" for (case, text), tasks in groups.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hard_cases", description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help="comma-separated")
    parser.add_argument("--tasks", default=",".join(TASKS), help="comma-separated")
    parser.add_argument("--size", type=int, default=256, help="side of the frames (pixels)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the scenes")
    parser.add_argument("--out", default="benchmarks/results", metavar="DIR")
    options = parser.parse_args(arguments)
    chosen = {"cases": options.cases.split(","), "tasks": options.tasks.split(",")}
    for what, known in (("cases", CASES), ("tasks", TASKS)):
        if unknown := set(chosen[what]) - set(known):
            parser.error(f"{', '.join(sorted(unknown))} is not one of {', '.join(known)}")
    run_hard_cases(options.out, size=options.size, seed=options.seed, **chosen)
    print((Path(options.out) / "hard_cases.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
