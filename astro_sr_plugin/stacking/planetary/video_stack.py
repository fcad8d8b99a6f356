"""Stack the frames of a video of a planet, the Moon or the Sun."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from astropy import units as u
from astropy.io.fits import Header
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.table import Table

from astro_sr_plugin.data.cfa import CFA_KEYWORDS
from astro_sr_plugin.data.formats.header import clean_header, quiet
from astro_sr_plugin.data.provenance import add_keywords
from astro_sr_plugin.data.video.opening import VideoLike, open_video
from astro_sr_plugin.data.video.ser import ByteOrder
from astro_sr_plugin.data.video.source import Video
from astro_sr_plugin.exceptions import InputError, check_choice, warn
from astro_sr_plugin.stacking.planetary.combining import (
    Combined,
    PlanetCombination,
    Sums,
    clipped_mean,
    median_of,
)
from astro_sr_plugin.stacking.planetary.drizzling import SCALES, drizzle_video
from astro_sr_plugin.stacking.planetary.frames import AlignedFrame, FrameAligner
from astro_sr_plugin.stacking.planetary.rotation import warn_of_rotation
from astro_sr_plugin.stacking.planetary.selection import (
    PlanetWeights,
    check_keep,
    frame_weights,
    select_frames,
)
from astro_sr_plugin.stacking.planetary.survey import FrameRecord, Progress, make_table, survey

__all__ = ["PlanetaryResult", "VideoStack", "stack_planetary"]

_REFERENCE_SHARE = 0.1
"""Part of the frames, the best ones, of which the reference is made."""
_REFERENCE_FRAMES = (8, 32)
"""Fewest and most of them: fewer are noisy, more are blurred."""
_GEOMETRY_FRAMES = 64
"""Frames, spread over the video, whose mean displacement is taken as none: that of the best frames
alone bends the reference."""
_LEAST_CORRELATION = 0.2
"""Correlation with the reference, over that of the best frames, below which a frame shows something
else. It is low where frames are noisy."""
_SPLINE_NOISE = 1.57
"""Noise of values that are sampled at random places by interpolating quadratic B-splines, over that
of values that the splines also smooth: 0.863 over 0.550 of the noise of a pixel."""
_SMALLEST_SIDE = 16
"""Pixels of the shorter side of a frame."""
_THREADED_FRAME = 300_000
"""Values of a frame from which on several threads are faster than one (640 x 480 in one colour).
Of smaller frames, threads wait for each other between short steps: measured on two cores, 240 x 240
takes 0.49 s with two threads and 0.29 s with one, 480 x 480 1.04 and 0.96, 720 x 720 1.55 and
1.61."""


@dataclass(frozen=True)
class PlanetaryResult:
    """A stack of a video.

    Attributes
    ----------
    image : CCDData, shape (ny, nx) or (3, ny, nx)
        The stack, linear and not sharpened, with the standard deviation of its pixels from the
        scatter of the frames. Pixels that no frame covers are NaN and masked.
    table : astropy.table.Table
        One row per frame: crop, disc, brightness, quality, rank, shift, correlation, weight, and
        why it is not used.
    used : int
        Number of frames in the stack.
    reference : int
        The frame whose grid is kept.
    study : astropy.table.Table or None
        Sharpness and noise, before and after a fixed sharpening, against the number of frames; with
        ``study=True`` alone.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:48, :48]
    >>> planet = np.where(np.hypot(x - 24, y - 24) < 15, 100.0 + 20 * np.sin(x / 2), 0)
    >>> frames = planet + rng.normal(0, 2, (12, 48, 48))
    >>> result = asr.stack_planetary(frames)
    >>> result.used, result.image.shape, round(float(result.table["disc_radius"][0]))
    (12, (48, 48), 15)
    """

    image: CCDData
    table: Table
    used: int
    reference: int
    study: Table | None = None


def stack_planetary(
    source: VideoLike,
    *,
    keep: int | str | None = None,
    weights: PlanetWeights = "quality",
    points: Literal["auto", "off"] = "auto",
    combine: PlanetCombination = "mean",
    drizzle: float = 1.0,
    scale_to_largest: bool = False,
    study: bool = False,
    pattern: str | None = None,
    byteorder: ByteOrder = "auto",
    scratch: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> PlanetaryResult:
    """Stack the best frames of a video of a planet, the Moon or the Sun ("lucky imaging").

    The frames are ranked by the contrast of their structures and aligned as a whole, by the disc or
    by correlation. Then they are aligned at points in a grid against a stack of the best frames,
    and brought to its grid by one interpolation. Frames are read one by one. The rotation of a
    planet is not taken out.

    Parameters
    ----------
    source : str, Path, ndarray, NDData, Video, or a sequence of images
        The video, as in `open_video`.
    keep : int or str, optional
        Number of the best frames to stack, or their share, such as ``"20%"``; all by default.
    weights : {"quality", "none"}
        Weights of the frames that are kept.
    points : {"auto", "off"}
        Alignment points; ``"off"`` aligns frames as a whole.
    combine : {"mean", "median", "sigma"}
        ``"sigma"`` is the mean without values 3 standard deviations away from it. The median has no
        weights.
    drizzle : {1, 1.5, 2, 3}
        Pixels of the stack per pixel of a frame along an axis. Raw colour frames are drizzled
        colour by colour; at 1 they are debayered.
    scale_to_largest : bool
        Scale the discs of all frames to the largest one, by linear interpolation.
    study : bool
        Also measure stacks of the best 4, 6, 8, 11, 16, ... frames.
    pattern : str, optional
        Filters of raw colour frames such as ``"RGGB"``, where the file does not know them.
    byteorder : {"auto", "little", "big"}
        Order of the bytes in a SER file of more than 8 bits.
    scratch : str or Path, optional
        Folder for the frames of a median; that of the system for temporary files by default.
    jobs : int, optional
        Number of threads; by default that of the processors, or one for frames below 640 x 480
        pixels, where several are slower. It does not change the result.
    progress : callable, optional
        Called with the steps done and their number.

    Returns
    -------
    PlanetaryResult
        In units of the frames.

    Raises
    ------
    InputError
        If a parameter is not allowed, or no frame can be used.

    Examples
    --------
    >>> import numpy as np
    >>> import astro_sr_plugin as asr
    >>> rng = np.random.default_rng(1)
    >>> y, x = np.mgrid[:48, :48]
    >>> planet = np.where(np.hypot(x - 24, y - 24) < 15, 100.0 + 20 * np.sin(x / 2), 0)
    >>> frames = planet + rng.normal(0, 2, (12, 48, 48))
    >>> asr.stack_planetary(frames, keep=5).used
    5
    """
    check_keep(keep)
    check_choice("weights", weights, get_args(PlanetWeights))
    check_choice("combine", combine, get_args(PlanetCombination))
    check_choice("points", points, ("auto", "off"))
    if drizzle not in SCALES:
        allowed = ", ".join(f"{scale:g}" for scale in SCALES)
        msg = f"drizzle={drizzle!r} is not allowed; allowed are {allowed}"
        raise InputError(msg)
    if drizzle != 1 and combine != "mean":
        msg = f"combine={combine!r} is not possible with drizzle={drizzle:g}; allowed is mean"
        raise InputError(msg)
    video = open_video(source, pattern=pattern, byteorder=byteorder)
    work = VideoStack(video, points=points == "auto", scale_to_largest=scale_to_largest, jobs=jobs)
    work.look(progress)
    chosen = work.choose(keep, weights)
    if drizzle == 1:
        combined, scale = work.combine(chosen, combine, scratch, progress), 1.0
    else:
        half = _half_of(progress, 1, len(video))
        combined, scale = drizzle_video(work.aligner, video, chosen, drizzle, half), drizzle
        work.note_shifts(chosen)
    image = work.image(combined, scale, {"keep": keep, "weights": weights, "combine": combine})
    table = make_table(work.records, video.times)
    used = sum(record.weight > 0 for record in work.records)
    found = None
    if study:
        from astro_sr_plugin.stacking.planetary.study import study_counts

        found = study_counts(work.aligner, select_frames(work.records, None))
    return PlanetaryResult(image, table, used, work.home, found)


class VideoStack:
    """The steps from a video to its stack.

    Parameters
    ----------
    video : Video
        The frames.
    points : bool
        Use alignment points.
    scale_to_largest : bool
        Scale discs to the largest one.
    jobs : int, optional
        Number of threads.
    """

    def __init__(
        self, video: Video, *, points: bool, scale_to_largest: bool = False, jobs: int | None
    ) -> None:
        if min(video.shape[-2:]) < _SMALLEST_SIDE:
            sides = " x ".join(str(side) for side in video.shape[:-3:-1])
            msg = f"frames of {sides} pixels are too small; allowed are {_SMALLEST_SIDE} and more"
            raise InputError(msg)
        self.video = video
        self.records: list[FrameRecord] = []
        self.home = 0
        self._points = points
        self._scale_to_largest = scale_to_largest
        small = math.prod(video.shape) < _THREADED_FRAME
        self._jobs = 1 if jobs is None and small else jobs
        self.aligner: FrameAligner

    def look(self, progress: Progress | None = None) -> None:
        """Measure every frame, and make the reference of the best ones."""
        half = _half_of(progress, 0, len(self.video))
        self.records = survey(self.video, jobs=self._jobs, progress=half)
        best = select_frames(self.records, None)
        if not best:
            reasons = sorted({record.reason for record in self.records})
            msg = f"no frame of {self.video.name} can be used: {'; '.join(reasons[:3])}"
            raise InputError(msg)
        if len(best) == 1:
            warn(f"{self.video.name} has one usable frame, which is the result")
        self.home = best[0]
        self.aligner = FrameAligner(
            self.video,
            self.records,
            self.home,
            points=self._points,
            scale_to_largest=self._scale_to_largest,
            jobs=self._jobs,
        )
        for record in self.records:
            shift = self.aligner.shift_of_disc(record.number)
            if shift is not None:
                record.shift_x, record.shift_y = shift
        warn_of_rotation(self.video, self.aligner.home_disc)
        self._make_reference(best)

    def _make_reference(self, best: Sequence[int]) -> None:
        """Stack the best frames by their shifts, and then by the points of that stack."""
        _, plane = next(self.aligner.luminances(best[:1]))
        self.aligner.set_reference(plane)
        fewest, most = _REFERENCE_FRAMES
        number = min(len(best), max(fewest, min(most, round(_REFERENCE_SHARE * len(best)))))
        if number == 1:
            return
        for points in (False, True):
            sums = Sums((1, *self.video.shape[-2:]))
            found = []
            for frame in self.aligner.frames(best[:number], points=points, colours=False):
                sums.add(frame, 1.0)
                found.append(frame.shift.correlation)
            self.aligner.least_correlation = _LEAST_CORRELATION * float(np.median(found))
            self.aligner.set_reference(self.aligner.finished(sums.result().data[0]))
            if not self._points:
                return
        counting = list(self.choose(None, "quality"))
        number = min(len(counting), _GEOMETRY_FRAMES)
        spread = np.linspace(0, len(counting) - 1, number).round().astype(int)
        self.aligner.straighten(counting[k] for k in spread)

    def choose(self, keep: int | str | None, weights: PlanetWeights) -> dict[int, float]:
        """Return the weights of the frames that are stacked, by their numbers."""
        kept = select_frames(self.records, keep)
        values = frame_weights(np.array([self.records[n].quality for n in kept]), weights)
        for record in self.records:
            record.weight = 0.0
        return {n: float(weight) for n, weight in sorted(zip(kept, values, strict=True)) if weight}

    def aligned(
        self, chosen: dict[int, float], progress: Progress | None = None
    ) -> Iterator[tuple[AlignedFrame, float]]:
        """Yield aligned frames and their weights; those that show something else are left out."""
        for done, frame in enumerate(self.aligner.frames(list(chosen)), start=1):
            if progress is not None:
                progress(done, len(chosen))
            if self._note(frame.number, frame.shift.correlation, chosen):
                yield frame, chosen[frame.number]

    def _note(self, number: int, correlation: float, chosen: dict[int, float]) -> bool:
        record = self.records[number]
        shift = self.aligner.known_shift(number)
        record.shift_x, record.shift_y, record.correlation = shift.x, shift.y, correlation
        if not self.aligner.agrees(number, correlation):
            record.reason = "it does not agree with the reference"
            record.weight = 0.0
            return False
        record.weight = chosen[number]
        return True

    def note_shifts(self, chosen: dict[int, float]) -> None:
        """Note the shifts of frames that were drizzled."""
        for number in chosen:
            self._note(number, self.aligner.known_shift(number).correlation, chosen)

    def combine(
        self,
        chosen: dict[int, float],
        how: PlanetCombination = "mean",
        scratch: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> Combined:
        """Combine frames on the grid of the reference."""
        half = _half_of(progress, 1, len(self.video))
        if how == "median":
            folder = None if scratch is None else Path(scratch)
            combined = median_of(self.aligned(chosen, half), folder)
        else:
            colours = 3 if len(self.video.shape) == 3 or self.video.pattern else 1
            sums = Sums((colours, *self.video.shape[-2:]))
            for frame, weight in self.aligned(chosen, half):
                sums.add(frame, weight)
            combined = sums.result()
            if how == "sigma":
                combined = clipped_mean(lambda: self.aligned(chosen), sums)
        if self.aligner.linear:
            return combined
        data = np.stack([self.aligner.finished(plane) for plane in combined.data])
        return Combined(data.astype(np.float64), combined.error * _SPLINE_NOISE, combined.count)

    def image(self, combined: Combined, scale: float, parameters: dict[str, Any]) -> CCDData:
        """Make an image of a combination, with what is known about it."""
        empty = combined.count == 0
        data = combined.data.astype(np.float32)
        error = combined.error.astype(np.float32)
        data[:, empty] = np.nan
        # One frame has no scatter.
        error[:, combined.count < 2] = np.nan
        if len(data) == 1:
            data, error = data[0], error[0]
        header = self._header(scale, parameters)
        mask = np.broadcast_to(empty, data.shape).copy() if empty.any() else None
        uncertainty = StdDevUncertainty(error) if np.isfinite(error).any() else None
        return CCDData(data, unit=u.adu, mask=mask, uncertainty=uncertainty, meta=header)

    def _header(self, scale: float, parameters: dict[str, Any]) -> Header:
        header = clean_header(self.video.header)
        for keyword in CFA_KEYWORDS:
            header.remove(keyword, ignore_missing=True, remove_all=True)
        used = [record for record in self.records if record.weight > 0]
        with quiet():
            header["NCOMBINE"] = (len(used), "number of frames in the stack")
            header["STACKCNT"] = (len(used), "number of exposures in the stack")
            header["NFRAMES"] = (len(self.records), "number of frames in the video")
            header["REFFRAME"] = (self.records[self.home].name[:68], "frame whose grid is kept")
            header.setdefault("ROWORDER", "TOP-DOWN")
            if self.video.start is not None and "DATE-OBS" not in header:
                start = self.video.start
                if start.tzinfo is not None:
                    start = start.astimezone(UTC).replace(tzinfo=None)
                header["DATE-OBS"] = (start.isoformat(timespec="milliseconds"), "first frame, UTC")
            disc = self.aligner.home_disc
            if disc.found:
                middle = (scale - 1) / 2
                header["DISCX"] = (round(disc.x * scale + middle + 1, 3), "[pix] centre, from 1")
                header["DISCY"] = (round(disc.y * scale + middle + 1, 3), "[pix] centre, from 1")
                header["DISCR"] = (round(disc.radius * scale, 3), "[pix] radius of the disc")
        add_keywords(
            header,
            task="planetary",
            scale=scale if scale != 1 else None,
            parameters={
                "frames": len(self.records),
                "used": len(used),
                **parameters,
                "points": "auto" if self._points else "off",
            },
        )
        return header


def _half_of(progress: Progress | None, half: int, frames: int) -> Progress | None:
    """Report the progress of one half of the work, in units of the frames of the video."""
    if progress is None:
        return None

    def report(done: int, total: int) -> None:
        progress(half * frames + done * frames // total, 2 * frames)

    return report
