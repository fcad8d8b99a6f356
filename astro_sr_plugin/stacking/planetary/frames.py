"""Frames brought to the grid of the reference."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import ColorFilterArray
from astro_sr_plugin.data.debayer import interpolate_colours
from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.stacking.planetary.alignment import Reference, Shift
from astro_sr_plugin.stacking.planetary.disc import Disc
from astro_sr_plugin.stacking.planetary.filters import Plane, luminance
from astro_sr_plugin.stacking.planetary.sampling import Places, sharpen_spline
from astro_sr_plugin.stacking.planetary.survey import FrameRecord
from astro_sr_plugin.threads import map_in_order

__all__ = ["AlignedFrame", "FrameAligner"]

_LARGEST_SCALING = 1.5
"""Ratio of brightness or radius that is still brought to that of the others."""
_FIELD_BYTES = 2**26
"""Memory of the fields that are kept for a second use; further ones are measured again."""
_INVERSIONS = 2
"""Steps by which the field is turned around; each makes the error smaller by its gradient."""


@dataclass(frozen=True)
class AlignedFrame:
    """A frame on the grid of the reference.

    Attributes
    ----------
    number : int
        Of the frame.
    shift : Shift
        Against the reference.
    planes : ndarray of float32, shape (n, ny, nx)
        Its planes, smoothed by the sampling (see `sampling.sharpen_spline`).
    covered : ndarray of bool, shape (ny, nx)
        Where it has values.
    """

    number: int
    shift: Shift
    planes: NDArray[np.float32]
    covered: NDArray[np.bool_]


class FrameAligner:
    """Reads frames, and brings them to the grid of a reference.

    Parameters
    ----------
    video : Video
        The frames.
    records : list of FrameRecord
        What is known about them.
    home : int
        The frame whose grid is kept.
    points : bool
        Use alignment points.
    scale_to_largest : bool
        Scale discs to the largest one, by linear interpolation.
    jobs : int, optional
        Number of threads.
    """

    def __init__(
        self,
        video: Video,
        records: list[FrameRecord],
        home: int,
        *,
        points: bool,
        scale_to_largest: bool = False,
        jobs: int | None = None,
    ) -> None:
        self._video = video
        self._records = records
        self.home = home
        self._home = records[home]
        self._points = points
        self._jobs = jobs
        self.linear = scale_to_largest
        usable = [record for record in records if not record.reason]
        self.level = float(np.median([record.brightness for record in usable]))
        radii = [record.disc.radius for record in usable if record.disc.found]
        self._radius = max(radii) if scale_to_largest and radii else None
        self._shifts: dict[int, Shift] = {}
        self._known: dict[int, Shift] = {}
        self.least_correlation = 0.0
        self.reference: Reference | None = None

    @property
    def home_disc(self) -> Disc:
        """The disc of the frame whose grid is kept."""
        return self._home.disc

    def set_reference(self, plane: Plane) -> None:
        """Take a plane on the grid as the reference; shifts are measured anew."""
        self.reference = Reference(plane)
        self._shifts.clear()

    def straighten(self, numbers: Iterable[int]) -> None:
        """Move the reference to the mean place that it has in the frames."""
        assert self.reference is not None
        shifts = {n: shift for n, _, shift in self.raw_frames(list(numbers))}
        fields = [shift.field for shift in shifts.values() if shift.field is not None]
        if not fields:
            return
        mean = np.mean(fields, axis=0)
        plane = self.reference.plane
        places = self.reference.places(Shift(0.0, 0.0, 1.0, -mean))
        old = self.reference
        self.set_reference(sharpen_spline(Places(*places, plane.shape).sample(plane)))
        # These frames need not be measured again.
        self._shifts = {n: old.straightened(shift, mean) for n, shift in shifts.items()}

    def luminances(self, numbers: Sequence[int]) -> Iterator[tuple[int, Plane]]:
        """Read the luminance of frames."""
        for number, frame in self._video.frames(numbers):
            yield number, luminance(frame, self._video.pattern)

    def frames(
        self, numbers: Sequence[int], *, points: bool | None = None, colours: bool = True
    ) -> Iterator[AlignedFrame]:
        """Align frames, in their order.

        Parameters
        ----------
        numbers : sequence of int
            The frames.
        points : bool, optional
            Use alignment points; as set by default.
        colours : bool
            All planes, else the luminance alone.

        Yields
        ------
        AlignedFrame
        """
        use_points = self._points if points is None else points

        def align(item: tuple[int, NDArray]) -> AlignedFrame:
            number, frame = item
            shift = self.shift_of(number, frame, points=use_points)
            places = self.places(number, shift)
            planes = self._planes(frame) if colours else luminance(frame, self._video.pattern)[None]
            return self._sampled(number, shift, places, planes)

        yield from map_in_order(align, self._video.frames(numbers), self._jobs)

    def raw_frames(self, numbers: Sequence[int]) -> Iterator[tuple[int, NDArray, Shift]]:
        """Read frames as they are stored, with their shifts."""

        def measure(item: tuple[int, NDArray]) -> tuple[int, NDArray, Shift]:
            number, frame = item
            return number, frame, self.shift_of(number, frame, points=self._points)

        yield from map_in_order(measure, self._video.frames(numbers), self._jobs)

    def shift_of(self, number: int, frame: NDArray, *, points: bool) -> Shift:
        """Measure the shift of a frame, once as long as the fields need little memory."""
        assert self.reference is not None
        if number not in self._shifts:
            plane = luminance(frame, self._video.pattern)
            zoom = self.zoom(number)
            if zoom != 1:
                x, y = self._zoomed(number, zoom)
                shape: tuple[int, int] = plane.shape  # type: ignore[assignment]
                plane = Places(x, y, shape, linear=True).sample(plane)
                near: tuple[float, float] | None = (0.0, 0.0)
            else:
                near = self.shift_of_disc(number)
            shift = self.reference.find_shift(plane, points=points, near=near)
            self._known[number] = replace(shift, field=None)
            if shift.field is not None and len(self._shifts) * shift.field.nbytes > _FIELD_BYTES:
                return shift
            self._shifts[number] = shift
        return self._shifts[number]

    def places(self, number: int, shift: Shift) -> tuple[Plane, Plane]:
        """Return the coordinates x and y in a frame of each pixel of the reference."""
        assert self.reference is not None
        zoom = self.zoom(number)
        if zoom == 1:
            return self.reference.places(shift)
        return self._zoomed(number, zoom, self.reference.places(shift))

    def inverse_places(self, number: int, shift: Shift) -> tuple[Plane, Plane]:
        """Return the coordinates x and y on the grid of the reference of each pixel of a frame."""
        x, y = self.places(number, shift)
        ny, nx = x.shape
        rows, columns = np.mgrid[:ny, :nx].astype(np.float32)
        dx, dy = (np.asarray(part, np.float32) for part in (x - columns, y - rows))
        u, v = (np.asarray(part, np.float32) for part in (columns - dx, rows - dy))
        for _ in range(_INVERSIONS):
            sampler = Places(u, v, (ny, nx), linear=True)
            u = np.asarray(columns - sampler.sample(dx))
            v = np.asarray(rows - sampler.sample(dy))
        return u, v

    def agrees(self, number: int, correlation: float) -> bool:
        """Whether a frame shows what the reference shows."""
        return number == self.home or correlation >= self.least_correlation

    def known_shift(self, number: int) -> Shift:
        """Return the shift, without the field, of a frame that was aligned before."""
        return self._known[number]

    def zoom(self, number: int) -> float:
        """Return the radius of the largest disc over that of a frame; 1 where it is not used."""
        disc = self._records[number].disc
        if self._radius is None or not disc.found:
            return 1.0
        ratio = self._radius / disc.radius
        return ratio if ratio < _LARGEST_SCALING else 1.0

    def gain(self, number: int) -> float:
        """Return the factor that brings a disc to the typical brightness."""
        record = self._records[number]
        if not record.disc.found:
            return 1.0
        ratio = self.level / record.brightness
        return ratio if 1 / _LARGEST_SCALING < ratio < _LARGEST_SCALING else 1.0

    def shift_of_disc(self, number: int) -> tuple[float, float] | None:
        """Return by how much the disc of a frame is shifted; None if there is none."""
        disc, home = self._records[number].disc, self._home.disc
        if not (disc.found and home.found):
            return None
        return disc.x - home.x, disc.y - home.y

    def _zoomed(
        self,
        number: int,
        zoom: float,
        places: tuple[Plane, Plane] | None = None,
    ) -> tuple[Plane, Plane]:
        """Shrink distances from the centre of the disc."""
        disc, home = self._records[number].disc, self._home.disc
        ny, nx = self._video.shape[-2:]
        if places is None:
            y, x = np.mgrid[:ny, :nx].astype(np.float32)
        else:
            x, y = places
        return (
            ((x - np.float32(home.x)) / np.float32(zoom) + np.float32(disc.x)).astype(np.float32),
            ((y - np.float32(home.y)) / np.float32(zoom) + np.float32(disc.y)).astype(np.float32),
        )

    def _planes(self, frame: NDArray) -> NDArray[np.float32]:
        values = frame.astype(np.float32)
        if self._video.pattern:
            return interpolate_colours(values, ColorFilterArray(self._video.pattern).filters)
        return values if values.ndim == 3 else values[None]

    def _sampled(
        self,
        number: int,
        shift: Shift,
        places: tuple[Plane, Plane],
        planes: NDArray[np.float32],
    ) -> AlignedFrame:
        shape: tuple[int, int] = planes.shape[-2:]  # type: ignore[assignment]
        sampler = Places(*places, shape, linear=self.linear)
        covered = sampler.inside
        if not np.isfinite(planes.sum()):
            bad = ~np.isfinite(planes).all(axis=0)
            covered = covered & (sampler.sample(np.asarray(bad, np.float32)) < 1e-3)
            planes = np.where(bad, np.float32(0), planes)
        gain = np.float32(self.gain(number))
        sampled = np.stack([sampler.sample(np.asarray(plane)) for plane in planes])
        if gain != 1:
            sampled *= gain
        return AlignedFrame(number, shift, sampled, covered)

    def finished(self, plane: NDArray[np.floating]) -> Plane:
        """Undo the smoothing of the sampling in a mean of frames."""
        return np.asarray(plane, np.float32) if self.linear else sharpen_spline(plane)
