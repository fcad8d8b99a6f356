"""A generated file with what is known about it, and arrays of pixels to put into files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

__all__ = [
    "Case",
    "Draw",
    "chance",
    "damaged",
    "image_shapes",
    "pixels_of",
    "sky_image",
    "truncated",
]

#: The function that hypothesis hands to composite strategies.
Draw = Any

_STAR_FWHM_PIXELS = 3.0
# The share of the damage that goes to the header, and the bytes that say what a file is.
_IN_HEAD = 0.75
_SIGNATURE = 10


@dataclass(frozen=True)
class Case:
    """A file, and what reading it must give.

    Parameters
    ----------
    suffix : str
        Ending of the file name.
    content : bytes
        The file.
    note : str
        How it was made.
    hdu : int, optional
        The image to read.
    pixels : ndarray of float, optional
        Its physical values, shape (ny, nx) or (n, ny, nx), NaN where there is none; None where
        they are unknown. A file may be refused nevertheless, a truncated one for example.
    valid : bool
        Whether the file follows the rules of its format, so that it may not be refused.
    keywords : mapping
        Values that the header must have.
    comparable : bool
        Whether another reader gives the same pixels if `pixels` are unknown.
    beside : mapping of str to bytes
        Files that belong to it, of the same name, by their endings.
    """

    suffix: str
    content: bytes = field(repr=False)
    note: str
    hdu: int | None = None
    pixels: NDArray | None = field(default=None, repr=False)
    valid: bool = False
    keywords: Mapping[str, Any] = field(default_factory=dict)
    comparable: bool = True
    beside: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def write(self, path: Path) -> None:
        """Write the file, and those that belong to it."""
        path.write_bytes(self.content)
        for suffix, content in self.beside.items():
            path.with_suffix(suffix).write_bytes(content)


def image_shapes() -> st.SearchStrategy[tuple[int, ...]]:
    """Give shapes of small images: planes, colour, cubes, single rows and columns."""
    side = st.integers(1, 12)
    return st.one_of(
        st.sampled_from([(40, 48), (3, 32, 40)]),
        st.tuples(side, side),
        st.tuples(st.integers(1, 5), side, side),
    )


def sky_image(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Make stars on a noisy sky, values from about 80 to 5000."""
    y, x = np.indices(shape[-2:])
    plane = rng.normal(100, 5, shape)
    for _ in range(max(1, x.size // 150)):
        dx, dy = x - rng.uniform(0, shape[-1]), y - rng.uniform(0, shape[-2])
        plane += rng.uniform(50, 5000) * np.exp(
            -4 * np.log(2) * (dx**2 + dy**2) / _STAR_FWHM_PIXELS**2
        )
    return plane


@st.composite
def pixels_of(draw: Draw, dtype: str, shape: tuple[int, ...]) -> NDArray:
    """Make an array: stars, noise over the whole range, extreme values, or one value.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    dtype : str
        Integer or float type.
    shape : tuple of int
        Shape of the array.

    Returns
    -------
    ndarray of `dtype`
        Floats may hold NaN and infinite values.
    """
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    style = draw(st.sampled_from(["stars", "stars", "noise", "extremes", "constant"]))
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return _floats(draw, rng, style, kind, shape)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    if style == "stars":
        return np.clip(np.rint(sky_image(rng, shape)), low, min(high, 2**31)).astype(kind)
    if style == "noise":
        return rng.integers(low, high, shape, dtype=kind, endpoint=True)
    choices = [low, high, 0, 1] if style == "extremes" else [draw(st.sampled_from([0, 7, high]))]
    return np.array(choices, kind)[rng.integers(0, len(choices), shape)]


def _floats(
    draw: Draw, rng: np.random.Generator, style: str, kind: np.dtype, shape: tuple[int, ...]
) -> NDArray:
    top = float(np.finfo(kind).max)
    if style == "stars":
        data = sky_image(rng, shape) * draw(st.sampled_from([1.0, 1e-4, 1e-20, 1e30, -1.0]))
    elif style == "noise":
        data = rng.normal(0, 1, shape)
    else:
        choices = [0.0, -0.0, 1.0, top, -top, float(np.finfo(kind).tiny), 1e-45]
        if style == "constant":
            choices = [draw(st.sampled_from(choices))]
        data = np.array(choices)[rng.integers(0, len(choices), shape)]
    hole = draw(st.sampled_from([None, None, np.nan, np.inf, -np.inf]))
    if hole is not None:
        data[rng.random(shape) < draw(st.sampled_from([0.05, 0.5]))] = hole
    with np.errstate(over="ignore"):
        return data.astype(kind)


def chance(draw: Draw, share: float) -> bool:
    """Give True with this probability: the integers of hypothesis prefer the smallest ones.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    share : float
        0 to 1.

    Returns
    -------
    bool
    """
    return bool(_random(draw).random() < share)


def _random(draw: Draw) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**40)))


@st.composite
def damaged(draw: Draw, content: bytes, head: int) -> tuple[bytes, str]:
    """Overwrite, insert and move bytes of a file.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    content : bytes
        The file.
    head : int
        Number of bytes at its beginning that are hit most often; the first ones, which say what
        kind of file it is, are not hit.

    Returns
    -------
    content : bytes
        The damaged file.
    note : str
        What was done.
    """
    data = bytearray(content)
    rng = _random(draw)
    notes = []
    for _ in range(rng.integers(1, 4)):
        end = min(head, len(data)) if rng.random() < _IN_HEAD else len(data)
        place, other = rng.integers(_SIGNATURE, max(_SIGNATURE + 1, end), 2)
        how = rng.choice(["flip", "insert", "zero", "move"])
        if how == "flip":
            data[place : place + 1] = rng.bytes(1)
        elif how == "insert":
            data[place:place] = rng.bytes(rng.integers(1, 90))
        elif how == "zero":
            data[place : place + rng.integers(1, 200)] = b"\0"
        else:
            length = rng.integers(1, 80)
            data[other : other + length] = data[place : place + length]
        notes.append(f"{how} at {place}")
    return bytes(data), ", ".join(notes)


@st.composite
def truncated(draw: Draw, case: Case) -> Case:
    """Leave out the end of a file: it has to be refused, unless its pixels are all there.

    Parameters
    ----------
    draw : callable
        Given by hypothesis.
    case : Case
        The whole file.

    Returns
    -------
    Case
        The beginning of it.
    """
    length = int(_random(draw).integers(1, max(2, len(case.content))))
    note = f"{case.note}; first {length} bytes"
    return replace(case, content=case.content[:length], note=note, valid=False, keywords={})
