"""What is remembered from one time to the next, in one JSON file in Siril's configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Settings"]


class Settings:
    """A small store of values by name; what cannot be read or written is as if it were empty.

    Parameters
    ----------
    folder : Path
        Where ``astro_sr.json`` lies.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "astro_sr.json"
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = {}
        self._content: dict[str, Any] = content if isinstance(content, dict) else {}

    def get(self, name: str, default: Any) -> Any:
        """Return a value that has the type of the default."""
        value = self._content.get(name, default)
        return value if isinstance(value, type(default)) else default

    def put(self, name: str, value: Any) -> None:
        """Remember a value."""
        self._content[name] = value
        part = self._path.with_suffix(".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(self._content, indent=2), encoding="utf-8")
            os.replace(part, self._path)
        except OSError:
            part.unlink(missing_ok=True)
