"""What the header of a single exposure says: kind of frame, camera, settings and times.

Programs name these keywords in many ways. For each quantity the first keyword of a list counts that
holds a usable value; a value that cannot be used is ignored and named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any, Literal

from astropy.time import Time

from astro_sr_plugin.data.keywords import read_number

__all__ = ["FrameHeader", "FrameKind", "read_frame_header"]

FrameKind = Literal["light", "bias", "dark", "flat", "darkflat", ""]
"""Kinds of frames; a dark flat is a dark of the exposure time of a flat, empty is not known."""

_EXPOSURE = (("EXPTIME", 1.0), ("EXPOSURE", 1.0), ("EXPOINUS", 1e-6))
"""Keywords of the exposure time, with their unit in seconds."""
_SET_TEMPERATURE = "SET-TEMP"
_SET_RANGE = (-60.0, 40.0)
"""Set temperatures in degrees Celsius that a cooler can be set to; cameras without one write
others."""
_TEMPERATURES = ("CCD-TEMP", "CCD_TEMP", "CCDTEMP", "TEMPERAT", "CAMTCCD", "CAMTEMP")
_KELVIN = 150.0
"""A temperature above this is in kelvin."""
_ZERO_CELSIUS = 273.15
"""0 degrees Celsius in kelvin."""
_TEMPERATURE_RANGE = (-150.0, 80.0)
"""Temperatures in degrees Celsius at which cameras work."""
_GAINS = ("GAIN", "ISOSPEED")
_OFFSETS = ("OFFSET", "BLKLEVEL")
_FILTERS = ("FILTER", "FILT-1", "FILTERS")
_KINDS = ("IMAGETYP", "FRAMETYP", "IMTYPE", "OBSTYPE")
_BINNINGS = (("XBINNING", "YBINNING"), ("BINX", "BINY"), ("CCDXBIN", "CCDYBIN"))
_STARTS = ("DATE-OBS", "DATE-BEG", "DATE-STA")
_CORNER = ("XORGSUBF", "YORGSUBF")
_ROTATORS = ("ROTATANG", "ROTATOR")
_MJD_START = "MJD-OBS"
_COUNTS = ("STACKCNT", "NCOMBINE")

_WORDS: dict[str, FrameKind] = {
    **dict.fromkeys(("light", "object", "science", "sci", "target"), "light"),
    **dict.fromkeys(("bias", "zero", "offset"), "bias"),
    **dict.fromkeys(("dark", "darkcurrent"), "dark"),
    **dict.fromkeys(("flat", "flatfield", "skyflat", "domeflat", "twilightflat"), "flat"),
    **dict.fromkeys(("darkflat", "flatdark"), "darkflat"),
}
"""Kinds as programs and folders spell them, without "master", "frame", "image" and signs."""
_PLURALS: dict[str, FrameKind] = {
    "lights": "light",
    "biases": "bias",
    "darks": "dark",
    "flats": "flat",
    "darkflats": "darkflat",
    "flatdarks": "darkflat",
}


@dataclass(frozen=True)
class FrameHeader:
    """What is known of a frame from its header; None or empty where nothing is.

    Attributes
    ----------
    kind : {"light", "bias", "dark", "flat", "darkflat", ""}
        From the header, else from the folder or the name of the file.
    is_master : bool
        Whether it is a combination of several frames.
    shape : tuple of int
        Shape of the image.
    exptime : float or None
        Exposure time in seconds.
    temperature : float or None
        Temperature of the sensor in degrees Celsius.
    gain, offset : float or None
        Settings of the camera, in its own numbers.
    filter : str
        Name of the filter, in capitals.
    binning : tuple of int or None
        Binning along x and y.
    corner : tuple of int or None
        Pixel (x, y) of the sensor at which the image begins.
    camera, readout_mode : str
        Their names.
    rotator : float or None
        Angle of the rotator in degrees.
    pedestal : float
        Number to add to the pixels, as MaxIm DL has it.
    start, end : datetime or None
        Begin and end of the exposure, in UTC.
    count : int
        Number of exposures that the image was combined from; 1 for a single one.
    livetime : float or None
        Sum of their exposure times in seconds.
    ignored : tuple of str
        Keywords with values that cannot be used, such as ``"SET-TEMP=-1.8e+308"``.
    """

    kind: FrameKind = ""
    is_master: bool = False
    shape: tuple[int, ...] = ()
    exptime: float | None = None
    temperature: float | None = None
    gain: float | None = None
    offset: float | None = None
    filter: str = ""
    binning: tuple[int, int] | None = None
    corner: tuple[int, int] | None = None
    camera: str = ""
    readout_mode: str = ""
    rotator: float | None = None
    pedestal: float = 0.0
    start: datetime | None = None
    end: datetime | None = None
    count: int = 1
    livetime: float | None = None
    ignored: tuple[str, ...] = ()


def read_frame_header(
    meta: Mapping[str, Any], *, shape: Sequence[int] = (), name: str = ""
) -> FrameHeader:
    """Read what the header of a frame says about its exposure.

    Parameters
    ----------
    meta : fits.Header or mapping
        The header.
    shape : sequence of int, optional
        Shape of the image.
    name : str, optional
        Path of its file, which says the kind of frame where the header does not.

    Returns
    -------
    FrameHeader
        The values in common units.

    Examples
    --------
    >>> header = {"IMAGETYP": "Dark Frame", "EXPTIME": "6,4E-05", "CAMTEMP": 271.0}
    >>> frame = read_frame_header(header)
    >>> frame.kind, frame.exptime, round(frame.temperature, 2)
    ('dark', 6.4e-05, -2.15)
    """
    ignored: list[str] = []
    kind, is_master = _kind(meta, name)
    exptime = _exposure(meta, ignored)
    start, end = _times(meta, exptime, ignored)
    number = next((n for k in _COUNTS if (n := read_number(meta, k)) is not None and n >= 1), 1)
    live = read_number(meta, "LIVETIME")
    return FrameHeader(
        kind=kind,
        is_master=is_master or number > 1,
        shape=tuple(int(side) for side in shape),
        exptime=exptime,
        temperature=_temperature(meta, ignored),
        gain=_first_number(meta, _GAINS, ignored),
        offset=_first_number(meta, _OFFSETS, ignored),
        filter=_first_text(meta, _FILTERS).upper(),
        binning=next((pair for k in _BINNINGS if (pair := _pair(meta, k)) is not None), None),
        corner=_pair(meta, _CORNER),
        camera=_first_text(meta, ("INSTRUME", "CAMERA")),
        readout_mode=_first_text(meta, ("READOUTM", "READMODE")),
        rotator=_first_number(meta, _ROTATORS, ignored),
        pedestal=read_number(meta, "PEDESTAL") or 0.0,
        start=start,
        end=end,
        count=int(number),
        livetime=live if live is not None and live > 0 else exptime,
        ignored=tuple(dict.fromkeys(ignored)),
    )


def _kind(meta: Mapping[str, Any], name: str) -> tuple[FrameKind, bool]:
    for keyword in _KINDS:
        text = str(meta.get(keyword, "") or "").lower()
        word = re.sub(r"[^a-z]|master|frame|image", "", text)
        if word in _WORDS:
            return _WORDS[word], "master" in text
    path = PurePath(name)
    for part in (path.name, path.parent.name):
        words = re.findall(r"[a-z]+", part.lower().replace("master", " "))
        joined = "".join(words[:2])
        for word in (joined, *words[:1]):
            found = _WORDS.get(word, _PLURALS.get(word, ""))
            if found:
                return found, "master" in part.lower()
    return "", False


def _exposure(meta: Mapping[str, Any], ignored: list[str]) -> float | None:
    for keyword, unit in _EXPOSURE:
        value = read_number(meta, keyword)
        if value is not None and value >= 0:
            return value * unit
        _ignore(meta, keyword, ignored)
    return None


def _temperature(meta: Mapping[str, Any], ignored: list[str]) -> float | None:
    value = read_number(meta, _SET_TEMPERATURE)
    if value is not None and _SET_RANGE[0] <= value <= _SET_RANGE[1]:
        return value
    _ignore(meta, _SET_TEMPERATURE, ignored)
    for keyword in _TEMPERATURES:
        value = read_number(meta, keyword)
        if value is not None:
            value -= _ZERO_CELSIUS if value > _KELVIN else 0.0
            if _TEMPERATURE_RANGE[0] <= value <= _TEMPERATURE_RANGE[1]:
                return value
        _ignore(meta, keyword, ignored)
    return None


def _times(
    meta: Mapping[str, Any], exptime: float | None, ignored: list[str]
) -> tuple[datetime | None, datetime | None]:
    start = next((t for k in _STARTS if (t := _moment(meta, k, ignored)) is not None), None)
    days = read_number(meta, _MJD_START)
    if start is None and days is not None and days > 0:
        start = Time(days, format="mjd", scale="utc").to_datetime(timezone=UTC)
    end = _moment(meta, "DATE-END", ignored)
    if end is None and start is not None and exptime is not None:
        end = start + timedelta(seconds=exptime)
    return start, end


def _moment(meta: Mapping[str, Any], keyword: str, ignored: list[str]) -> datetime | None:
    """Read a date; with a time zone it is converted to UTC, without one it is UTC."""
    text = str(meta.get(keyword, "") or "").strip()
    if len(text) == len("2026-01-01"):
        clock = str(meta.get(keyword.replace("DATE", "TIME"), "") or "").strip()
        text = f"{text}T{clock}" if clock else text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        _ignore(meta, keyword, ignored)
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _first_number(
    meta: Mapping[str, Any], keywords: Sequence[str], ignored: list[str]
) -> float | None:
    for keyword in keywords:
        value = read_number(meta, keyword)
        if value is not None:
            return value
        _ignore(meta, keyword, ignored)
    return None


def _first_text(meta: Mapping[str, Any], keywords: Sequence[str]) -> str:
    texts = (str(meta.get(keyword, "") or "").strip() for keyword in keywords)
    return next((text for text in texts if text), "")


def _pair(meta: Mapping[str, Any], keywords: Sequence[str]) -> tuple[int, int] | None:
    x, y = (read_number(meta, keyword) for keyword in keywords)
    if x is None:
        return None
    return int(x), int(x if y is None else y)


def _ignore(meta: Mapping[str, Any], keyword: str, ignored: list[str]) -> None:
    value = meta.get(keyword)
    if value is not None and str(value).strip():
        ignored.append(f"{keyword}={value}")
