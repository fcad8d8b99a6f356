"""The ``astro-sr`` command line.

One file per group of commands; each command reads its options, calls public names of the package
and reports. Importing this package loads neither torch nor astropy: a command imports what it
needs when it runs, so that ``--help`` and wrong usage answer at once.
"""

from __future__ import annotations

import os

# Threads of OpenBLAS wait for work at full speed, and take a quarter of the time of a stack.
# Commands have threads of their own, and PyTorch too. It is read when numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from astro_sr_plugin.cli.program import main  # noqa: E402

__all__ = ["main"]
