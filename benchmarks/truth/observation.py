"""From a plan (sky, optics, camera) to a scene: the observation and its truths, rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, spatial

from benchmarks.truth.camera import FINE, MARGIN, Camera, dithers, stack_bayer, stack_mono
from benchmarks.truth.rendering import Content, gaussian, render
from benchmarks.truth.scene import Image, Scene

__all__ = ["FRAMES", "Plan", "draw_background", "draw_psf", "draw_sky", "observe_plan"]

Array = NDArray[np.float64]

FRAMES = 12
"""Dithered frames of a stack."""

_SATURATION_MARGIN = 2.0  # FWHM around saturated pixels that no metric looks at


@dataclass(frozen=True)
class Plan:
    """A scene before it is rendered.

    Attributes
    ----------
    content, psf : list
        The sky and the optical PSF, one of each per channel.
    camera : Camera
        The detector.
    sky : tuple of float
        Background (ADU) per channel.
    slope : (float, float)
        Change of the background over the frame along y and x, relative to its mean.
    stacked : str
        "mono" or "bayer" for dithered and registered frames, "" for a single exposure.
    """

    content: list[Content]
    psf: list[galsim.GSObject]
    camera: Camera
    sky: tuple[float, ...]
    slope: tuple[float, float] = (0.0, 0.0)
    stacked: str = ""


def draw_sky(plan: Plan, psf: list[galsim.GSObject], width: float, size: int, **grid: Any) -> Array:
    """Render all channels of a plan, background included, at PSFs of this width (pixels)."""
    planes = [
        render(
            content,
            psf[c],
            (size, size),
            fwhm=width,
            sigma=plan.camera.sigma(plan.sky[c]) / 4,
            **grid,
        )
        for c, content in enumerate(plan.content)
    ]
    return np.stack(planes) + draw_background(plan, size, **grid)


def observe_plan(
    plan: Plan, fwhm: float, kind: str, seed: int, size: int, rng: np.random.Generator
) -> Scene:
    """Render a plan whose optics have the width `fwhm` (pixels), and its truths."""
    channels = len(plan.content)
    noise = [plan.camera.sigma(level) for level in plan.sky]

    def draw(psf: list[galsim.GSObject], width: float, **grid: Any) -> Array:
        return draw_sky(plan, psf, width, size, **grid)

    target = max(2.0, fwhm / 2)
    target_x2 = max(2.0, fwhm) / 2  # in input pixels
    sharp = draw([gaussian(target)] * channels, target, pixel=0.0)
    fine_sharp = draw([gaussian(target_x2)] * channels, target_x2, pixel=0.0, step=0.5)

    offsets = dithers(FRAMES, rng) if plan.stacked else None
    if offsets is not None:
        fine = draw(plan.psf, fwhm, step=1 / FINE, margin=MARGIN)
        clean = _stack(plan, fine, offsets)
        observed = _stack(plan, fine, offsets, rng)
        sigma = _stack_sigma(plan, max(size, 256), offsets, rng)
    else:
        clean = draw(plan.psf, fwhm)
        observed = np.stack([plan.camera.expose(plane, rng) for plane in clean])
        sigma = np.array(noise)
    psf = _star(plan, fwhm, offsets, np.zeros(2), 1.0)
    psf_x2 = draw_psf(plan, fwhm, offsets, 2)
    excluded = np.zeros((size, size), dtype=bool)
    if plan.camera.full_well is not None:
        # The full well sits on the noise-free image too, so that noise does not hide saturation.
        saturated = (np.maximum(observed, clean) >= plan.camera.full_well).any(axis=0)
        excluded = ndimage.distance_transform_edt(~saturated) <= _SATURATION_MARGIN * fwhm
        excluded &= saturated.any()

    x, y, neighbour, inside = _positions(plan.content[0], size)
    flux = np.stack([content.flux for content in plan.content])[:, inside]
    mono = channels == 1

    def image(planes: Array) -> Image:
        return np.asarray(planes[0] if mono else planes, dtype=np.float32)

    return Scene(
        kind=kind,
        seed=seed,
        fwhm=fwhm,
        observed=image(observed),
        truth_denoise=image(clean),
        truth_deconvolve=image(sharp),
        truth_x2=image(fine_sharp),
        background=image(draw_background(plan, size)),
        background_x2=image(draw_background(plan, size, step=0.5)),
        sigma=sigma[0] if mono else sigma,
        poisson=((sigma / noise) ** 2 / plan.camera.gain)[0 if mono else slice(None)],
        correlated=bool(plan.stacked),
        psf=psf[0] if mono else psf,
        psf_x2=psf_x2[0] if mono else psf_x2,
        excluded=excluded,
        x=x,
        y=y,
        flux=flux[0] if mono else flux,
        neighbour=neighbour,
    )


def draw_background(
    plan: Plan, size: int, *, step: float = 1.0, margin: int = 0, pixel: float = 1.0
) -> Array:
    """Return the background (ADU per input pixel), shape (channels, n, n), on a render's grid."""
    n = round((size + 2 * margin) / step)
    position = ((np.arange(n) + 0.5) * step - margin) / size - 0.5
    shape = 1.0 + plan.slope[0] * position[:, None] + plan.slope[1] * position[None, :]
    return np.array(plan.sky)[:, None, None] * shape


def _stack(
    plan: Plan,
    fine: Array,
    offsets: NDArray[np.int64],
    rng: np.random.Generator | None = None,
) -> Array:
    camera = plan.camera if rng is not None else None
    if plan.stacked == "bayer":
        return stack_bayer(fine, offsets, camera=camera, rng=rng)
    return stack_mono(fine[0], offsets, camera=camera, rng=rng)[None]


def _stack_sigma(
    plan: Plan, size: int, offsets: NDArray[np.int64], rng: np.random.Generator
) -> Array:
    """Measure the noise of a stack of empty sky."""
    side = (size + 2 * MARGIN) * FINE
    flat = np.broadcast_to(np.array(plan.sky)[:, None, None], (len(plan.sky), side, side))
    return _stack(plan, flat, offsets, rng).std(axis=(1, 2))


def _star(
    plan: Plan, fwhm: float, offsets: NDArray[np.int64] | None, place: Array, pixel: float
) -> Array:
    """Return a star as observed, in an odd square, at (x, y) from its centre; of sum 1 at (0, 0).

    `pixel` is the side of the pixel in which the light is collected.
    """
    half = int(min(64, max(20, np.ceil(8 * fwhm))))
    side, centre = 2 * half + 1, half + place
    star = Content(centre[:1], centre[1:], np.array([1.0]))
    grid: dict[str, Any] = {"pixel": pixel}
    if offsets is not None:
        grid |= {"step": 1 / FINE, "margin": MARGIN}
    planes = np.stack(
        [render(star, psf, (side, side), fwhm=fwhm, sigma=1e-9, **grid) for psf in plan.psf]
    )
    if offsets is not None:
        planes = _stack(plan, planes, offsets)
    return planes / planes.sum(axis=(1, 2), keepdims=True)


def draw_psf(plan: Plan, fwhm: float, offsets: NDArray[np.int64] | None, factor: int) -> Array:
    """Return the PSF on a grid `factor` times as fine by moving a star by parts of a pixel."""
    moved = {
        (v, u): _star(plan, fwhm, offsets, np.array([u, v]) / factor, 1 / factor)
        for v in range(factor)
        for u in range(factor)
    }
    channels, side = moved[0, 0].shape[:2]
    half = side // 2
    # Fine sample m lies (m - factor half) / factor from the star, between pixels for a moved star.
    n = factor * (side - 1) + 1
    fine = np.zeros((channels, n, n))
    for (v, u), star in moved.items():
        fine[:, -v % factor :: factor, -u % factor :: factor] = star[:, v > 0 :, u > 0 :]
    centre, reach = factor * half, factor * (half + half // 2) // 2
    keep = slice(centre - reach, centre + reach + 1)
    fine = fine[:, keep, keep]
    return fine / fine.sum(axis=(1, 2), keepdims=True)


def _positions(content: Content, size: int) -> tuple[Array, Array, Array, NDArray[np.bool_]]:
    """Return x, y and nearest-neighbour distance of the stars inside, and which they are."""
    stars = np.column_stack([content.x, content.y])
    galaxies = np.array([(g.x, g.y) for g in content.galaxies]).reshape(-1, 2)
    tree = spatial.cKDTree(np.concatenate([stars, galaxies]))
    distance = tree.query(stars, k=2)[0][:, 1]
    inside = (stars > -0.5).all(axis=1) & (stars < size - 0.5).all(axis=1)
    return content.x[inside], content.y[inside], np.asarray(distance[inside]), np.asarray(inside)
