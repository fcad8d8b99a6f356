"""Headers: from raw bytes, a FITS header or a dict to cards that follow the FITS standard.

Nothing that can be kept is lost: letters outside ASCII are transliterated, malformed values become
strings, illegal keywords become HIERARCH cards, and what cannot be understood becomes a COMMENT.
"""

from __future__ import annotations

import logging
import re
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from astropy import log
from astropy.io.fits import Card, Header, VerifyError
from astropy.io.fits.card import Undefined
from astropy.utils.exceptions import AstropyWarning

__all__ = [
    "DISPLAY_KEYWORD",
    "INVALID_WCS_KEYWORD",
    "MEMORY_KEYWORDS",
    "card_value",
    "clean_header",
    "parse_header",
    "quiet",
    "to_ascii",
    "without",
]

#: Keywords that describe the stored pixels of the file an image came from. They live in the
#: header in memory only (`write_image` reads them for ``dtype="original"``, and never writes them).
MEMORY_KEYWORDS = (
    *("ASRDTYPE", "ASRBSCAL", "ASRBZERO", "ASRBLANK", "ASRBOUND", "ASRDISPL", "ASRNOWCS"),
)
#: The one of them that marks values with a curve for display, by the tags of the file.
DISPLAY_KEYWORD = "ASRDISPL"
#: The one that says that the user was warned of invalid world coordinates.
INVALID_WCS_KEYWORD = "ASRNOWCS"

# What describes the layout of the file rather than the image; every writer makes its own.
_STRUCTURAL = re.compile(
    r"(SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|PCOUNT|GCOUNT|GROUPS|TFIELDS|THEAP|INHERIT|END"
    r"|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM|ZHECKSUM|ZDATASUM|ZIMAGE|ZTABLE|ZTENSION|ZSIMPLE"
    r"|ZBITPIX|ZNAXIS\d*|ZEXTEND|ZPCOUNT|ZGCOUNT|ZTILE\d+|ZCMPTYPE|ZNAME\d+|ZVAL\d+|ZQUANTIZ"
    r"|ZDITHER0|ZBLANK)"
)
_LEGAL = re.compile(r"[A-Z0-9_-]{1,8} *")
_COMMENTARY = ("COMMENT", "HISTORY", "")
_STRING = re.compile(r"\s*'((?:[^']|'')*)'?\s*/?\s*(.*)")
_CONTINUED = re.compile(r"(\s*'.*)&'\s*/?\s*(.*)")
_ASSIGNMENT = re.compile(r"\s*([^=']{1,60}?)\s*=\s*(.*)")
# wcslib's mark for "undefined"; some programs write it out as if it were a number.
_WCSLIB_UNDEFINED = 9.87654321e107
_CARD = 80
"""Letters of a FITS card."""
# Cards that follow the standard beyond doubt. They are most of any header, and astropy's own check
# of a card costs about ten times as much as this one.
_STANDARD = re.compile(
    r"(?:COMMENT|HISTORY|       ) .*"
    r"|(?!HIERARCH|CONTINUE)(?=.{8}= )[A-Z0-9_-]+ *= +"
    r"(?:'(?:[^']|'')*'|[TF]|[+-]?\d{1,18}|[+-]?\d{1,18}\.\d{0,18}(?:E[+-]?\d{1,2})?) *(?:/.*)?"
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings and log messages of astropy and numpy from the user.

    Yields
    ------
    None
    """
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (AstropyWarning, RuntimeWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        log.setLevel(level)


def to_ascii(text: str) -> str:
    """Transliterate a text to printable ASCII.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    str
        The text with accents dropped, control characters as blanks and anything else as ``?``.
    """
    if text.isascii() and text.isprintable():
        return text
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = plain.encode("ascii", "replace").decode("ascii")
    return "".join(c if c.isprintable() else " " for c in plain)


def parse_header(raw: bytes) -> Header:
    """Read a header block card by card, repairing the cards that break the standard.

    Parameters
    ----------
    raw : bytes
        Cards of 80 bytes, up to END or to the end of the block.

    Returns
    -------
    astropy.io.fits.Header
        Everything but the keywords that describe the layout of the file.
    """
    return _header_of(_card_texts(raw))


def clean_header(meta: Mapping[str, Any] | Header | None) -> Header:
    """Copy header or metadata into a header that can be written as it stands.

    Parameters
    ----------
    meta : fits.Header, mapping or None
        Metadata of an image. Values that FITS cannot hold are stored as text.

    Returns
    -------
    astropy.io.fits.Header
        A new header without the keywords that describe the layout of a file.
    """
    if meta is None:
        return Header()
    with quiet():
        cards = meta.cards if isinstance(meta, Header) else _cards_of_mapping(meta)
        return _header_of([_text_of(card) for card in cards])


def card_value(value: Any) -> Any:
    """Turn any value into one that a card can hold.

    Parameters
    ----------
    value : object
        A number, truth value, text, None or anything with a text form.

    Returns
    -------
    bool, int, float, str or Undefined
        Numbers that are not finite become text, since FITS has no form for them.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | Undefined):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    return to_ascii(str(value))


def without(header: Header, pattern: re.Pattern[str]) -> Header:
    """Copy a header without the keywords that match.

    Parameters
    ----------
    header : fits.Header
        Left as it is.
    pattern : re.Pattern
        Matched against the whole keyword; record-valued cards by the part before the dot.

    Returns
    -------
    astropy.io.fits.Header
        The other cards, in their order.
    """
    kept = Header()
    for card in header.cards:
        if not pattern.fullmatch(card.keyword.split(".")[0] or " "):
            kept.append(card, end=True)
    return kept


def _header_of(texts: Iterable[str]) -> Header:
    header = Header()
    with quiet():
        for text in texts:
            if _STRUCTURAL.fullmatch(text[:8].rstrip()):
                continue
            for card in _standard_cards(text):
                if card.value != _WCSLIB_UNDEFINED:
                    header.append(card, end=True)
    return header


def _card_texts(raw: bytes) -> list[str]:
    """Split a header block into cards, with CONTINUE cards joined to the one they continue."""
    texts: list[str] = []
    for start in range(0, len(raw), _CARD):
        piece = raw[start : start + _CARD]
        text = to_ascii(_decoded(piece))[:_CARD].ljust(_CARD)
        if text.rstrip() == "END":
            break
        if text.startswith("CONTINUE") and texts and "'" in texts[-1]:
            texts[-1] += text
        else:
            texts.append(text)
    while texts and not texts[-1].strip():
        texts.pop()
    return texts


def _decoded(piece: bytes) -> str:
    """Read bytes as UTF-8, and those that are not as Latin-1."""
    text = piece.decode("utf-8", "surrogateescape")
    return "".join(chr(ord(c) - 0xDC00) if "\udc80" <= c <= "\udcff" else c for c in text)


def _cards_of_mapping(meta: Mapping[str, Any]) -> list[Card]:
    cards = []
    for key, entry in meta.items():
        value, comment = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, "")
        keyword = to_ascii(str(key)).upper()
        try:
            cards.append(Card(keyword, card_value(value), to_ascii(str(comment))))
            cards[-1].image  # noqa: B018 - cards that are too long fail only when formatted
        except (ValueError, VerifyError):
            cards[len(cards) :] = [Card("COMMENT", to_ascii(f"{key} = {value}"))]
    return cards


def _text_of(card: Card) -> str:
    # A card as it came from a file has its text, and formatting it anew is slow.
    text = "" if card._modified else card._image or ""
    if len(text) != _CARD:
        try:
            text = card.image
        except (VerifyError, ValueError):
            # Only the text as it came from the file is left to go by.
            text = card._image or ""
    return to_ascii(text).ljust(_CARD)


def _standard_cards(text: str) -> list[Card]:
    """Give the card in standard form; several where its text has to go into long comments."""
    if len(text) == _CARD and "''" not in text and _STANDARD.fullmatch(text):
        return [Card.fromstring(text)]
    try:
        card = _standard_card(text)
        Card.fromstring(card.image).verify("exception")
    except (VerifyError, ValueError, TypeError):
        body = text.rstrip()
        return [Card("COMMENT", body[i : i + 72]) for i in range(0, len(body), 72)]
    return [card]


def _standard_card(text: str) -> Card:
    keyword = text[:8].rstrip()
    if keyword in _COMMENTARY:
        return Card.fromstring(text)
    if keyword == "HIERARCH" and "=" in text:
        name, rest = text[9:].split("=", 1)
        return _value_card(name.strip(), rest, text)
    if _LEGAL.fullmatch(text[:8]) and keyword not in ("HIERARCH", "CONTINUE"):
        if text[8] == "=":
            return _value_card(keyword, text[9:], text if text[9] == " " else None)
        if text[8] == " " and not text[8:].lstrip().startswith("="):
            return Card(keyword, text[8:].strip())
    assignment = _ASSIGNMENT.match(text)
    if assignment is None:
        msg = f"no keyword in {text!r}"
        raise ValueError(msg)
    return _value_card(assignment[1].upper(), assignment[2], None)


def _value_card(keyword: str, rest: str, text: str | None) -> Card:
    """Card with a value; `text` is kept as it is where it follows the standard."""
    joined = _joined(rest)
    quoted, comments = joined or (rest, [])
    string = _STRING.fullmatch(quoted.rstrip())
    # astropy ends a text at a doubled quote before a slash or a blank.
    own = "''" in (text or "") and joined is not None and string is not None
    if text is not None and not own:
        card = Card.fromstring(text)
        try:
            _ = (card.value, card.comment)
            if len(text) == _CARD:
                card.verify("exception")
        except VerifyError:
            pass
        else:
            return card
    if string is not None:
        comment = " ".join(filter(None, [*comments, string[2].strip()]))
        return Card(keyword, string[1].replace("''", "'").rstrip(), comment)
    plain = Card.fromstring(f"X       = {rest.strip()}".ljust(_CARD))
    plain.verify("silentfix")
    return Card(keyword, plain.value, plain.comment)


def _joined(rest: str) -> tuple[str, list[str]] | None:
    """Join a text with its CONTINUE cards, comments apart; None where they do not continue it."""
    first = len(rest) % _CARD
    quoted, comments = rest[:first], []
    for i in range(first, len(rest), _CARD):
        # A doubled quote may be cut in two by the end of a card.
        start = _CONTINUED.fullmatch(quoted.rstrip())
        end = rest[i + len("CONTINUE") : i + _CARD].strip()
        if start is None or not end.startswith("'"):
            return None
        quoted = start[1] + end[1:]
        comments.append(start[2].strip())
    return quoted, comments
