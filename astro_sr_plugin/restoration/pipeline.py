"""All planes of an image through a model, with one progress count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.spec import Model
from astro_sr_plugin.restoration.frame import Frame
from astro_sr_plugin.restoration.plane import (
    MeasuredPlane,
    PlaneMeasurement,
    copy_plane,
    restore_plane,
)
from astro_sr_plugin.restoration.psf import make_conditions, target_image

__all__ = ["restore_planes"]


def restore_planes(
    frame: Frame,
    engine: Model,
    found: Sequence[PlaneMeasurement],
    target: float | None,
    runtime: Runtime,
    sink: NDArray,
    *,
    blend: NDArray[np.float32] | float = 1.0,
    factor: float = 1.0,
    keep_flux: bool = True,
    errors: NDArray | None = None,
    with_far_light: bool = True,
) -> None:
    """Restore every plane of an image into ``sink``.

    Parameters
    ----------
    frame : Frame
        The image.
    engine : Model
        Network or classical method.
    found : sequence of PlaneMeasurement
        One per plane, from `measure_planes`.
    target : float or None
        FWHM of the result in output pixels; None keeps the PSF.
    runtime : Runtime
        Device, tiles, progress.
    sink : ndarray
        Takes the result.
    blend, factor, keep_flux
        As for `restore_plane`.
    errors : ndarray of float32, optional
        Takes the standard deviation of the result.
    with_far_light : bool
        False takes halos and spikes of bright stars off before the model sees the image.
    """
    runtimes = _over_planes(runtime, len(found))
    for (index, pixels), measured, planned in zip(frame.planes(), found, runtimes, strict=True):
        if not measured.usable:
            copy_plane(frame.parts.data[index], engine.spec.scale, factor, sink[index])
            if errors is not None:
                errors[index] = np.nan
            continue
        source = MeasuredPlane(pixels.data, pixels.unusable, measured)
        if not with_far_light:
            source = source.without_far_light()
        conditions = make_conditions(source.measured, target)
        scale = engine.spec.scale
        target_psf = conditions.psf if target is None else target_image(target, scale)
        restore_plane(
            source,
            engine,
            conditions,
            target_psf,
            planned,
            sink[index],
            blend=blend,
            factor=factor,
            keep_flux=keep_flux,
            errors=None if errors is None else errors[index],
        )


def _over_planes(runtime: Runtime, planes: int) -> Iterator[Runtime]:
    """Yield a runtime per plane, whose tiles count on through all planes."""
    report = runtime.progress
    for number in range(planes):
        if report is None:
            yield runtime
        else:
            yield replace(runtime, progress=_shifted(report, number, planes))


def _shifted(
    report: Callable[[int, int], None], number: int, planes: int
) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        report(number * total + done, planes * total)

    return progress
