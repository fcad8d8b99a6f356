"""Super-resolution of many frames: whether it can gain anything, and what is done then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    distance_transform_edt,
    map_coordinates,
    maximum_filter,
    spline_filter,
)

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.registration.transform import Transform
from astro_sr_plugin.stacking.bands import Light, StackSettings
from astro_sr_plugin.stacking.checkpoints import Checkpoints
from astro_sr_plugin.stacking.combination import Combined
from astro_sr_plugin.stacking.correlation import NoiseCorrelation
from astro_sr_plugin.stacking.fine_samples import Problem, plan_blocks
from astro_sr_plugin.stacking.fine_strength import choose_strengths
from astro_sr_plugin.stacking.fine_tiles import solve_block
from astro_sr_plugin.stacking.measuring import read_calibrated
from astro_sr_plugin.stacking.pixel_response import PixelResponse, make_response
from astro_sr_plugin.stacking.psf_differences import measure_light, psf_difference, sharp_fwhm
from astro_sr_plugin.stacking.samples import StackModel
from astro_sr_plugin.stacking.workers import Workers

__all__ = [
    "SCALES",
    "check_scale",
    "enlarge_stack",
    "reason_against",
    "reason_against_finer_pixels",
    "super_resolve_frames",
]

SCALES = (2, 3)
"""Fine pixels per pixel along each axis that can be asked for."""
_SAMPLED = 3.0
"""FWHM in pixels from which frames are sampled so well that finer pixels show nothing more."""
_SAMPLED_MOSAIC = 4.5
"""The same for a mosaic, whose colours lie 1.4 and 2 pixels apart."""
_ALIKE = 0.9
"""Mean resultant length of the places of frames within their pixels above which there is no dither:
it is 1 for whole pixels, and 1 / sqrt(n) for n places by chance."""
_WAVES = np.array([[1, 0], [0, 1], [1, 1], [1, -1]])
"""Waves along x and y per pixel that the dither has to tell from their aliases."""
_FULL = 0.25
"""Part of the frames in which a star is saturated from which it has no image of the optics. The
stack does not tell: the peak of a star that is saturated in all frames may be 0.8 of that level."""
_PLATEAU_REACH = 4.0, 6.0
"""Distances in pixels from a plateau to which the stack is interpolated instead, wholly and in
part."""
_PLACES = 3
"""Places along each axis of the field at which it is looked at."""
_NOISE_SIDE = 96
"""Side in pixels of the noise on which the interpolation is tried."""
_FRAME_BYTES = 40
"""Bytes for each pixel of a frame whose PSF is measured."""


def check_scale(scale: float) -> int:
    """Return the scale as a whole number.

    Raises
    ------
    InputError
        If it is none of `SCALES`.
    """
    if scale not in SCALES:
        msg = f"super_resolve={scale:g} cannot be used; allowed are 2 and 3"
        raise InputError(msg)
    return int(scale)


def reason_against(lights: list[Light], settings: StackSettings, scale: int) -> str:
    """Say why the frames hold no finer detail than their stack; empty if they may.

    Parameters
    ----------
    lights : list of Light
        The frames.
    settings : StackSettings
        How they are combined.
    scale : int
        Fine pixels per pixel along each axis.
    """
    least = scale**2 * (1 if settings.cfa is None else 2)
    if len(lights) < least:
        return f"there are {len(lights)} frames, and a scale of {scale} takes {least}"
    return reason_against_finer_pixels(lights, settings)


def reason_against_finer_pixels(lights: list[Light], settings: StackSettings) -> str:
    """Say why finer pixels show nothing more, however many frames there are; empty if they may."""
    mosaic = settings.cfa is not None
    width, sampled = sharp_fwhm(lights), _SAMPLED_MOSAIC if mosaic else _SAMPLED
    if width >= sampled:
        return f"stars have a FWHM of {width:.1f} pixels, and {sampled:g} are well sampled"
    ny, nx = settings.shape
    x, y = (
        place.ravel()
        for place in np.meshgrid(np.linspace(0, nx - 1, _PLACES), np.linspace(0, ny - 1, _PLACES))
    )
    places = np.array([light.transform.to_image(x, y) for light in lights])
    for period in (1, 2) if mosaic else (1,):
        phases = np.einsum("wc,fcp->wfp", _WAVES, places) * (2j * np.pi / period)
        if float(np.abs(np.exp(phases).mean(axis=1)).mean(axis=1).max()) > _ALIKE:
            return "the frames are not dithered by parts of a pixel"
    return ""


def super_resolve_frames(
    lights: list[Light],
    settings: StackSettings,
    stack: list[Combined],
    scale: int,
    workers: Workers,
    memory: int,
    progress: Callable[[int], Callable[[], None]],
    checkpoints: Checkpoints | None = None,
) -> tuple[list[Combined], NoiseCorrelation]:
    """Solve for the fine image.

    Parameters
    ----------
    lights : list of Light
        The frames.
    settings : StackSettings
        How they were combined.
    stack : list of Combined
        The stack on the grid of the reference, for each colour; outliers deviate from it.
    scale : int
        Fine pixels per pixel along each axis.
    workers : Workers
        Who does the work.
    memory : int
        Bytes for all blocks that are worked on at once.
    progress : callable
        Takes the number of steps, and gives what is called after each.
    checkpoints : Checkpoints, optional
        Where finished blocks are kept.

    Returns
    -------
    planes : list of Combined
        For each colour. Surface brightness is kept. The numbers of rejected values are those of
        the stack.
    correlation : NoiseCorrelation
        Of the noise of the fine image.
    """
    models = [StackModel(found, settings, lights, k) for k, found in enumerate(stack)]
    responses = _responses(lights, settings, scale, workers, memory)
    problem = Problem(lights, settings, models, responses, scale)
    strengths = choose_strengths(problem)
    blocks = plan_blocks(problem)
    finished = progress(len(blocks))
    result = [_enlarged_counts(found, scale) for found in stack]
    at_once = max(1, memory // problem.block_bytes())
    run = partial(workers.run, solve_block, (problem, strengths), at_once=at_once)
    kept = checkpoints
    solved = (
        run(blocks) if kept is None else kept.resumed(blocks, kept.load_block, kept.save_block, run)
    )
    noises: list[tuple[float, float]] = []
    for block, (planes, found) in solved:
        part = np.s_[block[0] : block[1], block[2] : block[3]]
        for target, own in zip(result, planes, strict=True):
            for name in ("data", "variance", "used"):
                getattr(target, name)[part] = getattr(own, name)
        noises += found
        finished()
    known = [noise for noise in noises if np.isfinite(noise).all()]
    correlation = NoiseCorrelation(*np.median(known, axis=0).tolist())
    counts = _count_saturated(lights, settings, workers, memory)
    for target, own in zip(result, stack, strict=True):
        _interpolate_plateaus(target, own, counts, scale)
    return result, correlation


def _count_saturated(
    lights: list[Light], settings: StackSettings, workers: Workers, memory: int
) -> NDArray[np.uint16]:
    """Count the frames that are saturated at each pixel of the stack, or beside it."""
    counts = np.zeros(settings.shape, np.uint16)
    known = [light.saturation for light in lights if np.isfinite(light.saturation)]
    if known:
        at_once = _frames_at_once(settings, memory)
        # Few saturated pixels do not tell the level of their frame.
        job = lights, settings, min(known)
        for _, found in workers.run(_find_saturated, job, range(len(lights)), at_once=at_once):
            counts.flat[found] += 1
    return counts


def _find_saturated(
    lights: list[Light], settings: StackSettings, level: float, number: int
) -> NDArray[np.intp]:
    """Find the pixels of the stack, flat, where a frame is saturated within a pixel."""
    light = lights[number]
    values = read_calibrated(light.frame, light.masters)
    values.reshape(*values.shape[:-2], -1)[..., light.excluded] = np.nan
    full = values >= (light.saturation if np.isfinite(light.saturation) else level)
    v, u = np.nonzero(full if full.ndim == 2 else full.any(axis=0))
    x, y = light.transform.to_reference(u.astype(float), v.astype(float))
    ny, nx = settings.shape
    inside = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    near = np.zeros((ny, nx), bool)
    near[np.rint(y[inside]).astype(int), np.rint(x[inside]).astype(int)] = True
    return np.flatnonzero(maximum_filter(near, size=3))


def _interpolate_plateaus(
    target: Combined, own: Combined, counts: NDArray[np.uint16], scale: int
) -> None:
    """Put the stack, interpolated linearly, in the place of the fine image beside saturated stars.

    The edges of their plateaus are no image of the optics: they would become rings.
    """
    full = counts > _FULL * (own.used + own.low + own.high)
    if not full.any():
        return
    distance = distance_transform_edt(~full).astype(np.float32)
    inner, outer = _PLATEAU_REACH
    share = np.clip((outer - distance) / (outer - inner), 0, 1)
    share = np.repeat(np.repeat(share, scale, axis=0), scale, axis=1)
    smooth = _interpolated(own.data, scale, order=1)
    variance = np.repeat(np.repeat(own.variance, scale, axis=0), scale, axis=1)
    near = (share > 0) & np.isfinite(smooth)
    for mine, other in ((target.data, smooth), (target.variance, variance)):
        mine[near] += share[near] * (other[near] - mine[near])


def enlarge_stack(
    stack: list[Combined], scale: int, correlation: NoiseCorrelation
) -> tuple[list[Combined], NoiseCorrelation]:
    """Interpolate the stack on the fine grid by cubic splines.

    Parameters
    ----------
    stack : list of Combined
        The stack on the grid of the reference, for each colour.
    scale : int
        Fine pixels per pixel along each axis.
    correlation : NoiseCorrelation
        Of its noise.
    """
    noise = _interpolated(np.random.default_rng(0).normal(size=(_NOISE_SIDE,) * 2), scale)
    variance = float(noise.var())
    neighbours = float(np.mean(noise[:, 1:] * noise[:, :-1])) / variance
    result = []
    for found in stack:
        target = _enlarged_counts(found, scale)
        near = np.ix_(*(np.arange(n) // scale for n in target.data.shape))
        empty = ~np.isfinite(found.data)
        level = np.nanmedian(found.data) if not empty.all() else np.float32(0)
        target.data[:] = _interpolated(np.where(empty, level, found.data), scale)
        target.data[empty[near]] = np.nan
        target.variance[:] = found.variance[near] * np.float32(variance)
        target.used[:] = found.used[near]
        result.append(target)
    ratio = correlation.ratio * scale / np.sqrt(variance)
    return result, NoiseCorrelation(ratio, max(neighbours, correlation.neighbours))


def _interpolated(
    image: NDArray[np.floating], scale: int, *, order: int = 3
) -> NDArray[np.float32]:
    ny, nx = (n * scale for n in image.shape)
    values = image
    if order > 1:
        values = spline_filter(image, order=order, output=np.float32, mode="mirror")
    x = (np.arange(nx) + 0.5) / scale - 0.5
    result = np.empty((ny, nx), np.float32)
    for row in range(ny):
        places = np.stack([np.full(nx, (row + 0.5) / scale - 0.5), x])
        map_coordinates(
            values, places, order=order, prefilter=False, mode="mirror", output=result[row]
        )
    return result


def _enlarged_counts(found: Combined, scale: int) -> Combined:
    """Make room for the fine image, with the numbers of rejected values."""
    low, high = (
        np.repeat(np.repeat(plane, scale, axis=0), scale, axis=1)
        for plane in (found.low, found.high)
    )
    data, variance = np.empty((2, *low.shape), np.float32)
    return Combined(data, variance, np.empty_like(low), low, high)


def _responses(
    lights: list[Light], settings: StackSettings, scale: int, workers: Workers, memory: int
) -> list[PixelResponse]:
    """Make the response of each frame, with its own PSF."""
    psfs = dict.fromkeys(range(len(lights)))
    sharp = sharp_fwhm(lights)
    jacobians = [_jacobian(light.transform, scale) for light in lights]
    widths = [light.fwhm for light in lights]
    wider = [
        k
        for k in psfs
        if psf_difference((widths[k], None), (sharp, None), jacobians[k], scale) is not None
    ]
    nearest = int(np.argmin([abs(width - sharp) for width in np.nan_to_num(widths, nan=np.inf)]))
    if wider:
        found = workers.run(
            measure_light,
            (lights, settings),
            sorted({*wider, nearest}),
            at_once=_frames_at_once(settings, memory),
        )
        psfs |= dict(found)
    return [
        make_response(
            jacobian,
            psf_difference((width, psfs[k]), (sharp, psfs[nearest]), jacobian, scale),
        )
        for k, (width, jacobian) in enumerate(zip(widths, jacobians, strict=True))
    ]


def _frames_at_once(settings: StackSettings, memory: int) -> int:
    """Whole frames that are worked on at once."""
    return max(1, memory // (settings.shape[0] * settings.shape[1] * _FRAME_BYTES))


def _jacobian(transform: Transform, scale: int) -> NDArray[np.float64]:
    """Fine pixels (x, y) per pixel (x, y) of a frame, in its middle."""
    ny, nx = transform.shape
    x, y = (nx - 1) / 2, (ny - 1) / 2
    places = np.array(transform.to_reference([x - 0.5, x + 0.5, x, x], [y, y, y - 0.5, y + 0.5]))
    return scale * np.stack([places[:, 1] - places[:, 0], places[:, 3] - places[:, 2]], axis=1)
