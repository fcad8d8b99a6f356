"""Curves of the page of before and after: histograms and power spectra."""

from __future__ import annotations

import numpy as np

from astro_sr_plugin.metrics import power_spectrum
from astro_sr_plugin.report.charts import Curve
from astro_sr_plugin.report.display import Display, luminance

__all__ = ["histograms", "spectra"]

_COLOURS = ("#ffb000", "#4fd1ff")
"""CSS colours of the curves of before and after."""
_SPECTRUM_SIDE = 1024
"""Side in pixels of the middle part of a larger image that gives the power spectra."""
_SAMPLE = 1 << 22
"""Number of values, about, that make a histogram."""


def histograms(display: Display, labels: tuple[str, str]) -> list[Curve]:
    """Histograms of the stretched values, as fractions of the pixels per bin.

    Parameters
    ----------
    display : Display
        The images.
    labels : (str, str)
        Names of the curves.

    Returns
    -------
    list of Curve
        Two, over -0.25 to 1.25 on the scale where 0 is shown black and 1 white.
    """
    edges = np.linspace(-0.25, 1.25, 181)
    curves = []
    for data, name, colour in zip((display.before, display.after), labels, _COLOURS, strict=True):
        step = max(1, int(np.ceil(np.sqrt(data.size / _SAMPLE))))
        shown = display.stretch(data[..., ::step, ::step])
        values = shown[np.isfinite(shown)]
        counts, _ = np.histogram(values, edges)
        share = counts / max(values.size, 1)
        curves.append(Curve(name, colour, 0.5 * (edges[1:] + edges[:-1]), share))
    return curves


def spectra(display: Display, labels: tuple[str, str]) -> list[Curve]:
    """Radial power spectra of the middle of the field, on one axis of frequency.

    Parameters
    ----------
    display : Display
        The images.
    labels : (str, str)
        Names of the curves.

    Returns
    -------
    list of Curve
        Power per pixel against cycles per pixel of the image before; empty for tiny images.
    """
    ny, nx = display.shape
    height, width = min(ny, _SPECTRUM_SIDE), min(nx, _SPECTRUM_SIDE)
    if min(height, width) < 16:
        return []
    pieces = display.cut((nx - width) // 2, (ny - height) // 2, width, height)
    curves = []
    for data, name, colour, scale in zip(pieces, labels, _COLOURS, (1, display.scale), strict=True):
        image = luminance(data)
        if not np.isfinite(image).any():
            return []
        frequency, power = power_spectrum(image)
        # The density of a signal of given surface brightness does not depend on the sampling.
        curves.append(Curve(name, colour, frequency * scale, power / scale**2))
    return curves
