"""What all stretches share: calling, inverting, checking and storing in a header."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike, NDArray

__all__ = ["InverseStretch", "Number", "Stretch"]

#: One number for the whole image, or one per colour channel.
Number = float | tuple[float, ...]

#: Pixels worked on at a time: the temporary arrays of a chunk stay in the processor's cache.
_CHUNK = 1 << 16

#: The smallest slope a curve may have where values are compressed most. The rounding error of
#: a round trip is about 2e-16 / slope, so that this keeps it well under 1e-6 of the value.
MIN_SLOPE = 1e-8

_NAME_KEY = "ASRSTR"
_CHANNELS_KEY = "ASRSTRNC"


class Stretch(ABC):
    """Base class of the stretches: a monotonic curve with an exact inverse.

    A member is a frozen dataclass. Each field is a number, or all are tuples with one number per
    colour channel, in which case the stretch applies to (channels, ny, nx) arrays only.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> header = {}
    >>> asr.GammaStretch(black=0.0, white=1.0).to_header(header)
    >>> asr.Stretch.from_header(header)
    GammaStretch(black=0.0, white=1.0, gamma=2.2)
    """

    #: Name of the member in headers and on the command line.
    name: ClassVar[str]
    #: Letter of each field in the header keywords.
    letters: ClassVar[Mapping[str, str]]
    #: The members by name.
    members: ClassVar[dict[str, type[Stretch]]] = {}

    def __init_subclass__(cls) -> None:
        """Enter the member in the list of members."""
        super().__init_subclass__()
        if cls.name in Stretch.members:
            msg = f"stretch name {cls.name!r} is taken by {Stretch.members[cls.name].__name__}"
            raise TypeError(msg)
        Stretch.members[cls.name] = cls

    def __post_init__(self) -> None:
        """Make plain floats of the numbers, and check them channel by channel."""
        for name, value in self.numbers().items():
            object.__setattr__(self, name, _plain(f"{type(self).__name__} {name}", value))
        lengths = {len(v) for v in self.numbers().values() if isinstance(v, tuple)}
        if len(lengths) > 1:
            msg = (
                f"{type(self).__name__} has fields for {sorted(lengths)} channels, but all "
                "per-channel fields must have the same length"
            )
            raise InputError(msg)
        if lengths:
            for name, value in self.numbers().items():
                if not isinstance(value, tuple):
                    object.__setattr__(self, name, (value,) * self.channels)
        for channel in range(self.channels):
            self._check(**self._channel(channel))

    @classmethod
    @abstractmethod
    def fit(cls, image: Any, *, mask: NDArray[np.bool_] | None = None, linked: bool = True) -> Self:
        """Choose the numbers for an image.

        Parameters
        ----------
        image : `~astropy.nddata.NDData` or array_like
            Mono (ny, nx) or colour (3, ny, nx). Its own mask counts; NaN is ignored.
        mask : array of bool, optional
            True = excluded; (ny, nx) or of the shape of the image.
        linked : bool, optional
            One curve for all colour channels, which keeps the order of the colours of a pixel
            (default), or one per channel, which makes the sky grey.
        """

    @staticmethod
    @abstractmethod
    def _check(**numbers: float) -> None:
        """Raise InputError if the numbers of one channel give no invertible curve."""

    @staticmethod
    @abstractmethod
    def _forward(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        """Return stretched values of one channel."""

    @staticmethod
    @abstractmethod
    def _backward(y: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        """Return values of one channel from stretched values."""

    @staticmethod
    @abstractmethod
    def _slope(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        """Return the derivative dy/dx of one channel at x."""

    def __call__(self, values: ArrayLike) -> NDArray[np.float64]:
        """Stretch values.

        Parameters
        ----------
        values : array_like of numbers
            Any shape; (channels, ...) if the stretch has per-channel numbers. Not changed.

        Returns
        -------
        array of float64
            Same shape. NaN stays NaN. Nothing is clipped: values below black come out negative,
            values above white come out greater than 1. It is float64 because float32 cannot hold
            the bright end of a strong stretch to 1e-6 of the value.
        """
        return self._map(self._forward, values)

    def derivative(self, values: ArrayLike) -> NDArray[np.float64]:
        """Slope dy/dx of the stretch at the (unstretched) values, for error propagation."""
        return self._map(self._slope, values)

    @property
    def inverse(self) -> InverseStretch:
        """The stretch that undoes this one."""
        return InverseStretch(self)

    @property
    def channels(self) -> int:
        """Number of colour channels with numbers of their own; 1 if one curve is for all."""
        return max((len(v) for v in self.numbers().values() if isinstance(v, tuple)), default=1)

    def numbers(self) -> dict[str, Number]:
        """Return the stored numbers by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def to_header(self, header: MutableMapping[str, Any]) -> None:
        """Write the stretch into a FITS header, or any mapping, in place.

        ``ASRSTR`` holds the name, ``ASRSTRNC`` the number of channels, and ``ASRSTR`` + letter +
        channel each number in full precision (as text where a header card is too short for it).
        """
        self.clear_header(header)
        _set(header, _NAME_KEY, self.name, "display stretch applied to the data")
        _set(header, _CHANNELS_KEY, self.channels, "channels with a stretch of their own")
        for channel in range(self.channels):
            for name, value in self._channel(channel).items():
                text = repr(value)
                _set(
                    header,
                    f"{_NAME_KEY}{self.letters[name]}{channel}",
                    value if len(text) <= 20 else text,
                    f"{name.replace('_', ' ')}, channel {channel}",
                )

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """Read back a stretch written by `to_header`.

        Raises
        ------
        InputError
            If the header holds no stretch, an incomplete one, or one of another class.
        """
        if _NAME_KEY not in header:
            msg = f"the header has no keyword {_NAME_KEY}, so the image was not stretched here"
            raise InputError(msg)
        name = str(header[_NAME_KEY]).strip().lower()
        member = Stretch.members.get(name)
        if member is None or not issubclass(member, cls):
            allowed = [n for n, m in Stretch.members.items() if issubclass(m, cls)]
            msg = f"header keyword {_NAME_KEY} is {name!r}; it must be one of {sorted(allowed)}"
            raise InputError(msg)
        try:
            count = int(header[_CHANNELS_KEY])
            numbers = {
                field: tuple(float(header[f"{_NAME_KEY}{letter}{c}"]) for c in range(count))
                for field, letter in member.letters.items()
            }
        except (KeyError, ValueError) as error:
            msg = f"the stretch {name!r} in the header is damaged: {error}"
            raise InputError(msg) from error
        if count == 1:
            return member(**{field: values[0] for field, values in numbers.items()})
        return member(**numbers)

    @staticmethod
    def clear_header(header: MutableMapping[str, Any]) -> None:
        """Remove the keywords of `to_header` from a header, in place."""
        letters = {letter for m in Stretch.members.values() for letter in m.letters.values()}
        keys = [f"{_NAME_KEY}{letter}{c}" for letter in sorted(letters) for c in range(10)]
        for key in (_NAME_KEY, _CHANNELS_KEY, *keys):
            if key in header:
                del header[key]

    @classmethod
    def _from_channels(cls, rows: Sequence[Mapping[str, float]], **given: float | None) -> Self:
        """Make a stretch of fitted numbers, one row per channel; numbers given win."""
        chosen = {name: value for name, value in given.items() if value is not None}
        fitted = {
            name: [_rounded(float(row[name])) for row in rows]
            for name in rows[0]
            if name not in chosen
        }
        numbers: dict[str, Number] = {
            name: values[0] if len(values) == 1 else tuple(values)
            for name, values in fitted.items()
        }
        return cls(**numbers, **chosen)

    def _channel(self, channel: int) -> dict[str, float]:
        return {
            name: value[channel] if isinstance(value, tuple) else value
            for name, value in self.numbers().items()
        }

    def _map(
        self, function: Callable[..., NDArray[np.float64]], values: ArrayLike
    ) -> NDArray[np.float64]:
        source = np.asarray(values)
        if source.dtype.kind not in "biuf":
            msg = f"values have dtype {source.dtype}; a stretch takes real numbers only"
            raise InputError(msg)
        if self.channels > 1 and source.shape[:1] != (self.channels,):
            msg = (
                f"values have shape {source.shape}, but this stretch has numbers for "
                f"{self.channels} channels and needs shape ({self.channels}, ny, nx)"
            )
            raise InputError(msg)
        result = np.empty(source.shape, dtype=np.float64)
        with np.errstate(all="ignore"):
            planes = [(source, result)] if self.channels == 1 else zip(source, result, strict=True)
            for channel, (plane, target) in enumerate(planes):
                numbers = self._channel(channel)
                for part, out in _chunks(np.atleast_1d(plane), np.atleast_1d(target)):
                    out[...] = function(part.astype(np.float64), **numbers)
        return result


@dataclass(frozen=True)
class InverseStretch:
    """Undoes a stretch: takes stretched values and returns the original ones.

    Parameters
    ----------
    stretch : Stretch
        The stretch to be undone.
    """

    stretch: Stretch

    def __call__(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return unstretched float64 values for stretched ones of any shape; NaN stays NaN.

        A zero comes back as exactly zero, though it is rounded on the way where black is not 0.
        """
        return self.stretch._map(self._undo, values)

    def _undo(self, y: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        zero = self.stretch._forward(np.zeros(1), **numbers)[0]
        nothing = np.abs(y - zero) <= 2.0 * np.spacing(abs(zero)) if zero else y == 0.0
        x = self.stretch._backward(y, **numbers)
        x[nothing] = 0.0
        return x

    @property
    def inverse(self) -> Stretch:
        """The stretch itself."""
        return self.stretch

    def derivative(self, values: ArrayLike) -> NDArray[np.float64]:
        """Slope dx/dy at the stretched values."""
        return 1.0 / self.stretch.derivative(self(values))


def _chunks(
    source: NDArray[Any], target: NDArray[np.float64]
) -> Iterator[tuple[NDArray[Any], NDArray[np.float64]]]:
    """Cut two arrays of one shape into matching parts of bounded size, without copying."""
    row = source[0].size if source.shape[0] else 0
    if row > _CHUNK:
        for part, out in zip(source, target, strict=True):
            yield from _chunks(part, out)
        return
    step = max(1, _CHUNK // max(row, 1))
    for start in range(0, source.shape[0], step):
        yield source[start : start + step], target[start : start + step]


def _plain(label: str, value: Any) -> Number:
    """Return a float or a tuple of floats, all finite."""
    try:
        numbers = tuple(float(v) for v in value) if np.ndim(value) else (float(value),)
    except (TypeError, ValueError) as error:
        msg = f"{label} is {value!r}; it must be a number, or a tuple of one per channel"
        raise InputError(msg) from error
    if not numbers or len(numbers) > 9 or not all(np.isfinite(numbers)):
        msg = f"{label} is {value!r}; it must be finite numbers, for 1 to 9 channels"
        raise InputError(msg)
    return numbers if np.ndim(value) else numbers[0]


def _rounded(value: float) -> float:
    """Round to 14 digits, which is what a numeric header card holds exactly."""
    return float(f"{value:.14g}")


def _set(header: MutableMapping[str, Any], key: str, value: Any, comment: str) -> None:
    """Set a keyword, with its comment where the mapping has comments (a FITS header)."""
    header[key] = value
    comments = getattr(header, "comments", None)
    if comments is not None:
        comments[key] = comment
