"""The scripts for Siril without a Siril: what they share, and the scripts as files."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "siril_scripts"

sys.path.insert(0, str(SCRIPTS))
# Siril brings this module; here the scripts only have to be imported. tests/e2e runs them for real.
stand_in = ModuleType("sirilpy")
stand_in.ensure_installed = lambda *names: True
sys.modules.setdefault("sirilpy", stand_in)


@pytest.fixture
def warm(warm_astro_sr: str) -> Any:
    """The command without its start."""
    from astro_sr_siril.command import Command

    return Command([warm_astro_sr], own=True)
