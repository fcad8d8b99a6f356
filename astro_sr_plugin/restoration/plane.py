"""One plane through a model: measure, normalise, predict, denormalise, keep the flux."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from astro_sr_plugin.data.strips import release
from astro_sr_plugin.exceptions import AstroSRWarning, InputError
from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.measurement.plane import measure_sky
from astro_sr_plugin.measurement.psf.field import PSFField
from astro_sr_plugin.measurement.sky.background import (
    Background,
    lower_background,
    measure_noise_map,
)
from astro_sr_plugin.measurement.sky.windows import check_plane
from astro_sr_plugin.measurement.unusable import UnusablePixels
from astro_sr_plugin.models.spec import Conditions, Model
from astro_sr_plugin.restoration.cores import Cores, fit_cores
from astro_sr_plugin.restoration.far_light import FarLight, fit_far_light
from astro_sr_plugin.restoration.flux import BLOCK, FluxLedger
from astro_sr_plugin.restoration.missing import (
    HOLE_RADIUS,
    MISSING_MARGIN,
    fill_holes,
    find_missing,
    mirror_missing,
)

__all__ = [
    "MeasuredPlane",
    "PlaneMeasurement",
    "copy_plane",
    "measure_plane",
    "restore_plane",
    "row_blocks",
]

_ROWS = 256
_LEAST_SIGMA = 1e-25
"""Noise in units of the scatter of the values: float32 ends at 1e38 times the noise."""
_FLAT = 0.02
_LEAST_NOISE = 0.1


@dataclass(frozen=True)
class PlaneMeasurement:
    """What a model has to know of a plane; lengths in pixels, levels in its own unit.

    Attributes
    ----------
    background : Background
        Smooth level of the sky.
    sigma : float
        Noise of a pixel; above 0.
    noise_correlation : float
        Lag-1 correlation of the noise.
    fwhm, beta, ellipticity, theta : float
        Moffat profile of the stars; NaN where it could not be measured.
    n_stars : int
        Stars that the profile comes from.
    confidence : str
        ``"high"``, ``"medium"``, ``"low"`` or ``"none"``.
    saturation : float
        Level from which pixels are saturated; infinite if none are.
    psf_image : ndarray of float32 or None
        The PSF pixel by pixel, odd sides, centred, sum 1, where a Moffat profile does not say all.
    fwhm_error : float
        Relative 1-sigma error of ``fwhm``; NaN if unknown.
    noise_map : Background or None
        How the noise varies over the plane, in any unit; None if it does not, or nobody said so.
    psf_field : PSFField or None
        The profile over the field, where it changes; all others are then those of its mean.
    misfit : float
        Part of the stars that a Moffat profile does not describe; NaN if unknown.
    unit : float
        Unit of the plane in units of the image; see `~astro_sr_plugin.measurement.pixels`.
    usable : bool
        False for a plane without data, or constant: it comes back as it is, and these are the
        figures of another one.
    noise_found : bool
        False if the plane has no measurable noise, so that `sigma` only stands for it.
    """

    background: Background
    sigma: float
    noise_correlation: float
    fwhm: float
    beta: float
    ellipticity: float
    theta: float
    n_stars: int
    confidence: str
    saturation: float
    psf_image: NDArray[np.float32] | None = None
    fwhm_error: float = math.nan
    noise_map: Background | None = None
    psf_field: PSFField | None = None
    misfit: float = math.nan
    unit: float = 1.0
    usable: bool = True
    noise_found: bool = True

    @property
    def noise(self) -> float:
        """Noise of a pixel in the units of the image."""
        return self.sigma * self.unit


def measure_plane(
    plane: NDArray,
    mask: UnusablePixels | NDArray[np.bool_] | None,
    error: NDArray | None = None,
    unit: float = 1.0,
) -> PlaneMeasurement:
    """Measure sky, noise, stars and saturation of a plane.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Linear image.
    mask : UnusablePixels, ndarray of bool or None
        True = excluded.
    error : ndarray, optional
        Standard deviation of each pixel. Its run over the plane, stars left out, says where the
        noise is larger; how large it is, the plane itself tells better.
    unit : float
        Unit of the plane in units of the image.

    Raises
    ------
    InputError
        If the plane is constant: there is nothing to measure or to enhance.
    """
    plane, mask = check_plane(plane, mask)
    if mask.all():
        msg = "no pixel is usable (all are masked, NaN or infinite); there is nothing to enhance"
        raise InputError(msg)
    sky = measure_sky(plane, mask=mask, field=True)
    if not sky.sigma > 0:
        msg = (
            f"every usable pixel is {sky.background.level * unit:g}; constant data hold nothing "
            "to enhance"
        )
        raise InputError(msg)
    if sky.sigma < _LEAST_SIGMA * sky.background.rms:
        msg = (
            f"the noise of {sky.sigma * unit:.3g} is nothing beside values that scatter by "
            f"{sky.background.rms * unit:.3g}; such data hold no image"
        )
        raise InputError(msg)
    psf, correlation = sky.psf, sky.noise.correlation
    return PlaneMeasurement(
        # The models know light above the sky, but no darkness below it.
        background=lower_background(sky.background, plane, sky.sigma, mask=mask),
        sigma=sky.sigma,
        noise_correlation=correlation if math.isfinite(correlation) else 0.0,
        fwhm=psf.fwhm,
        beta=psf.beta,
        ellipticity=psf.ellipticity,
        theta=psf.theta,
        n_stars=psf.n_stars,
        confidence=psf.confidence,
        saturation=math.inf if sky.saturation is None else float(sky.saturation),
        psf_image=sky.wings,
        fwhm_error=psf.fwhm_error / psf.fwhm,
        noise_map=None if error is None else _varying_noise(error, mask),
        psf_field=sky.field,
        misfit=psf.misfit,
        unit=unit,
        noise_found=sky.noise.sigma > 0,
    )


def _varying_noise(error: NDArray, mask: UnusablePixels) -> Background | None:
    """Measure the smooth part of a map of errors; None if it is flat or says nothing."""
    found = measure_noise_map(error, mask=mask)
    return found if np.ptp(found.mesh) > _FLAT * found.level else None


@dataclass(frozen=True)
class MeasuredPlane:
    """A plane as a model sees it: in noise sigma, sky at 0, holes filled, mirrored at its edges.

    Attributes
    ----------
    plane : ndarray, shape (ny, nx)
        Linear image; never changed, converted piece by piece.
    mask : UnusablePixels
        True = holds no data.
    measured : PlaneMeasurement
        Of this plane.
    cores : Cores or None
        What stands for saturated and hot pixels.
    far_light : FarLight or None
        Halos and spikes of bright stars, which are taken off.
    """

    plane: NDArray
    mask: UnusablePixels
    measured: PlaneMeasurement
    cores: Cores | None = None
    far_light: FarLight | None = None

    def read(
        self, y0: int, y1: int, x0: int, x1: int, *, mirrored: bool = True
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give a region that may reach beyond the plane, and what its pixels are.

        1 where a pixel is saturated or filled in, -1 beyond the edges of the plane and in large
        areas without data, 0 elsewhere. These areas hold the mirror image of what is beside them,
        or, with ``mirrored=False``, nothing.
        """
        ny, nx = self.plane.shape
        rows, columns = reflect_indices(y0, y1, ny), reflect_indices(x0, x1, nx)
        ends = [(int(index.min()), int(index.max()) + 1) for index in (rows, columns)]
        margin = HOLE_RADIUS
        if mirrored and self.mask[slice(*ends[0]), slice(*ends[1])].any():
            margin = MISSING_MARGIN
        (low_y, high_y), (low_x, high_x) = (
            (max(0, low - margin), min(length, high + margin))
            for (low, high), length in zip(ends, (ny, nx), strict=True)
        )
        values, invalid, saturated = self.window(low_y, high_y, low_x, high_x)
        if self.cores is not None:
            self.cores.fill(values, saturated, low_y, low_x)
        kinds = (invalid | saturated).astype(np.float32)
        if invalid.any():
            missing = find_missing(invalid)
            values = fill_holes(values, invalid)
            if mirrored:
                mirror_missing(values, missing)
            kinds[missing] = -1.0
        mirror = np.ix_(rows - low_y, columns - low_x)
        values, kinds = values[mirror], kinds[mirror]
        for axis, (first, last, length) in enumerate(((y0, y1, ny), (x0, x1, nx))):
            place = np.arange(first, last)
            beyond = (place < 0) | (place >= length)
            kinds[(slice(None),) * axis + (beyond,)] = -1.0
        return values, kinds

    def invalid(self, y0: int, y1: int) -> NDArray[np.bool_]:
        """Tell which pixels of rows ``y0:y1`` were not used."""
        return self.mask[y0:y1]

    def noise(
        self, y0: int, y1: int, x0: int, x1: int, scale: int = 1
    ) -> NDArray[np.float64] | float:
        """Give the noise of a pixel, at the output pixels of a part of the plane."""
        varying = self.measured.noise_map
        if varying is None:
            return self.measured.sigma
        shape = (self.plane.shape[0], self.plane.shape[1])
        relative = _finer_level(varying, y0, y1, shape, scale)[:, x0 * scale : x1 * scale]
        return self.measured.sigma * np.maximum(relative / varying.level, _LEAST_NOISE)

    def saturated(self, y0: int, y1: int, scale: int) -> NDArray[np.float32] | None:
        """Tell which output pixels of input rows ``y0:y1`` were saturated; None if none can be."""
        if not math.isfinite(self.measured.saturation):
            return None
        with np.errstate(invalid="ignore"):
            above = np.asarray(self.plane[y0:y1]) >= self.measured.saturation
        return _enlarged((above & ~self.invalid(y0, y1)).astype(np.float32), scale)

    def with_cores(self, conditions: Conditions, *, stars: bool) -> MeasuredPlane:
        """Return the plane with hot pixels, and the cores of saturated stars, filled."""
        shape = (self.plane.shape[0], self.plane.shape[1])
        psf = conditions.psf if conditions.nodes is None else conditions.nodes.at
        cores = fit_cores(self.window, shape, psf, conditions.fwhm, _ROWS, stars=stars)
        return replace(self, cores=cores)

    def without_far_light(self) -> MeasuredPlane:
        """Return the plane without halos and spikes; its PSF is then the Moffat profile alone."""
        bare = replace(self.measured, psf_image=None)
        return replace(self, measured=bare, far_light=fit_far_light(self))

    def window(
        self, y0: int, y1: int, x0: int, x1: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Give a part of the plane as recorded, and what is invalid and what is saturated in it."""
        raw = np.asarray(self.plane[y0:y1, x0:x1])
        if raw.dtype.kind != "f" or not raw.dtype.isnative:
            raw = raw.astype(np.float64 if raw.dtype.itemsize > 4 else np.float32)
        invalid = self.mask[y0:y1, x0:x1]
        level = self.measured.background.level_at(y0, y1, x0, x1)
        if self.far_light is not None:
            level = level + self.far_light.on(y0, y1, x0, x1)
        with np.errstate(invalid="ignore", over="ignore"):
            values = ((raw - level) / self.noise(y0, y1, x0, x1)).astype(np.float32)
            saturated = raw >= self.measured.saturation
        values[invalid] = 0.0
        return values, invalid, saturated & ~invalid


def restore_plane(
    source: MeasuredPlane,
    model: Model,
    conditions: Conditions,
    target_psf: NDArray[np.float32],
    runtime: Runtime,
    sink: NDArray,
    *,
    blend: NDArray[np.float32] | float = 1.0,
    factor: float = 1.0,
    keep_flux: bool = True,
    errors: NDArray | None = None,
    strips: Iterable[tuple[int, NDArray[np.float32]]] | None = None,
) -> None:
    """Restore a plane into ``sink``.

    Parameters
    ----------
    source : MeasuredPlane
        The plane.
    model : Model
        Network or classical method.
    conditions : Conditions
        What the model is told.
    target_psf : ndarray
        PSF of the result on input pixels, odd sides, sum 1.
    runtime : Runtime
        Device, tiles, progress.
    sink : ndarray, shape (scale * ny, scale * nx)
        Takes the result; may be memory-mapped.
    blend : float or ndarray, shape (ny, nx)
        Share of the restored plane in the result, 0 to 1; below 1 only where the scale is 1.
    factor : float
        Multiplies the result at the end.
    keep_flux : bool
        Whether light that the model lost or made at large scales is put back.
    errors : ndarray of float32, optional
        Takes the standard deviation of the result, of its shape; NaN where no data went into it.
        The model has to tell it.
    strips : iterable, optional
        What `Predictor.strips` would yield, where the model has done its work already.
    """
    scale = model.spec.scale
    shape = (source.plane.shape[0], source.plane.shape[1])
    ledger = FluxLedger(shape, scale, conditions.psf, target_psf, conditions.noise_correlation)
    for first, last in row_blocks(shape[0]):
        ledger.count_input(first, *source.read(first, last, 0, shape[1], mirrored=False))
    sharpens = conditions.target_fwhm < 0.95 * scale * conditions.fwhm
    stars = sharpens and math.isfinite(source.measured.saturation)
    seen = source.with_cores(conditions, stars=stars)
    if strips is None:

        def read(*region: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            values, kinds = seen.read(*region)
            return values[None], kinds[None]

        strips = Predictor(model, conditions, runtime).strips(read, shape)
    for first_row, (strip, *told) in strips:
        rows = (first_row // scale, (first_row + len(strip)) // scale)
        if errors is not None:
            errors[first_row : first_row + len(strip)] = told[0]
        if seen.cores is not None:
            seen.cores.give_back(strip, rows[0], scale)
        ledger.count_output(first_row, strip, source.saturated(*rows, scale))
        sink[first_row : first_row + len(strip)] = strip
        for array in (sink, source.plane):
            release(array)
    ledger.close()
    for first, last in row_blocks(shape[0], scale):
        out = slice(first * scale, last * scale)
        values = sink[out]
        if keep_flux:
            saturated = source.saturated(first, last, scale)
            if saturated is not None:
                factor_here = np.where(saturated, ledger.core_factor(out.start, out.stop), 1)
                values = values * factor_here
            values = values + ledger.correction(out.start, out.stop)
        noise = source.noise(first, last, 0, shape[1], scale)
        result = values.astype(np.float64)
        result *= noise
        result += _finer_level(source.measured.background, first, last, shape, scale)
        part = blend[first:last] if isinstance(blend, np.ndarray) else blend
        original = source.plane[first:last]
        if isinstance(part, np.ndarray) or part != 1.0:
            with np.errstate(invalid="ignore"):
                result = original + part * (result - original)
        invalid = _enlarged(source.invalid(first, last), scale)
        if invalid.any():
            result[invalid] = _enlarged(original, scale)[invalid]
        with np.errstate(over="ignore"):
            result *= factor * source.measured.unit
            sink[out] = result
        release(sink)
        if errors is not None:
            deviation = _blended(errors[out], part) * noise * factor * source.measured.unit
            errors[out] = np.where(invalid, np.nan, deviation)
            release(errors)


def _blended(error: NDArray, part: NDArray[np.float32] | float) -> NDArray[np.float64]:
    """Give the standard deviation of a mixture of the input and the result, in noise sigma.

    The error of a mean over what may be true does not depend on the data, and so its covariance
    with that of the data is its own variance.
    """
    own = np.asarray(error, np.float64) ** 2
    noise = np.maximum(1.0, own)
    blended: NDArray[np.float64] = np.sqrt((1 - part) ** 2 * noise + part * (2 - part) * own)
    return blended


def copy_plane(plane: NDArray, scale: int, factor: float, sink: NDArray) -> None:
    """Write a plane as it is into ``sink``, its pixels repeated ``scale`` times."""
    for first, last in row_blocks(len(plane), scale):
        rows = np.asarray(plane[first:last]) * (1 if factor == 1 else factor)
        sink[first * scale : last * scale] = _enlarged(rows, scale)
        for array in (sink, plane):
            release(array)


def row_blocks(rows: int, scale: int = 1) -> Iterator[tuple[int, int]]:
    """Yield the first and last-plus-one input rows of blocks that a plane is worked through in."""
    step = _ROWS // scale // BLOCK * BLOCK
    for first in range(0, rows, step):
        yield first, min(first + step, rows)


def _enlarged(image: NDArray, scale: int) -> NDArray:
    return image if scale == 1 else image.repeat(scale, 0).repeat(scale, 1)


def _finer_level(
    background: Background, first: int, last: int, shape: tuple[int, int], scale: int
) -> NDArray[np.float64]:
    """Sky level at the output pixels of input rows ``first:last``, linear between input pixels."""
    if scale == 1:
        return background.level_at(first, last, 0, shape[1]).astype(np.float64)
    low, high = max(0, first - 1), min(shape[0], last + 1)
    level = background.level_at(low, high, 0, shape[1]).astype(np.float64)
    for axis, (start, stop, origin) in enumerate(((first, last, low), (0, shape[1], 0))):
        n = level.shape[axis]
        if n == 1:
            level = level.repeat((stop - start) * scale, axis)
            continue
        place = (np.arange(start * scale, stop * scale) + 0.5) / scale - 0.5 - origin
        left = np.clip(np.floor(place).astype(int), 0, n - 2)
        weight = place - left
        weight = weight[:, None] if axis == 0 else weight[None, :]
        level = level.take(left, axis) * (1 - weight) + level.take(left + 1, axis) * weight
    return level


def warn(text: str, category: type[AstroSRWarning] = AstroSRWarning) -> None:
    """Warn the user; the call that counts is the verb's."""
    warnings.warn(text, category, stacklevel=4)
