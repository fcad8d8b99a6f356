"""Colour images whose luminance alone goes through a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import release
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.sky.pixels import PlanePixels
from astro_sr_plugin.measurement.sky.unusable import find_unusable
from astro_sr_plugin.models.filters import FILTER_RADIUS
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.restoration.chroma import REACH, Chroma, match_filters
from astro_sr_plugin.restoration.conditions import make_conditions
from astro_sr_plugin.restoration.frame import Frame
from astro_sr_plugin.restoration.pipeline import Job, restore_plane, row_blocks, stored_strips
from astro_sr_plugin.restoration.plane import NormalisedPlane

__all__ = ["check_colour", "check_uncertainty", "restore_luminance"]

_COLUMNS = 1024
"""Columns that are worked with at a time."""
_PLANES = 3
"""Planes of a colour image."""


def check_uncertainty(uncertainty: bool) -> None:
    """Raise InputError if an uncertainty is asked for together with the luminance alone."""
    if uncertainty:
        msg = (
            "uncertainty=True and luminance_only=True exclude each other: the errors of the "
            "luminance are not those of the planes"
        )
        raise InputError(msg)


def check_colour(frame: Frame) -> None:
    """Raise InputError unless an image has three planes."""
    shape = frame.parts.data.shape
    if len(shape) != 3 or shape[0] != _PLANES:
        msg = (
            "luminance_only=True needs a colour image, of shape (3, ny, nx); "
            f"this one has shape {shape}: leave the option out"
        )
        raise InputError(msg)


def restore_luminance(frame: Frame, job: Job, sink: NDArray) -> None:
    """Restore the luminance of a colour image, and share it out in the colours of the input.

    The luminance is the mean of the planes in units of their noise, at the PSF of the widest: it
    does not depend on the white balance, and has one PSF for stars of all colours.

    Parameters
    ----------
    frame, job, sink
        As for `~astro_sr_plugin.restoration.pipeline.restore_planes`; the job has a target PSF.
    """
    target = job.target_fwhm
    if target is None:
        msg = "the luminance alone needs a target PSF"
        raise ValueError(msg)
    for source in frame.planes:
        if not source.usable:
            msg = (
                f"luminance_only=True needs three planes with data, but {source.measured.name} "
                "holds none: leave the option out"
            )
            raise InputError(msg)
    conditions = [make_conditions(source, target, job.scale) for source in frame.planes]
    seen = [
        s.with_cores(c, stars=math.isfinite(s.saturation))
        for s, c in zip(frame.planes, conditions, strict=True)
    ]
    # Planes that are not yet written hold the luminance: as observed, and restored.
    ny, nx = frame.parts.data.shape[1:]
    luminance, restored = sink[0][:ny, :nx], sink[-1]
    _add_up(seen, conditions, luminance)
    job = replace(job, guarded=False, find_target=None)
    restore_plane(
        _open_luminance(luminance, frame.planes), replace(job, blend=1.0, factor=1.0), restored
    )
    _share_out(seen, Chroma(conditions, target, job.scale), restored, sink, job.scale)
    for source, plane in zip(frame.planes, sink, strict=True):
        restore_plane(source, job, plane, strips=stored_strips(plane, job.scale))


def _add_up(
    seen: Sequence[NormalisedPlane], conditions: Sequence[Conditions], luminance: NDArray
) -> None:
    """Fill ``luminance`` with the mean of the planes; NaN where one of them is not usable."""
    filters, halo = match_filters(conditions), FILTER_RADIUS
    for first, last in row_blocks(len(luminance)):
        mean = np.zeros((last - first, luminance.shape[1]))
        for source, matching in zip(seen, filters, strict=True):
            values, _ = source.read(first - halo, last + halo, -halo, luminance.shape[1] + halo)
            if matching is not None:
                values = matching(torch.from_numpy(values)[None, None])[0, 0].numpy()
            mean += values[halo:-halo, halo:-halo] / len(seen)
            mean[source.invalid(first, last)] = np.nan
            release(source.plane)
        luminance[first:last] = mean
        release(luminance)


def _open_luminance(luminance: NDArray, planes: Sequence[NormalisedPlane]) -> NormalisedPlane:
    """Open the luminance; its PSF is the given one, or the widest plane's if it shows none."""
    measured = MeasuredPlane(PlanePixels(luminance, find_unusable(luminance)), name="luminance")
    # The cores of saturated stars are filled in the planes.
    measured.saturation = None
    widest = max(planes, key=lambda plane: plane.psf.moffat.fwhm).psf
    given = widest.moffat.confidence == "given"
    return NormalisedPlane(measured, widest if given or not measured.psf.known else measured.psf)


def _share_out(
    seen: Sequence[NormalisedPlane], chroma: Chroma, restored: NDArray, sink: NDArray, scale: int
) -> None:
    """Fill ``sink`` with the planes, in units of their noise."""
    ny, nx = seen[0].plane.shape
    reach, halo = REACH, chroma.halo
    before = np.empty((0, nx * scale), np.float32)
    for first, last in row_blocks(ny):
        # The last plane takes the place of the luminance, whose last rows are needed once more.
        low, high = first - len(before) // scale, min(last + reach, ny)
        light = np.concatenate([before, restored[first * scale : high * scale]], dtype=np.float32)
        before = light[max(0, last - reach - low) * scale : (last - low) * scale].copy()
        rows = reflect_indices((first - reach) * scale, (last + reach) * scale, ny * scale)
        out = slice(first * scale, last * scale)
        for left in range(0, nx, _COLUMNS):
            right = min(left + _COLUMNS, nx)
            columns = reflect_indices((left - reach) * scale, (right + reach) * scale, nx * scale)
            window = light[np.ix_(rows - low * scale, columns)]
            regions = [s.read(first - halo, last + halo, left - halo, right + halo) for s in seen]
            planes = chroma.share(regions, window, (first, left))
            for plane, values in zip(sink, planes, strict=True):
                plane[out, left * scale : right * scale] = values
        for array in (*(source.plane for source in seen), sink):
            release(array)
