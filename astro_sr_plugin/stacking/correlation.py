"""The correlation of the noise of a stack, which follows from what was done to the frames."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.cfa import ColorFilterArray
from astro_sr_plugin.stacking.bands import Light, StackSettings, area_of
from astro_sr_plugin.stacking.combination import Combined
from astro_sr_plugin.stacking.drizzling import Drizzling, make_output
from astro_sr_plugin.stacking.samples import filter_mask

__all__ = ["NoiseCorrelation", "drizzled_correlation", "interpolated_correlation"]

_SIDE = 96
"""Side in pixels of the reference of the area on which noise is drizzled: the correlation of
neighbours is then known to 0.01."""


class NoiseCorrelation(NamedTuple):
    """How the noise of pixels is correlated.

    Attributes
    ----------
    ratio : float
        Noise of large areas over what follows from that of single pixels; 1 for white noise.
    neighbours : float
        Correlation of neighbouring pixels; 0 for white noise.
    """

    ratio: float
    neighbours: float


def interpolated_correlation(lights: list[Light], settings: StackSettings) -> NoiseCorrelation:
    """Find the correlation of the noise of a mean of interpolated frames.

    Interpolation, debayering included, keeps the mean of a large area, and so its noise.
    """
    share, noise = _shares(lights, settings)
    before = np.sum((share * noise) ** 2, axis=0) / _filled(settings.cfa, settings.planes)
    after = np.sum((share * noise) ** 2 * settings.factors, axis=0)
    beside = np.sum((share * noise) ** 2 * settings.factors * settings.neighbours, axis=0)
    return NoiseCorrelation(float(np.mean(np.sqrt(before / after))), float(np.mean(beside / after)))


def drizzled_correlation(
    lights: list[Light],
    settings: StackSettings,
    drizzling: Drizzling,
    planes: list[Combined],
) -> NoiseCorrelation:
    """Find the correlation of the noise of a drizzled stack.

    Drizzle keeps the mean of a large area. What single pixels have follows from the drops that
    fell on them; noise that is drizzled like the frames shows the correlation of neighbours.
    """
    share, noise = _shares(lights, settings)
    area = np.array([area_of(light.transform) for light in lights])[:, None]
    weights = sum(light.weight for light in lights)
    variance = np.sum((share * noise * area) ** 2, axis=0) / weights**2
    variance *= drizzling.scale**2 / _filled(settings.cfa, settings.planes)
    pixel = np.array([np.nanmedian(plane.variance) for plane in planes])
    neighbours = [_neighbours(lights, settings, drizzling, k) for k in range(len(planes))]
    return NoiseCorrelation(
        float(np.mean(np.sqrt(variance / pixel))), float(np.nanmean(neighbours))
    )


def _shares(
    lights: list[Light], settings: StackSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight times scale of each frame, shape (frames, 1), and noise, shape (frames, planes)."""
    share = np.array([light.weight * light.normalisation.scale for light in lights])[:, None]
    return share, np.stack([light.noise for light in lights])[:, : settings.planes]


def _filled(cfa: ColorFilterArray | None, planes: int) -> NDArray[np.float64]:
    """Part of the pixels of a frame that have a value of each colour."""
    if cfa is None:
        return np.ones(planes)
    return np.array([(cfa.filters == colour).mean() for colour in "RGB"])


def _neighbours(
    lights: list[Light], settings: StackSettings, drizzling: Drizzling, plane: int
) -> float:
    """Drizzle noise onto the middle of the reference, and correlate its neighbours."""
    rng = np.random.default_rng(0)
    low = [max(0, (side - _SIDE) // 2) for side in settings.shape]
    high = [min(side, start + _SIDE) for side, start in zip(settings.shape, low, strict=True)]
    scale = drizzling.scale
    shape = tuple(round((b - a) * scale) for a, b in zip(low, high, strict=True))
    output: Any = make_output(drizzling, shape)
    for light in lights:
        corners = light.transform.to_image(
            np.array([low[1], high[1], low[1], high[1]]),
            np.array([low[0], low[0], high[0], high[0]]),
        )
        (x0, x1), (y0, y1) = (
            (int(max(np.min(c) - 2, 0)), int(min(np.max(c) + 3, side)))
            for c, side in zip(corners, light.frame.shape[:-3:-1], strict=True)
        )
        if x1 - x0 < 2 or y1 - y0 < 2:
            continue
        y, x = np.mgrid[y0:y1, x0:x1].astype(np.float64)
        u, v = light.transform.to_reference(x, y)
        places = np.stack(
            [(u - low[1] + 0.5) * scale - 0.5, (v - low[0] + 0.5) * scale - 0.5], axis=-1
        )
        weight = np.full(y.shape, light.weight, np.float32)
        if settings.cfa is not None:
            weight *= filter_mask(settings.cfa, plane, (y0, y1), (x0, x1))
        noise = light.normalisation.scale * light.noise[plane] * rng.normal(size=y.shape)
        output.add_image(
            noise.astype(np.float32),
            1.0,
            places,
            data2=np.ones(y.shape, np.float32),
            weight_map=weight,
            pixfrac=drizzling.pixfrac,
            pixel_scale_ratio=1 / scale,
        )
    values = np.where(output.out_wht > 0, output.out_img, np.nan)
    across, down = values[:, 1:] * values[:, :-1], values[1:] * values[:-1]
    return float((np.nanmean(across) + np.nanmean(down)) / 2 / np.nanmean(values**2))
