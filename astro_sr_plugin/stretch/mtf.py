"""Midtones transfer function: the screen stretch of PixInsight and Siril."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stretch.base import MIN_SLOPE, Number, Stretch
from astro_sr_plugin.stretch.statistics import Sky, display_range, sky_per_channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["MTFStretch"]

#: What Siril takes for the noise, on the 0..1 scale, where the MAD is zero.
_NOISE_IF_NONE = 0.001


@dataclass(frozen=True)
class MTFStretch(Stretch):
    r"""Midtones transfer function between a shadows and a highlights point.

    .. math::

        y = \mathrm{MTF}(u) = \frac{(m - 1) u}{(2 m - 1) u - m}, \qquad
        u = \frac{x / w - s}{h - s}

    with :math:`m` = midtones, :math:`s` = shadows, :math:`h` = highlights and :math:`w` = white.
    Shadows go to 0, highlights to 1, and :math:`u = m` to 0.5.

    The classical domain is :math:`0 \le u \le 1`; Siril and PixInsight clip outside of it. Here
    the curve goes on as a straight line with the slope that it has at the end: :math:`(1-m)/m`
    below the shadows, :math:`m/(1-m)` above the highlights. So it is monotonic, has a continuous
    slope, and is invertible everywhere.

    Parameters
    ----------
    midtones : float or tuple of float
        Between 1e-8 and 1 - 1e-8; 0.5 is the straight line.
    shadows, highlights : float or tuple of float, optional
        On the normalised scale, shadows < highlights.
    white : float or tuple of float, optional
        Value that counts as 1, for example 65535 for 16-bit data.

    Notes
    -----
    The inverse returns float32 data within 1e-6 of the value; for values very much smaller than
    the shadows point (under 1e-8 of it), within 1e-14 of the shadows point.

    Examples
    --------
    >>> import astro_sr_plugin as asr
    >>> asr.MTFStretch(midtones=0.01)([0.0, 0.01, 1.0]).round(6).tolist()
    [0.0, 0.5, 1.0]
    >>> import numpy as np
    >>> image = np.random.default_rng(1).normal(0.02, 0.001, (64, 64))
    >>> stretch = asr.MTFStretch.fit(image)
    >>> round(float(np.median(stretch(image))), 2)
    0.25
    """

    name: ClassVar[str] = "mtf"
    letters: ClassVar[Mapping[str, str]] = {
        "midtones": "M",
        "shadows": "S",
        "highlights": "H",
        "white": "W",
    }

    midtones: Number
    shadows: Number = 0.0
    highlights: Number = 1.0
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
        midtones: float | None = None,
        shadows: float | None = None,
        highlights: float | None = None,
        white: float | None = None,
    ) -> MTFStretch:
        """Fit as the automatic stretch of Siril and PixInsight does.

        shadows = max(0, median - 2.8 * 1.4826 MAD), midtones = MTF(median - shadows, 0.25), on
        data divided by `white`; for bright images (median above half) the mirror image of it.
        Zeros count as no data. If zero lies inside the sky noise (sky-subtracted data: negative
        values, and a median under one sigma), the shadows point is left negative.

        Parameters
        ----------
        image : NDData or array_like
            (ny, nx) or (3, ny, nx); NaN is ignored.
        mask : array of bool, optional
            True = excluded.
        linked : bool, optional
            One curve for all channels (the ``-linked`` of Siril), or one each.
        target : float, optional
            Stretched level of the median, between 0 and 1.
        nsigma : float, optional
            Distance of the shadows point below the median, in sigma of the noise.
        midtones, shadows, highlights, white : float, optional
            Numbers to be used instead of fitted ones.

        Returns
        -------
        MTFStretch
        """
        if not 0.0 < target < 1.0:
            msg = f"target is {target}; it must be between 0 and 1"
            raise InputError(msg)
        skies = sky_per_channel(image, mask, linked=False)
        norm = white if white is not None else display_range(image, skies)
        levels = [_normalised(sky, norm) for sky in skies]
        inverted = all(sky.median > 0.5 for sky in levels)
        if linked:
            levels = [
                Sky(*(float(np.mean(column)) for column in zip(*levels, strict=True)))._replace(
                    low=min(sky.low for sky in levels)
                )
            ]
        rows = [{**_automatic(sky, target, nsigma, inverted), "white": norm} for sky in levels]
        return cls._from_channels(
            rows, midtones=midtones, shadows=shadows, highlights=highlights, white=white
        )

    @staticmethod
    def _check(**numbers: float) -> None:
        low, high = numbers["shadows"], numbers["highlights"]
        if not MIN_SLOPE <= numbers["midtones"] <= 1.0 - MIN_SLOPE:
            msg = f"midtones is {numbers['midtones']}; it must be between 1e-8 and 1 - 1e-8"
            raise InputError(msg)
        if not high > low:
            msg = f"highlights is {high}; it must be greater than shadows, which is {low}"
            raise InputError(msg)
        if not numbers["white"] > 0.0:
            msg = f"white is {numbers['white']}; it must be positive"
            raise InputError(msg)

    @staticmethod
    def _forward(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        # With r = m / (1 - m) the function is u / (u + r (1 - u)), which is exact at both ends.
        ratio = numbers["midtones"] / (1.0 - numbers["midtones"])
        u = _scaled(x, numbers)
        core = np.clip(u, 0.0, 1.0)
        y = core / (core + ratio * (1.0 - core))
        y += np.minimum(u, 0.0) / ratio
        y += np.maximum(u - 1.0, 0.0) * ratio
        return y

    @staticmethod
    def _backward(y: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        ratio = numbers["midtones"] / (1.0 - numbers["midtones"])
        core = np.clip(y, 0.0, 1.0)
        u = ratio * core / ((1.0 - core) + ratio * core)
        u += np.minimum(y, 0.0) * ratio
        u += np.maximum(y - 1.0, 0.0) / ratio
        u *= numbers["highlights"] - numbers["shadows"]
        u += numbers["shadows"]
        u *= numbers["white"]
        return u

    @staticmethod
    def _slope(x: NDArray[np.float64], **numbers: float) -> NDArray[np.float64]:
        ratio = numbers["midtones"] / (1.0 - numbers["midtones"])
        core = np.clip(_scaled(x, numbers), 0.0, 1.0)
        width = numbers["white"] * (numbers["highlights"] - numbers["shadows"])
        return ratio / (core + ratio * (1.0 - core)) ** 2 / width


def _scaled(x: NDArray[np.float64], numbers: Mapping[str, float]) -> NDArray[np.float64]:
    u = x / numbers["white"]
    u -= numbers["shadows"]
    u /= numbers["highlights"] - numbers["shadows"]
    return u


def _normalised(sky: Sky, norm: float) -> Sky:
    median, sigma, low, high, bright = (value / norm for value in sky)
    return Sky(median, sigma or _NOISE_IF_NONE, low, high, bright)


def _automatic(sky: Sky, target: float, nsigma: float, inverted: bool) -> dict[str, float]:
    """Shadows, midtones and highlights on the 0..1 scale."""
    if inverted:
        highlights = min(1.0, sky.median + nsigma * sky.sigma)
        midtones = 1.0 - _midtones(highlights - sky.median, target)
        return {"midtones": midtones, "shadows": 0.0, "highlights": max(highlights, 1e-6)}
    shadows = sky.median - nsigma * sky.sigma
    zero_is_sky = sky.low < 0.0 and sky.median < sky.sigma
    if not zero_is_sky:
        shadows = max(0.0, shadows)
    return {
        "midtones": _midtones(sky.median - shadows, target),
        "shadows": shadows,
        "highlights": 1.0,
    }


def _midtones(level: float, target: float) -> float:
    """Midtones that take a level to the target: MTF(level, target), kept invertible."""
    level = min(max(level, 0.0), 1.0)
    value = (target - 1.0) * level / ((2.0 * target - 1.0) * level - target)
    return min(max(value, 1e-7), 1.0 - 1e-7)
