"""The astro-sr command: where it is, and one run of it with progress and a way to stop it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from astro_sr_siril.errors import CancelledError, ScriptError

__all__ = ["Command", "find_command"]

_NOTE = Path(__file__).with_name("command.txt")
"""Where ``astro-sr siril install`` writes down its own command."""

_PROGRESS = re.compile(r"Progress: +([0-9.]+)%")
_NEEDED_BY_SIRIL = ("PYTHONPATH", "PYTHONHOME", "PYTHONUNBUFFERED", "VIRTUAL_ENV")


def find_command(given: str | None = None, remembered: str = "") -> Command:
    """Find the package in this Python, or else the command of another environment.

    Parameters
    ----------
    given : str, optional
        The command that the user names now.
    remembered : str
        The command that the user has named once.

    Returns
    -------
    Command

    Raises
    ------
    ScriptError
        If there is none, or the given one does not exist.
    """
    given = given or os.environ.get("ASTRO_SR_COMMAND")
    if given:
        path = shutil.which(os.path.expanduser(given))
        if path is None:
            msg = f"the command {given!r} does not exist or cannot be run"
            raise ScriptError(msg)
        return Command([path], own=False)
    if importlib.util.find_spec("astro_sr_plugin") is not None:
        return Command([sys.executable, "-m", "astro_sr_plugin"], own=True)
    noted = _NOTE.read_text(encoding="utf-8").strip() if _NOTE.exists() else ""
    for candidate in (remembered, noted, "astro-sr"):
        path = shutil.which(candidate) if candidate else None
        if path is not None:
            return Command([path], own=False)
    msg = (
        "the command astro-sr was not found; install the package and run 'astro-sr siril install', "
        "or give the command once with -command PATH"
    )
    raise ScriptError(msg)


class Command:
    """A way to call ``astro-sr``.

    Parameters
    ----------
    words : list of str
        What it is called by.
    own : bool
        Whether it runs in this very Python.
    """

    def __init__(self, words: list[str], *, own: bool) -> None:
        self.words = words
        self._own = own
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def run(
        self,
        arguments: list[str],
        folder: Path,
        *,
        progress: Callable[[float], None],
        warn: Callable[[str], None],
    ) -> str:
        """Run it once.

        Parameters
        ----------
        arguments : list of str
            The verb and its options.
        folder : Path
            For what it prints.
        progress : callable
            Gets a fraction from 0 to 1.
        warn : callable
            Gets its warnings.

        Returns
        -------
        str
            What it says of the result.

        Raises
        ------
        ScriptError
            If it fails; the sentence is its own.
        CancelledError
            If it was stopped.
        """
        if self._stopped:
            raise CancelledError
        words = [*self.words, *arguments, "--progress", "line"]
        # Into a file: nobody reads the output before the end, and a full pipe would hold it up.
        report = folder / "report.txt"
        with report.open("w", encoding="utf-8") as stdout:
            self._process = self._start(words, stdout)
            try:
                if self._stopped:  # while it was being started
                    raise CancelledError
                said = self._listen(self._process, progress, warn)
                code = self._process.wait()
            finally:
                self._end()
        if self._stopped:
            raise CancelledError
        if code:
            raise ScriptError(_reason(said, code))
        return report.read_text(encoding="utf-8").strip()

    def stop(self) -> None:
        """Stop it, from any thread; it takes its half-written files away itself."""
        self._stopped = True
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()

    def _start(self, words: list[str], stdout: Any) -> subprocess.Popen[str]:
        env = dict(os.environ)
        popen: Any = subprocess.Popen
        if not self._own:
            for name in _NEEDED_BY_SIRIL:
                env.pop(name, None)
            if env.get("container") == "flatpak":  # noqa: SIM112
                from sirilpy import safe_subprocess_Popen as popen  # out of the sandbox
        try:
            return popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=env,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            msg = f"the command {words[0]!r} cannot be run: {error.strerror}"
            raise ScriptError(msg) from error

    def _listen(
        self,
        process: subprocess.Popen[str],
        progress: Callable[[float], None],
        warn: Callable[[str], None],
    ) -> list[str]:
        """Pass on progress and warnings, and return the other lines."""
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            line = line.strip()
            found = _PROGRESS.match(line)
            if found:
                progress(float(found[1]) / 100)
            elif line.startswith("astro-sr: warning: "):
                warn(line.removeprefix("astro-sr: warning: "))
            elif line:
                said.append(line)
        return said

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _reason(said: list[str], code: int) -> str:
    for line in reversed(said):
        if line.startswith("astro-sr: error: "):
            return line.removeprefix("astro-sr: error: ")
    if code < 0:
        return f"the command astro-sr was killed by signal {-code} before it was done"
    return f"the command astro-sr ended with code {code}: {said[-1] if said else 'no message'}"
