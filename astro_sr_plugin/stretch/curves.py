"""Three classical curves between a black and a white point: asinh, logarithm and gamma."""

from __future__ import annotations

from dataclasses import dataclass
from math import asinh, log1p
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stretch.base import Number, Stretch
from astro_sr_plugin.stretch.statistics import Sky, sky_per_channel, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["AsinhStretch", "GammaStretch", "LogStretch"]

#: The slope of a gamma curve at black is infinite; for error propagation it is taken here.
_GAMMA_TOE = 1e-12


@dataclass(frozen=True)
class AsinhStretch(Stretch):
    r"""Inverse hyperbolic sine: linear in the sky noise, logarithmic in bright objects.

    .. math:: y = \mathrm{asinh}\left(\frac{x - k}{s}\right) /
                  \mathrm{asinh}\left(\frac{w - k}{s}\right)

    with :math:`k` = black, :math:`w` = white, :math:`s` = softening: black goes to 0 and white
    to 1 (Lupton, Gunn and Szalay 1999, AJ 118, 1406). The function is odd about black and
    defined for all numbers, so that nothing special is done below black or above white.

    Parameters
    ----------
    black, white : float or tuple of float
        Values that go to 0 and 1, black < white.
    softening : float or tuple of float
        Distance from black, in data units, within which the curve is about linear.

    Notes
    -----
    The inverse returns float32 data within 1e-6 of the value; for values very much smaller than
    the black point (under 1e-8 of it), within 1e-14 of the black point.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> stretch = asr.AsinhStretch(black=100.0, white=60000.0, softening=30.0)
    >>> shown = stretch([100.0, 130.0, 60000.0])
    >>> shown.round(3).tolist()
    [0.0, 0.106, 1.0]
    >>> stretch.inverse(shown).round(6).tolist()
    [100.0, 130.0, 60000.0]
    """

    name: ClassVar[str] = "asinh"
    letters: ClassVar[Mapping[str, str]] = {"black": "K", "white": "W", "softening": "S"}

    black: Number
    white: Number
    softening: Number

    @classmethod
    def fit(
        cls,
        image: Any,
        *,
        mask: NDArray[np.bool_] | None = None,
        linked: bool = True,
        nsigma: float = 2.8,
        softening_nsigma: float = 3.0,
        black: float | None = None,
        white: float | None = None,
        softening: float | None = None,
    ) -> AsinhStretch:
        """Black 2.8 sigma below the median, softening 3 sigma, white the 99.9th percentile.

        Parameters
        ----------
        image : NDData or array_like
            (ny, nx) or (3, ny, nx); NaN is ignored.
        mask : array of bool, optional
            True = excluded.
        linked : bool, optional
            One curve for all channels, or one each.
        nsigma, softening_nsigma : float, optional
            Distance of black below the median, and softening, in sigma of the noise.
        black, white, softening : float, optional
            Numbers to be used instead of fitted ones.

        Returns
        -------
        AsinhStretch
        """
        skies = sky_per_channel(image, mask, linked)
        rows = [
            {**_ends(sky, nsigma), "softening": softening_nsigma * spread(sky)} for sky in skies
        ]
        return cls._from_channels(rows, black=black, white=white, softening=softening)

    @staticmethod
    def _check(**numbers: float) -> None:
        _check_ends(numbers)
        if not numbers["softening"] > 0.0:
            msg = f"softening is {numbers['softening']}; it must be positive"
            raise InputError(msg)

    @staticmethod
    def _forward(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        y = np.subtract(x, numbers["black"])
        y /= numbers["softening"]
        np.arcsinh(y, out=y)
        y /= _asinh_norm(numbers)
        return y

    @staticmethod
    def _backward(y: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        x = np.sinh(y * _asinh_norm(numbers))
        x *= numbers["softening"]
        x += numbers["black"]
        return x

    @staticmethod
    def _slope(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        root = np.hypot((x - numbers["black"]) / numbers["softening"], 1.0)
        return 1.0 / (root * numbers["softening"] * _asinh_norm(numbers))


@dataclass(frozen=True)
class LogStretch(Stretch):
    r"""Logarithm between black and white.

    .. math:: y = \frac{\ln(1 + a u)}{\ln(1 + a)}, \qquad u = \frac{x - k}{w - k}

    with :math:`k` = black, :math:`w` = white, :math:`a` = strength. The classical domain is
    :math:`u \ge 0`. Below black the curve is continued as an odd function,
    :math:`y(-u) = -y(u)`, which keeps value and slope continuous; above white it just goes on.

    Parameters
    ----------
    black, white : float or tuple of float
        Values that go to 0 and 1, black < white.
    strength : float or tuple of float, optional
        Positive, up to 1e12; 1000 is the customary value.

    Notes
    -----
    The inverse returns float32 data within 1e-6 of the value; for values very much smaller than
    the black point (under 1e-8 of it), within 1e-14 of the black point.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> asr.LogStretch(black=0.0, white=1.0)([-0.001, 0.0, 0.001, 1.0]).round(3).tolist()
    [-0.1, 0.0, 0.1, 1.0]
    """

    name: ClassVar[str] = "log"
    letters: ClassVar[Mapping[str, str]] = {"black": "K", "white": "W", "strength": "A"}

    black: Number
    white: Number
    strength: Number = 1000.0

    @classmethod
    def fit(
        cls,
        image: Any,
        *,
        mask: NDArray[np.bool_] | None = None,
        linked: bool = True,
        nsigma: float = 2.8,
        black: float | None = None,
        white: float | None = None,
        strength: float | None = None,
    ) -> LogStretch:
        """Black 2.8 sigma below the median, white the 99.9th percentile, strength 1000.

        Parameters
        ----------
        image : NDData or array_like
            (ny, nx) or (3, ny, nx); NaN is ignored.
        mask : array of bool, optional
            True = excluded.
        linked : bool, optional
            One curve for all channels, or one each.
        nsigma : float, optional
            Distance of black below the median, in sigma of the noise.
        black, white, strength : float, optional
            Numbers to be used instead.

        Returns
        -------
        LogStretch
        """
        skies = sky_per_channel(image, mask, linked)
        rows = [_ends(sky, nsigma) for sky in skies]
        return cls._from_channels(rows, black=black, white=white, strength=strength)

    @staticmethod
    def _check(**numbers: float) -> None:
        _check_ends(numbers)
        if not 0.0 < numbers["strength"] <= 1e12:
            msg = f"strength is {numbers['strength']}; it must be above 0 and up to 1e12"
            raise InputError(msg)

    @staticmethod
    def _forward(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        u = _between(x, numbers)
        y = np.log1p(np.abs(u) * numbers["strength"])
        y /= log1p(numbers["strength"])
        return np.copysign(y, u, out=y)

    @staticmethod
    def _backward(y: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        u = np.expm1(np.abs(y) * log1p(numbers["strength"]))
        u /= numbers["strength"]
        return _unscaled(np.copysign(u, y, out=u), numbers)

    @staticmethod
    def _slope(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        a = numbers["strength"]
        width = numbers["white"] - numbers["black"]
        return a / ((1.0 + a * np.abs(_between(x, numbers))) * log1p(a) * width)


@dataclass(frozen=True)
class GammaStretch(Stretch):
    r"""Power law between black and white.

    .. math:: y = u^{1 / \gamma}, \qquad u = \frac{x - k}{w - k}

    with :math:`k` = black, :math:`w` = white. The classical domain is :math:`u \ge 0`. Below
    black the curve is continued as an odd function, :math:`y(-u) = -y(u)`; above white it just
    goes on. At black the slope is infinite: an error there is propagated with the slope at
    :math:`u = 10^{-12}`.

    Parameters
    ----------
    black, white : float or tuple of float
        Values that go to 0 and 1, black < white.
    gamma : float or tuple of float, optional
        From 1 (straight line) to 10.

    Notes
    -----
    The inverse returns float32 data within 1e-6 of the value; for values very much smaller than
    the black point (under 1e-8 of it), within 1e-14 of the black point.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> asr.GammaStretch(black=0.0, white=1.0, gamma=2.0)([0.25, 4.0]).tolist()
    [0.5, 2.0]
    """

    name: ClassVar[str] = "gamma"
    letters: ClassVar[Mapping[str, str]] = {"black": "K", "white": "W", "gamma": "G"}

    black: Number
    white: Number
    gamma: Number = 2.2

    @classmethod
    def fit(
        cls,
        image: Any,
        *,
        mask: NDArray[np.bool_] | None = None,
        linked: bool = True,
        nsigma: float = 2.8,
        black: float | None = None,
        white: float | None = None,
        gamma: float | None = None,
    ) -> GammaStretch:
        """Black 2.8 sigma below the median, white the 99.9th percentile, gamma 2.2.

        Parameters
        ----------
        image : NDData or array_like
            (ny, nx) or (3, ny, nx); NaN is ignored.
        mask : array of bool, optional
            True = excluded.
        linked : bool, optional
            One curve for all channels, or one each.
        nsigma : float, optional
            Distance of black below the median, in sigma of the noise.
        black, white, gamma : float, optional
            Numbers to be used instead.

        Returns
        -------
        GammaStretch
        """
        skies = sky_per_channel(image, mask, linked)
        rows = [_ends(sky, nsigma) for sky in skies]
        return cls._from_channels(rows, black=black, white=white, gamma=gamma)

    @staticmethod
    def _check(**numbers: float) -> None:
        _check_ends(numbers)
        if not 1.0 <= numbers["gamma"] <= 10.0:
            msg = f"gamma is {numbers['gamma']}; it must be between 1 and 10"
            raise InputError(msg)

    @staticmethod
    def _forward(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        u = _between(x, numbers)
        return np.copysign(np.abs(u) ** (1.0 / numbers["gamma"]), u)

    @staticmethod
    def _backward(y: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        return _unscaled(np.copysign(np.abs(y) ** numbers["gamma"], y), numbers)

    @staticmethod
    def _slope(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        size = np.maximum(np.abs(_between(x, numbers)), _GAMMA_TOE)
        power = 1.0 / numbers["gamma"]
        return power * size ** (power - 1.0) / (numbers["white"] - numbers["black"])


def _ends(sky: Sky, nsigma: float) -> dict[str, float]:
    """Black and white point; white is the largest value where the percentile is sky."""
    noise = spread(sky)
    black = sky.median - nsigma * noise
    white = sky.bright if sky.bright > sky.median + 5.0 * noise else sky.high
    return {"black": black, "white": max(white, sky.median + nsigma * noise)}


def _check_ends(numbers: Mapping[str, float]) -> None:
    if not numbers["white"] > numbers["black"]:
        msg = f"white is {numbers['white']}; it must be greater than black, {numbers['black']}"
        raise InputError(msg)


def _asinh_norm(numbers: Mapping[str, float]) -> float:
    return asinh((numbers["white"] - numbers["black"]) / numbers["softening"])


def _between(x: NDArray[np.float64], numbers: Mapping[str, float]) -> NDArray[np.float64]:
    u = np.subtract(x, numbers["black"])
    u /= numbers["white"] - numbers["black"]
    return u


def _unscaled(u: NDArray[np.float64], numbers: Mapping[str, float]) -> NDArray[np.float64]:
    u *= numbers["white"] - numbers["black"]
    u += numbers["black"]
    return u
