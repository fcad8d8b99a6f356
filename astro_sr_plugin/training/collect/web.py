"""A reader of public archives that is a considerate guest: one request at a time, with pauses."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urljoin, urlsplit
from urllib.request import Request, urlopen
from urllib.robotparser import RobotFileParser

from astro_sr_plugin import __version__
from astro_sr_plugin.data.output import write_errors
from astro_sr_plugin.exceptions import InputError

__all__ = ["DamagedError", "MissingError", "Web", "sha256_of"]

AGENT = "astro_sr_plugin"
"""Name of this reader, which ``robots.txt`` may address."""
_TRIES = 4
"""How often a page is asked for before the work ends."""
_TIMEOUT = 60.0
"""Seconds without an answer after which a request has failed."""
_LONGEST_WAIT = 600.0
"""Most seconds that a server may ask to wait (``Retry-After``) before the work ends instead."""
_FAILURES = (URLError, TimeoutError, ConnectionError, http.client.HTTPException)
"""What a connection that breaks raises."""
_MOST_TEXT = 32 * 2**20
"""Most bytes of a page; those of the archives have less than one million."""
_BLOCK = 2**20
"""Bytes read at once."""
_NOTHING_FOLLOWS = 416
"""Answer to a request to go on with a file that is complete."""
_CLOSED = (401, 403)
"""Answers for ``robots.txt`` of a server that wants no readers."""
_BUSY = (429, 500, 502, 503, 504)
"""Answers after which it is worth while to ask again."""


class MissingError(InputError):
    """There is nothing at an address, or it may not be read."""


class DamagedError(InputError):
    """What came is not what the archive says that it is."""


class Web:
    """Reads pages and files, slowly, and as ``robots.txt`` of the server allows.

    Parameters
    ----------
    pause : float
        Least seconds between two requests; more if ``robots.txt`` asks for it (``Crawl-delay``).
    """

    def __init__(self, pause: float = 1.0) -> None:
        self._pause = pause
        self._free = 0.0
        self._robots: dict[str, RobotFileParser] = {}

    def json(self, url: str) -> Any:
        """Read a page of JSON.

        Raises
        ------
        MissingError
            If there is no such page, or ``robots.txt`` forbids it.
        InputError
            If the server cannot be reached, or the page is something else.
        """
        self._ask_leave(url)
        text = self._text(url)
        try:
            return json.loads(text)
        except ValueError as error:
            msg = f"{url} is not the page of JSON that was expected: {error}"
            raise InputError(msg) from error

    def download(self, url: str, part: Path, *, most: int, sha256: str = "") -> str:
        """Read a file; a part file that is there already is gone on with.

        Parameters
        ----------
        url : str
            Its address.
        part : Path
            Takes the bytes; it stays where the connection breaks, and goes where what came is
            wrong.
        most : int
            Most bytes that are taken.
        sha256 : str
            What its checksum has to be, if the archive says that.

        Returns
        -------
        str
            Its SHA-256.

        Raises
        ------
        MissingError
            If there is no such file, or ``robots.txt`` forbids it.
        DamagedError
            If its checksum is another one, or it is too large.
        InputError
            If the server cannot be reached, or the file cannot be written.
        """
        self._ask_leave(url)
        for attempt in range(_TRIES):
            try:
                self._append(url, part, most)
                break
            except _FAILURES as error:
                if part.exists() and getattr(error, "code", 0) == _NOTHING_FOLLOWS:
                    break
                self._wait_or_stop(url, error, attempt)
        found = sha256_of(part)
        if sha256 and found != sha256.lower():
            part.unlink()
            msg = f"{url} has the checksum {found}, not {sha256.lower()}"
            raise DamagedError(msg)
        return found

    def _append(self, url: str, part: Path, most: int) -> None:
        """Read what is missing of a file; fail if the connection ends before the file does."""
        there = part.stat().st_size if part.exists() else 0
        with self._open(url, {"Range": f"bytes={there}-"} if there else {}) as answer:
            partial = answer.status == http.client.PARTIAL_CONTENT
            came = there if partial else 0
            length = answer.headers.get("Content-Length")
            due = None if length is None else came + int(length)
            with write_errors(part):
                stream = part.open("ab" if partial else "wb")
            with stream:
                while came <= most and (block := answer.read(_BLOCK)):
                    with write_errors(part):
                        stream.write(block)
                        stream.flush()
                    came += len(block)
        if came > most:
            part.unlink()
            msg = f"{url} has more than {most:,} bytes"
            raise DamagedError(msg)
        if due is not None and came < due:
            msg = f"{came:,} of {due:,} bytes came"
            raise ConnectionError(msg)

    def _text(self, url: str) -> str:
        for attempt in range(_TRIES):
            try:
                with self._open(url) as answer:
                    content: bytes = answer.read(_MOST_TEXT + 1)
                break
            except _FAILURES as error:
                self._wait_or_stop(url, error, attempt)
        if len(content) > _MOST_TEXT:
            msg = f"{url} has more than {_MOST_TEXT:,} bytes"
            raise InputError(msg)
        return content.decode("utf-8", errors="replace")

    @contextmanager
    def _open(self, url: str, headers: dict[str, str] | None = None) -> Iterator[Any]:
        """Ask for an address when the pause is over."""
        if urlsplit(url).scheme not in ("http", "https"):
            msg = f"address {url!r} does not begin with http:// or https://"
            raise MissingError(msg)
        # Letters beyond ASCII are written as they travel.
        url = quote(url, safe="%/:=&?~#+!$,;'@()*[]")
        time.sleep(max(0.0, self._free - time.monotonic()))
        agent = f"{AGENT}/{__version__} (pictures with credits, for training)"
        try:
            with urlopen(
                Request(url, headers={"User-Agent": agent} | (headers or {})), timeout=_TIMEOUT
            ) as answer:
                yield answer
        finally:
            self._free = time.monotonic() + self._pause

    def _wait_or_stop(self, url: str, error: Exception, attempt: int) -> None:
        """Wait before the next try, or end the work with a sentence.

        Raises
        ------
        MissingError
            If the answer will not change.
        InputError
            If the server does not answer, or wants a longer pause than can be waited for.
        """
        reason, wait = _reason_of(error), self._pause * 2**attempt
        if isinstance(error, HTTPError):
            error.close()
            wait = max(wait, _seconds(error.headers.get("Retry-After")))
            if error.code not in _BUSY:
                msg = f"{url}: {reason}"
                raise MissingError(msg) from error
        if attempt == _TRIES - 1 or wait > _LONGEST_WAIT:
            msg = f"{url} cannot be read ({reason}); what is there is kept: give the command again"
            raise InputError(msg) from error
        self._free = time.monotonic() + wait

    def _ask_leave(self, url: str) -> None:
        """Check that ``robots.txt`` of the server allows an address, and how often.

        Raises
        ------
        MissingError
            If it does not.
        """
        server = urljoin(url, "/")
        if server not in self._robots:
            rules = RobotFileParser()
            try:
                rules.parse(self._text(urljoin(server, "robots.txt")).splitlines())
            except MissingError as error:
                # A server without rules allows everything, unless they are hidden.
                closed = getattr(error.__cause__, "code", 0) in _CLOSED
                rules.parse(["User-agent: *", "Disallow: /"] if closed else [])
            self._robots[server] = rules
            self._pause = max(self._pause, float(rules.crawl_delay(AGENT) or 0.0))
        if not self._robots[server].can_fetch(AGENT, url):
            msg = f"{url} is not read: robots.txt of {server} forbids it"
            raise MissingError(msg)


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _seconds(retry_after: str | None) -> float:
    """Return how long a server asks to wait: seconds, or the time of a date."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return parsedate_to_datetime(retry_after).timestamp() - time.time()
    except ValueError:
        return 0.0


def _reason_of(error: Exception) -> str:
    """Return why a request failed, in few words."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}".strip()
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause or type(error).__name__)
