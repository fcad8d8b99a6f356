"""Small line charts as SVG text, without any library."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Curve", "line_chart"]

_WIDTH, _HEIGHT = 560, 300
"""Size of a chart in units of its SVG."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 14, 44
"""Margins around the axes in the same units."""


class Curve(NamedTuple):
    """One line of a chart.

    Attributes
    ----------
    name, colour : str
        For the legend; a CSS colour.
    x, y : array of float
        Points; those that are not finite, or not positive on a logarithmic axis, are left out.
    """

    name: str
    colour: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]


def line_chart(curves: Sequence[Curve], *, x_label: str, y_label: str, log_y: bool = False) -> str:
    """Draw curves over one pair of axes.

    Parameters
    ----------
    curves : sequence of Curve
        At least one.
    x_label, y_label : str
        Titles of the axes.
    log_y : bool, optional
        Logarithmic ordinate, of at most nine decades.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    points = [_usable(curve, log_y) for curve in curves]
    x_all = np.concatenate([x for x, _ in points])
    y_all = np.concatenate([y for _, y in points])
    if x_all.size == 0:
        return f"<p>{escape(y_label)}: nothing to draw</p>"
    x_low, x_high = _span(x_all)
    y_low, y_high = _span(y_all)
    if log_y:
        y_low = max(y_low, y_high - 9.0)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = min(max((y - y_low) / (y_high - y_low), 0.0), 1.0)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    body = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" class="chart" role="img">']
    for value in _ticks(x_low, x_high):
        px, _ = at(value, y_low)
        body.append(f'<path d="M{px:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" class="grid"/>')
        body.append(_text(px, _HEIGHT - _BOTTOM + 16, f"{value:g}", "middle"))
    for value in _ticks(y_low, y_high, whole=log_y):
        _, py = at(x_low, value)
        label = f"1e{value:.0f}" if log_y else f"{value:g}"
        body.append(f'<path d="M{_LEFT} {py:.1f}H{_WIDTH - _RIGHT}" class="grid"/>')
        body.append(_text(_LEFT - 6, py + 4, label, "end"))
    for index, (curve, (x, y)) in enumerate(zip(curves, points, strict=True)):
        path = " ".join("{:.1f},{:.1f}".format(*at(u, v)) for u, v in zip(x, y, strict=True))
        body.append(f'<polyline points="{path}" fill="none" stroke="{curve.colour}"/>')
        body.append(
            f'<text x="{_WIDTH - _RIGHT - 6}" y="{_TOP + 16 + 18 * index}" text-anchor="end" '
            f'fill="{curve.colour}">{escape(curve.name)}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    body.append(_text(middle, _HEIGHT - 8, x_label, "middle"))
    body.append(
        f'<text transform="translate(14 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text></svg>'
    )
    return "\n".join(body)


def _usable(curve: Curve, log_y: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(curve.x, dtype=np.float64), np.asarray(curve.y, dtype=np.float64)
    good = np.isfinite(x) & np.isfinite(y)
    if log_y:
        good &= y > 0.0
        return x[good], np.log10(y[good])
    return x[good], y[good]


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """About five round numbers within a span."""
    rough = (high - low) / 5.0
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= rough * 0.999))
    if whole:
        step = max(1.0, round(step))
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [float(f"{n * step:.6g}") for n in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
