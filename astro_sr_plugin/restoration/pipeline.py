"""Planes through a model: normalise, predict in tiles, keep the flux, denormalise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import iter_rows, release
from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.spec import Conditions, Model
from astro_sr_plugin.restoration.conditions import make_conditions, target_image
from astro_sr_plugin.restoration.flux import BLOCK, FluxCorrection
from astro_sr_plugin.restoration.frame import Frame
from astro_sr_plugin.restoration.guard import blended_error, is_guarded, settle_contradictions
from astro_sr_plugin.restoration.plane import ROWS, NormalisedPlane, enlarge, finer_level
from astro_sr_plugin.restoration.threads import map_in_threads
from astro_sr_plugin.restoration.verdict import Verdict, note_verdicts

__all__ = [
    "SHARPER",
    "FindTarget",
    "Job",
    "restore_plane",
    "restore_planes",
    "row_blocks",
    "stored_strips",
]

SHARPER = 0.95
"""FWHM of the result over that of the input below which a model sharpens."""

Strips = Iterable[tuple[int, NDArray[np.float32]]]
"""First output row and restored rows, as `Predictor.strips` yields them."""
FindTarget = Callable[[NDArray, Conditions], float | None]
"""``(result, conditions) -> fwhm``: FWHM in output pixels of the Gaussian PSF of a result in noise
sigma; None if it has the PSF of the input."""


@dataclass(frozen=True)
class Job:
    """The work of a verb: a model, and how it is applied.

    Attributes
    ----------
    model : Model
        Network or classical method.
    target_fwhm : float or None
        FWHM of the result in output pixels; None keeps the PSF.
    runtime : Runtime
        Device, tiles, progress.
    blend : float or ndarray, shape (ny, nx)
        Fraction of the restored image in the result, 0 to 1; below 1 only where the scale is 1.
    factor : float
        Multiplies the result at the end.
    keep_flux : bool
        Whether light that the model lost or made at large scales is put back.
    guarded : bool
        Whether the result of a network is held against the input, and mixed with a safer estimate
        where both contradict each other.
    find_target : callable, optional
        Finds the PSF of the result of a model that has no target of its own, before the result is
        held against the input.
    advice : tuple of str
        What the user can do if the result does not agree with its input, if it is not the usual.
    """

    model: Model
    target_fwhm: float | None
    runtime: Runtime
    blend: NDArray[np.float32] | float = 1.0
    factor: float = 1.0
    keep_flux: bool = True
    guarded: bool = True
    find_target: FindTarget | None = None
    advice: tuple[str, ...] = ()

    @property
    def scale(self) -> int:
        """Output pixels per input pixel."""
        return self.model.spec.scale


def restore_planes(
    frame: Frame, job: Job, sink: NDArray, *, header: Header, errors: NDArray | None = None
) -> None:
    """Restore every plane of an image into ``sink``.

    Parameters
    ----------
    frame : Frame
        The image.
    job : Job
        What is done with it.
    sink : ndarray
        Takes the result; may be memory-mapped.
    header : fits.Header
        Of the result; takes the number of places that were mixed with a safer estimate.
    errors : ndarray of float32, optional
        Takes the standard deviation of the result, if the model estimates it.
    """
    if job.target_fwhm is None:
        frame = frame.with_typical_psf()
    together = job.model.spec.channels_in > 1
    if together:
        _predict_together(frame, job, sink, errors)
    verdicts: list[Verdict] = []
    runtimes = _over_planes(job.runtime, len(frame.planes))
    for (index, source), runtime in zip(frame.indexed(), runtimes, strict=True):
        if not source.usable:
            _copy_plane(frame.parts.data[index], job, sink[index])
            if errors is not None:
                errors[index] = np.nan
            continue
        verdict = restore_plane(
            source,
            replace(job, runtime=runtime),
            sink[index],
            errors=None if errors is None else errors[index],
            strips=stored_strips(sink[index], job.scale) if together else None,
        )
        if verdict is not None:
            verdicts.append(verdict)
    # Whoever gives a PSF, or a model for pictures, wants its result.
    measured = job.find_target is None and all(
        source.psf.moffat.confidence != "given" for source in frame.planes
    )
    # The double of stars that the network was not trained on has to agree; `deconvolve` leaves
    # them as they are unless it is told a width.
    low, high = job.model.spec.fwhm_range
    inside = all(low <= source.psf.moffat.fwhm <= high for source in frame.planes)
    strange = job.scale > 1 and not inside
    replaced = measured and any(
        verdict.hopeless or (strange and verdict.fault) for verdict in verdicts
    )
    if replaced:
        _put_back(frame, job, sink, header, errors)
    if verdicts:
        note_verdicts(header, verdicts, *job.advice, replaced=replaced)


def _put_back(
    frame: Frame, job: Job, sink: NDArray, header: Header, errors: NDArray | None
) -> None:
    """Put the input, its pixels repeated, in the place of a result; all planes: colours stay."""
    for index, source in frame.indexed():
        _copy_plane(frame.parts.data[index], job, sink[index])
        if errors is not None and source.usable:
            _copy_errors(source, job, errors[index])
    header["ASRSTREN"] = 0.0
    if "ASRFWHMI" in header:
        header["ASRFWHMO"] = header["ASRFWHMI"] * job.scale


# Pixels beyond float32 in units of the noise are infinite on the way, and come back as they were.
@np.errstate(invalid="ignore", over="ignore")
def restore_plane(
    source: NormalisedPlane,
    job: Job,
    sink: NDArray,
    *,
    errors: NDArray | None = None,
    strips: Strips | None = None,
) -> Verdict | None:
    """Restore a plane into ``sink``.

    Parameters
    ----------
    source : NormalisedPlane
        The plane.
    job : Job
        What is done with it.
    sink : ndarray, shape (scale * ny, scale * nx)
        Takes the result; may be memory-mapped.
    errors : ndarray of float32, optional
        Takes the standard deviation of the result, of its shape; NaN where no data went into it.
    strips : iterable, optional
        What the model makes of the plane, where it has done its work already; ``errors`` then
        holds the standard deviation.

    Returns
    -------
    Verdict or None
        How the result agrees with the input; None if it is not held against it.
    """
    conditions = make_conditions(source, job.target_fwhm, job.scale)
    target_psf = conditions.psf
    if job.target_fwhm is not None:
        target_psf = target_image(job.target_fwhm, job.scale)
    correction = FluxCorrection(source.shape, job.scale, conditions.psf, target_psf)
    seen = _see(source, job, conditions)
    hot = None if seen.cores is None else seen.cores.hot_pixels
    # The flux is that without hot pixels, and of saturated stars what was recorded.
    light = replace(source, cores=hot)
    for first, last in row_blocks(source.shape[0]):
        correction.add_input(first, *light.read(first, last, 0, source.shape[1], mirrored=False))
        release(source.plane)
    _predict(seen, job, conditions, sink, correction, errors=errors, strips=strips)
    if job.keep_flux:
        _correct_flux(source, correction, sink, job.scale)
    verdict = None
    if job.guarded and is_guarded(job.model.spec):

        def correct_again() -> None:
            _add_output(source, correction, sink, job.scale)
            _correct_flux(source, correction, sink, job.scale)

        target = job.target_fwhm
        if job.find_target is not None:
            target = job.find_target(sink, conditions)
        verdict = settle_contradictions(
            seen,
            sink,
            conditions,
            target,
            job.scale,
            of_mean_star=job.find_target is not None,
            errors=errors,
            correct_flux=correct_again if job.keep_flux else None,
        )
    _denormalise_all(light, job, sink, errors)
    return verdict


def _predict_together(frame: Frame, job: Job, sink: NDArray, errors: NDArray | None) -> None:
    """Fill ``sink`` with what a model makes of all planes of an image at once, in noise sigma."""
    conditions = [make_conditions(plane, job.target_fwhm, job.scale) for plane in frame.planes]
    seen = [_see(p, job, c) for p, c in zip(frame.planes, conditions, strict=True)]
    count = len(seen)

    def read(*region: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        values, kinds = zip(*(plane.read(*region) for plane in seen), strict=True)
        return np.stack(values), np.stack(kinds)

    first_plane = replace(conditions[0], others=tuple(conditions[1:]))
    predictor = Predictor(job.model, first_plane, job.runtime)
    for first, strip in predictor.strips(read, frame.planes[0].shape):
        rows = slice(first, first + strip.shape[1])
        sink[:, rows] = strip[:count]
        if errors is not None:
            errors[:, rows] = strip[count:]
            release(errors)
        for array in (sink, *(plane.plane for plane in seen)):
            release(array)


def _see(source: NormalisedPlane, job: Job, conditions: Conditions) -> NormalisedPlane:
    """Return a plane as the model sees it."""
    sharpens = conditions.target_fwhm < SHARPER * job.scale * conditions.fwhm
    return source.with_cores(conditions, stars=sharpens and math.isfinite(source.saturation))


def _predict(
    seen: NormalisedPlane,
    job: Job,
    conditions: Conditions,
    sink: NDArray,
    correction: FluxCorrection,
    *,
    errors: NDArray | None,
    strips: Strips | None,
) -> None:
    """Fill ``sink`` with the result in noise sigma, without the excess of hot pixels."""
    if strips is None:
        predictor = Predictor(job.model, conditions, job.runtime)
        strips = predictor.strips(seen.read_as_planes, seen.shape)
    for first_row, (strip, *deviation) in strips:
        rows = (first_row // job.scale, (first_row + len(strip)) // job.scale)
        if errors is not None and deviation:
            errors[first_row : first_row + len(strip)] = deviation[0]
            release(errors)
        if seen.cores is not None:
            seen.cores.stars.add_excess(strip, rows[0], job.scale)
        correction.add_output(first_row, strip, seen.saturated(*rows, job.scale))
        for first, last in iter_rows(len(strip), ROWS):
            sink[first_row + first : first_row + last] = strip[first:last]
            release(sink)
        release(seen.plane)


def _add_output(
    source: NormalisedPlane, correction: FluxCorrection, sink: NDArray, scale: int
) -> None:
    """Show a result in noise sigma to its correction."""

    def add(strip: tuple[int, int]) -> None:
        rows = slice(*(scale * row for row in strip))
        correction.add_output(rows.start, sink[rows], source.saturated(*strip, scale))
        release(sink)

    map_in_threads(add, row_blocks(source.shape[0], scale))


def _correct_flux(
    source: NormalisedPlane, correction: FluxCorrection, sink: NDArray, scale: int
) -> None:
    """Give a result in noise sigma the flux of the input."""
    correction.solve()

    def correct(strip: tuple[int, int]) -> None:
        rows = slice(*(scale * row for row in strip))
        values, saturated = sink[rows], source.saturated(*strip, scale)
        if saturated is not None:
            values = values * np.where(saturated, correction.core_factor(rows.start, rows.stop), 1)
        sink[rows] = correction.apply(rows.start, values)
        release(sink)

    map_in_threads(correct, row_blocks(source.shape[0], scale))


def _denormalise_all(
    source: NormalisedPlane, job: Job, sink: NDArray, errors: NDArray | None
) -> None:
    def denormalise(strip: tuple[int, int]) -> None:
        _denormalise(source, job, strip, sink, errors)

    map_in_threads(denormalise, row_blocks(source.shape[0], job.scale))


def _denormalise(
    source: NormalisedPlane,
    job: Job,
    rows: tuple[int, int],
    sink: NDArray,
    errors: NDArray | None,
) -> None:
    """Bring some rows to image units, hot pixels added, blended; what held no data stays."""
    first, last = rows
    scale, unit = job.scale, source.measured.unit
    out = slice(first * scale, last * scale)
    values = np.array(sink[out], dtype=np.float32)
    if source.cores is not None:
        source.cores.add_excess(values, first, scale)
    noise = source.noise(first, last, 0, source.shape[1], scale)
    result = values.astype(np.float64)
    result *= noise
    result += finer_level(source.background, first, last, source.shape, scale)
    if source.trails is not None:
        result += enlarge(source.trails.on(first, last, 0, source.shape[1]), scale)
    part = job.blend[first:last] if isinstance(job.blend, np.ndarray) else job.blend
    original = source.plane[first:last]
    if isinstance(part, np.ndarray) or part != 1.0:
        result = original + part * (result - original)
    invalid = enlarge(source.invalid(first, last), scale)
    result *= job.factor * unit
    # So does what is too large for the type of the result.
    unchanged = invalid | ~(np.abs(result) <= np.finfo(sink.dtype).max)
    if unchanged.any():
        recorded = enlarge(source.recorded(first, last), scale)
        result[unchanged] = recorded[unchanged] * job.factor
    sink[out] = result
    release(sink)
    if errors is not None:
        deviation = blended_error(errors[out], part) * noise * job.factor * unit
        errors[out] = np.where(invalid, np.nan, deviation)
        release(errors)


def _copy_plane(plane: NDArray, job: Job, sink: NDArray) -> None:
    """Write a plane as it is into ``sink``, its pixels repeated."""
    for first, last in row_blocks(len(plane), job.scale):
        rows = np.asarray(plane[first:last]) * (1 if job.factor == 1 else job.factor)
        sink[first * job.scale : last * job.scale] = enlarge(rows, job.scale)
        for array in (sink, plane):
            release(array)


def _copy_errors(source: NormalisedPlane, job: Job, errors: NDArray) -> None:
    """Write the noise of a plane, in image units, as the errors of the plane as it is."""
    for first, last in row_blocks(source.shape[0], job.scale):
        noise = source.noise(first, last, 0, source.shape[1], job.scale)
        invalid = enlarge(source.invalid(first, last), job.scale)
        deviation = np.where(invalid, np.nan, noise * job.factor * source.measured.unit)
        errors[first * job.scale : last * job.scale] = deviation
        release(errors)


def stored_strips(plane: NDArray, scale: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield what a plane of a result holds, strip by strip."""
    for first, last in row_blocks(len(plane) // scale):
        rows = slice(first * scale, last * scale)
        yield rows.start, np.array(plane[rows], dtype=np.float32)[None]


def row_blocks(rows: int, scale: int = 1) -> Iterator[tuple[int, int]]:
    """Walk down the input rows of a plane in strips of whole blocks of `FluxCorrection`."""
    return iter_rows(rows, ROWS // scale // BLOCK * BLOCK)


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
