"""Colour images whose luminance alone goes through a model; the colours are interpolated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from astro_sr_plugin.data.memory import release
from astro_sr_plugin.enhancement.frame import Frame
from astro_sr_plugin.enhancement.plane import (
    MeasuredPlane,
    PlaneMeasurement,
    measure_plane,
    restore_plane,
)
from astro_sr_plugin.enhancement.psf import make_conditions, target_image
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.filters import (
    FILTER_RADIUS,
    Filters,
    make_wiener_filters,
    without_border,
)
from astro_sr_plugin.models.spec import Conditions, Model

__all__ = ["check_colour", "restore_luminance"]

_ROWS = 256
_PLANES = 3
_COMMON = 1.0
"""Width of the profile to which the colours are brought, in that of the widest plane."""
_WINDOW = 1.0
"""Width of the window in which a colour is taken, in that of the common profile."""
_REACH = 3.0
_DOUBT = 2.0
"""Noise of the luminance below which its detail has no colour of its own."""


def check_colour(frame: Frame) -> None:
    """Raise InputError unless an image has three planes."""
    shape = frame.parts.data.shape
    if len(shape) != 3 or shape[0] != _PLANES:
        msg = (
            f"luminance_only=True needs a colour image, of shape (3, ny, nx); this one is {shape}: "
            "leave the option out"
        )
        raise InputError(msg)


def restore_luminance(
    frame: Frame,
    engine: Model,
    found: Sequence[PlaneMeasurement],
    target: float,
    runtime: Runtime,
    sink: NDArray,
    *,
    blend: NDArray[np.float32] | float = 1.0,
    factor: float = 1.0,
) -> None:
    r"""Restore the luminance of a colour image, and give its detail the colours that are there.

    The planes, each in units of its noise, make the luminance :math:`L`, their mean, which the
    model restores to :math:`L'`. Each plane is brought to one wide profile by a linear filter and
    interpolated, :math:`M_c`, and takes the detail in the proportion in which it takes part in the
    luminance there,

    .. math:: C_c = M_c + g_c (L' - \bar M), \qquad
              g_c = \mathrm{cov}(M_c, \bar M) / \mathrm{var}(\bar M),

    in a window of the width of that profile. The mean of all :math:`g_c` is 1, so that the
    luminance of the result is :math:`L'`, and at a star on a smooth background :math:`g_c` is its
    colour, so that it stands in each plane with its own flux and the target's profile.

    Parameters
    ----------
    frame, engine, found, target, runtime, sink, blend, factor
        As for `~astro_sr_plugin.enhancement.planes.restore_planes`.

    References
    ----------
    Aiazzi et al. (2006), Photogramm. Eng. Remote Sens. 72, 591: this injection of detail in
    pansharpening.
    """
    scale = engine.spec.scale
    sources = [
        MeasuredPlane(plane, mask, measured)
        for (_, plane, mask), measured in zip(frame.planes(), found, strict=True)
    ]
    conditions = [make_conditions(measured, target) for measured in found]
    seen = [s.with_cores(c.psf, c.fwhm) for s, c in zip(sources, conditions, strict=True)]
    # Planes that are not written yet hold the luminance, before and after.
    ny, nx = frame.parts.data.shape[1:]
    luminance, restored = sink[0][:ny, :nx], sink[2]
    _sum_up(seen, luminance)
    measured = _measure(luminance, found)
    told = make_conditions(measured, target)
    whole = MeasuredPlane(luminance, None, measured)
    reached = target_image(target, scale)
    restore_plane(whole, engine, told, reached, runtime, restored)
    _colour(seen, conditions, told, restored, sink, scale)
    for source, condition, plane in zip(sources, conditions, sink, strict=True):
        restore_plane(
            source,
            engine,
            condition,
            reached,
            runtime,
            plane,
            blend=blend,
            factor=factor,
            strips=_stored(plane, scale),
        )


def _row_blocks(rows: int) -> Iterator[tuple[int, int]]:
    for first in range(0, rows, _ROWS):
        yield first, min(first + _ROWS, rows)


def _stored(plane: NDArray, scale: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield what a plane holds, strip by strip."""
    for first, last in _row_blocks(len(plane) // scale):
        rows = slice(first * scale, last * scale)
        yield rows.start, np.array(plane[rows], dtype=np.float32)


def _sum_up(seen: Sequence[MeasuredPlane], luminance: NDArray) -> None:
    """Fill ``luminance`` with the mean of the planes in units of their noise."""
    width = luminance.shape[1]
    for first, last in _row_blocks(len(luminance)):
        mean = np.mean([s.read(first, last, 0, width)[0] for s in seen], axis=0)
        for source in seen:
            mean[source.invalid(first, last)] = np.nan
            release(source.plane)
        luminance[first:last] = mean
        release(luminance)


def _measure(luminance: NDArray, found: Sequence[PlaneMeasurement]) -> PlaneMeasurement:
    """Measure the luminance; a given PSF is also its own, and that of a plane where it has none."""
    measured = replace(measure_plane(luminance, None), saturation=math.inf)
    best = max(found, key=lambda m: m.n_stars)
    if best.confidence != "given" and math.isfinite(measured.fwhm):
        return measured
    return replace(
        best,
        background=measured.background,
        sigma=measured.sigma,
        noise_correlation=measured.noise_correlation,
        saturation=math.inf,
    )


def _colour(
    seen: Sequence[MeasuredPlane],
    conditions: Sequence[Conditions],
    told: Conditions,
    restored: NDArray,
    sink: NDArray,
    scale: int,
) -> None:
    """Fill ``sink`` with the planes in units of their noise, from the restored luminance."""
    # The observed width has the pixel in it, that of the common profile too.
    widest = math.sqrt(max(c.fwhm for c in conditions) ** 2 + 8 * math.log(2) / 12)
    common = max(_COMMON * widest, told.target_fwhm / scale)
    kernels = [_matching_kernels(c, common, scale) for c in conditions]
    filters = [Filters(kernel) for kernel in kernels]
    noise = math.sqrt(sum(float((k[0, 0] ** 2).sum()) for k in kernels)) / _PLANES
    noise *= 1 + 3 * max(0.0, told.noise_correlation)
    sigma = _WINDOW * common / (2 * math.sqrt(2 * math.log(2)))
    margin = math.ceil(_REACH * sigma)
    halo = FILTER_RADIUS + margin
    width = seen[0].plane.shape[1]
    for first, last in _row_blocks(len(seen[0].plane)):
        matched = np.stack(
            [
                _matched(f, s.read(first - halo, last + halo, -halo, width + halo)[0], scale)
                for s, f in zip(seen, filters, strict=True)
            ]
        )
        gains = _gains(matched, sigma * scale, (_DOUBT * noise) ** 2)
        inner = np.s_[:, margin * scale : -margin * scale, margin * scale : -margin * scale]
        matched, gains = matched[inner], gains[inner]
        rows = slice(first * scale, last * scale)
        detail = restored[rows].astype(np.float32) - matched.mean(0)
        # Where the luminance is not known in all planes, nothing is added to the others.
        detail[~np.isfinite(detail)] = 0.0
        for plane, base, gain in zip(sink, matched, gains, strict=True):
            plane[rows] = base + gain * detail
        for source in seen:
            release(source.plane)
        release(sink)


def _matching_kernels(conditions: Conditions, fwhm: float, scale: int) -> torch.Tensor:
    """Filter from the PSF of a plane to a Gaussian ``fwhm`` input pixels wide, one per phase."""
    psf = torch.from_numpy(conditions.psf)[None]
    return make_wiener_filters(psf, torch.tensor([fwhm * scale]), scale)[:, 0]


def _matched(filters: Filters, values: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    phases = without_border(filters(torch.from_numpy(values)[None, None]), FILTER_RADIUS)
    return torch.nn.functional.pixel_shuffle(phases, scale)[0, 0].numpy()


def _gains(
    matched: NDArray[np.float32], sigma: float, doubt: float
) -> NDArray[np.float32]:
    """Slope of each plane against their mean in a Gaussian window; 0 or more, of mean 1."""

    def smooth(image: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = gaussian_filter(image, sigma, truncate=_REACH)
        return result

    mean = matched.mean(0)
    centre = smooth(mean)
    variance = smooth(mean**2) - centre**2
    shared = np.stack([smooth(plane * mean) - smooth(plane) * centre for plane in matched])
    gains = np.maximum((shared + doubt) / (np.maximum(variance, 0.0) + doubt), 0.0)
    return np.asarray(gains / gains.mean(0), dtype=np.float32)
