"""What is on the sky of the hard cases, and through which optics and camera it is seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import galsim
import numpy as np
from numpy.typing import NDArray

from benchmarks.truth import structure
from benchmarks.truth.camera import Camera
from benchmarks.truth.observation import Plan
from benchmarks.truth.rendering import Content, Galaxy, moffat
from benchmarks.truth.star_fields import CAMERA, SKY, UNIT, add_stars, star_content
from benchmarks.truth.stars import flux_of_snr

Array = NDArray[np.float64]
Rng = np.random.Generator
FULL_WELL = replace(CAMERA, full_well=SKY + 1000.0 * UNIT)
BRIGHT_PLACES = ((0.27, 0.31), (0.70, 0.24), (0.36, 0.74), (0.76, 0.69))
"""Places of bright stars in parts of the frame's side."""


def _with_stars(content: Content, size: int, snr: Any, fwhm: float, unit: float = UNIT) -> Content:
    """Add bright stars at the marked places, and take away the field around them."""
    places = np.array(BRIGHT_PLACES) * size
    far = np.hypot(content.x[:, None] - places[:, 0], content.y[:, None] - places[:, 1])
    keep = far.min(axis=1) > 5 * fwhm
    around = replace(content, x=content.x[keep], y=content.y[keep], flux=content.flux[keep])
    return add_stars(around, places + (0.3, -0.2), flux_of_snr(snr, unit, fwhm))


def star_field(
    fwhm: float, psf: Callable[[], galsim.GSObject], **stars: Any
) -> Callable[..., Plan]:
    """Return the plan of a plain star field through these optics."""

    def plan(size: int, rng: Rng) -> Plan:
        return Plan([star_content(size, rng, fwhm, **stars)], [psf()], CAMERA, (SKY,))

    return plan


def bright_star_field(
    fwhm: float, psf: Callable[[], galsim.GSObject], snr: Any
) -> Callable[..., Plan]:
    """Return the plan of a star field with saturated stars."""

    def plan(size: int, rng: Rng) -> Plan:
        content = _with_stars(star_content(size, rng, fwhm), size, snr, fwhm)
        return Plan([content], [psf()], FULL_WELL, (SKY,))

    return plan


def halo_psf() -> galsim.GSObject:
    """Return a PSF with the disc that light makes between sensor and filter."""
    disc = galsim.Convolve([galsim.TopHat(26.0), galsim.Gaussian(fwhm=2.0)])
    return galsim.Sum([0.97 * moffat(3.0, 3.2), 0.03 * disc])


def ring_psf(outer: float, inner: float, seeing: float) -> galsim.GSObject:
    """Return the PSF of a defocused telescope with a central obscuration (radii in pixels)."""
    share = (inner / outer) ** 2
    pupil = galsim.Sum(
        [
            galsim.TopHat(outer, flux=1 / (1 - share)),
            galsim.TopHat(inner, flux=-share / (1 - share)),
        ]
    )
    return galsim.Convolve([pupil, galsim.Moffat(beta=3.5, fwhm=seeing)])


def textured(
    surface: Callable[[Array, Array, Rng], Array], fwhm: float = 3.2, count: int = 60, **stars: Any
) -> Callable[..., Plan]:
    """Return the plan of stars before a surface brightness, in noise sigma, of (x, y)."""

    def plan(size: int, rng: Rng) -> Plan:
        # On half pixels, and beyond the frame, where it has to end in nothing.
        side = 2 * (size + 80)
        y, x = (np.mgrid[:side, :side] - (side - 1) / 2) / 2
        content = star_content(size, rng, fwhm, count=count, **stars)
        texture = surface(x, y, rng) * UNIT
        return Plan([replace(content, texture=texture)], [moffat(fwhm, 3.2)], CAMERA, (SKY,))

    return plan


def edge_on_galaxy(x: Array, y: Array, rng: Rng) -> Array:
    """Return a galaxy seen edge-on, with a narrow lane of dust."""
    along, across = 0.94 * x + 0.34 * y, -0.34 * x + 0.94 * y
    disc = 60.0 * np.exp(-np.abs(along) / 30.0) / np.cosh(across / 7.0) ** 2
    bulge = 250.0 * np.exp(-np.hypot(along * 0.7, across) / 5.0)
    dust = 0.85 * np.exp(-0.5 * ((across - 2.0) / 1.3) ** 2) * (np.abs(along) < 60)
    return (disc + bulge) * (1 - dust)


def planetary_nebula(x: Array, y: Array, rng: Rng) -> Array:
    """Return a planetary nebula: a bright thin shell, a faint outer one, and knots."""
    radius = np.hypot(x, 1.25 * y)
    angle = np.arctan2(y, x)
    shell = 220.0 * np.exp(-0.5 * ((radius - 22.0) / 1.8) ** 2) * (1 + 0.4 * np.cos(2 * angle))
    inside = 50.0 / (1 + np.exp((radius - 22.0) / 0.8))
    outer = 6.0 / (1 + np.exp((radius - 52.0) / 1.5))
    knots = np.clip(structure.power_law_field(len(x), 2.6, rng), -1.5, 2.5)
    star = 900.0 * np.exp(-0.5 * (x**2 + y**2) / 0.7**2)
    return (shell + inside) * np.exp(0.2 * knots) + outer + star


def comet(x: Array, y: Array, rng: Rng) -> Array:
    """Return a comet: a nucleus, its coma, and a tail with streamers."""
    x, y = x + 70.0, y + 50.0
    radius = np.hypot(x, y)
    coma = 400.0 / (radius + 1.5) * np.exp(-((radius / 40.0) ** 2))
    along, across = (0.8 * x + 0.6 * y), (-0.6 * x + 0.8 * y)
    width = 2.0 + 0.1 * np.clip(along, 0, None)
    tail = np.zeros_like(x)
    for offset, level in ((-0.8, 12.0), (0.0, 25.0), (1.1, 9.0)):
        tail += level * np.exp(-0.5 * ((across - offset * width) / (0.4 * width)) ** 2)
    edge = 1 / (1 + np.exp((np.hypot(x - 70, y - 50) - 135.0) / 6.0))
    return (coma + tail * np.exp(-np.clip(along, 0, None) / 120.0) * (along > 0)) * edge


def nebula(x: Array, y: Array, rng: Rng) -> Array:
    """Return a nebula that fades inside of the frame."""
    edge = 1 / (1 + np.exp((np.hypot(x, y) - 140.0) / 8.0))
    return 10.0 * structure.nebula(len(x), rng) * edge


def galaxy_cores(size: int, rng: Rng) -> Plan:
    """Return galaxies with sharp cores, one of them saturated, and a nucleus in each."""
    fwhm = 3.0
    content = star_content(size, rng, fwhm, count=50)
    galaxies = []
    marks = np.array(BRIGHT_PLACES) * size
    stars = []
    for (x, y), n, half, snr in zip(
        marks, (4.0, 3.0, 1.0, 4.0), (5.0, 4.0, 6.0, 7.0), (3000, 2000, 1500, 20000), strict=True
    ):
        profile = galsim.Sersic(n=n, half_light_radius=half, trunc=8 * half)
        turned = profile.shear(q=0.7, beta=rng.uniform(0, 180) * galsim.degrees)
        galaxies.append(
            Galaxy(turned.withFlux(float(flux_of_snr(snr, UNIT, fwhm))), x, y, 8.0 * half)
        )
        stars.append((x, y, float(flux_of_snr(0.03 * snr, UNIT, fwhm))))
    extra = np.array(stars).T
    far = np.hypot(content.x[:, None] - marks[:, 0], content.y[:, None] - marks[:, 1]).min(axis=1)
    keep = far > 15
    content = Content(
        *(
            np.concatenate([old[keep], new])
            for old, new in zip((content.x, content.y, content.flux), extra, strict=True)
        ),
        galaxies,
    )
    return Plan([content], [moffat(fwhm, 3.2)], FULL_WELL, (SKY,))


def satellite_trails(size: int, rng: Rng) -> Plan:
    """Return a star field that two satellites have crossed."""
    fwhm = 3.0
    content = star_content(size, rng, fwhm, count=60)
    lines = []
    for y, angle, level in ((0.62, 23.0, 25.0), (0.25, -8.0, 5.0)):
        # A box as narrow as this is a line, of `level` noise sigma at its crest.
        width, length = 0.05, 2.5 * size
        flux = level * UNIT * fwhm * 1.15 * length
        line = galsim.Box(length, width, flux=flux).rotate(angle * galsim.degrees)
        lines.append(Galaxy(line, size / 2, y * size, 1.5 * size))
    return Plan([replace(content, galaxies=lines)], [moffat(fwhm, 3.2)], CAMERA, (SKY,))


def outside_places(size: int) -> Array:
    """Return places (x, y) of stars just outside the frame, in pixels, shape (4, 2)."""
    edge = size - 1.0
    return np.array(
        [(0.3 * size, -3.2), (edge + 2.7, 0.6 * size), (0.8 * size, edge + 1.8), (-1.3, 0.4 * size)]
    )


def stars_outside(size: int, rng: Rng) -> Plan:
    """Return a star field with bright stars just outside the frame."""
    fwhm = 3.0
    outside = flux_of_snr((5000.0, 2000.0, 1000.0, 500.0), UNIT, fwhm)
    content = add_stars(star_content(size, rng, fwhm), outside_places(size), outside)
    return Plan([content], [moffat(fwhm, 3.2)], CAMERA, (SKY,))


def gradient(size: int, rng: Rng) -> Plan:
    """Return a star field before a sky that rises along one axis and falls along the other."""
    fwhm = 3.0
    return Plan([star_content(size, rng, fwhm)], [moffat(fwhm, 3.2)], CAMERA, (SKY,), (0.7, -0.8))


def deep_stack(snr: tuple[float, float], count: int) -> Callable[..., Plan]:
    """Return the plan of a deep stack: little noise, and stars of these ratios."""

    def plan(size: int, rng: Rng) -> Plan:
        camera, sky, fwhm = Camera(30.0, 5.0), 2000.0, 3.0
        unit = camera.sigma(sky)
        content = star_content(size, rng, fwhm, snr=snr, count=count, unit=unit)
        return Plan([content], [moffat(fwhm, 3.2)], camera, (sky,))

    return plan


def few_stars(places: tuple[tuple[float, float], ...], snr: Any) -> Callable[..., Plan]:
    """Return the plan of a frame with a few stars; none needs one outside of it."""

    def plan(size: int, rng: Rng) -> Plan:
        x, y = (np.array(places) * size + 0.2).T
        content = Content(x, y, flux_of_snr(np.broadcast_to(snr, x.shape), UNIT, 3.0))
        return Plan([content], [moffat(3.0, 3.2)], CAMERA, (SKY,))

    return plan


def eight_bit(size: int, rng: Rng) -> Plan:
    """Return a star field before a camera of 8 bits, some of its stars saturated."""
    camera, sky, fwhm = Camera(40.0, 5.0, full_well=255.0, integer=True), 20.0, 3.0
    unit = camera.sigma(sky)
    content = star_content(size, rng, fwhm, snr=(5.0, 3000.0), unit=unit)
    content = _with_stars(content, size, (3000.0, 1500.0, 6000.0, 2000.0), fwhm, unit)
    return Plan([content], [moffat(fwhm, 3.2)], camera, (sky,))


def drizzled_psf() -> galsim.GSObject:
    """Return stars of 1.7 camera pixels, through camera pixel and drop, on pixels half as wide."""
    return galsim.Convolve([moffat(3.4, 3.5), galsim.Pixel(2.0), galsim.Pixel(2.0 * DROP)])


DROP = 0.8  # side of a drop in pixels of the camera
