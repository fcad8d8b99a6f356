"""The command ``python -m benchmarks.fuzz``."""

from __future__ import annotations

from benchmarks.fuzz.running import main

if __name__ == "__main__":
    raise SystemExit(main())
