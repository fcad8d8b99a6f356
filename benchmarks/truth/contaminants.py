"""Contaminants on finished scenes: trails, cosmic rays, columns, ghosts and dots.

They are drawn by code and from numbers of their own, not by those that networks are trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from benchmarks.truth.scene import Scene

__all__ = ["KINDS", "Contaminated", "contaminate", "dot_shape", "log_uniform"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rng = np.random.Generator

_SEEN = 1.5
"""Light of a contaminant over the noise of its pixel from which the pixel is spoiled."""
_BESIDE = 0.05
"""The same over the light of the sky there: less is no harm."""
_HITS = 250.0
"""Cosmic rays in a million pixels."""


@dataclass(frozen=True)
class Contaminated:
    """A scene with contaminants.

    Attributes
    ----------
    scene : Scene
        With them in `Scene.observed`; its truths are without.
    light : dict of ndarray
        Light of each of the `KINDS`, in ADU.
    noise : ndarray
        Noise of each pixel without them, in ADU.
    """

    scene: Scene
    light: dict[str, Array]
    noise: Array

    @property
    def sky(self) -> Array:
        """Light of the sky above its background."""
        return np.maximum(self.scene.truth_denoise - self.scene.background.astype(float), 0.0)

    def spoiled(self, kind: str) -> Mask:
        """Return which pixels a kind spoils."""
        least = np.hypot(_SEEN * self.noise, _BESIDE * self.sky)
        return np.asarray(np.abs(self.light[kind]) > least)

    @property
    def touched(self) -> Mask:
        """Pixels with any light of a contaminant that could be noticed, and those around them."""
        light = sum(np.abs(light) for light in self.light.values())
        return np.asarray(ndimage.binary_dilation(light > 0.3 * self.noise, np.ones((3, 3))))


def contaminate(scene: Scene, rng: Rng) -> Contaminated:
    """Add contaminants of all kinds to a scene of one plane."""
    sigma = float(scene.sigma)
    light = {kind: draw(scene, rng) * sigma for kind, draw in KINDS.items()}
    sky = np.maximum(scene.truth_denoise - scene.background.astype(float), 0.0)
    noise = np.sqrt(sigma**2 + float(scene.poisson) * sky)
    optical = light["trail"] + light["ghost"] + light["dot"]
    extra = rng.standard_normal(optical.shape) * np.sqrt(float(scene.poisson) * optical)
    observed = scene.observed + sum(light.values()) + extra
    return Contaminated(replace(scene, observed=observed.astype(np.float32)), light, noise)


def log_uniform(rng: Rng, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _grid(scene: Scene) -> tuple[Array, Array]:
    y, x = np.indices(scene.observed.shape).astype(float)
    return y, x


def _trail(scene: Scene, rng: Rng) -> Array:
    """Return a satellite: a line through the optics, steady or tumbling."""
    y, x = _grid(scene)
    size = len(x)
    angle, place = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8, 2) * size
    across = (y - place[0]) * np.cos(angle) - (x - place[1]) * np.sin(angle)
    along = (x - place[1]) * np.cos(angle) + (y - place[0]) * np.sin(angle)
    line = np.clip(1.0 - np.abs(across), 0.0, None)
    if rng.uniform() < 0.3:
        line *= 0.3 + np.cos(along * np.pi / rng.uniform(15, 80)) ** 4
    seen = signal.fftconvolve(np.pad(line, 40, mode="edge"), scene.psf, mode="same")[40:-40, 40:-40]
    return np.asarray(np.clip(seen, 0, None) / seen.max() * log_uniform(rng, 3.0, 80.0))


def _cosmic_rays(scene: Scene, rng: Rng) -> Array:
    """Return muons of any length, and the crooked tracks of electrons."""
    size = len(scene.observed)
    fine = np.zeros((4 * size, 4 * size))
    for _ in range(rng.poisson(_HITS * size**2 / 1e6) + 1):
        y, x = rng.uniform(0, size, 2)
        length = min(3.0 * np.tan(rng.uniform(0, 0.48 * np.pi)), 60.0)
        crooked = 0.25 if rng.uniform() < 0.3 else 0.0
        steps = max(1, round(4 * length))
        angles = rng.uniform(0, 2 * np.pi) + crooked * np.cumsum(rng.standard_normal(steps))
        rows = ((y + np.cumsum(np.sin(angles)) / 4) * 4).astype(int)
        columns = ((x + np.cumsum(np.cos(angles)) / 4) * 4).astype(int)
        there = (rows >= 0) & (rows < 4 * size) & (columns >= 0) & (columns < 4 * size)
        deposit = log_uniform(rng, 15.0, 800.0) * rng.lognormal(0.0, 0.4, steps)
        np.add.at(fine, (rows[there], columns[there]), deposit[there] / min(4, steps))
    spread = ndimage.gaussian_filter(fine, 4 * rng.uniform(0.15, 0.4))
    return np.asarray(spread.reshape(size, 4, size, 4).sum((1, 3)))


def _columns(scene: Scene, rng: Rng) -> Array:
    """Return a hot column from a row on, and a dark one."""
    light = np.zeros(scene.observed.shape)
    size = len(light)
    light[rng.integers(size // 2) :, rng.integers(size)] += log_uniform(rng, 4.0, 100.0)
    light[:, rng.integers(size)] -= rng.uniform(4.0, 8.0)
    return light


def _ghosts(scene: Scene, rng: Rng) -> Array:
    """Return the pupil out of focus, with its obstruction off its centre and its vanes."""
    y, x = _grid(scene)
    light = np.zeros(x.shape)
    for _ in range(2):
        place = rng.uniform(0, len(x), 2)
        outer = log_uniform(rng, 10.0, 34.0)
        shift = rng.uniform(-0.15, 0.15, 2) * outer
        radius = np.hypot(y - place[0], x - place[1])
        hole = np.hypot(y - place[0] - shift[0], x - place[1] - shift[1])
        disc = (radius < outer) & (hole > outer * rng.uniform(0.25, 0.5))
        turn = rng.uniform(0, np.pi / 2)
        for angle in (turn, turn + np.pi / 2):
            across = (y - place[0]) * np.cos(angle) - (x - place[1]) * np.sin(angle)
            disc &= np.abs(across) > 0.02 * outer
        soft = ndimage.gaussian_filter(disc.astype(float), 0.4 * scene.fwhm)
        light += soft * log_uniform(rng, 2.5, 20.0)
    return light


def _dots(scene: Scene, rng: Rng) -> Array:
    """Return even discs, and spheres lit from the front."""
    y, x = _grid(scene)
    light = np.zeros(x.shape)
    for sphere in (False, True):
        place, reach = rng.uniform(10, len(x) - 10, 2), log_uniform(rng, 3.0, 12.0)
        radius = np.hypot(y - place[0], x - place[1])
        light += dot_shape(radius, reach, sphere=sphere) * log_uniform(rng, 6.0, 60.0)
    return light


def dot_shape(radius: Array, reach: float, *, sphere: bool) -> Array:
    """Return a disc, or a sphere lit from the front, at distances from its middle."""
    if sphere:
        return np.asarray(np.sqrt(np.clip(1 - (radius / reach) ** 2, 0, None)))
    return np.asarray(np.clip(reach - radius + 0.5, 0, 1))


KINDS: dict[str, Callable[[Scene, Rng], Array]] = {
    "trail": _trail,
    "cosmic-ray": _cosmic_rays,
    "column": _columns,
    "ghost": _ghosts,
    "dot": _dots,
}
"""Functions that draw the light of each kind, in noise sigma."""
