"""What each kind of validation scene is made of: sky, optics and camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import galsim
import numpy as np
from numpy.typing import NDArray

from benchmarks.truth import structure
from benchmarks.truth.camera import Camera
from benchmarks.truth.observation import Plan
from benchmarks.truth.rendering import Content, Galaxy, kolmogorov, moffat, spider
from benchmarks.truth.stars import draw_stars, flux_of_snr

__all__ = ["FWHM", "KINDS", "PLANS"]

Array = NDArray[np.float64]
Textures = str | Path | None

FWHM = {
    "star-field": 3.2,
    "cluster": 2.6,
    "spiral": 4.5,
    "nebula-stack": 3.8,
    "undersampled": 1.7,
    "oversampled": 6.5,
    "spikes": 3.0,
    "colour-nebula": 3.4,
    "faint-galaxies": 3.0,
    "integer-gradient": 2.9,
}
"""Optical FWHM (pixels) of each kind of scene."""

_STACK_NOISE = 0.2  # noise of a registered stack of 12 frames over that of one frame


def _count(per_512: float, size: int) -> int:
    return max(4, round(per_512 * (size / 512) ** 2))


def _stars(
    rng: np.random.Generator,
    per_512: float,
    size: int,
    unit: float,
    fwhm: float,
    snr: tuple[float, float] = (3.0, 2000.0),
) -> Content:
    """Return stars, so many in 512 x 512 pixels, also a little outside the frame."""
    count = _count(per_512, size)
    return draw_stars(rng, count, size, sigma=unit, fwhm=fwhm, snr=snr, margin=-10.0)


def _galaxies(
    rng: np.random.Generator,
    per_512: float,
    size: int,
    unit: float,
    fwhm: float,
    snr: tuple[float, float] = (10.0, 400.0),
    radius: tuple[float, float] = (1.5, 7.0),
) -> list[Galaxy]:
    """Return Sersic galaxies, four in ten of them with star-forming knots."""
    galaxies = []
    for _ in range(_count(per_512, size)):
        half = float(np.exp(rng.uniform(*np.log(radius))))
        level = float(np.exp(rng.uniform(*np.log(snr))))
        flux = float(flux_of_snr(level, unit, np.hypot(fwhm, 2.0 * half)))
        profile: galsim.GSObject
        if rng.uniform() < 0.4:
            disc = galsim.Exponential(half_light_radius=half)
            seed = galsim.BaseDeviate(int(rng.integers(1, 2**31)))
            knots = galsim.RandomKnots(int(rng.integers(6, 20)), profile=disc, rng=seed)
            profile = 0.7 * disc + 0.3 * knots
        else:
            profile = galsim.Sersic(n=rng.uniform(0.6, 2.5), half_light_radius=half)
        turned = profile.shear(q=rng.uniform(0.3, 1.0), beta=rng.uniform(0, 180) * galsim.degrees)
        x, y = rng.uniform(2.0, size - 3.0, size=2)
        galaxies.append(Galaxy(turned.withFlux(flux), x, y, 10.0 * half))
    return galaxies


def _moffat(
    rng: np.random.Generator, fwhm: float, beta: tuple[float, float] = (2.5, 4.0)
) -> galsim.GSObject:
    return moffat(fwhm, rng.uniform(*beta), rng.uniform(0.0, 0.08), rng.uniform(0.0, np.pi))


def _single(
    content: Content,
    psf: galsim.GSObject,
    camera: Camera,
    sky: float,
    slope: tuple[float, float] = (0.0, 0.0),
) -> Plan:
    return Plan([content], [psf], camera, (sky,), slope)


def _star_field(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["star-field"], Camera(1.2, 5.0), 450.0
    unit = camera.sigma(sky)
    content = _stars(rng, 500, size, unit, fwhm)
    content = replace(content, galaxies=_galaxies(rng, 30, size, unit, fwhm))
    return _single(content, _moffat(rng, fwhm), camera, sky)


def _cluster(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["cluster"], Camera(1.5, 4.0), 300.0
    unit = camera.sigma(sky)
    field = _stars(rng, 300, size, unit, fwhm)
    members = _stars(rng, 2200, size, unit, fwhm, snr=(4.0, 3000.0))
    radius = 0.13 * size / np.sqrt(rng.uniform(1e-3, 0.99, len(members.x)) ** (-2 / 3) - 1.0)
    angle = rng.uniform(0.0, 2 * np.pi, len(radius))
    centre = (size - 1) / 2 + rng.uniform(-0.1, 0.1, 2) * size
    x, y = centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)
    inside = (np.abs(x - size / 2) < size / 2 + 10) & (np.abs(y - size / 2) < size / 2 + 10)
    content = Content(
        np.concatenate([field.x, x[inside]]),
        np.concatenate([field.y, y[inside]]),
        np.concatenate([field.flux, members.flux[inside]]),
    )
    return _single(content, kolmogorov(fwhm, rng.uniform(0.0, 0.06)), camera, sky)


def _spiral(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["spiral"], Camera(0.9, 6.0), 400.0
    unit = camera.sigma(sky)
    if textures is None:
        surface = 8.0 * structure.spiral(2 * size, rng)
    else:
        surface = 80.0 * structure.texture(textures, 2 * size, rng).mean(axis=0)
    content = replace(_stars(rng, 200, size, unit, fwhm), texture=surface * unit)
    return _single(content, _moffat(rng, fwhm, (3.0, 4.5)), camera, sky)


def _nebula_field(size: int, rng: np.random.Generator, textures: Textures) -> Array:
    """Return surface brightness in sky noises, (3, n, n) at half-pixel steps."""
    n = 2 * (size + 2 * 40)
    if textures is not None:
        return 120.0 * structure.texture(textures, n, rng)
    hydrogen, oxygen, dust = (structure.nebula(n, rng) for _ in range(3))
    weights = ((1.0, 0.1, 0.2), (0.3, 0.6, 0.2), (0.25, 0.7, 0.4))
    return 12.0 * np.stack([a * hydrogen + b * oxygen + c * dust for a, b, c in weights])


def _nebula_stack(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["nebula-stack"], Camera(0.8, 4.0), 500.0
    unit = camera.sigma(sky) * _STACK_NOISE
    surface = _nebula_field(size, rng, textures)[0]
    content = replace(_stars(rng, 250, size, unit, fwhm), texture=surface * unit)
    return Plan([content], [_moffat(rng, fwhm)], camera, (sky,), stacked="mono")


def _colour_nebula(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["colour-nebula"], Camera(1.0, 3.0), (500.0, 650.0, 550.0)
    unit = camera.sigma(sky[1]) * _STACK_NOISE
    surface = _nebula_field(size, rng, textures)
    stars = _stars(rng, 250, size, unit, fwhm)
    beta, ellipticity, theta = rng.uniform(2.5, 4.0), rng.uniform(0.0, 0.08), rng.uniform(0, np.pi)
    tint = np.exp(rng.normal(0.0, 0.25, size=(3, len(stars.x))))
    tint[1] = 1.0
    content = [
        replace(stars, flux=stars.flux * tint[c], texture=surface[c] * unit) for c in range(3)
    ]
    psf = [moffat(fwhm * ratio, beta, ellipticity, theta) for ratio in (1.05, 1.0, 0.95)]
    return Plan(content, psf, camera, sky, stacked="bayer")


def _undersampled(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["undersampled"], Camera(1.5, 5.0), 250.0
    unit = camera.sigma(sky)
    content = _stars(rng, 450, size, unit, fwhm)
    galaxies = _galaxies(rng, 25, size, unit, fwhm, radius=(1.0, 4.0))
    psf = _moffat(rng, fwhm, (3.0, 5.0))
    return _single(replace(content, galaxies=galaxies), psf, camera, sky)


def _oversampled(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["oversampled"], Camera(1.0, 5.0), 500.0
    unit = camera.sigma(sky)
    content = _stars(rng, 110, size, unit, fwhm, snr=(8.0, 2000.0))
    galaxies = _galaxies(rng, 16, size, unit, fwhm, radius=(2.5, 12.0))
    psf = kolmogorov(fwhm, rng.uniform(0.12, 0.2), rng.uniform(0.0, np.pi))
    return _single(replace(content, galaxies=galaxies), psf, camera, sky)


def _spikes(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, sky = FWHM["spikes"], 500.0
    unit = Camera(1.0, 5.0).sigma(sky)
    camera = Camera(1.0, 5.0, full_well=sky + 1000.0 * unit)
    faint = _stars(rng, 380, size, unit, fwhm, snr=(3.0, 1500.0))
    bright = _stars(rng, 10, size, unit, fwhm, snr=(5e3, 3e4))
    content = Content(
        np.concatenate([faint.x, bright.x]),
        np.concatenate([faint.y, bright.y]),
        np.concatenate([faint.flux, bright.flux]),
        _galaxies(rng, 15, size, unit, fwhm),
    )
    return _single(content, spider(fwhm, rng.uniform(0.0, np.pi / 2)), camera, sky)


def _faint_galaxies(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["faint-galaxies"], Camera(0.6, 8.0), 6000.0
    unit = camera.sigma(sky)
    content = _stars(rng, 80, size, unit, fwhm, snr=(3.0, 300.0))
    galaxies = _galaxies(rng, 140, size, unit, fwhm, snr=(5.0, 80.0), radius=(1.2, 5.0))
    psf = kolmogorov(fwhm, rng.uniform(0.0, 0.08), rng.uniform(0.0, np.pi))
    return _single(replace(content, galaxies=galaxies), psf, camera, sky)


def _integer_gradient(size: int, rng: np.random.Generator, textures: Textures) -> Plan:
    fwhm, camera, sky = FWHM["integer-gradient"], Camera(8.0, 5.0, integer=True), 30.0
    unit = camera.sigma(sky)
    content = _stars(rng, 420, size, unit, fwhm)
    content = replace(content, galaxies=_galaxies(rng, 25, size, unit, fwhm))
    slope = (float(rng.uniform(0.3, 0.6)), float(rng.uniform(-0.6, -0.3)))
    return _single(content, _moffat(rng, fwhm, (2.8, 4.0)), camera, sky, slope=slope)


PLANS: dict[str, Callable[[int, np.random.Generator, Textures], Plan]] = {
    "star-field": _star_field,
    "cluster": _cluster,
    "spiral": _spiral,
    "nebula-stack": _nebula_stack,
    "undersampled": _undersampled,
    "oversampled": _oversampled,
    "spikes": _spikes,
    "colour-nebula": _colour_nebula,
    "faint-galaxies": _faint_galaxies,
    "integer-gradient": _integer_gradient,
}
"""For each kind, the function (size, rng, textures) -> Plan."""

KINDS = tuple(PLANS)
"""All kinds of scenes."""
