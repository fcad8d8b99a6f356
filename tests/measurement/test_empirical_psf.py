"""The empirical PSF on stars through optics whose image is known."""

from __future__ import annotations

import functools
from dataclasses import replace

import galsim
import numpy as np
import pytest
from scipy.optimize import least_squares

from astro_sr_plugin.measurement.measuring import measure
from astro_sr_plugin.measurement.plane import MeasuredPlane
from astro_sr_plugin.measurement.psf.empirical import ORDERS, field_terms
from astro_sr_plugin.measurement.psf.empirical_basis import make_basis
from astro_sr_plugin.measurement.psf.empirical_fit import Equations
from astro_sr_plugin.measurement.psf.selection import sky_is_curved
from astro_sr_plugin.measurement.psf.star_residuals import profile_only, stack_residuals
from astro_sr_plugin.measurement.sky.pixels import open_plane
from astro_sr_plugin.simulation.moffat_fit import fit_moffat

STEPS = 8
SEEING = {"coma": 2.2, "astigmatism": 2.0, "ring": 1.5, "lens": 0.9, "moffat": 3.0}
OPTICS = {
    "coma": {"lam_over_diam": 1.2, "coma1": 0.15, "coma2": 0.2},
    "astigmatism": {"lam_over_diam": 1.2, "astig1": 0.2, "defocus": 0.23},
    "ring": {"lam_over_diam": 0.8, "obscuration": 0.45, "defocus": 0.5},
    "lens": {"lam_over_diam": 0.6, "coma1": 0.15, "astig2": 0.15},
}


def make_psf(kind, amount=1.0):
    seeing = galsim.Moffat(beta=3.3, fwhm=SEEING[kind])
    if kind == "moffat":
        return seeing
    terms = dict(OPTICS[kind])
    for name in terms.keys() - {"lam_over_diam", "obscuration"}:
        terms[name] *= amount
    return galsim.Convolve(seeing, galsim.OpticalPSF(pad_factor=2, **terms))


@functools.cache
def oversampled(kind, amount=1.0):
    """Light of pixels every eighth of a pixel, out to 31 pixels."""
    side = 62 * STEPS + 1
    image = galsim.ImageD(side, side)
    recorded = galsim.Convolve(make_psf(kind, amount), galsim.Pixel(1))
    recorded.drawImage(image, scale=1 / STEPS, method="no_pixel")
    return image.array * STEPS**2


def draw(kind, x, y, amount=1.0, radius=30):
    """Draw a star at an offset from the middle of its stamp, in whole eighths of a pixel."""
    image = oversampled(kind, amount)
    grid = np.arange(-radius, radius + 1) * STEPS + len(image) // 2
    return image[np.ix_(grid - round(y * STEPS), grid - round(x * STEPS))]


def make_field(kind, count, *, seed=1, shape=(300, 300), snr=(500, 3e4), vary=None):
    """Make stars in noise of 1; with ``vary`` the aberration grows along x from one to another."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    image = np.zeros((ny + 60, nx + 60))
    levels = np.linspace(*vary, 13) if vary else [1.0]
    for x, y in np.rint(rng.uniform(8, [nx - 9, ny - 9], (count, 2)) * STEPS) / STEPS:
        amount = levels[round(x / nx * (len(levels) - 1))]
        column, row = round(x), round(y)
        flux = np.exp(rng.uniform(*np.log(snr)))
        image[row : row + 61, column : column + 61] += flux * draw(
            kind, x - column, y - row, amount
        )
    image = image[30:-30, 30:-30]
    return 100 + image + rng.normal(size=shape) * np.sqrt(1 + image / 10)


@functools.cache
def measured(kind, count, seed=1):
    """Measure a field once for all tests that look at it."""
    (plane,) = measure(make_field(kind, count, seed=seed)).planes
    return plane


def misfit(psf, x, y, kind, amount=1.0):
    """Root mean square of what a PSF leaves of a star without noise, over that of the star."""
    v, u = np.mgrid[-15:16, -15:16]
    errors = []
    for dx, dy in ((0.0, 0.0), (0.375, -0.25)):
        star = draw(kind, dx, dy, amount, 15)

        def rest(offset, star=star):
            fit = psf.star(x, y, tuple(offset), 15)
            return (star - fit * (fit * star).sum() / (fit**2).sum()).ravel()

        start = [(star * axis).sum() / star.sum() for axis in (u, v)]
        found = least_squares(rest, start, diff_step=0.02)
        errors.append(np.sqrt((found.fun**2).sum() / (star**2).sum()))
    return max(errors)


@pytest.mark.parametrize(
    ("kind", "count", "largest"),
    [("coma", 60, 0.03), ("coma", 12, 0.05), ("coma", 4, 0.12), ("astigmatism", 40, 0.03),
     ("ring", 40, 0.04), ("lens", 40, 0.03)],
)  # fmt: skip
def test_stars_through_optics_are_described(kind, count, largest):
    psf = measured(kind, count).empirical_psf
    error = misfit(psf, *psf.centre, kind)
    assert psf.n_stars >= 0.4 * count
    assert error < largest
    # The quality figure is that of stars which it has not seen.
    assert psf.residual_fraction < 1.5 * largest
    assert psf.residual_fraction < 0.5 * psf.moffat_residual_fraction
    image = psf.image(*psf.centre, radius=32)
    assert image.sum() == pytest.approx(1, abs=0.02)
    assert image.min() >= 0


@pytest.mark.parametrize(("response", "used"), [(0.0, True), (0.08, False)])
def test_verbs_use_what_narrow_stars_have_in_common_where_it_is_known_well(response, used):
    """Pixels of unequal response change every star by as much."""
    field = make_field("lens", 40)
    field *= 1 + np.random.default_rng(3).normal(0, response, field.shape) * (field > 150)
    (plane,) = measure(field).planes
    assert plane.psf.moffat.fwhm < 2.5
    assert (plane.psf.core is not None) == used


@pytest.mark.parametrize(
    ("kind", "count", "seed"),
    [("coma", 60, 1), ("coma", 60, 2), ("lens", 40, 1), ("ring", 40, 1)],
)
def test_the_middle_is_the_centre_of_the_moffat_profile_as_in_training(kind, count, seed):
    psf = measured(kind, count, seed).empirical_psf
    image = psf.image(*psf.centre, radius=16, oversampling=psf.oversampling)
    centre = fit_moffat(image, 1 / psf.oversampling, psf.moffat.fwhm)
    assert np.hypot(centre.x, centre.y) < 0.15


@pytest.mark.parametrize("count", [3, 10, 50])
def test_moffat_stars_give_the_moffat_profile(count):
    (plane,) = measure(make_field("moffat", count, snr=(100, 5e3))).planes
    psf = plane.empirical_psf
    assert misfit(psf, *psf.centre, "moffat") < 0.02 + 0.05 / count


def test_the_change_over_the_field_is_measured():
    image = make_field("coma", 150, shape=(400, 600), vary=(0, 0.6), snr=(2e3, 3e4))
    (plane,) = measure(image).planes
    psf = plane.empirical_psf
    assert psf.order > 0
    for x, amount in ((50, 0.05), (300, 0.3), (550, 0.55)):
        assert misfit(psf, x, 200, "coma", amount) < 0.1


@pytest.mark.parametrize(
    ("count", "seed", "left"),
    [(26, 1, 0.6), (26, 2, 0.6), (16, 2, 0.7), (13, 1, 0.6), (10, 3, 0.6)],
)
def test_a_few_stars_tell_that_it_changes(count, seed, left):
    image = make_field("coma", count, seed=seed, shape=(400, 600), vary=(0, 0.6), snr=(2e3, 3e4))
    (plane,) = measure(image).planes
    psf = plane.empirical_psf
    assert psf.order > 0
    for x, amount in ((100, 0.1), (500, 0.5)):
        unchanged = misfit(replace(psf, residual=psf.residual[:1]), x, 200, "coma", amount)
        assert misfit(psf, x, 200, "coma", amount) < left * unchanged


def test_very_few_stars_that_are_not_alike_keep_the_moffat_profile():
    """What they have in common would be wrong for the rest of the field."""
    image = make_field("astigmatism", 5, seed=11, vary=(-1, 1), snr=(2e3, 3e4))
    (plane,) = measure(image).planes
    psf = plane.empirical_psf
    assert psf.n_stars >= 3
    for x, amount in ((25, -0.83), (75, -0.5), (150, 0), (225, 0.5), (275, 0.83)):
        profile = replace(psf, residual=None)
        left = misfit(psf, x, 150, "astigmatism", amount)
        assert left < 1.02 * misfit(profile, x, 150, "astigmatism", amount)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_the_optics_do_to_bright_stars_is_no_nebula(field, nebula, seed):
    optics = make_field("coma", 160, seed=seed, shape=(400, 400), vary=(-1, 1), snr=(50, 1e5))
    stars = field(seed, 3.5, shape=(400, 400), stars=60, snr=(40.0, 1000.0))
    for image, curved in ((optics, False), (stars + nebula((400, 400), 15, 7, seed), True)):
        plane = MeasuredPlane(open_plane(image))
        assert sky_is_curved(plane.psf_stars, plane.star_profile.fwhm) == curved


def test_polynomials_over_the_field_are_orthogonal():
    y, x = np.mgrid[:200, :300]
    for order, count in ORDERS.items():
        terms = field_terms(x, y, x.shape, order).reshape(-1, count)
        products = terms.T @ terms / len(terms)
        np.testing.assert_allclose(products, np.diag(np.diagonal(products)), atol=1e-3)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_residual_solves_the_equations_of_a_few_bright_stars_among_many(order):
    rng = np.random.default_rng(1)
    basis = make_basis(3.0, 3, 1)
    x, y = rng.uniform(0, 100, (2, 40))
    terms = field_terms(x, y, (100, 100), order)
    light = np.exp(rng.normal(0, 2, 40))[:, None, None] * rng.uniform(0.5, 1, (40, 7, 7))
    weight = np.einsum("sj,sk,sab->jkab", terms, terms, light)
    value = np.einsum("sj,sab->jab", terms, light * rng.normal(size=(40, 7, 7)))
    prior = (0.5, *[0.2] * (terms.shape[1] - 1))
    coupled = [[basis.normal(block) for block in row] for row in weight]
    held = np.kron(np.diag(1 / np.square(prior)), basis.precision)
    exact = np.linalg.solve(np.block(coupled) + held, basis.project(value).ravel())
    expected = basis.image(exact.reshape(len(value), -1))
    found = Equations(basis, weight, value).solve((0.5, 0.2))
    assert np.abs(found - expected).max() < 0.01 * np.abs(expected).max()


def test_a_few_stars_that_are_alike_do_not():
    for kind in ("coma", "astigmatism"):
        (plane,) = measure(make_field(kind, 40, shape=(400, 600), snr=(2e3, 3e4))).planes
        assert plane.empirical_psf.order == 0


@pytest.mark.parametrize(("kind", "left"), [("coma", 0.03), ("moffat", 0.03)])
def test_residuals_of_stars_are_averaged(kind, left):
    plane = measured(kind, 60)
    psf = plane.empirical_psf
    by_profile = stack_residuals(plane.psf_stars, profile_only(psf), radius=8)
    assert by_profile.shape == (17, 17)
    # Of comatic stars, the Moffat profile leaves a bright and a dark side.
    assert (np.ptp(by_profile) > 0.2) == (kind == "coma")
    assert np.abs(stack_residuals(plane.psf_stars, psf, radius=8)).max() < left


def test_a_plane_without_stars_has_none():
    (plane,) = measure(np.random.default_rng(1).normal(size=(80, 80))).planes
    assert plane.empirical_psf.residual is None
    assert plane.empirical_psf.n_stars == 0


@pytest.mark.parametrize("oversampling", [1, None])
def test_images_of_the_psf_have_its_light(oversampling):
    psf = measured("astigmatism", 40).empirical_psf
    step = psf.oversampling if oversampling is None else oversampling
    image = psf.image(*psf.centre, radius=16, oversampling=step)
    assert image.shape == (32 * step + 1,) * 2
    pixels = psf.image(*psf.centre, radius=16)
    np.testing.assert_allclose(image[::step, ::step], pixels, rtol=1e-6, atol=1e-9)
    assert image.sum() / step**2 == pytest.approx(pixels.sum(), rel=1e-3)
