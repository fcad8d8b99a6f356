"""Colours: of stars, at their rims, of whole planes, and with the luminance alone restored."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.batch.recipe import Step
from astro_sr_plugin.metrics import aperture_photometry
from astro_sr_plugin.restoration import luminance

SIDE, SPACING, BETA, FINE = 224, 32, 3.2, 3
SKY = np.array([400.0, 900.0, 150.0])
SIGMA = np.array([5.0, 8.0, 3.0])
SEEING = (3.6, 3.0, 2.6)
DISPERSION = (0.3, 0.0, -0.4)
TARGET = 2.0
SKIES = {"seeing": (SEEING, (0, 0, 0)), "dispersion": (SEEING, DISPERSION)}
VERBS = {"denoise": asr.denoise, "deconvolve": asr.deconvolve, "super-resolve": asr.super_resolve}
RUNS = [
    ("denoise", "seeing", False),
    ("denoise", "dispersion", False),
    ("deconvolve", "seeing", False),
    ("deconvolve", "seeing", True),
    ("deconvolve", "dispersion", False),
    ("deconvolve", "dispersion", True),
    ("super-resolve", "seeing", True),
    ("super-resolve", "dispersion", False),
]
"""Task, sky, and whether the luminance alone is restored: every pair of two of them."""


def make_stars(side=SIDE):
    """Give places and fluxes, shapes (n,), (n,) and (3, n), of stars of many colours."""
    rng = np.random.default_rng(3)
    grid = np.arange(SPACING / 2, side, SPACING)
    y, x = (a.ravel() + rng.uniform(-3, 3, a.size) for a in np.meshgrid(grid, grid))
    snr = np.exp(rng.uniform(*np.log((120.0, 3000.0)), x.size))
    tint = np.outer((0.4, 0.0, -0.4), rng.uniform(-1, 1, x.size))
    return x, y, snr * np.exp(tint) * SIGMA[:, None] * np.sqrt(4 * np.pi) * 3.0 / 2.355


def add_star(plane, x, y, flux, fwhm, fine, gaussian=False):
    """Add a star, averaged over ``fine`` x ``fine`` points of each pixel."""
    r = 40 if not gaussian else round(4 * fwhm) + 2
    x0, y0 = max(0, round(x) - r), max(0, round(y) - r)
    x1, y1 = min(plane.shape[1], round(x) + r + 1), min(plane.shape[0], round(y) + r + 1)
    inside = (np.arange(fine) + 0.5) / fine - 0.5
    u = (np.arange(x0, x1)[:, None] + inside - x).ravel()
    v = (np.arange(y0, y1)[:, None] + inside - y).ravel()
    square = v[:, None] ** 2 + u[None, :] ** 2
    if gaussian:
        width = fwhm / 2.354820
        profile = np.exp(-0.5 * square / width**2) / (2 * np.pi * width**2)
    else:
        alpha2 = (fwhm / 2) ** 2 / (2 ** (1 / BETA) - 1)
        profile = (1 + square / alpha2) ** -BETA * (BETA - 1) / (np.pi * alpha2)
    profile = profile.reshape(y1 - y0, fine, x1 - x0, fine).mean((1, 3))
    plane[y0:y1, x0:x1] += flux * profile


@functools.cache
def observe(sky, side=SIDE):
    """Observe the stars with noise."""
    widths, shifts = SKIES[sky]
    x, y, flux = make_stars(side)
    planes = np.tile(SKY[:, None, None], (1, side, side))
    for plane, own, width, shift in zip(planes, flux, widths, shifts, strict=True):
        for star in zip(x, y + shift, own, strict=True):
            add_star(plane, *star, width, FINE)
    noise = np.random.default_rng(5).normal(size=planes.shape) * SIGMA[:, None, None]
    return (planes + noise).astype(np.float32)


@functools.cache
def truth(sky, task):
    """Give what a perfect method would make of it."""
    widths, shifts = SKIES[sky]
    x, y, flux = make_stars()
    scale = 2 if task == "super-resolve" else 1
    planes = np.tile(SKY[:, None, None], (1, scale * SIDE, scale * SIDE))
    for plane, own, width, shift in zip(planes, flux, widths, shifts, strict=True):
        for u, v, light in zip(x, y + shift, own, strict=True):
            place = (u + 0.5) * scale - 0.5, (v + 0.5) * scale - 0.5
            if task == "denoise":
                add_star(plane, *place, light, width, FINE)
            else:
                add_star(plane, *place, light * scale**2, TARGET * scale, 1, gaussian=True)
    return planes


@functools.cache
def measured(sky):
    return asr.measure(observe(sky))


@functools.cache
def restored(task, sky, only):
    options = {} if task == "denoise" else {"luminance_only": only}
    if task != "denoise":
        options["target_fwhm"] = TARGET * (2 if task == "super-resolve" else 1)
    options["measured"] = measured(sky)
    return VERBS[task](observe(sky), device="cpu", **options).astype(np.float64)


def inner_stars(scale):
    """Give places of stars whose rings lie inside, and their fluxes."""
    x, y, flux = make_stars()
    inside = (np.minimum(x, y) > 14) & (np.maximum(x, y) < SIDE - 15)
    assert (flux[:, inside] > 50 * SIGMA[:, None] * np.sqrt(4 * np.pi) * 3.6 / 2.355).all()
    return (np.column_stack([x, y])[inside] + 0.5) * scale - 0.5, flux[:, inside]


def colours(image, places, radius):
    ring = (1.2 * radius, 1.5 * radius + 2)
    fluxes = [aperture_photometry(p, places, radius=radius, annulus=ring).flux for p in image]
    magnitudes = -2.5 * np.log10(fluxes)
    return magnitudes[[0, 2]] - magnitudes[1]


def mean_difference(image, places, scale):
    """Difference of the outer planes, each star brought to a peak of 1: the mean of all stars."""
    r = 6 * scale
    stamps = []
    for x, y in np.round(places).astype(int):
        cut = image[[0, 2], y - r : y + r + 1, x - r : x + r + 1] - SKY[[0, 2], None, None]
        cut = cut / cut.sum((1, 2), keepdims=True)
        stamps.append((cut[0] - cut[1]) / cut.mean(0).max())
    return np.mean(stamps, axis=0)


def reach(difference, scale, level=0.02):
    """Radius in input pixels up to which a mean difference is seen."""
    v, u = np.indices(difference.shape) - difference.shape[0] // 2
    seen = np.abs(difference) > level
    return np.hypot(u, v)[seen].max(initial=0) / scale


@pytest.mark.parametrize(("task", "sky", "only"), RUNS)
def test_stars_keep_their_colours(task, sky, only):
    out, true = restored(task, sky, only), truth(sky, task)
    scale = out.shape[-1] // SIDE
    places, _ = inner_stars(scale)
    for radius in (1.5 * TARGET * scale, 7 * scale):
        errors = colours(out, places, radius) - colours(true, places, radius)
        assert np.abs(np.median(errors, axis=1)).max() < 0.01
        assert (1.4826 * np.median(np.abs(errors), axis=1)).max() < 0.03


@pytest.mark.parametrize(("task", "only"), [(t, o) for t, s, o in RUNS if s == "seeing"])
def test_seeing_leaves_no_fringes(task, only):
    out, scale = restored(task, "seeing", only), 2 if task == "super-resolve" else 1
    places, _ = inner_stars(scale)
    if task == "denoise":
        true = mean_difference(truth("seeing", task), places, scale)
        assert np.abs(mean_difference(out, places, scale) - true).max() < 0.03
        return
    before = mean_difference(observe("seeing"), inner_stars(1)[0], 1)
    after = mean_difference(out, places, scale)
    assert np.abs(before).max() > 0.3
    # The pixel in the middle says how sharp a star is, those around it whether it has a rim.
    middle = after.shape[0] // 2
    assert np.abs(after[middle, middle]) < 0.1
    after[middle, middle] = 0.0
    assert np.abs(after).max() < 0.05


@pytest.mark.parametrize(("task", "only"), [(t, o) for t, s, o in RUNS if s == "dispersion"])
def test_fringes_of_dispersion_do_not_grow(task, only):
    out, scale = restored(task, "dispersion", only), 2 if task == "super-resolve" else 1
    places, _ = inner_stars(scale)
    after = reach(mean_difference(out, places, scale), scale)
    true = reach(mean_difference(truth("dispersion", task), places, scale), scale)
    assert true > 1.5
    assert after <= true + 0.75
    if task != "denoise":
        assert after < reach(mean_difference(observe("dispersion"), inner_stars(1)[0], 1), 1)


@pytest.mark.parametrize(("task", "sky", "only"), RUNS)
def test_each_plane_keeps_its_flux(task, sky, only):
    out, seen = restored(task, sky, only), observe(sky).astype(float)
    np.testing.assert_allclose(out.mean((1, 2)), seen.mean((1, 2)), rtol=2e-4)
    light = (seen - SKY[:, None, None]).sum((1, 2))
    scale = out.shape[-1] // SIDE
    after = (out - SKY[:, None, None]).sum((1, 2)) / scale**2
    np.testing.assert_allclose(after, light, rtol=2e-3)


@functools.cache
def make_grey():
    """Give a plane, an image of three copies of it, and how that is measured."""
    plane = observe("seeing")[1, :160, :160]
    grey = np.stack([plane] * 3)
    return plane, grey, asr.measure(grey)


@pytest.mark.parametrize(
    ("task", "only"),
    [("denoise", False), ("deconvolve", False), ("deconvolve", True), ("super-resolve", True)],
)
def test_grey_stays_grey(task, only):
    plane, grey, quality = make_grey()
    options = {} if task == "denoise" else {"luminance_only": only}
    out = VERBS[task](grey, device="cpu", measured=quality, **options)
    for other in out[1:]:
        np.testing.assert_allclose(other, out[0], rtol=1e-5, atol=1e-3 * SIGMA[1])
    if only:
        own = VERBS[task](plane, device="cpu")
        stars = own > SKY[1] + 50 * SIGMA[1]
        np.testing.assert_allclose(
            (out[0] - SKY[1])[stars].sum(), (own - SKY[1])[stars].sum(), rtol=0.01
        )


@functools.cache
def faint_stars():
    """Give faint stars of one colour, shape (3, ny, nx), and the same with noise."""
    rng = np.random.default_rng(4)
    true = np.tile(SKY[:, None, None], (1, 160, 160))
    flux = np.exp(rng.uniform(*np.log((4.0, 14.0)), 40)) * np.sqrt(4 * np.pi) * 3.0 / 2.355
    for x, y, light in zip(*rng.uniform(4, 155, (2, 40)), flux, strict=True):
        for plane, sigma in zip(true, SIGMA, strict=True):
            add_star(plane, x, y, light * sigma, 3.0, FINE)
    return true, true + rng.normal(size=true.shape) * SIGMA[:, None, None]


def error_of(result, true):
    return np.sqrt(np.mean(((result - true) / SIGMA[:, None, None]) ** 2))


def test_planes_together_are_better_than_one_by_one():
    true, seen = faint_stars()
    options = {"psf": (3.0, BETA), "device": "cpu"}
    together = asr.denoise(seen, **options)
    alone = asr.denoise(seen, model="denoise-fast", **options)
    assert error_of(together, true) < 0.9 * error_of(alone, true)


def test_planes_that_are_copies_count_once():
    true, seen = faint_stars()
    options = {"psf": (3.0, BETA), "device": "cpu"}
    together = asr.denoise(np.stack([seen[1]] * 3), **options)
    alone = asr.denoise(seen[1], **options)
    error = [np.sqrt(np.mean((plane - true[1]) ** 2)) for plane in (*together, alone)]
    assert max(error[:3]) < 1.05 * error[3]


@pytest.mark.parametrize(("planes", "model"), [(3, "denoise-colour"), (2, "denoise-fast")])
def test_the_header_says_which_network_it_was(corner, planes, model):
    image = CCDData(corner[:planes, :96, :96], unit="adu")
    assert asr.denoise(image).header["ASRMODEL"] == model


def test_a_star_saturated_in_one_plane_of_a_nebula_has_no_rim():
    rng = np.random.default_rng(2)
    side, sigma = SIDE, SIGMA[1]
    v, u = np.indices((side, side))
    plane = 900 + 12 * sigma * (1.2 + np.sin(u / 9.0) * np.cos(v / 11.0))
    x, y, flux = make_stars()
    flux = 4 * flux
    for star in zip(x, y, flux[1], strict=True):
        add_star(plane, *star, 3.0, FINE)
    image = plane + rng.normal(0, sigma, (3, side, side))
    image[1] = np.minimum(image[1], 5000.0)
    clipped = np.column_stack([x, y])[flux[1] / 14 > 5000]
    assert len(clipped) > 8
    out = asr.deconvolve(image, target_fwhm=TARGET, psf=(3.0, BETA))
    rims = []
    for column, row in clipped:
        distance = np.hypot(u - column, v - row)
        rim = (distance > 3) & (distance < 5)
        rims.append([p[rim].mean() for p in out - plane.min()])
    red, green, blue = np.transpose(rims)
    assert np.median(np.abs(green - (red + blue) / 2)) < 3 * sigma


@pytest.fixture(scope="module")
def corner():
    return observe("seeing", 288)[:, :160, :160].astype(np.float64)


@pytest.fixture(scope="module")
def quality(corner):
    return asr.measure(corner)


@pytest.fixture(scope="module")
def by_luminance(corner, quality):
    return functools.cache(lambda verb: verb(corner, luminance_only=True, measured=quality))


def test_the_luminance_does_not_depend_on_the_white_balance(corner, by_luminance):
    gains, levels = (
        np.array([0.2, 3.0, 40.0])[:, None, None],
        np.array([-500.0, 0.0, 7e4])[:, None, None],
    )
    out = by_luminance(asr.deconvolve)
    other = (asr.deconvolve(corner * gains + levels, luminance_only=True) - levels) / gains
    assert (np.abs(other - out) < 0.02 * SIGMA[:, None, None] + 1e-3 * np.abs(out)).all()


@pytest.mark.parametrize("verb", [asr.deconvolve, asr.super_resolve])
def test_holes_of_one_plane_are_holes_of_that_plane_alone(corner, by_luminance, verb):
    scale = 2 if verb is asr.super_resolve else 1
    whole = by_luminance(verb)
    holed = corner.copy()
    holed[1, 60:64, 70:73] = np.nan
    out = verb(holed, luminance_only=True)
    expected = np.isnan(holed).repeat(scale, 1).repeat(scale, 2)
    np.testing.assert_array_equal(np.isnan(out), expected)
    far = np.ones(out.shape[1:], bool)
    far[20 * scale : 104 * scale, 30 * scale : 113 * scale] = False
    # Noise and stars of the whole plane are measured a little differently.
    change = (np.abs(out - whole) / SIGMA[:, None, None])[:, far]
    assert change.max() < 1.5
    assert np.median(change) < 0.1


def test_a_streamed_result_is_the_same(corner, quality, tmp_path):
    image, path = corner.astype(np.float32), tmp_path / "out.fits"
    options = {"luminance_only": True, "measured": quality}
    kept = asr.deconvolve(image, **options)
    streamed = asr.deconvolve(image, out=path, **options)
    np.testing.assert_array_equal(np.asarray(streamed.data), kept)
    assert "luminance_only" in str(streamed.meta["HISTORY"])


@pytest.mark.parametrize("verb", [asr.deconvolve, asr.super_resolve])
def test_blocks_leave_no_seams(corner, quality, by_luminance, verb, monkeypatch):
    whole = by_luminance(verb)
    monkeypatch.setattr("astro_sr_plugin.restoration.pipeline.ROWS", 40)
    monkeypatch.setattr(luminance, "_COLUMNS", 70)
    blocks = verb(corner, luminance_only=True, measured=quality)
    assert np.abs(blocks - whole).max() < 1e-5 * whole.max()


def test_strength_zero_is_the_input(corner, quality, by_luminance):
    options = {"luminance_only": True, "measured": quality}
    out = asr.deconvolve(corner, stars=0.0, extended=0.0, **options)
    np.testing.assert_array_equal(out, corner)
    half = asr.deconvolve(corner, stars=0.5, extended=0.5, **options)
    full = by_luminance(asr.deconvolve)
    np.testing.assert_allclose(half, (full + corner) / 2, rtol=1e-5)


@pytest.mark.parametrize("verb", [asr.deconvolve, asr.super_resolve])
def test_an_image_without_colours_is_refused(corner, quality, verb):
    for image in (corner[0], corner[:2]):
        with pytest.raises(asr.InputError, match=r"luminance_only=True needs a colour image"):
            verb(image, luminance_only=True)
    with pytest.raises(asr.InputError, match="uncertainty=True"):
        verb(corner, luminance_only=True, uncertainty=True, measured=quality)


def test_recipes_take_the_option():
    step = Step("super-resolve", {"luminance-only": True})
    assert step.options == {"luminance_only": True}


def test_a_psf_that_changes_over_the_field(make_sky):
    sky = make_sky()
    gains = np.array([0.5, 1.0, 2.0], np.float32)[:, None, None]
    noise = np.random.default_rng(1).normal(0, 3, (3, *sky.image.shape)).astype(np.float32)
    out = asr.deconvolve(sky.image * gains + noise, luminance_only=True, target_fwhm=2.0)
    bright = (sky.flux > 2500) & (np.minimum(sky.x, sky.y) > 14)
    bright &= (sky.x < out.shape[2] - 15) & (sky.y < out.shape[1] - 15)
    x, y = sky.x[bright], sky.y[bright]
    errors = colours(out, np.column_stack([x, y]), 3.0) - 2.5 * np.log10([[2.0], [0.5]])
    for part in (sky.radius[bright] > 0.75, sky.radius[bright] < 0.75):
        assert part.sum() >= 10
        assert np.abs(np.median(errors[:, part], axis=1)).max() < 0.02
