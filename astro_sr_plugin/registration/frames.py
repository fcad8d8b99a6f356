"""Frames by their stars: what is seen in each, which fits which, and the best reference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.table import Table
from astropy.wcs import WCS

from astro_sr_plugin.data.nddata import HDUChoice, Image, unpack
from astro_sr_plugin.exceptions import AstroSRError, InputError, warn
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.registration.detection import list_stars
from astro_sr_plugin.registration.matching import Match, match_stars
from astro_sr_plugin.registration.projection import is_celestial
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.registration.world import transform_between

__all__ = [
    "Frame",
    "Run",
    "as_table",
    "choose_reference",
    "hdu_of",
    "in_turn",
    "look_at",
    "match_all",
    "open_frame",
    "solve",
]

_CANDIDATES = 5
"""Frames that are tried as the reference."""
_HALF = 0.5
"""Part of the most stars that a reference shows at least, and of the frames that it must bring
together."""
_CENTRAL = 0.25
"""Distance, in widths of the frame, from the middle of all frames within which a reference lies."""
_FEWEST_TO_CHECK = 5
"""Stars with which world coordinates that they contradict are wrong."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What is known of a frame: its stars and world coordinates, or why nothing is."""

    name: str
    stars: Table | None
    wcs: WCS | None
    fault: str = ""

    @property
    def n_stars(self) -> int:
        """Number of its stars."""
        return 0 if self.stars is None else len(self.stars)

    @property
    def fwhm(self) -> float:
        """Typical FWHM of its stars in pixels; NaN without stars."""
        return np.nan if self.stars is None else float(self.stars.meta.get("fwhm", np.nan))


def open_frame(
    image: Image | Table, name: str, hdu: HDUChoice, measured: Quality | None = None
) -> Frame:
    """Find the stars of an image, unless it is a table of them.

    Raises
    ------
    InputError
        If the image cannot be read or used, or is not the one that was measured.
    """
    if isinstance(image, Table):
        return Frame(name, image, None)
    parts = unpack(image, hdu=hdu)
    planes = () if measured is None else measured.planes_of(parts)
    return Frame(name, list_stars(parts, measured=planes), parts.wcs)


def hdu_of(image: Image, hdu: HDUChoice) -> HDUChoice:
    """Return the choice of an image for files, and none for images in memory."""
    return hdu if isinstance(image, str | os.PathLike) else None


def look_at(image: Image, number: int, hdu: HDUChoice, measured: Quality | None = None) -> Frame:
    """Find the stars of a frame; one that cannot be read has a fault."""
    name = f"frame {number}"
    if isinstance(image, str | os.PathLike):
        name = os.path.basename(os.fspath(image))
    try:
        return open_frame(image, name, hdu_of(image, hdu), measured)
    except AstroSRError as error:
        return Frame(name, None, None, str(error))


def solve(
    frame: Frame,
    reference: Frame,
    *,
    scale: tuple[float, float],
    mirror: bool,
    use_wcs: bool,
    model: str,
) -> Transform | str:
    """Find the transform of a frame, or say why there is none."""
    assert frame.stars is not None
    assert reference.stars is not None
    prior = _by_world(frame, reference) if use_wcs else None
    match: Match | None = None
    if prior is not None:
        match = match_stars(frame.stars, reference.stars, prior=prior)
    if match is None or match.reason:
        match = match_stars(frame.stars, reference.stars, scale=scale, mirror=mirror)
    if not match.reason:
        try:
            return match.fit(model)
        except InputError as error:
            return str(error)
    if prior is not None and min(frame.n_stars, reference.n_stars) < _FEWEST_TO_CHECK:
        warn(
            f"{frame.name} shows too few stars to check its world coordinates, by which it is "
            "registered"
        )
        return prior
    return match.reason


def _by_world(frame: Frame, reference: Frame) -> Transform | None:
    if not (is_celestial(frame.wcs) and is_celestial(reference.wcs)):
        return None
    assert frame.wcs is not None
    assert reference.wcs is not None
    assert frame.stars is not None
    assert reference.stars is not None
    shapes = frame.stars.meta["shape"], reference.stars.meta["shape"]
    return transform_between(frame.wcs, reference.wcs, *shapes)


Run = Callable[[Callable[..., Any], tuple[Any, ...], list[int]], Iterable[tuple[int, Any]]]
"""Calls a function with the parts of a job and each of some numbers; gives numbers and results."""


def in_turn(
    function: Callable[..., Any], job: tuple[Any, ...], numbers: list[int]
) -> Iterator[tuple[int, Any]]:
    """Call a function for one number after the other."""
    for number in numbers:
        yield number, function(*job, number)


def match_all(
    frames: Sequence[Frame], target: Frame, settings: dict[str, Any], run: Run = in_turn
) -> dict[int, Transform | str]:
    """Find the transforms of all frames to one, or why they have none."""
    found: dict[int, Transform | str] = {}
    others: list[int] = []
    for number, frame in enumerate(frames):
        if frame is target and frame.stars is not None:
            found[number] = Transform.identity(frame.stars.meta["shape"])
        elif frame.stars is None:
            found[number] = frame.fault
        else:
            others.append(number)
    found |= run(_solve_one, (list(frames), target, settings), others)
    return dict(sorted(found.items()))


def _solve_one(
    frames: list[Frame], target: Frame, settings: dict[str, Any], number: int
) -> Transform | str:
    return solve(frames[number], target, **settings)


def choose_reference(
    frames: Sequence[Frame], settings: dict[str, Any], run: Run = in_turn
) -> tuple[int, dict[int, Transform | str]]:
    """Take the best frame that brings half of all together and lies near their middle."""
    most = max(frame.n_stars for frame in frames)
    usable = [k for k, f in enumerate(frames) if f.n_stars >= max(1, _HALF * most)]
    if not usable:
        named = "; ".join(f"{f.name}: {f.fault or 'it shows no star'}" for f in frames)
        msg = f"no frame can be the reference ({named})"
        raise InputError(msg)

    def score(number: int) -> float:
        """FWHM, the larger the fewer stars there are: that of Siril's choice."""
        frame = frames[number]
        return frame.fwhm * (1 + 2 * (most - frame.n_stars) / most)

    best: tuple[int, dict[int, Transform | str]] | None = None
    count = 0
    for number in sorted(usable, key=lambda k: (score(k), k))[:_CANDIDATES]:
        found = match_all(frames, frames[number], settings, run)
        transforms = [t for t in found.values() if isinstance(t, Transform)]
        shifts = np.array([t.shift for t in transforms])
        away = float(np.hypot(*np.median(shifts, axis=0)))
        enough = len(transforms) >= max(2, _HALF * len(frames))
        if enough and away <= _CENTRAL * transforms[0].reference_shape[1]:
            return number, found
        if len(transforms) > count:
            best, count = (number, found), len(transforms)
    assert best is not None
    return best


_UNITS = {"fwhm": "pix", "shift_x": "pix", "shift_y": "pix", "rotation": "deg", "residual": "pix"}
"""Units of the columns of the table."""


def as_table(frames: Sequence[Frame], found: dict[int, Transform | str]) -> Table:
    """List what was found, a row for each frame, as `Registration` describes."""
    rows = []
    for number, frame in enumerate(frames):
        known = found[number]
        moved = known if isinstance(known, Transform) else None
        dx, dy = (np.nan, np.nan) if moved is None else moved.shift
        rows.append(
            {
                "frame": frame.name,
                "registered": moved is not None,
                "stars": frame.n_stars,
                "fwhm": frame.fwhm,
                "shift_x": dx,
                "shift_y": dy,
                "rotation": np.nan if moved is None else moved.rotation,
                "scale": np.nan if moved is None else moved.scale,
                "mirrored": moved is not None and moved.mirrored,
                "model": "" if moved is None else moved.model,
                "pairs": 0 if moved is None else moved.n_pairs,
                "residual": np.nan if moved is None else moved.residual,
                "probability": np.nan if moved is None else moved.probability,
                "reason": known if isinstance(known, str) else "",
            }
        )
    table = Table(rows=rows)
    for name, unit in _UNITS.items():
        table[name].unit = unit
    return table
