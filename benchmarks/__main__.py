"""``python -m benchmarks RUN --out DIR`` runs a benchmark; without RUN, all are listed."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

RUNS = {
    path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    for path in sorted((Path(__file__).parent / "runs").glob("[a-z]*.py"))
}
"""Name of each run -> what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; return the exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0] in ("-h", "--help"):
        print("python -m benchmarks RUN [options]; RUN --help lists the options.\n")
        for name, about in RUNS.items():
            print(f"{name:18s}{about.splitlines()[0]}")
        return 0
    name = words[0]
    if name not in RUNS:
        print(f"run {name!r} is not one of {', '.join(RUNS)}", file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=RUNS[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("benchmarks/results"),
        metavar="DIR",
        help="folder for NAME.md, NAME.json, pictures and kept scenes (default: %(default)s)",
    )
    run = import_module(f"benchmarks.runs.{name}")
    run.add_arguments(parser)
    return int(run.main(parser.parse_args(words[1:])))


if __name__ == "__main__":
    sys.exit(main())
