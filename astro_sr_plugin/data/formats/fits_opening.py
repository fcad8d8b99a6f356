"""FITS files opened with care: packed ones, damaged ones, and headers that stop a parser."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from astropy.io import fits

from astro_sr_plugin.data.strips import CHUNK_BYTES
from astro_sr_plugin.exceptions import AstroSRWarning, ImageReadError

__all__ = ["check_first_cards", "read_errors", "readable_hdus", "unpacked"]

_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
# Axes and columns that the standard allows; more would keep the parser busy for ever.
_MAX_COUNT = 999
_COUNTS = re.compile(rb"(NAXIS|TFIELDS) *= *(\d+)")
_SCALES = (b"BSCALE", b"BZERO", b"BLANK")
# Bytes of a block, a card and a keyword (FITS standard 4.0, sections 3.1 and 4.1).
_BLOCK, _CARD, _KEYWORD = 2880, 80, 8


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn whatever parsers of damaged files raise into one sentence about the file.

    Parameters
    ----------
    path : Path
        The file named in the message.

    Yields
    ------
    None

    Raises
    ------
    ImageReadError
        For any error inside.
    """
    try:
        yield
    except (ImageReadError, AstroSRWarning):
        raise
    except OSError as error:
        msg = f"cannot read {path}: {_line(error)}"
        raise ImageReadError(msg) from error
    except MemoryError as error:
        msg = f"cannot read {path}: there is not enough memory for it ({_line(error)})"
        raise ImageReadError(msg) from error
    # Parsers of headers and of compressed tiles fail on damaged files with errors of any kind, some
    # of classes without a public name.
    except Exception as error:  # noqa: BLE001
        msg = f"cannot read {path}: the FITS file is damaged or truncated ({_line(error)})"
        raise ImageReadError(msg) from error


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file; compressed ones are unpacked into memory as a whole.

    Parameters
    ----------
    path : Path
        Plain, or packed by gzip, bzip2 or xz.

    Yields
    ------
    BinaryIO
        The plain bytes.
    """
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(0)
        opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)
        if opener is None:
            yield file
            return
        buffer = io.BytesIO()
        with cast("BinaryIO", opener(file)) as packed:
            shutil.copyfileobj(packed, buffer, CHUNK_BYTES)
    buffer.seek(0)
    # Never closed: the image goes on using its memory.
    yield buffer


def check_first_cards(stream: BinaryIO, start: int) -> None:
    """Look at the header at a place before a parser stops at it, or counts on and on.

    Parameters
    ----------
    stream : BinaryIO
        The file; its position becomes `start`.
    start : int
        Byte at which the header begins.

    Raises
    ------
    ValueError
        If a count is beyond the standard, or BSCALE, BZERO or BLANK is no number.
    """
    stream.seek(start)
    block = stream.read(_BLOCK)
    stream.seek(start)
    for place in range(0, len(block), _CARD):
        card = block[place : place + _CARD]
        count = _COUNTS.match(card)
        if count is not None and int(count[2]) > _MAX_COUNT:
            msg = f"{count[1].decode()} is {count[2].decode()}; allowed are 0 to {_MAX_COUNT}"
            raise ValueError(msg)
        if card[:_KEYWORD].rstrip() in _SCALES:
            try:
                _ = fits.Card.fromstring(card).value
            except fits.VerifyError as error:
                text = card.decode("ascii", "replace").partition("/")[0].split("=", 1)
                msg = f"{text[0].strip()} is {text[-1].strip()}; allowed is a finite number"
                raise ValueError(msg) from error


def readable_hdus(hdus: fits.HDUList, stream: BinaryIO) -> list[Any]:
    """Give the HDUs up to the end of the file, or to what is none.

    Parameters
    ----------
    hdus : HDUList
        Opened lazily.
    stream : BinaryIO
        The file.

    Returns
    -------
    list of HDU
        At least one; errors of the first one are raised.
    """
    found: list[Any] = []
    while True:
        try:
            if found:
                place = found[-1].fileinfo()
                check_first_cards(stream, place["datLoc"] + place["datSpan"])
            found.append(hdus[len(found)])
        except IndexError:
            return found
        except Exception:  # noqa: BLE001 - as in `read_errors`
            if not found:
                raise
            return found


def _line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")
