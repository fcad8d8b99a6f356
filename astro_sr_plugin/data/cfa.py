"""Colour filter arrays: which colour each pixel of a raw mosaic saw, and whether it is one.

The keywords are those that cameras and programs write. BAYERPAT and its like describe the image as
it is displayed, from its upper left corner: where ROWORDER is BOTTOM-UP the pattern counts from the
last row of the array, else from the first one. XBAYROFF and YBAYROFF are added to the coordinates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.constants import MAD_TO_SIGMA
from astro_sr_plugin.exceptions import InputError

__all__ = [
    "CFA_KEYWORDS",
    "ColorFilterArray",
    "find_cfa",
    "find_mosaic",
    "has_mosaic_steps",
    "looks_like_mosaic",
    "parse_pattern",
    "pattern_from_top",
]

_PATTERN_KEYWORDS = ("BAYERPAT", "CFAPAT", "CFA_PAT", "CFATYPE", "COLORTYP")
#: All keywords that describe a colour filter array.
CFA_KEYWORDS = (
    *_PATTERN_KEYWORDS,
    "CFAIMAGE",
    "XBAYROFF",
    "YBAYROFF",
    "BAYOFFX",
    "BAYOFFY",
)
# Letters of filters: red, green, blue, cyan, magenta, yellow, emerald, white.
_FILTERS = set("RGBCMYEW")
# Side of the pattern by the number of its filters: Bayer and X-Trans.
_SIDES = {4: 2, 36: 6}
# Differences of the mean sky of the filters, in standard deviations of one pixel. A raw frame of
# the night sky has 0.4 to 5 of them, a frame of one filter below 0.05.
_FAINT_STEP = 0.05
_CLEAR_STEP = 0.3
"""The second is asked of green against red and blue where no keyword names a mosaic."""
# A step counts from this many times its own standard error.
_SIGNIFICANT = 6.0
# The middle of the image, up to this side in pixels, is looked at.
_MIDDLE = 1200


@dataclass(frozen=True)
class ColorFilterArray:
    """Colours of the pixels of a mosaic.

    Parameters
    ----------
    pattern : str
        Letters of the filters, row by row from the pixel ``data[0, 0]``; empty if not known.
    """

    pattern: str

    @property
    def filters(self) -> NDArray[np.str_]:
        """The repeated block, (2, 2) for Bayer and (6, 6) for X-Trans."""
        side = _SIDES[len(self.pattern)]
        return np.array(list(self.pattern)).reshape(side, side)

    @property
    def is_rgb(self) -> bool:
        """Whether red, green and blue, and nothing else, are known to be in it."""
        return set(self.pattern) == set("RGB")


def parse_pattern(text: str) -> str:
    """Read a pattern as programs spell it.

    Parameters
    ----------
    text : str
        4 letters for Bayer, 36 for X-Trans; blanks and signs between them do not count.

    Returns
    -------
    str
        Capital letters.

    Raises
    ------
    InputError
        If it is no pattern.
    """
    letters = re.sub(r"[^A-Z]", "", str(text).upper())
    if len(letters) not in _SIDES or len(set(letters)) < 3 or not set(letters) <= _FILTERS:
        msg = (
            f"pattern={text!r} is no colour filter array; allowed are 4 letters of R, G, B such as "
            "'RGGB', and 36 for X-Trans, row by row from the first pixel"
        )
        raise InputError(msg)
    return letters


def find_cfa(meta: Mapping[str, Any], shape: tuple[int, ...]) -> ColorFilterArray | None:
    """Read from a header whether, and with which filters, an image is a mosaic.

    Parameters
    ----------
    meta : mapping or fits.Header
        Metadata of the image.
    shape : tuple of int
        Of the image; only two-dimensional ones can be mosaics.

    Returns
    -------
    ColorFilterArray or None
        In the order of the array; None where no keyword speaks of a mosaic.
    """
    if len(shape) != 2:
        return None
    for keyword in _PATTERN_KEYWORDS:
        try:
            letters = parse_pattern(meta.get(keyword, ""))
        except InputError:
            continue
        block = ColorFilterArray(letters).filters
        x = _offset(meta, "XBAYROFF", "BAYOFFX")
        y = _offset(meta, "YBAYROFF", "BAYOFFY")
        block = np.roll(block, (-y, -x), (0, 1))
        if str(meta.get("ROWORDER", "")).strip().upper().startswith("BOTTOM"):
            block = _turned(block, shape[0])
        return ColorFilterArray("".join(block.ravel()))
    trans = any("TRANS" in str(meta.get(key, "")).upper() for key in _PATTERN_KEYWORDS)
    if trans or meta.get("CFAIMAGE") in (True, "T", "TRUE"):
        return ColorFilterArray("")
    return None


def pattern_from_top(meta: Mapping[str, Any], shape: tuple[int, ...]) -> str:
    """Give the filters of a mosaic from the last row of its array on, the top of its display.

    Parameters
    ----------
    meta, shape
        As for `find_cfa`.

    Returns
    -------
    str
        Empty where the image is no mosaic, or its filters are not known.
    """
    cfa = find_cfa(meta, shape)
    if cfa is None or not cfa.pattern:
        return ""
    return "".join(_turned(cfa.filters, shape[0]).ravel())


def has_mosaic_steps(data: NDArray, cfa: ColorFilterArray) -> bool:
    """Whether the pixels behind different filters differ, as those of a raw mosaic do.

    Images that were binned or made grey may have kept the keywords of the mosaic they came from.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The image.
    cfa : ColorFilterArray
        The filters.

    Returns
    -------
    bool
        True for a mosaic.
    """
    side = _SIDES.get(len(cfa.pattern), 2)
    if min(data.shape) < 2 * side:
        return True
    means, errors, sigma = _steps(data, side)
    reach = float(means.max() - means.min())
    return reach > max(_FAINT_STEP * sigma, _SIGNIFICANT * float(errors.max()), 0.0)


def find_mosaic(meta: Mapping[str, Any], data: NDArray) -> ColorFilterArray | None:
    """Return the filters of a raw mosaic; None where the header or the pixels say it is none.

    Parameters
    ----------
    meta : mapping or fits.Header
        Metadata of the image.
    data : ndarray
        The image.
    """
    cfa = find_cfa(meta, data.shape)
    return cfa if cfa is not None and has_mosaic_steps(data, cfa) else None


def looks_like_mosaic(data: NDArray) -> bool:
    """Whether an image without keywords looks like a raw Bayer mosaic.

    Parameters
    ----------
    data : ndarray, shape (ny, nx)
        The image.

    Returns
    -------
    bool
        True where one diagonal of each 2 x 2 block, that of the green pixels, clearly differs from
        the other one, on which red and blue differ too. The chequered patterns of some cameras
        for one filter are the same on both diagonals.
    """
    if data.ndim != 2 or min(data.shape) < 32:
        return False
    # Sums of values near the end of float64 are infinite, and no pattern.
    with np.errstate(over="ignore", invalid="ignore"):
        means, errors, sigma = _steps(data, 2)
        if not sigma > 0:
            return False
        (a, b), (c, d) = means
        diagonals = abs(a + d - b - c) / 2
        green, red_and_blue = sorted((abs(a - d), abs(b - c)))
    significant = _SIGNIFICANT * float(errors.max())
    return bool(
        diagonals > max(_CLEAR_STEP * sigma, significant)
        and red_and_blue > max(_FAINT_STEP * sigma, significant)
        and green < red_and_blue / 4
    )


def _turned(block: NDArray[np.str_], ny: int) -> NDArray[np.str_]:
    """Turn the rows over: row r becomes row ny - 1 - r."""
    return np.roll(block, -ny, 0)[::-1]


def _offset(meta: Mapping[str, Any], *keywords: str) -> int:
    for keyword in keywords:
        value = meta.get(keyword)
        if isinstance(value, int | float) and np.isfinite(value):
            return int(value)
    return 0


def _steps(data: NDArray, side: int) -> tuple[NDArray, NDArray, float]:
    """Mean and its error of each place in the blocks, after the mean of each block, and sigma."""
    ny, nx = (min(n, _MIDDLE) // side * side for n in data.shape)
    top, left = ((n - m) // 2 // side * side for n, m in zip(data.shape, (ny, nx), strict=True))
    middle = data[top : top + ny, left : left + nx].astype(np.float64)
    blocks = middle.reshape(ny // side, side, nx // side, side).transpose(1, 3, 0, 2)
    places = blocks.reshape(side * side, -1)
    places = places[:, np.isfinite(places).all(0)]
    if places.shape[1] == 0:
        zeros = np.zeros((side, side))
        return zeros, zeros, 0.0
    steps = places - places.mean(0)
    centre = np.median(steps, 1, keepdims=True)
    sigma = MAD_TO_SIGMA * np.median(np.abs(steps - centre), 1, keepdims=True)
    kept = np.abs(steps - centre) <= 3 * sigma
    count = np.maximum(kept.sum(1), 1)
    means = np.where(kept, steps, 0).sum(1) / count
    errors = sigma[:, 0] / np.sqrt(count)
    return means.reshape(side, side), errors.reshape(side, side), float(np.median(sigma))
