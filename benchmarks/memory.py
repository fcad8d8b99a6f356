"""Peak memory of the command line on a large frame.

``python -m benchmarks.memory`` writes a 10,000 x 10,000 float32 FITS image, runs each verb on it
in a process of its own and reports the largest resident set, mapped pages of files included,
against 1.5 GB plus two planes of the input.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.frames import write_large_frame
from benchmarks.tables import markdown_table

__all__ = ["Measured", "limit", "main", "run_measured"]

VERBS = {
    "denoise": ["denoise"],
    "deconvolve": ["deconvolve"],
    "super-resolve": ["super-resolve", "--scale", "2"],
}
"""Command line of each verb."""

_BASE = 1.5e9


class Measured(dict[str, float]):
    """`peak` (bytes), `seconds` and `returncode` of a process."""


def limit(shape: tuple[int, int]) -> float:
    """Return the allowed peak in bytes for a float32 frame of this shape."""
    return _BASE + 2.0 * 4 * shape[0] * shape[1]


def run_measured(command: Sequence[str]) -> Measured:
    """Run a command and return its peak resident set, time and return code."""
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Measured(
        peak=float(usage.ru_maxrss * unit),
        seconds=time.perf_counter() - start,
        returncode=process.returncode,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 1 where a verb fails or needs too much."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--shape", default="10000,10000", help="ny,nx of the frame (pixels)")
    parser.add_argument("--verbs", default=",".join(VERBS), help="comma-separated")
    parser.add_argument("--folder", help="where the images are written; a temporary one if absent")
    parser.add_argument("--out", default="benchmarks/results", metavar="DIR")
    parser.add_argument("options", nargs="*", help="passed on to astro-sr, after --")
    options = parser.parse_args(arguments)
    ny, nx = (int(side) for side in options.shape.split(","))
    verbs = options.verbs.split(",")
    if unknown := set(verbs) - set(VERBS):
        parser.error(f"{', '.join(sorted(unknown))} is not one of {', '.join(VERBS)}")
    results: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        source = write_large_frame(Path(place) / "big.fits", (ny, nx))
        for verb in verbs:
            target = Path(place) / "out.fits"
            command = [sys.executable, "-m", "astro_sr_plugin", *VERBS[verb], str(source)]
            results[verb] = run_measured([*command, "-o", str(target), *options.options])
            target.unlink(missing_ok=True)
    allowed = limit((ny, nx))
    rows = [
        [verb, f"{r['peak'] / 1e9:.2f}", f"{allowed / 1e9:.2f}", f"{r['seconds']:.0f}"]
        + [f"{r['returncode']:.0f}"]
        for verb, r in results.items()
    ]
    table = markdown_table(["verb", "peak (GB)", "allowed (GB)", "seconds", "exit code"], rows)
    text = f"# Memory\n\nFrame {ny} x {nx} float32\n\n{table}\n"
    folder = Path(options.out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.md").write_text(text)
    record = {"shape": [ny, nx], "limit": allowed, "verbs": results}
    (folder / "memory.json").write_text(json.dumps(record, indent=1))
    print(text)
    good = all(r["returncode"] == 0 and r["peak"] <= allowed for r in results.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
