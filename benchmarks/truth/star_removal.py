"""Scenes with stars, and the same without: nebulae, halos and spikes, galaxies, a spiral."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from zlib import crc32

import galsim
import numpy as np
from numpy.typing import NDArray

from benchmarks.truth import structure
from benchmarks.truth.observation import Plan, observe_plan
from benchmarks.truth.rendering import Content, Galaxy, moffat, render, spider
from benchmarks.truth.scene import Scene
from benchmarks.truth.star_fields import CAMERA, SKY, UNIT, add_stars, star_content
from benchmarks.truth.stars import flux_of_snr

__all__ = ["FWHM", "SKIES", "SPIKE_ANGLE", "Starry", "make_starry"]

Array = NDArray[np.float64]
FWHM = 3.2
_PLACES = ((0.24, 0.29), (0.72, 0.22), (0.33, 0.76), (0.78, 0.71))
SPIKE_ANGLE = 0.35  # of the spikes


@dataclass(frozen=True)
class Starry:
    """A scene with stars, and the same without.

    Attributes
    ----------
    scene : Scene
        What was observed.
    starless : numpy.ndarray
        Without stars and noise, at the profile of the observation.
    galaxies : tuple of Galaxy
        Galaxies of the scene.
    bright : tuple of (float, float)
        Places (x, y) of stars with halos and spikes.
    """

    scene: Scene
    starless: Array
    galaxies: tuple[Galaxy, ...]
    bright: tuple[tuple[float, float], ...]


def _stars(size: int, rng: np.random.Generator, count: int) -> Content:
    return star_content(size, rng, FWHM, snr=(5.0, 3000.0), count=count)


def _gas(size: int, rng: np.random.Generator) -> Array:
    """Return a nebula on half pixels, in noise sigma, that fades outside of the frame."""
    n = 2 * (size + 80)
    y, x = np.mgrid[:n, :n] / n - 0.5
    edge = 1 / (1 + np.exp((np.maximum(np.abs(x), np.abs(y)) - 0.46) / 0.01))
    return np.asarray(4.0 * structure.nebula(n, rng) * edge * UNIT)


def _nebula(size: int, rng: np.random.Generator) -> Plan:
    content = replace(_stars(size, rng, 100), texture=_gas(size, rng))
    return Plan([content], [moffat(FWHM, 3.2)], CAMERA, (SKY,))


def _halos(size: int, rng: np.random.Generator) -> Plan:
    """Return a nebula with saturated stars with halos and spikes."""
    flux = flux_of_snr((4e4, 1.5e4, 2e4, 1e4), UNIT, FWHM)
    content = add_stars(_stars(size, rng, 60), np.array(_PLACES) * size, flux)
    content = replace(content, texture=_gas(size, rng))
    disc = galsim.Convolve([galsim.TopHat(24.0), galsim.Gaussian(fwhm=2.0)])
    psf = galsim.Sum([0.96 * spider(FWHM, SPIKE_ANGLE), 0.04 * disc])
    camera = replace(CAMERA, full_well=SKY + 1500.0 * UNIT)
    return Plan([content], [psf], camera, (SKY,))


def _galaxies(size: int, rng: np.random.Generator) -> Plan:
    """Return galaxies of all sizes, half of them with knots, among stars."""
    galaxies = []
    for k in range(16):
        half = float(np.exp(rng.uniform(np.log(1.8), np.log(8.0))))
        flux = float(flux_of_snr(np.exp(rng.uniform(np.log(60), np.log(900))), UNIT, FWHM))
        profile: galsim.GSObject = galsim.Sersic(n=rng.uniform(0.7, 2.5), half_light_radius=half)
        if k % 2:
            disc = galsim.Exponential(half_light_radius=half)
            seed = galsim.BaseDeviate(int(rng.integers(1, 2**31)))
            profile = 0.7 * disc + 0.3 * galsim.RandomKnots(12, profile=disc, rng=seed)
        turned = profile.shear(q=rng.uniform(0.35, 1.0), beta=rng.uniform(0, 180) * galsim.degrees)
        x, y = rng.uniform(20.0, size - 21.0, size=2)
        galaxies.append(Galaxy(turned.withFlux(flux), x, y, 10.0 * half))
    content = replace(_stars(size, rng, 60), galaxies=galaxies)
    return Plan([content], [moffat(FWHM, 3.2)], CAMERA, (SKY,))


def _spiral(size: int, rng: np.random.Generator) -> Plan:
    surface = 6.0 * structure.spiral(2 * size, rng) * UNIT
    content = replace(_stars(size, rng, 50), texture=surface)
    return Plan([content], [moffat(FWHM, 3.2)], CAMERA, (SKY,))


SKIES: dict[str, Callable[[int, np.random.Generator], Plan]] = {
    "nebula": _nebula,
    "halos": _halos,
    "galaxies": _galaxies,
    "spiral": _spiral,
}
"""Plans by name."""


def make_starry(name: str, *, size: int = 256, seed: int = 1) -> Starry:
    """Simulate stars before a nebula or among galaxies.

    Parameters
    ----------
    name : str
        A key of `SKIES`.
    size : int
        Side of the frame (pixels).
    seed : int
        The same name, size and seed give the same scene.

    Returns
    -------
    Starry
        The observation, and the truth without stars.
    """
    rng = np.random.default_rng([crc32(name.encode()), seed])
    plan = SKIES[name](size, rng)
    scene = observe_plan(plan, FWHM, name, seed, size, rng)
    none = np.empty(0)
    rest = replace(plan.content[0], x=none, y=none, flux=none)
    starless = render(rest, plan.psf[0], (size, size), fwhm=FWHM, sigma=UNIT / 4)
    bright = tuple((size * x, size * y) for x, y in _PLACES) if name == "halos" else ()
    return Starry(scene, starless + scene.background, tuple(rest.galaxies), bright)
