"""Spikes and halos that a Moffat profile leaves out."""

from __future__ import annotations

import functools

import galsim
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from astro_sr_plugin.measurement.measuring import measure as measure_quality
from astro_sr_plugin.measurement.psf.profiles import moffat_stamp
from benchmarks.truth.scenes import make_scene

FWHM, SIDE = 3.0, 420
REACH = 120
"""Pixels beyond which the light of a star is far below the noise."""


def spider():
    optics = galsim.OpticalPSF(
        lam_over_diam=1.4,
        obscuration=0.35,
        nstruts=4,
        strut_thick=0.04,
        strut_angle=0.4 * galsim.radians,
        pad_factor=4.0,
        oversampling=1.0,
    )
    return galsim.Convolve(optics, galsim.Moffat(beta=3.5, fwhm=2.3))


def draw(psf, x, y, side=SIDE):
    image = galsim.ImageD(side, side, xmin=0, ymin=0)
    psf.drawImage(image, scale=1, center=galsim.PositionD(x, y))
    return image.array


def make_field(psf, *, seed=1, full_well=None, extra=0.0, faint=40, bright=10):
    rng = np.random.default_rng(seed)
    light = galsim.ImageD(SIDE, SIDE, xmin=0, ymin=0)
    snr = np.concatenate([rng.uniform(20, 300, faint), np.exp(rng.uniform(7.5, 9.5, bright))])
    for value in snr:
        flux = value * np.sqrt(4 * np.pi) * FWHM / 2.355
        place = galsim.PositionD(*rng.uniform(36, SIDE - 36, 2))
        part = light[galsim.BoundsI(place.round()).withBorder(REACH) & light.bounds]
        (flux * psf).drawImage(part, scale=1, center=place, add_to_image=True)
    image = light.array + extra
    image += rng.normal(size=image.shape) * np.sqrt(1 + np.maximum(image, 0) / 30)
    return image if full_well is None else np.minimum(image, full_well)


def measure(image, mask=None):
    (plane,) = measure_quality(image, mask=mask).planes
    return plane.psf.moffat, plane.psf.image


@functools.cache
def measured_spider(seed, full_well):
    return measure(make_field(spider(), seed=seed, full_well=full_well))


@pytest.mark.parametrize("full_well", [None, 600.0])
def test_spikes_are_measured(full_well):
    psf, image = measured_spider(1, full_well)
    assert image is not None
    truth = draw(spider(), 32, 32, 65)
    assert image.shape == (65, 65)
    assert image.min() >= 0
    assert image.sum() == pytest.approx(truth.sum(), abs=0.012)
    left = np.abs(moffat_stamp(psf, 0.0, 0.0) - truth).sum()
    assert np.abs(image - truth).sum() < 0.5 * left


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_core_of_a_star_with_spikes_has_its_part_of_the_light(seed):
    _, image = measured_spider(seed, None)
    truth = draw(spider(), 32, 32, 65)
    for radius in (4, 8, 16):
        assert light_within(image, radius) == pytest.approx(light_within(truth, radius), rel=0.03)
    # Of sum 1 it would have 2.5 % too much.
    assert image.sum() == pytest.approx(truth.sum(), abs=0.012)


def test_a_halo_of_which_only_the_inner_rings_are_seen_ends_there():
    plane = make_field(spider(), bright=14, faint=20)
    bright = plane > 0.3 * np.sort(plane.ravel())[-200]
    bright |= gaussian_filter(plane, 1.0) > 200
    far = distance_transform_edt(~bright) > 11
    _, image = measure(plane, mask=far)
    assert image is not None
    assert np.isfinite(image).all()
    assert 0.9 < image.sum() <= 1.001


def test_moffat_stars_need_nothing_more():
    psf, image = measure(make_field(galsim.Moffat(beta=3.2, fwhm=FWHM)))
    assert image is None
    assert psf.n_stars > 20


@pytest.mark.parametrize("fwhm", [2.5, 3.0])
def test_faint_stars_tell_the_halo_of_the_seeing(fwhm):
    star = galsim.Kolmogorov(fwhm=fwhm)
    psf, image = measure(make_field(star, faint=25, bright=0, seed=2))
    assert image is not None
    truth = draw(star, 32, 32, 65)
    left = np.abs(moffat_stamp(psf, 0.0, 0.0) - truth).sum()
    assert np.abs(image - truth).sum() < 0.6 * left


def test_few_stars_tell_nothing_of_the_halo():
    (plane,) = measure_quality(make_field(spider(), faint=1, bright=2)).planes
    assert plane.empirical_psf.extended is None


def test_ten_stars_are_enough_for_a_strong_halo():
    star = (
        galsim.Moffat(beta=3.2, fwhm=FWHM) * 0.75 + galsim.Exponential(half_light_radius=7) * 0.25
    )
    _, image = measure(make_field(star, seed=4, faint=8, bright=2))
    assert image is not None
    truth = draw(star, 32, 32, 65)
    for radius in (5, 10, 20):
        assert light_within(image, radius) == pytest.approx(light_within(truth, radius), abs=0.04)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_halo_is_not_brighter_than_the_brightest_star_shows_it(seed):
    star = galsim.Moffat(beta=3.2, fwhm=FWHM)
    hazy = star * 0.85 + galsim.Exponential(half_light_radius=9) * 0.15
    field = make_field(hazy, seed=seed, faint=9, bright=1)
    _, image = measure(field + 3e5 * draw(star, 210, 210))
    beyond = 0.0 if image is None else image.sum() - light_within(image, 8)
    assert beyond < 0.02


@pytest.mark.parametrize("seed", [1, 3])
def test_a_halo_goes_on_where_its_rings_are_lost_in_the_noise(seed):
    star = galsim.Convolve(galsim.Airy(lam_over_diam=0.9), galsim.Kolmogorov(fwhm=2.4))
    _, image = measure(make_field(star, seed=seed, faint=12, bright=1))
    assert image is not None
    # Of a halo that ends there, 0.021 more of the light is inside.
    assert light_within(image, 12) == pytest.approx(
        light_within(draw(star, 32, 32, 65), 12), abs=0.0155
    )


def test_two_bright_galaxies_are_no_halo_of_the_stars():
    star = galsim.Moffat(beta=3.2, fwhm=FWHM)
    field = make_field(star, seed=3, faint=60, bright=0)
    galaxy = galsim.Convolve(galsim.Sersic(n=2.5, half_light_radius=1.3), star)
    # The only bright sources, and as concentrated as stars.
    for x, y in ((120, 300), (300, 130)):
        field += 4e4 * draw(galaxy, x, y)
    psf, image = measure(field)
    truth = draw(star, 32, 32, 65)
    found = moffat_stamp(psf, 0.0, 0.0) if image is None else image
    assert light_within(found, 6) == pytest.approx(light_within(truth, 6), abs=0.02)


def test_the_neighbours_in_a_cluster_are_no_halo():
    scene = make_scene("cluster", 1, size=512)
    _, image = measure(scene.observed)
    truth = scene.psf
    middle = truth.shape[0] // 2
    within = truth[middle - 2 : middle + 3, middle - 2 : middle + 3].sum()
    assert image[30:35, 30:35].sum() == pytest.approx(within, rel=0.02)


def test_a_nebula_is_no_halo():
    rng = np.random.default_rng(4)
    cloud = gaussian_filter(rng.normal(size=(SIDE, SIDE)), 10, mode="wrap")
    cloud = 60 * (cloud - cloud.min()) / np.ptp(cloud)
    psf, image = measure(make_field(galsim.Moffat(beta=3.2, fwhm=FWHM), extra=cloud))
    if image is not None:
        truth = draw(galsim.Moffat(beta=3.2, fwhm=FWHM), 32, 32, 65)
        assert np.abs(image - truth).sum() < 0.05


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_a_bright_nebula_with_fine_structure_is_no_halo(seed):
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    k[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.normal(size=(SIDE, SIDE))) * k**-1.5
    cloud = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    extra = 40 * np.exp(0.9 * cloud / cloud.std())
    star = galsim.Moffat(beta=3.2, fwhm=FWHM)
    _, image = measure(make_field(star, seed=seed, extra=extra, bright=20))
    if image is not None:
        assert np.abs(image - draw(star, 32, 32, 65)).sum() < 0.06


def light_within(image, radius):
    y, x = np.mgrid[-32:33, -32:33]
    return float(image[np.hypot(x, y) < radius].sum())


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_core_of_turbulence_has_its_halo_even_where_stars_are_faint(seed):
    air = galsim.Kolmogorov(fwhm=FWHM)
    psf, image = measure(make_field(air, seed=seed, faint=45, bright=0))
    assert psf.n_stars >= 15
    assert image is not None
    truth = draw(air, 32, 32, 65)
    for radius in (4, 6, 10):
        moffat = light_within(moffat_stamp(psf, 0.0, 0.0), radius)
        assert light_within(image, radius) == pytest.approx(light_within(truth, radius), abs=0.015)
        assert moffat > light_within(truth, radius) + 0.01


@pytest.mark.parametrize("seed", [3, 4])
@pytest.mark.parametrize("psf", [galsim.Gaussian(fwhm=FWHM), galsim.Moffat(2.8, fwhm=FWHM)])
def test_other_cores_get_no_halo(psf, seed):
    told, image = measure(make_field(psf, seed=seed, faint=45, bright=0))
    image = moffat_stamp(told, 0.0, 0.0) if image is None else image
    truth = draw(psf, 32, 32, 65)
    assert light_within(image, 6) == pytest.approx(light_within(truth, 6), abs=0.015)


def test_three_bright_stars_are_enough_where_the_core_is_that_of_turbulence():
    rng = np.random.default_rng(3)
    psf = galsim.Kolmogorov(fwhm=6.3)
    image = rng.normal(size=(SIDE, SIDE))
    for flux in [*np.exp(rng.uniform(5.4, 6.6, 45)), 2500.0, 2800.0, 3200.0]:
        image += flux * draw(psf, *rng.uniform(36, SIDE - 36, 2))
    moffat, measured = measure(image)
    assert moffat.n_stars >= 15
    assert measured is not None
    truth = draw(psf, 32, 32, 65)
    assert abs(measured.sum() - truth.sum()) < 0.02
