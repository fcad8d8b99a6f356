"""A plugin of pytest for the examples in docstrings: each runs in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the files that an example writes out of the working tree."""
    monkeypatch.chdir(tmp_path)
