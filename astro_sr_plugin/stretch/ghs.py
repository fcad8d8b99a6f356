"""Generalised hyperbolic stretch of Cranfield and Payne."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stretch.base import MIN_SLOPE, Number, Stretch
from astro_sr_plugin.stretch.statistics import display_range, sky_per_channel, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["GHSStretch"]


@dataclass(frozen=True)
class GHSStretch(Stretch):
    r"""Generalised hyperbolic stretch: most contrast about one chosen level.

    With :math:`u = (x - k) / (w - k)` the slope of the curve falls off on both sides of the
    symmetry point SP as :math:`t'(|u - \mathrm{SP}|)`,

    .. math::

        t'(z) = \begin{cases}
            D (1 - b D z)^{1/b}          & b < 0,\ b \ne -1 \\
            D / (1 + D z)                & b = -1 \text{ (logarithmic)} \\
            D e^{-D z}                   & b = 0 \text{ (exponential)} \\
            D (1 + b D z)^{-(1 + b)/b}   & b > 0 \text{ (b = 1: harmonic)}
        \end{cases}

    and is constant below LP and above HP. The curve is the integral of the slope, scaled so that
    :math:`u = 0` goes to 0 and :math:`u = 1` to 1 (D. Payne and M. Cranfield, the GHS
    documentation, 2021 to 2023). The straight lines below LP and above HP simply go on outside of
    the classical domain :math:`0 \le u \le 1`, so that the curve is monotonic and invertible
    everywhere.

    Parameters
    ----------
    stretch_factor : float or tuple of float
        D > 0. (The slider of PixInsight and Siril shows ln(D + 1).)
    local_intensity : float or tuple of float, optional
        b, from -10 to 20: how narrow the range of strong contrast is.
    symmetry_point : float or tuple of float, optional
        SP, from 0 to 1 on the scale of u.
    shadow_protection, highlight_protection : float or tuple of float, optional
        LP and HP; 0 <= LP <= SP <= HP <= 1.
    black, white : float or tuple of float, optional
        Values k and w, which go to 0 and 1.

    Raises
    ------
    InputError
        Also for curves so flat at an end (slope below 1e-8, for example b = 0 with D > 20) that
        double precision cannot undo them.

    Notes
    -----
    The inverse returns float32 data within 1e-6 of the value; for values very much smaller than
    the black or symmetry point (under 1e-8 of it), within 1e-14 of that point.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> stretch = asr.GHSStretch(stretch_factor=100.0, local_intensity=1.0)
    >>> stretch([0.0, 0.01, 1.0]).round(3).tolist()
    [0.0, 0.505, 1.0]
    """

    name: ClassVar[str] = "ghs"
    letters: ClassVar[Mapping[str, str]] = {
        "stretch_factor": "D",
        "local_intensity": "B",
        "symmetry_point": "S",
        "shadow_protection": "L",
        "highlight_protection": "H",
        "black": "K",
        "white": "W",
    }

    stretch_factor: Number
    local_intensity: Number = 0.0
    symmetry_point: Number = 0.0
    shadow_protection: Number = 0.0
    highlight_protection: Number = 1.0
    black: Number = 0.0
    white: Number = 1.0

    @classmethod
    def fit(
        cls,
        image: Any,
        *,
        mask: NDArray[np.bool_] | None = None,
        linked: bool = True,
        target: float = 0.25,
        nsigma: float = 2.8,
        stretch_factor: float | None = None,
        local_intensity: float = 3.0,
        symmetry_point: float | None = None,
        shadow_protection: float = 0.0,
        highlight_protection: float = 1.0,
        black: float | None = None,
        white: float | None = None,
    ) -> GHSStretch:
        """Symmetry point at the sky, and D such that the sky comes to the target level.

        Parameters
        ----------
        image : NDData or array_like
            (ny, nx) or (3, ny, nx); NaN is ignored.
        mask : array of bool, optional
            True = excluded.
        linked : bool, optional
            One curve for all channels, or one each.
        target : float, optional
            Stretched level of the median, between 0 and 0.5.
        nsigma : float, optional
            Distance of black below the median, in sigma of the noise.
        local_intensity, shadow_protection, highlight_protection : float, optional
            b, LP and HP, see the class.
        stretch_factor, symmetry_point, black, white : float, optional
            Numbers to be used instead of fitted ones.

        Returns
        -------
        GHSStretch
        """
        if not 0.0 < target < 0.5:
            msg = f"target is {target}; it must be between 0 and 0.5"
            raise InputError(msg)
        skies = sky_per_channel(image, mask, linked)
        top = display_range(image, skies) if white is None else white
        rows = []
        for sky in skies:
            low = sky.median - nsigma * spread(sky) if black is None else black
            level = min(max((sky.median - low) / max(top - low, 1e-300), 1e-6), 1.0)
            row = {
                "local_intensity": local_intensity,
                "symmetry_point": level if symmetry_point is None else symmetry_point,
                "shadow_protection": shadow_protection,
                "highlight_protection": highlight_protection,
                "black": low,
                "white": max(top, low + spread(sky)),
            }
            row["shadow_protection"] = min(shadow_protection, row["symmetry_point"])
            row["highlight_protection"] = max(highlight_protection, row["symmetry_point"])
            row["stretch_factor"] = (
                _solve(level, target, row) if stretch_factor is None else stretch_factor
            )
            rows.append(row)
        return cls._from_channels(rows)

    @staticmethod
    def _check(**numbers: float) -> None:
        d, b = numbers["stretch_factor"], numbers["local_intensity"]
        points = [
            0.0,
            numbers["shadow_protection"],
            numbers["symmetry_point"],
            numbers["highlight_protection"],
            1.0,
        ]
        if not 0.0 < d <= 1e12:
            msg = f"stretch_factor is {d}; it must be above 0 and up to 1e12"
            raise InputError(msg)
        if not -10.0 <= b <= 20.0:
            msg = f"local_intensity is {b}; it must be between -10 and 20"
            raise InputError(msg)
        if points != sorted(points):
            msg = (
                f"shadow_protection, symmetry_point and highlight_protection are {points[1:4]}; "
                "they must be in this order between 0 and 1"
            )
            raise InputError(msg)
        if not numbers["white"] > numbers["black"]:
            msg = f"white is {numbers['white']}; it must be greater than black, {numbers['black']}"
            raise InputError(msg)
        curve = _Curve(numbers)
        if min(curve.low_slope, curve.high_slope) < MIN_SLOPE * curve.norm:
            msg = (
                f"stretch_factor {d} with local_intensity {b} makes the curve too flat to be "
                "undone; use a smaller stretch_factor, another local_intensity, or protection "
                "points nearer to the symmetry point"
            )
            raise InputError(msg)

    @staticmethod
    def _forward(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        u = np.subtract(x, numbers["black"])
        u /= numbers["white"] - numbers["black"]
        return _Curve(numbers).forward(u)

    @staticmethod
    def _backward(y: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        x = _Curve(numbers).backward(y)
        x *= numbers["white"] - numbers["black"]
        x += numbers["black"]
        return x

    @staticmethod
    def _slope(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        width = numbers["white"] - numbers["black"]
        return _Curve(numbers).slope((x - numbers["black"]) / width) / width


class _Curve:
    """The curve of one channel on the scale where black is 0 and white is 1."""

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self.d = numbers["stretch_factor"]
        self.b = numbers["local_intensity"]
        self.sp = numbers["symmetry_point"]
        self.lp = numbers["shadow_protection"]
        self.hp = numbers["highlight_protection"]
        with np.errstate(all="ignore"):
            self.low_slope = float(self._rate(np.float64(self.sp - self.lp)))
            self.high_slope = float(self._rate(np.float64(self.hp - self.sp)))
            at_low = -float(self._integral(np.float64(self.sp - self.lp)))
            at_high = float(self._integral(np.float64(self.hp - self.sp)))
        self.start = at_low - self.low_slope * self.lp
        self.low = self.low_slope * self.lp
        self.high = at_high - self.start
        self.norm = self.high + self.high_slope * (1.0 - self.hp)

    def forward(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        z = np.clip(u, self.lp, self.hp) - self.sp
        y = np.copysign(self._integral(np.abs(z)), z)
        y -= self.start
        y += np.minimum(u - self.lp, 0.0) * self.low_slope
        y += np.maximum(u - self.hp, 0.0) * self.high_slope
        y /= self.norm
        return y

    def backward(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        v = y * self.norm
        t = np.clip(v, self.low, self.high)
        t += self.start
        u = np.copysign(self._inverse(np.abs(t)), t)
        u += self.sp
        u += np.minimum(v - self.low, 0.0) / self.low_slope
        u += np.maximum(v - self.high, 0.0) / self.high_slope
        return u

    def slope(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._rate(np.abs(np.clip(u, self.lp, self.hp) - self.sp)) / self.norm

    def _rate(self, z: Any) -> Any:
        """Return t'(z) for z >= 0."""
        if self.b == 0.0:
            return self.d * np.exp(-self.d * z)
        power = 1.0 / self.b if self.b < 0.0 else -(1.0 + self.b) / self.b
        return self.d * np.exp(power * np.log1p(abs(self.b) * self.d * z))

    def _integral(self, z: Any) -> Any:
        """Return t(z) for z >= 0, with t(0) = 0."""
        if self.b == 0.0:
            return -np.expm1(-self.d * z)
        log = np.log1p(abs(self.b) * self.d * z)
        if self.b == -1.0:
            return log
        if self.b < 0.0:
            return -np.expm1((self.b + 1.0) / self.b * log) / (self.b + 1.0)
        return -np.expm1(-log / self.b)

    def _inverse(self, t: Any) -> Any:
        """Return the z >= 0 with t(z) = t."""
        if self.b == 0.0:
            return -np.log1p(-t) / self.d
        if self.b == -1.0:
            log = t
        elif self.b < 0.0:
            log = self.b / (self.b + 1.0) * np.log1p(-(self.b + 1.0) * t)
        else:
            log = -self.b * np.log1p(-t)
        return np.expm1(log) / (abs(self.b) * self.d)


def _solve(level: float, target: float, row: Mapping[str, float]) -> float:
    """D that takes a level to the target, by bisection in log D, inside the invertible range."""
    low, high = 1e-6, 1e12
    for _ in range(100):
        middle = float(np.sqrt(low * high))
        curve = _Curve({**row, "stretch_factor": middle})
        flat = not min(curve.low_slope, curve.high_slope) > 10.0 * MIN_SLOPE * curve.norm
        if flat or float(curve.forward(np.array([level]))[0]) > target:
            high = middle
        else:
            low = middle
    return low
