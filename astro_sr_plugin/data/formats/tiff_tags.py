"""Tags of TIFF files that say what the samples are: their order, colours, alpha and curve."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray
from tifffile import EXTRASAMPLE, PHOTOMETRIC

__all__ = ["SampleTags", "find_full_size", "has_linear_profile", "split_samples"]

# Numbers of tags (TIFF 6.0, TIFF/EP and DNG 1.7).
_ORIENTATION, _PROFILE = 274, 34675
_CFA_SIZE, _CFA_PATTERN, _LINEARIZATION, _ACTIVE_AREA = 33421, 33422, 50712, 50829
"""Numbers of TIFF/EP and DNG tags."""
_TAGS = (_ORIENTATION, _PROFILE, _CFA_SIZE, _CFA_PATTERN, _LINEARIZATION, _ACTIVE_AREA)
_CFA_LETTERS = "RGBCMYW"
# Samples of light by photometric interpretation; those that are not here are no light.
_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.CFA: 1,
    PHOTOMETRIC.LINEAR_RAW: None,
}
# JPEG compression decodes YCbCr to RGB.
_JPEG = (6, 7, 34892, 33007)
# Names of the orientations, and the transposition and turns that put the upper row first.
_ORIENTATIONS = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "upside down",
    5: "transposed",
    6: "turned by 90 degrees",
    7: "transposed and turned by 180 degrees",
    8: "turned by 270 degrees",
}
# A tone curve that departs less from a straight line, as a fraction of its range, is one.
_STRAIGHT = 0.01


@dataclass(frozen=True)
class SampleTags:
    """What the tags of a page say about its samples.

    Parameters
    ----------
    page : tifffile.TiffPage
        The page.
    values : dict
        Values of the tags by their numbers.
    """

    page: Any
    values: dict[int, Any]

    @classmethod
    def read(cls, page: Any) -> SampleTags:
        """Read the tags of a page while its file is open."""
        found = {code: page.tags.get(code) for code in _TAGS}
        return cls(page, {code: tag.value for code, tag in found.items() if tag is not None})

    @property
    def refusal(self) -> str:
        """Why the samples are no light; empty if they are."""
        photometric = self.page.photometric
        if photometric == PHOTOMETRIC.PALETTE:
            return "its pixels are numbers of palette colours, not light"
        if photometric == PHOTOMETRIC.YCBCR and self.page.compression in _JPEG:
            return ""
        if photometric not in _COLOURS:
            name = getattr(photometric, "name", photometric)
            return f"its pixels are {name}; allowed are grey, RGB and raw mosaics"
        return ""

    @property
    def extras(self) -> tuple[int, ...]:
        """Kinds of the samples after those of the colours."""
        tagged = tuple(int(kind) for kind in self.page.extrasamples or ())
        colours = _COLOURS.get(self.page.photometric, 3)
        found = int(self.page.samplesperpixel)
        # Two grey samples or four of RGB without the tag: the last one is of unknown kind.
        if not tagged and colours is not None and found == colours + 1:
            return (int(EXTRASAMPLE.UNSPECIFIED),)
        return tagged

    def plain(self, stored: NDArray) -> NDArray:
        """Undo the table of a camera, and turn images whose zero is white to zero as black.

        Raises
        ------
        ValueError
            If zero is white and the samples are signed or floats, for which that is not defined.
        """
        table = self.values.get(_LINEARIZATION)
        if table is not None and stored.dtype.kind == "u":
            lookup = np.asarray(table, np.uint16)
            stored = lookup[np.minimum(stored, lookup.size - 1)]
        if self.page.photometric != PHOTOMETRIC.MINISWHITE:
            return stored
        if stored.dtype.kind != "u":
            msg = f"its zero is white, which has no meaning for dtype {stored.dtype}"
            raise ValueError(msg)
        bits = int(np.max(self.page.bitspersample))
        return np.subtract(2**bits - 1, stored, dtype=stored.dtype)

    @property
    def orientation(self) -> str:
        """How the image is stored; empty if upright."""
        return _ORIENTATIONS.get(self.values.get(_ORIENTATION, 1), "")

    def upright(self, array: NDArray) -> NDArray:
        """Turn an image as the orientation tag says, so that its first row is the upper one."""
        return _turned(array, int(self.values[_ORIENTATION])) if self.orientation else array

    def add_filters(self, header: Header) -> None:
        """Write the colour filter array of a raw image (DNG, TIFF/EP) into its header."""
        if self.page.photometric != PHOTOMETRIC.CFA:
            return
        size = tuple(self.values.get(_CFA_SIZE, ()))
        codes = bytes(self.values.get(_CFA_PATTERN, b""))
        letters = "".join(_CFA_LETTERS[c] for c in codes if c < len(_CFA_LETTERS))
        if size not in ((2, 2), (6, 6)) or len(letters) != size[0] * size[1]:
            header["CFAIMAGE"] = (True, "raw image of a colour camera")
            return
        top, left = self.values.get(_ACTIVE_AREA, (0, 0))[:2]
        header["BAYERPAT"] = (letters, "filters of the active area")
        header["XBAYROFF"], header["YBAYROFF"] = -int(left) % size[1], -int(top) % size[0]
        header["ROWORDER"] = "TOP-DOWN"

    def is_display_curve(self, dtype: np.dtype, header: Header) -> bool:
        """Whether the samples are for display: 8-bit colour, or integers with a curved profile.

        An image with a FITS header in its description is one of an astronomical program, and
        counts as linear unless its profile is one of 8 bits.
        """
        profile = self.values.get(_PROFILE)
        curved = profile is not None and not has_linear_profile(bytes(profile))
        if dtype == np.uint8 and profile is None:
            colour = self.page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR)
            return colour and all(card.keyword == "COMMENT" for card in header.cards)
        return curved and dtype in (np.uint8, np.uint16)


def find_full_size(file: Any) -> tuple[Any, str]:
    """Find the image of full size: the first one, unless a later page is larger.

    Parameters
    ----------
    file : TiffFile
        Open file with at least one image.

    Returns
    -------
    image : TiffPageSeries or TiffPage
        What to read.
    note : str
        What to say if it is not the first page.
    """
    first = file.series[0]
    small: Any = first.pages[0]
    best: Any = first
    best_size = small.imagewidth * small.imagelength
    for page in _all_pages(file.pages):
        size = page.imagewidth * page.imagelength
        if size > best_size:
            best, best_size = page, size
    if best is first:
        return first, ""
    note = (
        f"the first image ({small.imagewidth} x {small.imagelength} pixels) is a preview; the one "
        f"of {best.imagewidth} x {best.imagelength} pixels is read"
    )
    return best, note


def split_samples(
    stored: NDArray, extras: tuple[int, ...]
) -> tuple[NDArray, NDArray | None, int | None]:
    """Take alpha and one unspecified sample out of the samples of an image.

    Parameters
    ----------
    stored : ndarray, shape (n, ny, nx)
        All samples.
    extras : tuple of int
        Kinds of the last ones, as `SampleTags.extras`.

    Returns
    -------
    colours : ndarray
        The others, in shape (ny, nx) if it is one.
    alpha : ndarray or None
        Opacity, shape (ny, nx).
    kind : int or None
        `EXTRASAMPLE` of what was taken out. Several unspecified samples are the planes of a cube.
    """
    kinds = dict(zip(range(len(stored) - len(extras), len(stored)), extras, strict=True))
    alphas = [index for index, kind in kinds.items() if kind != EXTRASAMPLE.UNSPECIFIED]
    if not alphas and len(extras) != 1:
        return stored, None, None
    out = alphas[0] if alphas else len(stored) - 1
    colours = np.delete(stored, out, axis=0)
    colours = colours[0] if len(colours) == 1 else colours
    return colours, stored[out] if alphas else None, kinds[out]


def has_linear_profile(profile: bytes) -> bool:
    """Whether the tone curve of an ICC profile is a straight line.

    Parameters
    ----------
    profile : bytes
        ICC profile (ICC.1:2022): after 128 bytes a table of tags, of which rTRC or kTRC is the
        curve of red or grey.

    Returns
    -------
    bool
        False also for profiles without a curve.
    """
    try:
        (count,) = struct.unpack_from(">I", profile, 128)
        for index in range(min(count, 100)):
            name, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
            if name in (b"rTRC", b"kTRC"):
                return _is_straight(profile, offset)
    except struct.error:
        pass
    return False


def _is_straight(profile: bytes, offset: int) -> bool:
    (kind, count) = struct.unpack_from(">4s4xI", profile, offset)
    if kind == b"para":
        function, gamma = struct.unpack_from(">H2xi", profile, offset + 8)
        return bool(function == 0 and abs(gamma / 65536 - 1) < _STRAIGHT)
    if kind != b"curv":
        return False
    if count <= 1:
        gamma = struct.unpack_from(">H", profile, offset + 12)[0] / 256 if count else 1.0
        return bool(abs(gamma - 1) < _STRAIGHT)
    values = np.frombuffer(profile, ">u2", count, offset + 12) / 65535
    return bool(np.max(np.abs(values - np.linspace(0, 1, count))) < _STRAIGHT)


def _all_pages(pages: Iterable[Any]) -> Iterator[Any]:
    """Go through all pages, with those that hang below others (SubIFDs)."""
    for page in pages:
        yield page
        if getattr(page, "subifds", None):
            yield from _all_pages(page.pages)


def _turned(array: NDArray, orientation: int) -> NDArray:
    if orientation >= 5:
        array = np.swapaxes(array, -1, -2)
    # After the transposition: first column from the right, first row from below.
    if orientation in (2, 3, 6, 7):
        array = array[..., ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[..., ::-1, :]
    return np.ascontiguousarray(array)
