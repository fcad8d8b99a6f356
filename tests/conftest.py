"""What all tests share: one thread, and the sample image."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import pytest

# Many small tensors: threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "2")


@pytest.fixture(scope="session")
def sample_path() -> Path:
    """The real image that ships with the package."""
    return Path(str(files("astro_sr_plugin") / "data" / "samples" / "abell671_crop.fits"))
