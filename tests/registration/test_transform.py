"""Transforms and their fits."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS

from astro_sr_plugin import InputError, Transform
from astro_sr_plugin.registration.distortion import Distortion
from astro_sr_plugin.registration.fitting import Pairs, fit_transform
from tests.registration.conftest import largest_error, turned

SHAPE = (300, 340)


def distorted(order: int, size: float) -> Transform:
    """Return a transform with a random distortion of some pixels."""
    count = sum(range(3, order + 2))
    coefficients = np.random.default_rng(order).normal(0, size, (2, count))
    matrix = turned(5.0, 3.0, -2.0)
    return Transform(
        f"polynomial{order}",
        matrix,
        SHAPE,
        SHAPE,
        Distortion(order, coefficients, (169.5, 149.5), 170.0),
    )


PROJECTIVE = np.array([[1.01, 0.02, 3.0], [-0.01, 0.99, -4.0], [3e-5, -2e-5, 1.0]])
TRUTHS = {
    "shift": Transform.from_matrix(turned(0.0, 12.3, -7.7), SHAPE),
    "similarity": Transform.from_matrix(turned(33.0, 12.3, -7.7, 1.7), SHAPE),
    "affine": Transform.from_matrix([[1.01, 0.03, 4], [-0.02, 0.97, 5], [0, 0, 1]], SHAPE),
    "homography": Transform.from_matrix(PROJECTIVE, SHAPE),
    "polynomial3": distorted(3, 0.7),
}


@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
def test_there_and_back(truth):
    x, y = np.meshgrid(np.linspace(0, 339, 12), np.linspace(0, 299, 11))
    u, v = truth.to_image(x, y)
    back = truth.to_reference(u, v)
    np.testing.assert_allclose(back, (x, y), atol=1e-6)
    h = 1e-4
    ux, vx = truth.to_image(x + h, y)
    uy, vy = truth.to_image(x, y + h)
    numerical = np.abs((ux - u) * (vy - v) - (uy - u) * (vx - v)) / h**2
    np.testing.assert_allclose(truth.area(x, y), numerical, rtol=1e-3)


def pairs_of(truth: Transform, *, stars: int = 250, error: float = 0.02, seed: int = 1) -> Pairs:
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 340, stars), rng.uniform(0, 300, stars)
    # As many faint as bright stars, whose places are ten times as good.
    errors = error * 10 ** rng.uniform(-1, 0, stars)
    u, v = truth.to_image(x, y)
    return Pairs(u + rng.normal(0, errors), v + rng.normal(0, errors), x, y, errors)


@pytest.mark.parametrize(("model", "truth"), TRUTHS.items(), ids=TRUTHS)
def test_the_model_that_the_stars_need_is_found(model, truth):
    found = fit_transform(pairs_of(truth), SHAPE, SHAPE)
    assert found.model == model or (model, found.model) == ("shift", "similarity")
    assert largest_error(found, truth) < 0.02


def test_a_spline_follows_what_no_polynomial_does():
    """Ripples of 0.5 pixels, of a length of a third of the image."""
    rng = np.random.default_rng(4)

    def place(x, y):
        u, v = TRUTHS["shift"].to_image(x, y)
        return u + 0.5 * np.sin(x / 18) * np.cos(y / 25), v + 0.5 * np.cos(x / 20 + y / 30)

    x, y = rng.uniform(0, 340, 500), rng.uniform(0, 300, 500)
    errors = 0.02 * 10 ** rng.uniform(-1, 0, 500)
    u, v = (c + rng.normal(0, errors) for c in place(x, y))
    found = fit_transform(Pairs(u, v, x, y, errors), SHAPE, SHAPE)
    assert found.model == "thin-plate"
    gx, gy = np.meshgrid(np.arange(20.0, 320), np.arange(20.0, 280))
    error = np.hypot(*np.subtract(found.to_image(gx, gy), place(gx, gy)))
    assert np.sqrt((error**2).mean()) < 0.03
    # Few places are evaluated without the map.
    few = np.s_[::37, ::41]
    exact = found.to_image(gx[few], gy[few])
    np.testing.assert_allclose(exact, [c[few] for c in found.to_image(gx, gy)], atol=1e-3)
    back = found.to_reference(*exact)
    np.testing.assert_allclose(back, [gx[few], gy[few]], atol=1e-5)


def test_the_best_places_count_most():
    truth = TRUTHS["similarity"]
    pairs = pairs_of(truth, stars=100, error=0.5)
    equal = pairs._replace(error=np.ones(100))
    weighted, unweighted = (
        largest_error(fit_transform(p, SHAPE, SHAPE, model="similarity"), truth)
        for p in (pairs, equal)
    )
    assert weighted < unweighted / 2


def test_wrong_pairs_have_no_weight():
    truth = TRUTHS["affine"]
    pairs = pairs_of(truth)
    pairs.x[::5] += 3.0
    found = fit_transform(pairs, SHAPE, SHAPE)
    assert largest_error(found, truth) < 0.02
    assert found.n_pairs <= 200
    assert found.residual < 0.02


def test_figures_of_a_transform():
    image_of_flipped = Transform.from_matrix(turned(180.3, 4.0, 0.0), SHAPE)
    assert image_of_flipped.rotation == pytest.approx(179.7)
    assert not image_of_flipped.mirrored
    mirrored = Transform.from_matrix([[-2, 0, 339], [0, 2, 0], [0, 0, 1]], SHAPE)
    assert mirrored.mirrored
    assert mirrored.scale == pytest.approx(0.5)
    assert Transform.identity(SHAPE).is_identity
    moved = Transform.from_matrix(turned(0.0, 10.0, 0.0), SHAPE)
    assert moved.shift == pytest.approx((-10, 0))
    assert moved.footprint().sum() == 300 * 330


def test_few_pairs_are_said():
    pairs = pairs_of(TRUTHS["affine"], stars=5)
    with pytest.raises(InputError, match="model='homography' needs 4 pairs .* there are 3"):
        fit_transform(Pairs(*(v[:3] for v in pairs)), SHAPE, SHAPE, model="homography")
    with pytest.raises(InputError, match="matrix cannot be inverted"):
        Transform.from_matrix(np.zeros((3, 3)), SHAPE)


@pytest.mark.parametrize("name", ["similarity", "polynomial3"])
def test_world_coordinates_follow_from_the_fit(name):
    reference = WCS(naxis=2)
    reference.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    reference.wcs.crval, reference.wcs.crpix = [10.0, 41.0], [170.0, 150.0]
    reference.wcs.cd = [[-5e-4, 1e-5], [1e-5, 5e-4]]
    truth = TRUTHS[name]
    wcs = truth.wcs(reference)
    x, y = np.meshgrid(np.linspace(0, 339, 7), np.linspace(0, 299, 7))
    sky = reference.pixel_to_world(*truth.to_reference(x, y))
    np.testing.assert_allclose(wcs.world_to_pixel(sky), (x, y), atol=0.02)
    assert (wcs.sip is not None) == (name == "polynomial3")
    with pytest.raises(InputError, match="no world coordinates"):
        truth.wcs(WCS(naxis=2))
