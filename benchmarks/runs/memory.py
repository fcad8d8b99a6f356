"""Peak memory of the command line on a frame of 10,000 x 10,000 pixels.

Each verb runs on a float32 FITS image in a process of its own; the largest resident set, mapped
pages of files included, is held against 1.5 GB plus two planes of the input.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.arguments import one_of, shape
from benchmarks.figures.results import made_with, write_results
from benchmarks.figures.tables import figures_table
from benchmarks.truth.large_frame import write_large_frame

VERBS = {
    "denoise": ["denoise"],
    "deconvolve": ["deconvolve"],
    "super-resolve": ["super-resolve", "--scale", "2"],
}
"""Command line of each verb."""

_BASE = 1.5e9  # bytes beside the planes of the frame
_COLUMNS = {
    "verb": ("verb", ""),
    "peak": ("peak (GB)", ".2f"),
    "allowed": ("allowed (GB)", ".2f"),
    "seconds": ("seconds", ".0f"),
    "returncode": ("exit code", ".0f"),
}


def limit(shape: tuple[int, int]) -> float:
    """Return the allowed peak in bytes for a float32 frame of this shape."""
    return _BASE + 2.0 * 4 * shape[0] * shape[1]


def run_measured(command: Sequence[str]) -> dict[str, float]:
    """Run a command; return its peak resident set (bytes), seconds and return code."""
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "peak": float(usage.ru_maxrss * unit),
        "seconds": time.perf_counter() - start,
        "returncode": float(process.returncode),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the run."""
    parser.add_argument(
        "--shape", type=shape, default=(10_000, 10_000), help="ny,nx of the frame (pixels)"
    )
    parser.add_argument("--verbs", type=one_of(VERBS), default=tuple(VERBS), help="comma-separated")
    parser.add_argument("--folder", help="where the images are written; a temporary one if absent")
    parser.add_argument("options", nargs="*", help="passed on to astro-sr, after --")


def main(options: argparse.Namespace) -> int:
    """Run every verb and write the report; return 1 where a verb fails or needs too much."""
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        source = write_large_frame(Path(place) / "big.fits", options.shape)
        for verb in options.verbs:
            target = Path(place) / "out.fits"
            command = [sys.executable, "-m", "astro_sr_plugin", *VERBS[verb], str(source)]
            results[verb] = run_measured([*command, "-o", str(target), *options.options])
            target.unlink(missing_ok=True)
    allowed = limit(options.shape)
    rows = [
        found | {"verb": verb, "peak": found["peak"] / 1e9, "allowed": allowed / 1e9}
        for verb, found in results.items()
    ]
    text = write_results(
        options.out,
        "memory",
        title="Memory",
        made=made_with(options.verbs),
        sections=[
            "Frame {} x {} float32".format(*options.shape),
            figures_table(rows, _COLUMNS),
        ],
        record={"shape": list(options.shape), "limit": allowed, "verbs": results},
    )
    print(text)
    good = all(r["returncode"] == 0 and r["peak"] <= allowed for r in results.values())
    return 0 if good else 1
