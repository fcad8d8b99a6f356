"""What the user sees: progress and warnings on stderr, the result on stdout.

Nothing that is shown may stop the work: what cannot be written to stderr is left out, and so is
what cannot be written to stdout where the result is a file.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from astro_sr_plugin.cli.wording import in_options
from astro_sr_plugin.data.records import as_plain
from astro_sr_plugin.exceptions import AstroSRWarning, UnchangedWarning
from astro_sr_plugin.progress import ProgressBar

__all__ = ["Console", "LineProgress", "debugging", "open_missing_streams"]


def open_missing_streams() -> None:
    """Put the null device in the place of standard streams that the caller has closed.

    Otherwise the next file that is opened would get their number, and text would go into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The system gives the lowest free number, which is this one.
            opened = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(opened, mode))


def _discard(stream: TextIO) -> None:
    """Send what is still written to a stream to the null device: nobody reads it any more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def debugging() -> bool:
    """Whether ``ASTRO_SR_DEBUG`` asks for tracebacks, all warnings and the log of the package."""
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
        text = f"Progress: {percent:.2f}% ({done}/{total} {self._noun} processed)\n"
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            _discard(self._stream)

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
    options : collection of str
        Names of the options of the command, in whose words warnings and errors are shown.
    must_be_read : bool
        Whether stdout is the result, so that the work ends with an `OSError` where nothing can be
        written to it.
    """

    def __init__(
        self,
        *,
        json_output: bool = False,
        quiet: bool = False,
        progress: str = "auto",
        options: Collection[str] = (),
        must_be_read: bool = True,
    ) -> None:
        self.json_output = json_output
        self.quiet = quiet
        self.unchanged = False
        """Whether a verb could not do its work on an image, or on planes of it."""
        self._options = options
        self._must_be_read = must_be_read
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
            self._print(text)

    def translate(self, text: str) -> str:
        """Return a message of the package as one line in the words of the command."""
        return in_options(" ".join(text.split()), self._options)

    def record(self, **figures: Any) -> None:
        """Keep a result for the JSON object that `finish` prints."""
        self._records.append(figures)

    def warn(self, text: str) -> None:
        """Print a warning as one line on stderr, each text once."""
        text = self.translate(text)
        if text in self._warned:
            return
        self._warned.append(text)
        if not self.quiet:
            self.close()
            self._complain(f"astro-sr: warning: {text}")

    def error(self, text: str, exit_code: int) -> None:
        """Print an error as one line on stderr, and as the JSON object if that was asked for."""
        self.close()
        text = self.translate(text)
        self._complain(f"astro-sr: error: {text}")
        self.fail(text, exit_code)

    def fail(self, text: str, exit_code: int) -> None:
        """Print the JSON object of a command that ended early, if one was asked for."""
        if self.json_output:
            finished = {"results": self._records} if self._records else {}
            self._print_object({**finished, "error": text}, exit_code)

    def close(self) -> None:
        """Take a progress bar off the screen."""
        progress, self._progress = self._progress, None
        if progress is not None:
            with suppress(OSError):
                progress.close()

    def finish(self, exit_code: int = 0) -> None:
        """Print the JSON object, if one was asked for: the result, or ``{"results": [...]}``."""
        self.close()
        if self.json_output:
            single = len(self._records) == 1
            self._print_object(
                self._records[0] if single else {"results": self._records}, exit_code
            )

    def _print_object(self, figures: dict[str, Any], exit_code: int) -> None:
        result = {**figures, "exit_code": exit_code, "warnings": self._warned}
        self._print(json.dumps(as_plain(result), indent=2))

    def _print(self, text: str) -> None:
        try:
            print(text, flush=True)
        except OSError:
            _discard(sys.stdout)
            if self._must_be_read:
                raise

    def _complain(self, text: str) -> None:
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:
            _discard(sys.stderr)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Show the warnings of the package as lines; when debugging, all warnings and the log."""
        with warnings.catch_warnings():
            if debugging():
                logging.basicConfig(format="%(name)s: %(message)s")
                logging.getLogger("astro_sr_plugin").setLevel(logging.DEBUG)
            else:
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
        self.unchanged |= issubclass(category, UnchangedWarning)
        self.warn(str(message) if own else f"{category.__name__}: {message}")
