"""Takes pictures from an archive into a folder, with the list that training reads."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from astro_sr_plugin.data.output import finish, make_folder, part_of, write_errors, writing
from astro_sr_plugin.exceptions import check_choice, warn
from astro_sr_plugin.training.collect.archives import ADDRESSES, ARCHIVES, Offer
from astro_sr_plugin.training.collect.web import DamagedError, MissingError, Web, sha256_of
from astro_sr_plugin.training.pictures.manifest import MANIFEST, read_manifest

__all__ = ["COLUMNS", "Collected", "collect_pictures", "write_table"]

COLUMNS = ("file", "object", "credit", "license", "source", "title", "sha256")
"""Columns of the list of pictures."""
_LEFT_OUT = "left_out.csv"
"""Name of the list of what was not taken, and why."""
_LEFT_OUT_COLUMNS = ("name", "reason", "license", "source")
_MOST_BYTES = 200 * 2**20
"""Most bytes of a picture; those of 8,000 pixels a side in JPEG have some 30 million."""
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""Names that can be those of files."""
_ENDINGS = {"JPEG": ".jpg", "PNG": ".png"}
"""Formats that are taken, and how the names of their files end."""


@dataclass(frozen=True)
class Collected:
    """What a folder of pictures holds.

    Attributes
    ----------
    taken : int
        Pictures in the folder.
    new : int
        How many of them came now.
    left_out : int
        Pictures that were looked at and not taken; ``left_out.csv`` says why.
    """

    taken: int
    new: int
    left_out: int


def collect_pictures(
    archive: str,
    folder: str | Path,
    *,
    count: int = 100,
    least_side: int = 512,
    pause: float = 1.0,
    address: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Take pictures of the sky from an archive, with credit, licence and checksum of each.

    One request at a time, with pauses, as ``robots.txt`` of the server allows. Illustrations and
    pictures whose licence does not allow changes are left out. A call goes on where an earlier one
    ended: complete pictures stay, damaged ones are taken again.

    Parameters
    ----------
    archive : {'esa-hubble', 'astrobin'}
        Where from.
    folder : path
        Made if it is missing. It gets the pictures, ``manifest.csv`` with a row for each, and
        ``left_out.csv``.
    count : int
        How many pictures the folder should hold in the end.
    least_side : int
        Pictures with fewer pixels a side are left out.
    pause : float
        Least seconds between two requests.
    address : str, optional
        Of a mirror of the archive.
    progress : callable, optional
        Called with the number of pictures that are there and `count`.

    Returns
    -------
    Collected
        How many are there, came now, and were left out.

    Raises
    ------
    InputError
        If the archive cannot be reached, or nothing can be written. What has come stays.

    Examples
    --------
    >>> from astro_sr_plugin.training.collect.collect import collect_pictures
    >>> collect_pictures("esa-hubble", "pictures", count=0)
    Collected(taken=0, new=0, left_out=0)
    """
    check_choice("archive", archive, tuple(ARCHIVES))
    folder = Path(folder)
    make_folder(folder)
    _remove_parts(folder)
    rows = _intact(folder)
    left_out = {row["name"]: row for row in _read_table(folder / _LEFT_OUT)}
    before = len(rows)
    web = Web(pause)
    address = (address or ADDRESSES[archive]).rstrip("/") + "/"
    offers = ARCHIVES[archive](web, address) if count > before else ()
    for offer in offers:
        if offer.name in left_out or any(Path(row["file"]).stem == offer.name for row in rows):
            continue
        taken, reason = _take(web, offer, folder, least_side)
        if taken is None:
            left_out[offer.name] = {"reason": reason, **_known(offer, _LEFT_OUT_COLUMNS)}
            write_table(folder / _LEFT_OUT, _LEFT_OUT_COLUMNS, left_out.values())
            continue
        rows.append(taken)
        write_table(folder / MANIFEST, dict.fromkeys([*COLUMNS, *rows[0]]), rows)
        if progress is not None:
            progress(len(rows), count)
        if len(rows) >= count:
            break
    return Collected(len(rows), len(rows) - before, len(left_out))


def write_table(path: Path, columns: Iterable[str], rows: Iterable[dict[str, str]]) -> None:
    """Write a table; the file is the old one or the new one at any time.

    Parameters
    ----------
    path : Path
        A CSV file.
    columns : iterable of str
        Their names; others are left out.
    rows : iterable of dict
        Texts by the names of the columns.
    """
    with writing(path, overwrite=True) as part, part.open("w", encoding="utf-8", newline="") as to:
        table = csv.DictWriter(to, list(columns), restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def _read_table(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _remove_parts(folder: Path) -> None:
    """Take away what a killed run left half-written."""
    for part in folder.glob(".*.????????.part"):
        part.unlink()


def _intact(folder: Path) -> list[dict[str, str]]:
    """Return the rows of pictures that are there and have not changed."""
    if not (folder / MANIFEST).exists():
        return []
    rows = read_manifest(folder)
    intact = [row for row in rows if _is_intact(folder / row["file"], row.get("sha256"))]
    if len(intact) < len(rows):
        warn(f"{len(rows) - len(intact)} pictures of {folder} are missing or damaged")
    return intact


def _is_intact(path: Path, sha256: str | None) -> bool:
    return path.is_file() and (not sha256 or sha256_of(path) == sha256)


def _known(offer: Offer, columns: Iterable[str]) -> dict[str, str]:
    """Return what an offer says, by the names of columns."""
    return {key: getattr(offer, key) for key in columns if hasattr(offer, key)}


def _why_not(offer: Offer) -> str:
    """Return why an offer is not taken, before anything of it is read; empty if it is."""
    if offer.refused:
        return offer.refused
    if not _SAFE_NAME.fullmatch(offer.name):
        return "its name cannot be that of a file"
    lacking = [key for key in ("object", "credit", "license", "files") if not getattr(offer, key)]
    return f"the archive gives no {lacking[0]}" if lacking else ""


def _take(
    web: Web, offer: Offer, folder: Path, least_side: int
) -> tuple[dict[str, str] | None, str]:
    """Return the row of a picture that was taken, or None and the reason."""
    if reason := _why_not(offer):
        return None, reason
    for url, checksum in offer.files:
        part = part_of(folder / offer.name)
        try:
            sha256 = web.download(url, part, most=_MOST_BYTES, sha256=checksum)
            ending = _check_picture(part, least_side)
            target = folder / f"{offer.name}{ending}"
            with write_errors(target):
                finish(part, target)
        except (MissingError, DamagedError) as error:
            reason = str(error)
            continue
        finally:
            part.unlink(missing_ok=True)
        return {"file": target.name, "sha256": sha256, **_known(offer, COLUMNS)}, ""
    return None, reason


def _check_picture(path: Path, least_side: int) -> str:
    """Return how the name of a picture ends.

    Raises
    ------
    DamagedError
        If it is no picture of a format that is taken, damaged, or too small or large.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=list(_ENDINGS)) as picture:
            picture.load()
            kind, side = str(picture.format), min(picture.size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        msg = f"it is no intact picture: {error}"
        raise DamagedError(msg) from error
    if side < least_side:
        msg = f"it has {side} pixels a side, fewer than {least_side}"
        raise DamagedError(msg)
    return _ENDINGS[kind]
