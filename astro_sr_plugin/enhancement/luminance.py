"""Colour images whose luminance alone goes through a model; the colours are interpolated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, grey_opening

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
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.models.filters import (
    FILTER_RADIUS,
    Filters,
    make_wiener_filters,
    without_border,
)
from astro_sr_plugin.models.flux import FLUX_RADIUS, FluxStep
from astro_sr_plugin.models.spec import Conditions, Model

__all__ = ["check_colour", "restore_luminance"]

_ROWS = 256
_PLANES = 3
_COMMON = 1.0
"""Width of the profile to which the colours are brought, in that of the widest plane."""
_SOURCE = 2.0
"""Width above which light is not that of a source, in that of the common profile."""
_SMOOTH = 1.0
_DOUBT = 4.0
_FLUX=True
_REACH=3.
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
    ny, nx = seen[0].plane.shape
    mixer = _Mixer(conditions, told, scale)
    before = np.empty((0, nx * scale), np.float32)
    for first, last in _row_blocks(ny):
        # The planes take the place of the luminance row by row; the last rows are needed again.
        low, high = first - len(before) // scale, min(last + FLUX_RADIUS, ny)
        light = np.concatenate([before, restored[first * scale : high * scale]], dtype=np.float32)
        keep = max(0, last - FLUX_RADIUS - low) * scale
        before = light[keep : (last - low) * scale].copy()
        rows = reflect_indices((first - FLUX_RADIUS) * scale, (last + FLUX_RADIUS) * scale, ny * scale)
        columns = reflect_indices(-FLUX_RADIUS * scale, (nx + FLUX_RADIUS) * scale, nx * scale)
        window = light[np.ix_(rows - low * scale, columns)]
        halo = mixer.halo
        regions = [s.read(first - halo, last + halo, -halo, nx + halo) for s in seen]
        planes = mixer.mix(regions, window)
        for plane, values in zip(sink, planes, strict=True):
            plane[first * scale : last * scale] = values
        for source in seen:
            release(source.plane)
        release(sink)


class _Mixer:
    """Gives the detail of a luminance to the planes of a colour image."""

    def __init__(self, conditions: Sequence[Conditions], told: Conditions, scale: int) -> None:
        self._scale = scale
        # The observed width has the pixel in it, that of the common profile too.
        widest = math.sqrt(max(c.fwhm for c in conditions) ** 2 + 8 * math.log(2) / 12)
        common = max(_COMMON * widest, told.target_fwhm / scale)
        kernels = [_matching_kernels(c, common, scale) for c in conditions]
        self._matching = [Filters(kernel) for kernel in kernels]
        noise = math.sqrt(sum(float((k[0, 0] ** 2).sum()) for k in kernels)) / _PLANES
        self._doubt = _DOUBT * noise * (1 + 3 * max(0.0, told.noise_correlation))
        self._sigma = _SMOOTH * common * scale / (2 * math.sqrt(2 * math.log(2)))
        self._side = 2 * round(_SOURCE * common / 2) + 1
        self._margin = 2 * self._side
        self._flux = [FluxStep(c, scale, False, "cpu") for c in conditions]
        self._smooth = [Filters(step.kernels[None]) for step in self._flux]
        self.halo = FILTER_RADIUS + self._margin + FLUX_RADIUS

    def mix(
        self,
        regions: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
        light: NDArray[np.float32],
    ) -> list[NDArray[np.float32]]:
        scale, margin = self._scale, self._margin
        matched = np.stack(
            [_matched(f, r, scale) for f, (r, _) in zip(self._matching, regions, strict=True)]
        )
        side = self._side * scale
        base = np.stack([_without_sources(plane, side) for plane in matched])
        sources = np.maximum(matched - base, 0.0)
        mean = sources.mean(0)
        gains = (sources + self._doubt) / (mean + self._doubt)
        ground = base.mean(0)
        # What is too faint to have a colour of its own keeps that of its surroundings.
        base += gaussian_filter(matched - base - gains * (matched.mean(0) - ground), (0, self._sigma, self._sigma), truncate=_REACH)
        inner = np.s_[:, margin * scale : -margin * scale, margin * scale : -margin * scale]
        base, gains, ground = base[inner], gains[inner], ground[inner[1:]]
        detail = light - ground
        # Where the luminance is not known in all planes, that of the input serves the others.
        unknown = ~np.isfinite(detail)
        if unknown.any():
            detail[unknown] = (matched[inner].mean(0) - ground)[unknown]
        return [
            self._with_flux(k, plane, *regions[k])
            for k, plane in enumerate(base + gains * detail)
        ]

    def _with_flux(self, k: int, plane, values, mask):
        border = self._margin + FILTER_RADIUS
        smooth = without_border(self._smooth[k](torch.from_numpy(values)[None, None]), border)
        masked = without_border(torch.from_numpy(mask)[None, None], border)
        result = torch.from_numpy(np.ascontiguousarray(plane, dtype=np.float32))[None, None]
        if _FLUX:
            for _ in range(_FLUX):
                result = self._flux[k].correct(result, smooth, masked)
        return without_border(result, FLUX_RADIUS * self._scale)[0, 0].numpy()


def _matching_kernels(conditions: Conditions, fwhm: float, scale: int) -> torch.Tensor:
    """Filter from the PSF of a plane to a Gaussian ``fwhm`` input pixels wide, one per phase."""
    psf = torch.from_numpy(conditions.psf)[None]
    return make_wiener_filters(psf, torch.tensor([fwhm * scale]), scale)[:, 0]


def _matched(filters: Filters, values: NDArray[np.float32], scale: int) -> NDArray[np.float32]:
    phases = without_border(filters(torch.from_numpy(values)[None, None]), FILTER_RADIUS)
    return torch.nn.functional.pixel_shuffle(phases, scale)[0, 0].numpy()


def _without_sources(plane: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Level on which the sources of a plane stand: its opening by a square, smoothed."""
    opened = grey_opening(plane, (side, side))
    result: NDArray[np.float32] = gaussian_filter(opened, side / 4, truncate=2.0)
    return result
