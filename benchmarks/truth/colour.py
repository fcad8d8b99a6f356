"""Scenes of stars of many colours whose planes differ in seeing, noise and refraction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.truth import structure
from benchmarks.truth.camera import Camera
from benchmarks.truth.observation import Plan, observe_plan
from benchmarks.truth.rendering import Content, moffat
from benchmarks.truth.scene import Scene
from benchmarks.truth.stars import flux_of_snr

__all__ = ["SKIES", "Sky", "make_colour_scene"]

Array = NDArray[np.float64]
BETA = 3.2
_LEVELS = (300.0, 900.0, 600.0)  # of the sky, and so of the noise
_SPACING = 32


@dataclass(frozen=True)
class Sky:
    """What differs between the planes: FWHM of the optics and shift along y, in pixels."""

    fwhm: tuple[float, float, float] = (3.0, 3.0, 3.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    nebula: float = 15.0
    """Median surface brightness in sigma of the middle plane."""


SKIES = {
    "alike": Sky(),
    "seeing": Sky(fwhm=(3.6, 3.0, 2.6)),
    "dispersion": Sky(shift=(0.3, 0.0, -0.4)),
    "both": Sky(fwhm=(3.6, 3.0, 2.6), shift=(0.3, 0.0, -0.4)),
    "both, no nebula": Sky(fwhm=(3.6, 3.0, 2.6), shift=(0.3, 0.0, -0.4), nebula=0.0),
}


def make_colour_scene(sky: Sky, *, size: int = 384, seed: int = 1) -> Scene:
    """Simulate stars of many colours, the brighter ones isolated, on a nebula of two colours.

    Parameters
    ----------
    sky : Sky
        What differs between the planes.
    size : int
        Side of the frame in pixels.
    seed : int
        Of places, fluxes, colours and noise.
    """
    rng = np.random.default_rng(seed)
    camera, fwhm = Camera(1.0, 5.0), max(sky.fwhm)
    unit = camera.sigma(_LEVELS[1])
    grid = np.arange(_SPACING / 2, size, _SPACING)
    y, x = (a.ravel() + rng.uniform(-4, 4, a.size) for a in np.meshgrid(grid, grid))
    faint = rng.uniform(0, size, (2, x.size // 2))
    snr = np.exp(rng.uniform(*np.log((60.0, 4000.0)), x.size))
    snr = np.concatenate([snr, rng.uniform(3, 12, faint.shape[1])])
    x, y = np.concatenate([x, faint[0]]), np.concatenate([y, faint[1]])
    # From red to blue along a line, with some scatter.
    tint = np.outer((0.45, 0.0, -0.45), rng.uniform(-1, 1, x.size)) + rng.normal(
        0, 0.1, (3, x.size)
    )
    flux = flux_of_snr(snr * np.exp(tint), unit, fwhm)
    n = 2 * (size + 80)
    gas = np.stack([structure.nebula(n, rng) for _ in range(2)])
    mix = np.array([(1.0, 0.1), (0.3, 0.5), (0.2, 0.6)])
    texture = np.einsum("kg,gyx->kyx", mix, gas) * unit * sky.nebula
    content = [
        Content(
            x,
            y + sky.shift[k],
            flux[k],
            texture=ndimage.shift(texture[k], (sky.shift[k] / 0.5, 0), mode="nearest")
            if sky.nebula
            else None,
        )
        for k in range(3)
    ]
    plan = Plan(content, [moffat(width, BETA) for width in sky.fwhm], camera, _LEVELS)
    return observe_plan(plan, fwhm, "colour", seed, size, rng)
