"""Which bias, dark and flat frames belong to which lights."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from astro_sr_plugin.data.frame_header import FrameHeader, FrameKind
from astro_sr_plugin.exceptions import InputError

__all__ = ["Calibration", "CalibrationPlan", "CalibrationSet", "NamedHeader", "plan_calibration"]

NamedHeader = tuple[str, FrameHeader]
"""Name of a frame, and what its header says."""

_KINDS = ("bias", "dark", "flat", "darkflat")
_EXPOSURE_TOLERANCE, _EXPOSURE_STEP = 0.02, 0.05
"""Difference of exposure times that does not count: a fraction, and seconds at least."""
_TEMPERATURE_TOLERANCE, _TEMPERATURE_LIMIT = 2.0, 5.0
"""Differences of temperature in degrees that do not count, and up to which a dark is used with a
note; a dark current doubles about every 6 degrees."""
_ROTATOR_TOLERANCE = 1.0
"""Difference of the angles of a rotator in degrees that does not count."""
_NIGHT = 12 * 3600.0
"""Seconds between two flats of one night, at most."""


@dataclass(frozen=True)
class CalibrationSet:
    """Calibration frames that are combined into one.

    Attributes
    ----------
    kind : {"bias", "dark", "flat", "darkflat"}
        What they are.
    names : tuple of str
        The frames.
    header : FrameHeader
        Of the first.
    """

    kind: FrameKind
    names: tuple[str, ...]
    header: FrameHeader

    @property
    def title(self) -> str:
        """Name of the first file without its folder."""
        return os.path.basename(self.names[0])

    def describe(self) -> str:
        """Return number, first name and settings, for a person."""
        header, words = self.header, []
        if header.exptime is not None and self.kind != "bias":
            words.append(f"{header.exptime:g} s")
        if header.temperature is not None:
            words.append(f"{header.temperature:g} °C")
        if header.gain is not None:
            words.append(f"gain {header.gain:g}")
        if header.filter and self.kind == "flat":
            words.append(f"filter {header.filter}")
        many = len(self.names)
        text = f"{many} frames from {self.title}" if many > 1 else self.title
        return f"{text} ({', '.join(words)})" if words else text


@dataclass(frozen=True)
class Calibration:
    """What is done to one light.

    Attributes
    ----------
    bias, dark, flat : CalibrationSet or None
        What is subtracted, and what it is divided by. A dark of the same exposure time holds the
        bias, which is not subtracted twice.
    flat_dark : CalibrationSet or None
        What is subtracted from the flat: a dark of its exposure time, or the bias.
    dark_scale : float
        Exposure time of the light over that of the dark; 1 within the tolerance.
    """

    bias: CalibrationSet | None = None
    dark: CalibrationSet | None = None
    flat: CalibrationSet | None = None
    flat_dark: CalibrationSet | None = None
    dark_scale: float = 1.0

    def steps(self) -> list[str]:
        """Return one line for each step, for a person."""
        lines = []
        if self.bias is not None and (self.dark is None or self.dark_scale != 1):
            lines.append(f"bias: {self.bias.describe()}")
        if self.dark is not None:
            scaled = f", scaled by {self.dark_scale:.4g}" if self.dark_scale != 1 else ""
            lines.append(f"dark: {self.dark.describe()}{scaled}")
        if self.flat is not None:
            less = "" if self.flat_dark is None else f", less {self.flat_dark.describe()}"
            lines.append(f"flat: {self.flat.describe()}{less}")
        return lines


@dataclass(frozen=True)
class CalibrationPlan:
    """The calibration of a series.

    Attributes
    ----------
    calibrations : tuple of Calibration
        One for each light.
    notes : tuple of str
        What does not fit, or is missing.
    """

    calibrations: tuple[Calibration, ...]
    notes: tuple[str, ...] = ()

    def to_text(self) -> str:
        """Return the plan as lines for a person."""
        lines = []
        for calibration in dict.fromkeys(self.calibrations):
            number = self.calibrations.count(calibration)
            lines.append(f"{number} lights:" if number > 1 else "1 light:")
            lines += [f"  {line}" for line in calibration.steps()] or ["  not calibrated"]
        return "\n".join(lines + [f"note: {note}" for note in self.notes])


def plan_calibration(
    lights: Sequence[NamedHeader],
    library: Iterable[NamedHeader],
    *,
    required: Iterable[FrameKind] = (),
) -> CalibrationPlan:
    """Choose the calibration frames of each light.

    Camera, size, binning, gain, offset, read mode and the corner on the sensor have to agree where
    both headers have them. Darks have the exposure time of the light within 2 % (0.05 s at least),
    or a longer one and are scaled down with the help of a bias; their temperature is within 2
    degrees, or within 5 with a note. Flats have the filter and the angle of the rotator; those
    nearest in time are taken.

    Parameters
    ----------
    lights : sequence of (str, FrameHeader)
        Names and headers of the lights.
    library : iterable of (str, FrameHeader)
        Calibration frames of any kind; others are left out.
    required : iterable of {"bias", "dark", "flat"}
        Kinds that every light has to have.

    Returns
    -------
    CalibrationPlan
        Sets for every light, and notes.

    Raises
    ------
    InputError
        If a required kind does not match; the message says in what it differs.
    """
    sets = _group(library)
    notes: dict[str, None] = {}
    plans = [_choose(light, sets, notes) for _, light in lights]
    wanted = list(required)
    for kind in ("bias", "dark", "flat"):
        present = any(one.kind == kind for one in sets)
        for (name, light), plan in zip(lights, plans, strict=True):
            if getattr(plan, kind) is None and (kind in wanted or present):
                text = _complaint(kind, name, light, sets)
                if kind in wanted:
                    raise InputError(text)
                notes.setdefault(text)
                break
    return CalibrationPlan(tuple(plans), tuple(notes))


def _group(library: Iterable[NamedHeader]) -> list[CalibrationSet]:
    groups: list[list[NamedHeader]] = []
    for name, header in library:
        if header.kind not in _KINDS:
            continue
        alike = [group for group in groups if _is_alike(group[0][1], header)]
        if alike:
            alike[0].append((name, header))
        else:
            groups.append([(name, header)])
    return [
        CalibrationSet(group[0][1].kind, tuple(name for name, _ in group), group[0][1])
        for group in groups
    ]


def _is_alike(first: FrameHeader, other: FrameHeader) -> bool:
    """Whether two calibration frames are of one set; a master is a set of its own."""
    if first.is_master or other.is_master:
        return False
    if first.kind != other.kind or _differences(first, other):
        return False
    if first.kind == "flat":
        return first.filter == other.filter and _gap(first, other) <= _NIGHT
    if first.kind != "bias" and not _same_exposure(first, other):
        return False
    apart = _warmth(first, other)
    return apart is None or apart <= _TEMPERATURE_TOLERANCE


def _differences(one: FrameHeader, other: FrameHeader) -> list[str]:
    """Say in which settings that have to agree two frames differ."""
    pairs = {
        "camera": (one.camera, other.camera),
        "size": (one.shape[-2:][::-1], other.shape[-2:][::-1]),
        "binning": (one.binning, other.binning),
        "gain": (one.gain, other.gain),
        "offset": (one.offset, other.offset),
        "read mode": (one.readout_mode, other.readout_mode),
        "corner": (one.corner, other.corner),
    }
    return [
        f"{key} {_show(a)} against {_show(b)}"
        for key, (a, b) in pairs.items()
        if a not in (None, "", ()) and b not in (None, "", ()) and _folded(a) != _folded(b)
    ]


def _folded(value: object) -> object:
    return value.casefold() if isinstance(value, str) else value


def _show(value: object) -> str:
    if isinstance(value, tuple):
        return "x".join(str(side) for side in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _same_exposure(one: FrameHeader, other: FrameHeader) -> bool:
    if one.exptime is None or other.exptime is None:
        return True
    allowed = max(_EXPOSURE_STEP, _EXPOSURE_TOLERANCE * max(one.exptime, other.exptime))
    return abs(one.exptime - other.exptime) <= allowed


def _warmth(one: FrameHeader, other: FrameHeader) -> float | None:
    if one.temperature is None or other.temperature is None:
        return None
    return abs(one.temperature - other.temperature)


def _gap(one: FrameHeader, other: FrameHeader) -> float:
    """Seconds between two frames; 0 where a time is not known."""
    if one.start is None or other.start is None:
        return 0.0
    return abs((one.start - other.start).total_seconds())


def _choose(light: FrameHeader, sets: list[CalibrationSet], notes: dict[str, None]) -> Calibration:
    fitting = [one for one in sets if not _differences(light, one.header)]
    biases = [one for one in fitting if one.kind == "bias"]
    bias = min(biases, key=lambda one: _gap(light, one.header), default=None)
    dark, scale = _choose_dark(light, fitting, bias, notes)
    flats = [one for one in sets if one.kind == "flat" and not _flat_reasons(light, one.header)]
    flat = min(flats, key=lambda one: _gap(light, one.header), default=None)
    flat_dark = None if flat is None else _choose_flat_dark(flat, sets, notes)
    return Calibration(bias, dark, flat, flat_dark, scale)


def _choose_dark(
    light: FrameHeader,
    fitting: list[CalibrationSet],
    bias: CalibrationSet | None,
    notes: dict[str, None],
) -> tuple[CalibrationSet | None, float]:
    def warmth(one: CalibrationSet) -> float:
        return _warmth(light, one.header) or 0.0

    darks = [one for one in fitting if one.kind == "dark" and warmth(one) <= _TEMPERATURE_LIMIT]
    same = [one for one in darks if _same_exposure(light, one.header)]
    longer = [one for one in darks if (one.header.exptime or 0) > (light.exptime or 0) > 0]
    scale = 1.0
    if same:
        dark = min(same, key=warmth)
    elif longer and bias is not None:
        dark = min(longer, key=lambda one: (warmth(one), one.header.exptime or 0))
        scale = (light.exptime or 0) / (dark.header.exptime or 1)
    else:
        return None, 1.0
    apart = _warmth(light, dark.header)
    if apart is None:
        whose = "the lights do" if light.temperature is None else "its header does"
        notes.setdefault(f"{whose} not give the temperature: dark {dark.title} is used without it")
    elif apart > _TEMPERATURE_TOLERANCE:
        notes.setdefault(f"dark {dark.title} differs from the lights by {apart:.1f} °C")
    if light.exptime is None or dark.header.exptime is None:
        notes.setdefault(f"dark {dark.title} is used without the exposure time, which is missing")
    return dark, scale


def _flat_reasons(light: FrameHeader, flat: FrameHeader) -> list[str]:
    """Say why a flat does not fit; its gain and offset may differ from those of the light."""
    others = ("gain", "offset")
    found = [line for line in _differences(light, flat) if not line.startswith(others)]
    if light.filter and flat.filter and light.filter != flat.filter:
        found.append(f"filter {light.filter} against {flat.filter}")
    if light.rotator is not None and flat.rotator is not None:
        turn = abs((light.rotator - flat.rotator + 180) % 360 - 180)
        if turn > _ROTATOR_TOLERANCE:
            found.append(f"rotator {light.rotator:g} against {flat.rotator:g}")
    return found


def _dark_reasons(light: FrameHeader, dark: FrameHeader) -> list[str]:
    found = _differences(light, dark)
    if not _same_exposure(light, dark):
        short = (dark.exptime or 0) < (light.exptime or 0)
        why = "" if short else ", and there is no bias to scale it by"
        found.append(f"exposure {light.exptime:g} s against {dark.exptime:g} s{why}")
    apart = _warmth(light, dark)
    if apart is not None and apart > _TEMPERATURE_LIMIT:
        found.append(f"temperature {light.temperature:g} °C against {dark.temperature:g} °C")
    return found


def _choose_flat_dark(
    flat: CalibrationSet, sets: list[CalibrationSet], notes: dict[str, None]
) -> CalibrationSet | None:
    """Choose what is subtracted from flats; from a master flat it has been."""
    if flat.header.is_master:
        return None
    fitting = [one for one in sets if not _differences(flat.header, one.header)]
    for kind in ("darkflat", "dark", "bias"):
        for one in fitting:
            known = flat.header.exptime is not None and one.header.exptime is not None
            same = _same_exposure(flat.header, one.header) and (known or kind == "darkflat")
            if one.kind == kind and (same or kind == "bias"):
                return one
    notes.setdefault(f"no dark or bias matches the flats from {flat.title}: none is subtracted")
    return None


def _complaint(kind: str, name: str, light: FrameHeader, sets: list[CalibrationSet]) -> str:
    """Say why no set of a kind fits a light, by the one that comes nearest."""
    title = os.path.basename(name)
    reasons = {"bias": _differences, "dark": _dark_reasons, "flat": _flat_reasons}[kind]
    own = [(reasons(light, one.header), one.title) for one in sets if one.kind == kind]
    if not own:
        return f"no {kind} frame is given for {title}"
    why, nearest = min(own, key=lambda pair: len(pair[0]))
    return f"no {kind} frame matches {title}; {nearest} differs: {', '.join(why)}"
