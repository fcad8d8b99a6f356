"""Time by the clock and of processors that a stack takes, beside Siril, on the same frames.

Both programs are started anew for each turn, register and stack, and may use all processors. A
first turn is not counted: Python compiles its modules in it, and files are read from the disk.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from benchmarks.figures.results import made_with, say, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.peers.siril import Siril
from benchmarks.truth.night import make_frame

SMALL, LARGE = (20, (1500, 2000)), (6, (4000, 6000))
"""Numbers of frames, and their shapes."""
_COMMANDS = (
    "set32bits",
    "register night_ -2pass",
    "seqapplyreg night_",
    "stack r_night_ rej 3 3 -norm=addscale -output_norm -weight=noise -out=result",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument("--siril", metavar="ROOT", required=True, help="Debian root with siril-cli")
    parser.add_argument("--large", action="store_true", help="6 frames of 24 Mpx, not 20 of 3")
    parser.add_argument("--turns", type=int, default=3, help="turns of both programs")


def main(options: argparse.Namespace) -> int:
    """Let both programs stack in turn, and write the report."""
    number, shape = LARGE if options.large else SMALL
    with tempfile.TemporaryDirectory() as folder:
        rows = _compare(Path(folder).resolve(), number, shape, options)
    columns = {
        "frames": ("frames", ""),
        "program": ("stacked by", ""),
        "seconds": ("s", ".1f"),
        "ratio": ("over Siril", ".2f"),
        "cpu": ("s of processors", ".1f"),
    }
    text = write_results(
        options.out,
        "stacking_time_large" if options.large else "stacking_time",
        title="Time of a stack",
        made=made_with([]),
        sections=[
            f"Medians of {options.turns} turns, {os.cpu_count()} processors.",
            figures_table(rows, columns),
        ],
        record={"turns": options.turns, "processors": os.cpu_count(), "times": rows},
    )
    print(text)
    return 0


def _compare(
    folder: Path, number: int, shape: tuple[int, int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    lights = folder / "lights"
    lights.mkdir()
    for k in range(number):
        counts = np.clip(np.rint(make_frame(k, shape=shape).image), 0, 65535)
        fits.writeto(lights / f"night_{k + 1:05d}.fit", counts.astype(np.uint16))
    siril = Siril(Path(options.siril), folder / "siril")
    name = f"Siril {siril.version()}"

    def by_siril() -> None:
        for old in siril.work.glob("*.fit"):
            old.unlink()
        # It keeps lists of stars by the names of frames.
        shutil.rmtree(siril.work / "cache", ignore_errors=True)
        for path in lights.iterdir():
            os.link(path, siril.work / path.name)
        siril.script([f"setcpu {os.cpu_count()}", *_COMMANDS])

    # Where this is set, all modules would be compiled at each start.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def by_us() -> None:
        output = ["-o", str(folder / "stack.fits"), "--overwrite", "--quiet"]
        command = [sys.executable, "-m", "astro_sr_plugin", "stack", str(lights), *output]
        subprocess.run(command, check=True, env=environment)

    times: dict[str, list[tuple[float, float]]] = {name: [], "ours": []}
    for turn in range(options.turns + 1):
        for who, work in ((name, by_siril), ("ours", by_us)):
            found = _time(work)
            say("frames", number, who, *found)
            if turn:
                times[who].append(found)
    ny, nx = shape
    rows = []
    for who, turns in times.items():
        seconds, cpu = np.median(turns, axis=0).tolist()
        ratio = seconds / float(np.median(times[name], axis=0)[0])
        size = f"{number} of {ny * nx / 1e6:.0f} Mpx"
        rows.append(
            {"frames": size, "program": who, "seconds": seconds, "ratio": ratio, "cpu": cpu}
        )
    return rows


def _time(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds by the clock, and of processors in the processes that it starts."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
