"""What the user sees: progress and warnings on stderr, the result on stdout."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from astro_sr_plugin.exceptions import AstroSRWarning
from astro_sr_plugin.progress import ProgressBar

__all__ = ["Console", "LineProgress", "debugging"]


def debugging() -> bool:
    """Whether the environment variable ``ASTRO_SR_DEBUG`` asks for tracebacks and all warnings."""
    return os.environ.get("ASTRO_SR_DEBUG", "") not in ("", "0")


class LineProgress:
    """Progress as whole lines, ``Progress: 12.00% (3/25 tiles processed)``, for other programs.

    At most one line per percent is written; the first and the last step always are.

    Parameters
    ----------
    stream : text stream
        Where the lines go.
    noun : str
        What is counted.
    """

    def __init__(self, stream: TextIO, noun: str = "tiles") -> None:
        self._stream = stream
        self._noun = noun
        self._last: float | None = None

    def __call__(self, done: int, total: int) -> None:
        """Write a line if there is news."""
        percent = 100.0 * done / max(total, 1)
        if self._last is not None and done < total and 0 <= percent - self._last < 1:
            return
        self._last = percent
        self._stream.write(f"Progress: {percent:.2f}% ({done}/{total} {self._noun} processed)\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to tidy up: every line is complete."""


class Console:
    """The only place where the command line writes.

    Parameters
    ----------
    json_output : bool
        Print one JSON object on stdout instead of text.
    quiet : bool
        Print neither progress, nor warnings, nor text; a JSON object is still printed if asked for.
    progress : {'auto', 'bar', 'line', 'none'}
        ``'auto'`` draws a bar on a terminal and writes lines elsewhere.
    """

    def __init__(
        self, *, json_output: bool = False, quiet: bool = False, progress: str = "auto"
    ) -> None:
        self.json_output = json_output
        self.quiet = quiet
        self._style = progress
        self._progress: LineProgress | ProgressBar | None = None
        self._records: list[dict[str, Any]] = []
        self._warned: list[str] = []

    def progress(self, noun: str = "tiles") -> Callable[[int, int], None] | None:
        """Return a function ``(done, total)`` that shows progress, or None if none is wanted."""
        self.close()
        style = self._style
        if style == "auto":
            style = "bar" if sys.stderr.isatty() else "line"
        if self.quiet or style == "none":
            return None
        bar = style == "bar"
        self._progress = ProgressBar(noun, sys.stderr) if bar else LineProgress(sys.stderr, noun)
        return self._progress

    def say(self, text: str) -> None:
        """Print a line on stdout, unless the output is JSON or quiet."""
        if not (self.quiet or self.json_output):
            print(text, flush=True)

    def record(self, **figures: Any) -> None:
        """Keep a result for the JSON object that `finish` prints."""
        self._records.append(figures)

    def warn(self, text: str) -> None:
        """Print a warning as one line on stderr, each text once."""
        text = " ".join(text.split())
        if text in self._warned:
            return
        self._warned.append(text)
        if not self.quiet:
            self.close()
            print(f"astro-sr: warning: {text}", file=sys.stderr, flush=True)

    def error(self, text: str, exit_code: int) -> None:
        """Print an error as one line on stderr, and as the JSON object if that was asked for."""
        self.close()
        text = " ".join(text.split())
        print(f"astro-sr: error: {text}", file=sys.stderr, flush=True)
        if self.json_output:
            print(json.dumps({"error": text, "exit_code": exit_code}), flush=True)

    def close(self) -> None:
        """Take a progress bar off the screen."""
        if self._progress is not None:
            self._progress.close()
            self._progress = None

    def finish(self) -> None:
        """Print the JSON object, if one was asked for: the result, or ``{"results": [...]}``."""
        self.close()
        if self.json_output and self._records:
            result = self._records[0] if len(self._records) == 1 else {"results": self._records}
            if self._warned:
                result = {**result, "warnings": self._warned}
            print(json.dumps(_plain(result), indent=2), flush=True)
        sys.stdout.flush()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Show the warnings of the package as lines; those of other packages when debugging."""
        with warnings.catch_warnings():
            if not debugging():
                warnings.simplefilter("ignore")
            warnings.simplefilter("always", AstroSRWarning)
            warnings.showwarning = self._show_warning
            yield

    def _show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        own = issubclass(category, AstroSRWarning)
        self.warn(str(message) if own else f"{category.__name__}: {message}")


def _plain(value: Any) -> Any:
    """Turn a result into what JSON can hold; NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
