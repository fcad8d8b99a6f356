"""What public archives offer: a picture, what it shows, whom to name, under what terms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from typing import Any, TypeAlias
from urllib.parse import urljoin

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.training.collect.web import MissingError, Web

__all__ = ["ADDRESSES", "ARCHIVES", "Archive", "Offer"]

ADDRESSES = {"esa-hubble": "https://esahubble.org/", "astrobin": "https://www.astrobin.com/"}
"""Where the archives are."""
_DRAWN = re.compile(
    r"artist|artwork|illustrat|impression|simulat|animation|infographic|diagram|chart|graph\b|"
    r"annotated|compass|labelled|logo|poster|wallpaper|spectrum|light curve|finder",
    re.IGNORECASE,
)
"""Words in the title of a picture that is drawn, computed, or drawn on."""
_OBSERVED = ("observation", "")
"""Types of pictures of the sky in the archive of ESA/Hubble, which has others."""
_FREE = {
    "ATTRIBUTION": "CC-BY-4.0",
    "ATTRIBUTION_SHARE_ALIKE": "CC-BY-SA-4.0",
}
"""Licences of AstroBin under which a picture may be changed, and used for any purpose."""
_NUMBERED = (
    *("ALL_RIGHTS_RESERVED", "ATTRIBUTION_NON_COMMERCIAL_SHARE_ALIKE"),
    *("ATTRIBUTION_NON_COMMERCIAL", "ATTRIBUTION_NON_COMMERCIAL_NO_DERIVS"),
    *("ATTRIBUTION", "ATTRIBUTION_SHARE_ALIKE", "ATTRIBUTION_NO_DERIVS"),
)
"""Licences of AstroBin by the numbers that it had for them."""
_CATALOGUED = re.compile(
    r"\b(M|NGC|IC|UGC|PGC|Arp|Abell|Sh ?2|LDN|LBN|vdB|RCW|Messier|Barnard|Caldwell)[ -]?(\d+)\b",
    re.IGNORECASE,
)
"""Object of a catalogue in the title of a picture."""
_LONG_NAMES = {"messier": "M", "sh 2": "Sh2"}
"""Catalogues that have a shorter name."""


@dataclass(frozen=True)
class Offer:
    """A picture of an archive.

    Attributes
    ----------
    name : str
        What the archive calls it.
    title, object : str
        Its title, and what it shows; pictures of one object are split together.
    credit, license, source : str
        Whom to name, the terms, and the page of the picture.
    files : tuple of (str, str)
        Addresses, the best first, each with its SHA-256 or an empty text.
    refused : str
        Why it is not taken; empty where it is.
    """

    name: str
    title: str
    object: str
    credit: str
    license: str
    source: str
    files: tuple[tuple[str, str], ...] = ()
    refused: str = ""


Archive: TypeAlias = Callable[[Web, str], Iterator[Offer]]
"""Yields the pictures of the archive at an address."""


def offers_of_esa_hubble(web: Web, address: str) -> Iterator[Offer]:
    """Yield the pictures of ESA/Hubble, the newest first, from its feed for planetariums.

    The feed (Data2Dome) gives credit, rights, the objects, and the files of every picture.

    Parameters
    ----------
    web : Web
        Reads the pages.
    address : str
        The archive.
    """
    for entry in _entries(web, urljoin(address, "images/d2d/"), "Next", "Collections"):
        title = unescape(_text(entry, "Title"))
        names = (entry.get("Subject") or {}).get("Name") or [""]
        files = [
            (resource.get("ResourceType"), _text(resource, "URL"), _text(resource, "Checksum"))
            for asset in entry.get("Assets") or []
            for resource in asset.get("Resources") or []
            if resource.get("MediaType", "Image") == "Image"
        ]
        best = [
            (url, checksum)
            for wanted in ("Large", "Original", "Small")
            for kind, url, checksum in files
            if kind == wanted and url.lower().endswith((".jpg", ".jpeg", ".png"))
        ]
        offer = Offer(
            name=_text(entry, "ID"),
            title=title,
            object=object_of(str(names[0])),
            credit=unescape(re.sub(r"<[^>]*>", "", _text(entry, "Credit"))).strip(),
            license=_short_license(_text(entry, "Rights")),
            source=_text(entry, "ReferenceURL"),
            files=tuple(best),
            refused=_why_not(title, _text(entry, "Type")),
        )
        yield offer


def offers_of_astrobin(web: Web, address: str) -> Iterator[Offer]:
    """Yield the images of the day of AstroBin, the newest first.

    Each picture keeps the licence of its author; files are given for those alone whose licence
    allows changes and any use.

    Parameters
    ----------
    web : Web
        Reads the pages.
    address : str
        The archive.
    """
    for entry in _entries(web, urljoin(address, "api/v2/iotd/iotd-archive/"), "next", "results"):
        image = entry.get("image") or {}
        if "license" not in image and image.get("pk"):
            with suppress(MissingError):
                image |= web.json(urljoin(address, f"api/v2/images/image/{image['pk']}/"))
        license = image.get("license", "")
        if isinstance(license, int):
            license = _NUMBERED[license] if license < len(_NUMBERED) else str(license)
        thumbnails = image.get("thumbnails") or [{}]
        title = _text(image, "title")
        free = license in _FREE
        yield Offer(
            name=_text(image, "hash"),
            title=title,
            object=object_of(title),
            credit=_text(image, "userDisplayName") or _text(image, "username"),
            license=_FREE.get(license, license),
            source=urljoin(address, f"{_text(image, 'hash')}/"),
            files=((_text(thumbnails[-1], "url"), ""),) if free else (),
            refused=_why_not(title, "") if free else f"its licence is {license or 'not given'}",
        )


ARCHIVES: dict[str, Archive] = {
    "esa-hubble": offers_of_esa_hubble,
    "astrobin": offers_of_astrobin,
}
"""The archives by the names that the command line has for them."""


def object_of(title: str) -> str:
    """Return the object of a catalogue that a title names, else the title in small letters."""
    found = _CATALOGUED.search(title)
    if found is None:
        return " ".join(title.lower().split())
    catalogue = _LONG_NAMES.get(found[1].lower(), found[1])
    return f"{catalogue.upper()} {found[2]}"


def _entries(web: Web, page: str | None, following: str, entries: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of the pages of a feed, each once.

    Raises
    ------
    InputError
        If a page has no list of entries.
    """
    seen = set()
    while page and page not in seen:
        seen.add(page)
        content = web.json(page)
        found = content.get(entries) if isinstance(content, dict) else None
        if not isinstance(found, list):
            msg = f"{page} has no list {entries!r}; the archive may have changed its pages"
            raise InputError(msg)
        yield from (entry for entry in found if isinstance(entry, dict))
        page = content.get(following)


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return "" if value is None else str(value)


def _why_not(title: str, kind: str) -> str:
    """Return why a picture is no picture of the sky alone; empty if it may be one."""
    if kind.lower() not in _OBSERVED:
        return f"its type is {kind}"
    found = _DRAWN.search(title)
    return "" if found is None else f"its title says {found[0].lower()!r}"


def _short_license(rights: str) -> str:
    """Return the short name of a Creative Commons licence, other terms as they are."""
    found = re.search(r"Creative Commons Attribution (\d\.\d)", rights)
    return f"CC-BY-{found[1]}" if found else rights
