"""The ``astro-sr`` command line.

One file per group of commands; each command reads its options, calls public names of the package
and reports. Importing this package loads neither torch nor astropy: a command imports what it
needs when it runs, so that ``--help`` and wrong usage answer at once.
"""

from __future__ import annotations

from astro_sr_plugin.cli.program import main

__all__ = ["main"]
