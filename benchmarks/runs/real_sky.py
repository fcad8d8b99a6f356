"""The verbs on the real sky: results from poorer data against better data of the same field.

Which files it looks for in the folder --data is said in docs/science_validation.rst; pairs whose
files are not there are skipped, and the report says so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures.pictures import busiest_window, save_row
from benchmarks.figures.quality import Row
from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.real.comparison import Comparison
from benchmarks.real.fields import find_pairs
from benchmarks.real.methods import METHODS, SkippedError, compare
from benchmarks.real.pairs import Pair

__all__ = ["run_real_sky"]

_COLUMNS = {
    "correlation": ("r", ".4f"),
    "correlation_asinh": ("r, asinh", ".3f"),
    "k50": ("k at C = 0.5", ".3f"),
    "residual": ("residual", ".2f"),
    "gain_sky": ("sky error (dB)", ".1f"),
    "gain_source": ("source error (dB)", ".1f"),
    "db": ("dB", ".2f"),
    "stars": ("stars", ".0f"),
    "bias": ("bias (mag)", "+.3f"),
    "scatter": ("scatter (mag)", ".3f"),
    "complete_5_10": ("found, SNR 5-10", ".0%"),
    "complete_10": ("found, SNR > 10", ".0%"),
    "detections": ("shown", ".0f"),
    "invented": ("invented", ".0f"),
    "unsupported": ("unsupported", ".0f"),
    "excess": ("too bright", ".0f"),
}
_KNOWN = 0.03  # part of the variance of the better data that it is known to
_WINDOW = 150  # input pixels of a cut-out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument(
        "--data", type=_folder, required=True, metavar="FOLDER", help="with pairs/, stacks/, psfs/"
    )
    parser.add_argument("--only", default="", metavar="WORD", help="part of the names to run")
    parser.add_argument("--no-peers", action="store_true", help="run only the verbs")


def main(options: argparse.Namespace) -> int:
    """Run every method on every pair that is there, and write the report."""
    run_real_sky(options.data, options.out, only=options.only, peers=not options.no_peers)
    print((options.out / "real_sky.md").read_text())
    return 0


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        msg = f"{text} is not a folder"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


def run_real_sky(
    data: str | Path, out: str | Path, *, only: str = "", peers: bool = True
) -> list[Row]:
    """Run every method on every pair that is there, and write the report.

    Parameters
    ----------
    data : path
        Folder with pairs/, stacks/ and psfs/.
    out : path
        Folder for real_sky.md, real_sky.json and crops/.
    only : str
        Part of the name of the pairs to run; all by default.
    peers : bool
        False: the package's own networks and the input alone.

    Returns
    -------
    list of Row
        One per pair and method.
    """
    folder = Path(out)
    missing: list[str] = []

    def skip(text: str) -> None:
        say(text)
        missing.append(text)

    rows: list[Row] = []
    pairs: dict[str, dict[str, str]] = {}
    for pair in find_pairs(data, skip, only=only):
        pairs[pair.name] = {"task": pair.task, "what": pair.what, "note": pair.note}
        say(f"{pair.name}: {pair.note}")
        shown: list[tuple[str, Comparison]] = []
        for method in METHODS[pair.task]:
            if not peers and method not in ("input", "ours"):
                continue
            start = time.perf_counter()
            try:
                comparison, note = compare(pair, method)
            except SkippedError as error:
                skip(f"skipped {method} of {pair.name}: {error}")
                rows.append(Row(pair.task, pair.name, 0, method, {}, str(error)))
                continue
            figures = comparison.figures()
            rows.append(Row(pair.task, pair.name, 0, method, figures, note))
            shown.append((method, comparison))
            say(_line(rows[-1], time.perf_counter() - start))
        _add_gains([row for row in rows if row.kind == pair.name])
        _save_crops(pair, shown, folder / "crops" / f"{pair.name}.png")
        _write(folder, rows, pairs, missing)
    if not rows:
        _write(folder, rows, pairs, missing)
    return rows


def _add_gains(rows: Sequence[Row]) -> None:
    """Add the gain over the input of the error that is freed of the better data's noise."""
    before = next((row.figures for row in rows if row.method == "input"), {})
    for row in rows:
        for where in ("sky", "source"):
            old, new = before.get(f"mse_{where}"), row.figures.get(f"mse_{where}")
            if old is None or new is None:
                continue
            # Less cannot be measured: the variance of the better data is known to some percent.
            new = max(new, _KNOWN * row.figures["floor"] ** 2)
            row.figures[f"gain_{where}"] = float(10 * np.log10(old / new)) if old > 0 else np.nan


def _save_crops(pair: Pair, shown: Sequence[tuple[str, Comparison]], path: Path) -> None:
    """Save the window with most structure: the poorer data, the results, the better data."""
    wanted = [s for s in shown if s[0] != "input"]
    if not wanted:
        return
    scale, side = pair.scale, min(_WINDOW, *pair.poorer.shape)
    bright = np.arcsinh((pair.reference - np.median(pair.reference)) / (3 * pair.sigma))
    row, column = busiest_window(np.where(pair.mask, 0.0, bright), side)
    cuts = []
    for label, image in [
        ("poorer data", pair.poorer),
        *((method, comparison.result) for method, comparison in wanted),
        ("better data", wanted[0][1].seen[1] + wanted[0][1].level),
    ]:
        factor = scale if image.shape == pair.better.shape else 1
        y, x = row * factor, column * factor
        cut = image[y : y + side * factor, x : x + side * factor]
        cuts.append((label, cut - wanted[0][1].level))
    save_row(cuts, pair.sigma, path)


def _line(row: Row, seconds: float) -> str:
    f = row.figures
    text = f"r {f['correlation']:.4f}  k50 {f['k50']:.3f}  residual {f['residual']:.2f}"
    text += f"  {f['db']:.2f} dB  bias {f['bias']:+.3f}  scatter {f['scatter']:.3f}"
    text += f"  found {f['complete_5_10']:.0%} {f['complete_10']:.0%}"
    text += f"  invented {f['invented']:.0f} of {f['detections']:.0f}"
    return f"{row.kind} {row.method:30s} {text}  {seconds:.1f} s {row.note}"


def _write(
    folder: Path,
    rows: Sequence[Row],
    pairs: Mapping[str, Mapping[str, str]],
    missing: Sequence[str],
) -> None:
    sections = [f"- {text}" for text in missing]
    for name, about in pairs.items():
        own = [row for row in rows if row.kind == name]
        sections += [
            f"## {name}",
            about["what"] + f" ({about['note']}).",
            _before(own),
            _table(own),
        ]
        sections += [f"- {row.method}: {row.note}" for row in own if row.note]
    write_results(
        folder,
        "real_sky",
        title="Real data against better data",
        made=made_with({row.task for row in rows}),
        sections=sections,
        record={"pairs": pairs, "missing": missing, "rows": [row._asdict() for row in rows]},
    )


def _before(rows: Sequence[Row]) -> str:
    """Say what the poorer data themselves show, and how good the better data are."""
    figures = next((row.figures for row in rows if row.figures), None)
    if figures is None:
        return "Nothing could be run."
    text = (
        f"The better data have a noise of {figures['floor']:.2f} sigma of the poorer ones', and"
        f" show {figures['sources_5_10']:.0f} + {figures['sources_10']:.0f} sources that have an"
        " SNR of 5 to 10, and of more, in these. A matched filter on the poorer data finds"
        f" {figures['input_detections']:.0f}, {figures['input_invented']:.0f} of them without a"
        " counterpart."
    )
    if figures["input_stars"]:
        text += (
            f" Aperture magnitudes of {figures['input_stars']:.0f} bright isolated sources on the"
            f" poorer data: bias {figures['input_bias']:+.3f}, scatter"
            f" {figures['input_scatter']:.3f}."
        )
    return text


def _table(rows: Sequence[Row]) -> str:
    """Return the figures of all methods that any of them has."""
    used: dict[str, tuple[str, str]] = {
        name: column
        for name, column in _COLUMNS.items()
        if any(np.isfinite(row.figures.get(name, np.nan)) for row in rows)
    }
    lines: list[dict[str, Any]] = [{"method": row.method} | row.figures for row in rows]
    return figures_table(lines, {"method": ("method", "")} | used)
