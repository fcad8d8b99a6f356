"""FITS images out, strip by strip, with checksums; whole images or arrays filled piece by piece."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from astropy.io import fits
from astropy.io.fits import Card, Header
from astropy.nddata import FlagCollection, NDUncertainty
from astropy.wcs import WCS
from numpy.typing import NDArray

from astro_sr_plugin.data.formats.bitmask import PLANE_KEYWORDS, exclude_flags
from astro_sr_plugin.data.formats.contents import FileContents
from astro_sr_plugin.data.formats.fits_hdu import append_image, coding_of, scale_cards, with_sums
from astro_sr_plugin.data.formats.header import clean_header, quiet
from astro_sr_plugin.data.strips import CHUNK_BYTES
from astro_sr_plugin.data.wcs_keywords import lookup_tables

__all__ = ["list_companions", "write"]

_PACKERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def write(part: Path, contents: FileContents) -> None:
    """Write an image with its companions, in the layout of CCDData.

    Parameters
    ----------
    part : Path
        The file to make.
    contents : FileContents
        All of it is written.
    """
    companions = list(
        list_companions(
            contents.data.shape,
            contents.header,
            contents.mask,
            contents.uncertainty,
            contents.flags,
            contents.wcs,
        )
    )
    suffix, checksum = contents.suffix, contents.checksum
    if suffix == ".fz":
        _write_tiles(part, contents, companions)
        return
    plain = part if suffix not in _PACKERS else part.with_name(part.name + ".fits")
    try:
        with plain.open("w+b") as stream:
            append_image(stream, contents.data, contents.header, contents.coding, checksum=checksum)
            for companion, array in companions:
                append_image(stream, array, companion, checksum=checksum)
        if plain != part:
            with (
                plain.open("rb") as source,
                cast("BinaryIO", _PACKERS[suffix](part, "wb")) as target,
            ):
                shutil.copyfileobj(source, target, CHUNK_BYTES)
    finally:
        if plain != part:
            plain.unlink(missing_ok=True)


def list_companions(
    shape: tuple[int, ...],
    header: Header,
    mask: NDArray[np.bool_] | None,
    uncertainty: NDUncertainty | None,
    flags: FlagCollection | None,
    wcs: WCS | None,
) -> Iterator[tuple[Header, NDArray]]:
    """Yield header and array of each extension that goes with an image."""
    planes = [card for card in header.cards if PLANE_KEYWORDS.fullmatch(card.keyword)]
    for name, values in (flags or {}).items():
        own = Header([Card("EXTNAME", name, "bits of every pixel"), *planes])
        described = header.copy()
        described.update(own)
        if mask is not None and np.array_equal(mask, exclude_flags(values, described)[0]):
            mask = None
        yield own, np.broadcast_to(values, shape)
    if mask is not None:
        name = "BPM" if flags and "MASK" in flags else "MASK"
        yield (
            Header([Card("EXTNAME", name, "1 = excluded")]),
            np.broadcast_to(np.asarray(mask, dtype=np.uint8), shape),
        )
    if uncertainty is not None and uncertainty.array is not None:
        header = Header([Card("EXTNAME", "UNCERT"), Card("UTYPE", type(uncertainty).__name__)])
        yield header, np.broadcast_to(uncertainty.array, shape)
    for table in lookup_tables(wcs):
        yield clean_header(table.header), table.data


def _cards_for_table(header: Header) -> list[Card]:
    """Save the cards that the way through a table header would drop, as comments."""
    kept: list[Card] = []
    seen: set[str] = set()
    for card in header.cards:
        if card.keyword in ("COMMENT", "HISTORY") or (card.keyword and card.keyword not in seen):
            kept.append(card)
        elif text := (card.image if card.keyword else str(card.value)).rstrip():
            kept.append(Card("COMMENT", text[:72]))
        seen.add(card.keyword)
    return kept


def _write_tiles(
    part: Path, contents: FileContents, companions: list[tuple[Header, NDArray]]
) -> None:
    """Write tile-compressed HDUs; floats without the usual quantisation, so without loss."""
    hdus = fits.HDUList([fits.PrimaryHDU()])
    kept = with_sums(_cards_for_table(contents.header), False)
    arrays = [(Header(kept), contents.coding, contents.data)]
    arrays += [(head, coding_of(array), array) for head, array in companions]
    with quiet():
        for head, rule, array in arrays:
            stored = rule.encode(array).astype(rule.dtype.newbyteorder("="), copy=False)
            # Rice coding is for integers of up to 32 bits.
            rice = not rule.is_float and rule.dtype.itemsize < 8
            hdu = fits.CompImageHDU(
                stored,
                head,
                compression_type="RICE_1" if rice else "GZIP_2",
                quantize_level=0.0,
                uint=False,
                do_not_scale_image_data=True,
            )
            for card in scale_cards(rule):
                hdu.header[card.keyword] = (card.value, card.comment)
            hdus.append(hdu)
        hdus.writeto(part, output_verify="exception", checksum=contents.checksum)
