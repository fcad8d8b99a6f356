"""Trails of satellites: what is one, what is none, and that they are no stars."""

from __future__ import annotations

import numpy as np
import pytest

import astro_sr_plugin as asr

SIDE, SKY, SIGMA, FWHM = 288, 100.0, 1.0, 2.8


def draw_line(x0: float, y0: float, degrees: float, fwhm: float, *, part: float = 0.0):
    """Return a line of peak 1, or with `part` of so many bright and so many faint pixels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    across, along = (y - y0) * cos - (x - x0) * sin, (x - x0) * cos + (y - y0) * sin
    line = np.exp(-4 * np.log(2) * across**2 / fwhm**2)
    return line * (0.55 + 0.45 * np.sign(np.sin(np.pi * along / part))) if part else line


def draw_stars(places, flux):
    y, x = np.mgrid[:SIDE, :SIDE]
    alpha = FWHM / (2 * np.sqrt(2 ** (1 / 3) - 1))
    return sum(
        f * (1 + ((x - u) ** 2 + (y - v) ** 2) / alpha**2) ** -3 * 2 / np.pi / alpha**2
        for (u, v), f in zip(places, flux, strict=True)
    )


@pytest.fixture(scope="module")
def field():
    """Return a noisy field of 40 stars, two of them on the line of the tests, and the noise."""
    rng = np.random.default_rng(3)
    places = [*rng.uniform(8, SIDE - 8, (38, 2)), (60.3, 143.6), (200.8, 143.9)]
    flux = [*10 ** rng.uniform(2, 3.5, 38), 1500.0, 700.0]
    noise = rng.normal(SKY, SIGMA, (SIDE, SIDE))
    return (draw_stars(places, flux) + noise).astype(np.float32), noise


def trails_of(image):
    return asr.measure(image.astype(np.float32)).planes[0].trails


@pytest.mark.parametrize(("degrees", "peak", "fwhm"), [(0, 5, 3), (-71, 200, 4)])
def test_a_trail_is_found(field, degrees, peak, fwhm):
    line = draw_line(SIDE / 2, SIDE / 2, degrees, fwhm)
    (trail,) = trails_of(field[0] + peak * line)
    assert trail.length > 0.8 * SIDE
    middle = trail.distance(np.array([SIDE / 2]), np.array([SIDE / 2]))
    assert middle < 1.5
    assert trail.peak == pytest.approx(peak, rel=0.25)


def test_stars_are_no_trail(field):
    assert not trails_of(field[0])
    row = draw_stars([(u, 150.0) for u in range(10, SIDE, 24)], [2000.0] * 12)
    assert not trails_of(field[0] + row)


def test_spikes_and_edges_are_no_trail(field):
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(x - 150, y - 140)
    spikes = draw_line(150, 140, 20, 2.5) + draw_line(150, 140, 110, 2.5)
    star = 9000 * (1 + (radius / 2) ** 2) ** -2.5
    assert not trails_of(field[0] + star + spikes * 5000 / (1 + (radius / 3) ** 1.6))
    assert not trails_of(field[0] + 20 / (1 + np.exp(-(y - 0.5 * x - 70) / 2)))
    galaxy = np.exp(-np.hypot((x - 150) / 12, (y - 140) / 2))
    assert not trails_of(field[0] + 300 * galaxy)


@pytest.mark.parametrize(("part", "most"), [(0, 0.15), (40, 0.4)])
def test_a_trail_stays_in_the_starless_image(field, part, most):
    image, noise = field
    trail = 30 * draw_line(SIDE / 2, SIDE / 2, 0, 3.0, part=part)
    with pytest.warns(asr.AstroSRWarning, match="1 long straight line stays in the starless"):
        starless, stars = asr.remove_stars((image + trail).astype(np.float32), device="cpu")
    np.testing.assert_allclose(starless + stars, image + trail, rtol=1e-6)
    y, x = np.mgrid[:SIDE, :SIDE]
    line = trail > 15
    for u, v in ((60.3, 143.6), (200.8, 143.9)):
        near = np.hypot(x - u, y - v) < 10
        on_star = np.hypot(x - u, y - v) < FWHM
        # The stars on the trail are taken.
        left, light = (starless - noise - trail)[on_star].mean(), (image - SKY)[on_star].mean()
        assert abs(left) < most * light
        line &= ~near
    kept = (starless - noise)[line].sum() / trail[line].sum()
    assert kept == pytest.approx(1, abs=0.05)


def test_a_trail_in_two_planes_is_one(field):
    image, noise = field
    trail = 30 * draw_line(SIDE / 2, SIDE / 2, 0, 3.0)
    colour = np.stack([image + 2 * trail, image + 0.05 * trail])
    with pytest.warns(asr.AstroSRWarning, match="1 long straight line stays in the starless"):
        starless, _ = asr.remove_stars(colour.astype(np.float32), device="cpu")
    line = trail > 15
    line[:, 45:75] = line[:, 185:215] = False
    kept = [(plane - noise)[line].sum() / trail[line].sum() for plane in starless]
    np.testing.assert_allclose(kept, [2, 0.05], atol=0.05)


def test_pictures_with_a_black_sky_have_no_trail():
    y, x = np.mgrid[:SIDE, :SIDE]
    disc = np.where(np.hypot(x - 144, y - 144) < 70, 200.0 + 20 * np.sin(y / 6), 0.0)
    photons = np.random.default_rng(5).random(disc.shape) < 0.05
    assert not trails_of(np.round(disc) + photons)


def test_a_trail_is_not_masked_as_stars(field):
    trail = 6 * draw_line(SIDE / 2, SIDE / 2, 37, 2.5)
    before, after = (asr.star_mask((field[0] + light).astype(np.float32)) for light in (0.0, trail))
    assert (after & ~before)[trail > 3].mean() < 0.15
    assert after[143, 60]
