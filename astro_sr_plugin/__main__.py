"""Run the command line as ``python -m astro_sr_plugin``."""

from __future__ import annotations

import sys

from astro_sr_plugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
