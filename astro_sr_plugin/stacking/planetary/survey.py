"""The first look at every frame: disc, crop, brightness and quality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.stacking.planetary.crop import Crop, find_crop
from astro_sr_plugin.stacking.planetary.disc import Disc, find_disc
from astro_sr_plugin.stacking.planetary.filters import (
    BAND_NOISE,
    Plane,
    band_pass,
    binned,
    luminance,
    noise_variance,
    quantile,
    smooth,
)
from astro_sr_plugin.threads import map_in_order

__all__ = ["FrameRecord", "Progress", "make_table", "measure_quality", "survey"]

Progress = Callable[[int, int], object]

_PROBES = 9
"""Frames spread over the video that decide whether it shows a disc."""
_INNER = 0.85
"""Part of the radius inside of which the quality is measured: the limb would outweigh the rest."""
_MARGIN = 8
"""Pixels around the disc, and at the edges of a surface, that the band-pass needs."""
_FLOOR = 0.05
"""Part of the frame that is darker than what is taken as the sky around a disc."""
_SPARSE = 4
"""Every so manieth row and column gives the sky."""
_CENTROID_SIDE = 100
"""Most pixels of the longer side of the plane whose centroid is taken."""
_OVERHANG = 0.5
"""Pixels by which a disc may reach beyond the frame."""
_LARGEST_PLANE = 700
"""Pixels of the longer side above which a surface is measured in means of 2 x 2 pixels or more."""


@dataclass
class FrameRecord:
    """What is known about a frame.

    Attributes
    ----------
    number : int
        From 0.
    name : str
        Number or file.
    disc : Disc
        Its disc; without one where the video shows a surface.
    crop : Crop or None
        Box of what is bright.
    brightness : float
        Mean of the disc above the sky, or of the surface, in units of the frames.
    quality : float
        Variance of the structures of 4 to 12 pixels over the square of the brightness, without the
        part of the noise. It is proportional to the square of the contrast that the seeing leaves.
    shift_x, shift_y : float
        Shift against the reference in pixels: that of the disc until the frame is aligned, or NaN.
    correlation : float
        With the reference.
    weight : float
        In the stack; 0 where it is not used.
    reason : str
        Why the frame cannot be used; empty if it can.
    """

    number: int
    name: str
    disc: Disc = field(default_factory=lambda: Disc(reason="not looked for"))
    crop: Crop | None = None
    brightness: float = 0.0
    quality: float = 0.0
    shift_x: float = np.nan
    shift_y: float = np.nan
    correlation: float = np.nan
    weight: float = 0.0
    reason: str = ""


def survey(
    video: Video, *, jobs: int | None = None, progress: Progress | None = None
) -> list[FrameRecord]:
    """Look at every frame of a video.

    Parameters
    ----------
    video : Video
        The frames.
    jobs : int, optional
        Number of threads.
    progress : callable, optional
        Called with the frames done and their number.

    Returns
    -------
    list of FrameRecord
        One per frame. Frames that are blank, or in which the planet is cut off or missing, have a
        reason.
    """
    like, centroid = _probe(video)

    def look(item: tuple[int, NDArray]) -> FrameRecord:
        number, frame = item
        record = FrameRecord(number, video.frame_name(number))
        _measure(record, luminance(frame, video.pattern), like, centroid)
        return record

    records = [FrameRecord(n, video.frame_name(n), reason="unread") for n in range(len(video))]
    for done, record in enumerate(map_in_order(look, video.frames(), jobs), start=1):
        records[record.number] = record
        if progress is not None:
            progress(done, len(video))
    for record in records:
        if record.reason == "unread":
            record.reason = video.faults.get(record.number, "it could not be read")
    _leave_out_cut_discs(records, video.shape[-2:])
    return records


def _probe(video: Video) -> tuple[Disc | None, tuple[float, float]]:
    """Find the typical disc in some frames, and where its light has its centre; None if none."""
    numbers = np.unique(np.linspace(0, len(video) - 1, _PROBES).round().astype(int))
    found: list[tuple[Disc, tuple[float, float]]] = []
    looked = 0
    for _, frame in video.frames([int(number) for number in numbers]):
        plane = luminance(frame, video.pattern)
        if np.ptp(plane) == 0:
            continue
        looked += 1
        disc = find_disc(plane)
        if disc.found:
            found.append((disc, _centroid(plane)))
    if 2 * len(found) <= looked:
        return None, (0.0, 0.0)
    found.sort(key=lambda pair: pair[0].radius)
    disc, centre = found[len(found) // 2]
    oblateness, angle = _typical_shape([disc for disc, _ in found])
    offset = centre[0] - disc.x, centre[1] - disc.y
    return replace(disc, oblateness=oblateness, angle=angle), offset


def _typical_shape(discs: list[Disc]) -> tuple[float, float]:
    """Return the median oblateness and angle of the discs where they were measured."""
    angles = np.deg2rad([2 * disc.angle for disc in discs])
    sizes = np.array([disc.oblateness for disc in discs])
    measured = sizes > 0
    if not measured.any():
        return 0.0, 0.0
    # The angle of an axis counts twice, so that opposite directions are one.
    x, y = (np.median((sizes * wave(angles))[measured]) for wave in (np.cos, np.sin))
    return float(np.hypot(x, y)), float(np.rad2deg(np.arctan2(y, x)) / 2)


def _centroid(plane: Plane) -> tuple[float, float]:
    """Return the centre of what is brighter than half of the brightest, in a coarse plane."""
    factor = -(-max(plane.shape) // _CENTROID_SIDE)
    small = smooth(binned(plane, factor))
    low, high = quantile(small, 0.1), quantile(small, 0.995)
    y, x = np.nonzero(small >= (low + high) / 2)
    shift = (factor - 1) / 2
    return float(x.mean() * factor + shift), float(y.mean() * factor + shift)


def _measure(
    record: FrameRecord, plane: Plane, like: Disc | None, offset: tuple[float, float]
) -> None:
    if not np.ptp(plane) > 0:
        record.reason = "it is blank"
        return
    if like is None:
        factor = -(-max(plane.shape) // _LARGEST_PLANE)
        part = binned(plane, factor)
        record.brightness, record.quality = measure_quality(part, None, 0.0)
    else:
        x, y = _centroid(plane)
        disc = find_disc(plane, like=like, near=(x - offset[0], y - offset[1]))
        record.disc = disc
        record.crop = find_crop(plane)
        if not disc.found:
            record.reason = disc.reason
            return
        sky = quantile(plane[::_SPARSE, ::_SPARSE], _FLOOR)
        reach = int(disc.radius) + _MARGIN
        left, top = max(0, round(disc.x) - reach), max(0, round(disc.y) - reach)
        box = plane[top : round(disc.y) + reach + 1, left : round(disc.x) + reach + 1]
        y2, x2 = np.ogrid[: box.shape[0], : box.shape[1]]
        square = (x2 + left - disc.x) ** 2 + (y2 + top - disc.y) ** 2
        inside = square < (_INNER * disc.radius * (1 - disc.oblateness)) ** 2
        record.brightness, record.quality = measure_quality(box, inside, sky)
    if not record.brightness > 0:
        record.reason = "it is blank"


def measure_quality(
    plane: Plane, inside: NDArray[np.bool_] | None, sky: float
) -> tuple[float, float]:
    """Measure brightness and quality of a plane.

    Parameters
    ----------
    plane : ndarray of float32, shape (ny, nx)
        Luminance.
    inside : ndarray of bool, optional
        The pixels that count; all but the edges by default.
    sky : float
        Level without light.

    Returns
    -------
    brightness, quality : float
        As in `FrameRecord`; 0 for a dark plane.
    """
    bands = band_pass(plane)
    if inside is None:
        edge = min(_MARGIN, min(plane.shape) // 4)
        part = np.s_[edge : plane.shape[0] - edge, edge : plane.shape[1] - edge]
        bands, values = bands[part], plane[part]
        power, brightness = float(np.mean(np.square(bands))), float(values.mean()) - sky
    else:
        number = np.count_nonzero(inside)
        if number == 0:
            return 0.0, 0.0
        share = inside.astype(np.float32)
        power = float(np.einsum("ij,ij,ij->", bands, bands, share)) / number
        brightness = float(np.einsum("ij,ij->", plane, share)) / number - sky
        values = plane
    if not brightness > 0:
        return 0.0, 0.0
    power -= BAND_NOISE * noise_variance(values)
    return brightness, max(power, 0.0) / brightness**2


def _leave_out_cut_discs(records: list[FrameRecord], shape: tuple[int, ...]) -> None:
    """Leave out frames whose disc is cut off, unless most of them are like that."""
    ny, nx = shape
    found = [record for record in records if record.disc.found]
    beyond = [record for record in found if record.disc.overhang((ny, nx)) > _OVERHANG]
    if 2 * len(beyond) > len(found):
        return
    for record in beyond:
        record.reason = "the disc is cut off by the edge of the frame"


def make_table(records: list[FrameRecord], times: NDArray | None = None) -> Table:
    """Make the table of the frames.

    Parameters
    ----------
    records : list of FrameRecord
        The frames.
    times : ndarray of datetime64, optional
        When they were taken.

    Returns
    -------
    astropy.table.Table
        One row per frame; coordinates in pixels from 0.
    """

    def column(value: Callable[[FrameRecord], Any], digits: int = 3) -> NDArray:
        return np.round(np.array([value(record) for record in records], float), digits)

    table = Table()
    table["frame"] = [record.number for record in records]
    table["name"] = [record.name for record in records]
    if times is not None:
        table["time"] = [str(moment) for moment in times]
    for name in ("left", "top", "right", "bottom"):
        edges = [record.crop and getattr(record.crop, name) for record in records]
        table[f"crop_{name}"] = np.round(np.array(edges, float), 1)
    for name in ("x", "y", "radius", "oblateness"):
        values = [getattr(record.disc, name) if record.disc.found else None for record in records]
        table[f"disc_{name}"] = np.round(np.array(values, float), 3)
    table["brightness"] = column(lambda record: record.brightness)
    table["quality"] = [float(f"{record.quality:.5g}") for record in records]
    order = np.argsort([-record.quality for record in records], kind="stable")
    rank = np.empty(len(records), int)
    rank[order] = np.arange(1, len(records) + 1)
    table["rank"] = rank
    table["shift_x"] = column(lambda record: record.shift_x)
    table["shift_y"] = column(lambda record: record.shift_y)
    table["correlation"] = column(lambda record: record.correlation)
    table["weight"] = column(lambda record: record.weight, 5)
    table["used"] = [record.weight > 0 for record in records]
    table["reason"] = [record.reason for record in records]
    return table
