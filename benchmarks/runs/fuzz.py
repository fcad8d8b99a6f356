"""Odd, damaged and rare files, made at random: the file of each finding is kept."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.fuzz.case import Case
from benchmarks.fuzz.fits_files import fits_files
from benchmarks.fuzz.properties import (
    WEIGHT_BYTES,
    bounded,
    check_command,
    check_file,
    check_model,
    check_verbs,
)
from benchmarks.fuzz.round_trips import RoundTrip, check_round_trip, round_trips
from benchmarks.fuzz.tiff_files import tiff_files
from benchmarks.fuzz.weight_files import weight_files
from benchmarks.fuzz.xisf_files import xisf_files

_STRATEGIES = {
    "fits": fits_files,
    "tiff": tiff_files,
    "xisf": xisf_files,
    "round_trip": round_trips,
    "weights": weight_files,
}
# Examples between two changes of the kind of file.
_CHUNK = 150
# One image in so many is measured and denoised as well; one file in so many goes to the command.
_VERBS_EVERY = 8
_COMMAND_EVERY = 40
_VERB_PIXELS = 3 * 48 * 48
# A process that has not begun a new file for so long hangs where Python cannot stop it.
_SILENT_SECONDS = 180.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the first process (0)")
    parser.add_argument("--kinds", nargs="+", choices=sorted(_STRATEGIES), default=None)


def main(options: argparse.Namespace) -> int:
    """Run for the given time, print a summary, and return 1 if there are findings.

    Files of findings are in the folder fuzz of ``--out``.
    """
    out = options.out / "fuzz"
    out.mkdir(parents=True, exist_ok=True)
    kinds = options.kinds or list(_STRATEGIES)
    end = time.time() + 60 * options.minutes
    start = options.seed * 10_000
    while time.time() < end:
        state = out / "state"
        state.mkdir(exist_ok=True)
        # The file of a process that was killed would have the next one killed as silent.
        (state / "current").unlink(missing_ok=True)
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(kinds, start, end, out, state)
        )
        process.start()
        while process.is_alive():
            process.join(1.0)
            current = state / "current"
            if current.exists() and time.time() - current.stat().st_mtime > _SILENT_SECONDS:
                process.kill()
        if process.exitcode and not (state / "current").exists():
            msg = f"the process ended with code {process.exitcode} before the first file"
            raise RuntimeError(msg)
        if process.exitcode:
            _keep_crash(out, state, f"the process ended with code {process.exitcode}")
        start += 1_000
    return _summary(out)


def _work(kinds: list[str], start: int, end: float, out: Path, state: Path) -> None:
    """Try files until the time is over; the file at hand is in `state`, for the case of a crash."""
    tally: Counter[str] = Counter()
    number = start
    with tempfile.TemporaryDirectory() as folder:
        while time.time() < end:
            for kind in kinds:
                number += 1
                _chunk(kind, number, end, _checker(kind, Path(folder), out, state, tally))
            (out / f"tally_{start}.json").write_text(json.dumps(tally, indent=1))


def _chunk(kind: str, number: int, end: float, check: Callable[[Any], None]) -> None:
    @seed(number)
    @settings(
        max_examples=_CHUNK,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_STRATEGIES[kind]())
    def run(case: Case | RoundTrip) -> None:
        if time.time() < end:
            check(case)

    run()


def _checker(
    kind: str, folder: Path, out: Path, state: Path, tally: Counter[str]
) -> Callable[[Any], None]:
    """Give a function that checks one case and keeps it where something does not hold."""

    def check(case: Any) -> None:
        content = case.content if isinstance(case, Case) else b""
        (state / "current").write_bytes(content)
        (state / "note").write_text(f"{kind} {case.suffix} {case!r}")
        tally[kind] += 1
        count = tally[kind]
        try:
            if kind == "weights":
                with bounded(WEIGHT_BYTES):
                    model = check_model(case, folder / f"case{case.suffix}")
                tally[f"{kind} {'refused' if model is None else 'read'}"] += 1
                return
            with bounded():
                if isinstance(case, RoundTrip):
                    image = check_round_trip(case, folder)
                else:
                    image = check_file(case, folder / f"case{case.suffix}")
                    if count % _COMMAND_EVERY == 0:
                        tally["commands"] += 1
                        check_command(case, folder / f"case{case.suffix}")
                tally[f"{kind} {'refused' if image is None else 'read'}"] += 1
                small = image is not None and image.data.size <= _VERB_PIXELS
                if small and count % _VERBS_EVERY == 0:
                    tally["denoised"] += 1
                    check_verbs(image)
        except KeyboardInterrupt:
            raise
        # Whatever comes out of the package is what is looked for.
        except BaseException as error:  # noqa: BLE001
            tally["findings"] += 1
            _keep(out, kind, case.suffix, content, case, error)

    return check


def _keep(
    out: Path, kind: str, suffix: str, content: bytes, case: object, error: BaseException
) -> None:
    """Save the first file of each kind of finding, with the traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if "astro_sr_plugin" in f.filename] or frames[-1:]
    words = "".join(c if c.isalpha() else " " for c in str(error)).split()[:8]
    name = "_".join([kind, type(error).__name__, inside[-1].name.strip("<>"), *words])[:120]
    report = out / f"{name}.txt"
    if report.exists():
        with (out / "again.txt").open("a") as file:
            file.write(f"{name}\n")
        return
    (out / f"{name}{suffix}").write_bytes(content)
    for other, beside in (case.beside if isinstance(case, Case) else {}).items():
        (out / f"{name}{other}").write_bytes(beside)
    text = "".join(traceback.format_exception(error))
    report.write_text(f"{case!r}\n\n{text}")


def _keep_crash(out: Path, state: Path, reason: str) -> None:
    note = (state / "note").read_text() if (state / "note").exists() else ""
    kind, suffix = (note.split() + ["none", ""])[:2]
    name = f"{kind}_crash_{int(time.time())}"
    if (state / "current").exists():
        shutil.copy(state / "current", out / f"{name}{suffix}")
    (out / f"{name}.txt").write_text(f"{reason}\n{note}\n")


def _summary(out: Path) -> int:
    total: Counter[str] = Counter()
    for file in out.glob("tally_*.json"):
        total.update(json.loads(file.read_text()))
    findings = sorted(p.stem for p in out.glob("*.txt") if p.name != "again.txt")
    print(json.dumps({"tried": dict(total), "findings": findings}, indent=1))
    return 1 if findings else 0
