"""The frames of a series: which ones can be stacked together, and what is planned for them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from astro_sr_plugin.data.cfa import ColorFilterArray, find_cfa, has_mosaic_steps
from astro_sr_plugin.data.frame_header import FrameKind, read_frame_header
from astro_sr_plugin.data.frames import Frame, FrameImage, FrameSequence
from astro_sr_plugin.exceptions import ImageReadError, InputError
from astro_sr_plugin.stacking.calibration import CalibrationPlan, NamedHeader, plan_calibration

__all__ = [
    "CalibrationFrames",
    "Series",
    "StackPlan",
    "allow_open_files",
    "open_series",
    "plan_series",
]

_OTHER_FILES = 64
"""Open files of a process beside the frames."""
_PIXEL_SECONDS = 1.2e-6
"""Seconds for each pixel and colour of a frame on one core, to measure, resample and combine it."""
_GIGA = 1e9


@dataclass(frozen=True, eq=False)
class Series:
    """Frames of one size and one filter.

    Attributes
    ----------
    frames : dict of int to Frame
        Frames that can be stacked, by their numbers.
    names : list of str
        Of all frames given.
    left_out : dict of int to str
        Why others are left out.
    shape : tuple of int
        Shape (ny, nx) of the frames.
    planes : int
        Number of colours of the stack.
    cfa : ColorFilterArray or None
        Filters of the pixels, of raw frames of colour cameras.
    """

    frames: dict[int, Frame]
    names: list[str]
    left_out: dict[int, str]
    shape: tuple[int, int]
    planes: int
    cfa: ColorFilterArray | None


@dataclass(frozen=True)
class CalibrationFrames:
    """Calibration frames as a user gives them.

    Attributes
    ----------
    bias, dark, flat : list of images
        Of this kind, whatever their headers say.
    library : list of images
        Of the kinds that their headers, folders or names say.
    """

    bias: Sequence[FrameImage] = ()
    dark: Sequence[FrameImage] = ()
    flat: Sequence[FrameImage] = ()
    library: Sequence[FrameImage] = ()


@dataclass(frozen=True, eq=False)
class StackPlan:
    """What a stack would do.

    Attributes
    ----------
    series : Series
        The frames.
    calibration : CalibrationPlan
        Calibration of each of them, in their order.
    sources : dict of str to image
        Calibration frames by name.
    """

    series: Series
    calibration: CalibrationPlan
    sources: dict[str, FrameImage]

    def to_text(self) -> str:
        """Return the plan as lines for a person."""
        series = self.series
        ny, nx = series.shape
        first = next(iter(series.frames.values())).header
        words = [f"{len(series.frames)} frames of {nx} x {ny} pixels"]
        if first.exptime is not None:
            words.append(f"{first.exptime:g} s")
        if first.filter:
            words.append(f"filter {first.filter}")
        if series.cfa is not None:
            words.append(f"colour camera ({series.cfa.pattern})")
        lines = [", ".join(words)]
        lines += [
            f"left out: {os.path.basename(series.names[k])}: {why}"
            for k, why in sorted(series.left_out.items())
        ]
        lines.append(self.calibration.to_text())
        lines.append("reference: chosen by the stars of the frames")
        size = len(series.frames) * ny * nx * series.planes
        copied = sum(
            4 * ny * nx * series.planes for frame in series.frames.values() if not frame.is_mapped
        )
        lines.append(
            f"temporary files: {copied / _GIGA:.2g} GB" if copied else "temporary files: none"
        )
        lines.append(f"time: about {max(1, round(size * _PIXEL_SECONDS / 60))} min on one core")
        return "\n".join(lines)


def allow_open_files(count: int) -> None:
    """Let this process open a file for each of the frames.

    Raises
    ------
    InputError
        If the system does not allow as many.
    """
    try:
        import resource
    except ImportError:  # Windows allows enough
        return
    needed = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        msg = f"{count} frames need {needed} open files, but the system allows {hard} (ulimit -Hn)"
        raise InputError(msg)
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def open_series(frames: FrameSequence) -> Series:
    """Open the frames of a series, and leave out those that do not belong to it.

    Parameters
    ----------
    frames : FrameSequence
        The frames. Size, filter and binning of most of them count.

    Returns
    -------
    Series
        With at least one frame.

    Raises
    ------
    InputError
        If there is none.
    """
    opened: dict[int, Frame] = {}
    left_out: dict[int, str] = {}
    for number in range(len(frames)):
        try:
            opened[number] = frames[number]
        except (ImageReadError, InputError) as error:
            left_out[number] = str(error)
    for number in [k for k, frame in opened.items() if _fault(frame)]:
        left_out[number] = _fault(opened.pop(number))
    for what, value_of in (
        ("size", lambda f: "x".join(str(side) for side in f.shape[::-1])),
        ("filter", lambda f: f.header.filter),
        ("binning", lambda f: "x".join(str(n) for n in f.header.binning or ())),
    ):
        values = {number: value_of(frame) for number, frame in opened.items()}
        if not values:
            break
        # Of values that are equally frequent the first one counts.
        common = Counter(values.values()).most_common(1)[0][0]
        for number, value in values.items():
            if value != common:
                left_out[number] = (
                    f"its {what} is {value or 'unknown'}, that of the others {common}"
                )
                del opened[number]
    if not opened:
        reasons = "; ".join(f"{frames.names[k]}: {why}" for k, why in left_out.items())
        msg = f"no frame can be stacked ({reasons})" if reasons else "no frame is given"
        raise InputError(msg)
    first = next(iter(opened.values()))
    ny, nx = first.shape[-2:]
    cfa = find_cfa(first.meta, first.shape)
    if cfa is not None and not (cfa.is_rgb and has_mosaic_steps(first.rows(), cfa)):
        cfa = None
    planes = 3 if cfa is not None else first.shape[0] if len(first.shape) == 3 else 1
    return Series(opened, frames.names, left_out, (ny, nx), planes, cfa)


def plan_series(series: Series, calibration: CalibrationFrames) -> StackPlan:
    """Choose the calibration frames of a series.

    Parameters
    ----------
    series : Series
        The frames.
    calibration : CalibrationFrames
        What can be used.

    Returns
    -------
    StackPlan
        The plan.

    Raises
    ------
    InputError
        If frames that are given by kind do not match, or cannot be read.
    """
    headers: list[NamedHeader] = []
    sources: dict[str, FrameImage] = {}
    required: list[FrameKind] = []
    kinds: tuple[FrameKind, ...] = ("bias", "dark", "flat")
    for kind in kinds:
        given = getattr(calibration, kind)
        if given:
            required.append(kind)
            _collect(given, kind, headers, sources)
    _collect(calibration.library, "", headers, sources)
    lights = [(frame.name, frame.header) for frame in series.frames.values()]
    if headers and any(len(frame.shape) != 2 for frame in series.frames.values()):
        msg = "colour images cannot be calibrated; give the raw frames of the camera"
        raise InputError(msg)
    plan = plan_calibration(lights, headers, required=required)
    return StackPlan(series, plan, sources)


def _collect(
    images: Iterable[FrameImage],
    kind: FrameKind,
    headers: list[NamedHeader],
    sources: dict[str, FrameImage],
) -> None:
    frames = FrameSequence(images)
    for number, frame in enumerate(frames):
        is_file = isinstance(frames.image(number), str | os.PathLike)
        name = frame.name if is_file else f"{kind or 'calibration'} {frame.name}"
        header = replace(frame.header, kind=kind) if kind else frame.header
        headers.append((name, header))
        sources[name] = frames.image(number)


def _fault(frame: Frame) -> str:
    """Say why a frame is none of the lights by its header; empty if it is one."""
    kind = read_frame_header(frame.meta).kind
    return f"it is a {kind} frame" if kind not in ("", "light") else ""
