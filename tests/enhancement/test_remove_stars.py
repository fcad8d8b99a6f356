"""Star removal: what was there before the stars, and the stars by themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter

import astro_sr_plugin as asr
from astro_sr_plugin.models.filters import make_moffat_psf
from astro_sr_plugin.restoration.plane import ExtendedLight
from benchmarks.figures.star_removal import measure_removal
from benchmarks.truth.star_removal import make_starry

SIGMA, SKY, FWHM, SIZE = 4.0, 200.0, 3.0, 256


@pytest.fixture(scope="module")
def scene():
    """Return an image, the same without its stars and noise, and (x, y, flux) of the stars."""
    rng = np.random.default_rng(7)
    cloud = gaussian_filter(rng.normal(size=(SIZE, SIZE)), 14, mode="wrap")
    y, x = np.mgrid[:SIZE, :SIZE]
    galaxy = 60 * SIGMA * np.exp(-np.hypot((x - 190) * 0.6, y - 60) / 6)
    starless = SKY + 25 * SIGMA * (cloud - cloud.min()) / np.ptp(cloud) + galaxy
    psf = make_moffat_psf(*torch.tensor([FWHM, 3.5, 0.0, 0.0])[:, None])[0].numpy()
    r = psf.shape[0] // 2
    light = np.zeros((SIZE + 2 * r, SIZE + 2 * r))
    stars = []
    for _ in range(45):
        xs, ys = rng.integers(4, SIZE - 4, 2)
        flux = float(np.exp(rng.uniform(np.log(40), np.log(20000)))) * SIGMA
        light[ys : ys + 2 * r + 1, xs : xs + 2 * r + 1] += flux * psf
        if np.hypot(xs - 190, ys - 60) > 25:
            stars.append((xs, ys, flux))
    image = starless + light[r:-r, r:-r]
    return image + rng.normal(0, SIGMA, image.shape), starless, np.array(stars)


@pytest.fixture(scope="module")
def separated(scene):
    return asr.remove_stars(scene[0].astype(np.float32), device="cpu")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.uint16])
def test_both_parts_are_the_image_to_the_last_bit(scene, dtype):
    image = np.round(scene[0][:128, :128]).astype(dtype)
    starless, stars = asr.remove_stars(image, device="cpu")
    assert stars.dtype == np.float64
    np.testing.assert_array_equal(starless.astype(np.float64) + stars, image.astype(np.float64))


def test_fractions_in_double_precision_add_up(scene):
    starless, stars = asr.remove_stars(scene[0], device="cpu")
    np.testing.assert_allclose(starless + stars, scene[0], rtol=3e-16)


def test_stars_leave_the_starless_image(scene, separated):
    _, truth, stars = scene
    starless, _ = separated
    y, x = np.mgrid[:SIZE, :SIZE]
    left = []
    for xs, ys, flux in stars[stars[:, 2] > 50 * SIGMA * np.sqrt(4 * np.pi) * FWHM / 2.355]:
        disc = np.hypot(x - xs, y - ys) < 1.5 * FWHM
        left.append((starless - truth)[disc].sum() / flux)
    assert len(left) > 10
    assert abs(np.median(left)) < 0.02


def test_the_nebula_under_stars_is_there(scene, separated):
    _, truth, stars = scene
    starless, _ = separated
    y, x = np.mgrid[:SIZE, :SIZE]
    errors = [
        np.median((starless - truth)[np.hypot(x - xs, y - ys) < FWHM]) / SIGMA
        for xs, ys, _ in stars
    ]
    assert abs(np.median(errors)) < 1
    assert np.median(np.abs(errors)) < 1.5


def test_a_galaxy_stays_whole(scene, separated):
    _, truth, _ = scene
    starless, _ = separated
    y, x = np.mgrid[:SIZE, :SIZE]
    disc = np.hypot((x - 190) * 0.6, y - 60) < 12
    kept = (starless - SKY)[disc].sum() / (truth - SKY)[disc].sum()
    assert kept == pytest.approx(1, abs=0.05)


def test_sky_without_stars_is_left_alone():
    rng = np.random.default_rng(3)
    image = rng.normal(100, 5, (200, 200)).astype(np.float32)
    with pytest.warns(asr.AstroSRWarning, match="no stars were found"):
        starless, stars = asr.remove_stars(image, device="cpu")
    assert np.abs(stars).max() < 10
    assert np.std(stars) < 0.25
    assert starless.std() == pytest.approx(5, rel=0.03)


def test_what_was_no_number_stays_so(scene):
    image = scene[0].astype(np.float32)
    image[40:44, 50:53] = np.nan
    ccd = CCDData(image, unit="adu", mask=np.zeros(image.shape, bool))
    ccd.mask[100:110, 20:30] = True
    starless, stars = asr.remove_stars(ccd, device="cpu")
    assert np.isnan(starless.data[40:44, 50:53]).all()
    np.testing.assert_array_equal(starless.data[ccd.mask], image[ccd.mask])
    assert (stars.data[40:44, 50:53] == 0).all()
    assert (stars.data[ccd.mask] == 0).all()
    assert starless.meta["ASRTASK"] == "remove-stars"


def test_files_hold_the_same(scene, tmp_path):
    image = scene[0].astype(np.float32)
    inside = asr.remove_stars(image, device="cpu")
    places = {"out": tmp_path / "starless.fits", "stars_out": tmp_path / "stars.fits"}
    streamed = asr.remove_stars(image, device="cpu", **places)
    for array, ccd, path in zip(inside, streamed, places.values(), strict=True):
        np.testing.assert_array_equal(array, ccd.data)
        np.testing.assert_array_equal(array, asr.read_image(path).data)


def test_saturated_stars_leave_no_holes(scene):
    clean, starless, _ = scene
    y, x = np.mgrid[:SIZE, :SIZE]
    image, places = clean.copy(), [(60, 70), (128, 180), (70, 200)]
    for (xs, ys), flux in zip(places, (6e4, 2e5, 1e5), strict=True):
        away = np.hypot(x - xs - 0.3, y - ys + 0.2)
        image += flux * SIGMA * (1 + (away / 3.25) ** 2) ** -3.5 * 2.5 / np.pi / 3.25**2
    image = np.minimum(image, SKY + 1500 * SIGMA)
    result, _ = asr.remove_stars(image.astype(np.float32), device="cpu")
    for xs, ys in places:
        near = np.hypot(x - xs, y - ys) < 4 * FWHM
        around = (np.hypot(x - xs, y - ys) < 8 * FWHM) & ~near
        level = np.median((result - starless)[around])
        assert (result - starless)[near].min() > level - 10 * SIGMA
        assert abs(np.median((result - starless)[near])) < 3 * SIGMA


def test_bleeding_columns_leave_no_holes_and_no_pattern(scene):
    clean, starless, _ = scene
    y, x = np.mgrid[:SIZE, :SIZE]
    level = SKY + 1500 * SIGMA
    image = clean.copy()
    for xs, ys in ((60, 70), (130, 190)):
        away = np.hypot(x - xs - 0.3, y - ys + 0.2)
        image += 2e5 * SIGMA * (1 + (away / 3.25) ** 2) ** -3.5 * 2.5 / np.pi / 3.25**2
        image[ys - 1 : ys + 2, xs - 18 : xs + 19] = 2 * level
    image = np.minimum(image, level)
    result, _ = asr.remove_stars(image.astype(np.float32), device="cpu")
    left = (result - starless) / SIGMA
    for xs, ys in ((60, 70), (130, 190)):
        near = left[ys - 12 : ys + 13, xs - 25 : xs + 26]
        assert near.min() > -15
        assert near.max() < 40


def test_a_star_without_the_halo_of_others_leaves_no_disc():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIZE, :SIZE]
    image = 100 + rng.normal(0, 1, (SIZE, SIZE))

    def light(xs, ys, halo):
        away = np.hypot(x - xs, y - ys)
        core = (1 + (away / 3.25) ** 2) ** -3.5 * 2.5 / np.pi / 3.25**2
        return core + halo * np.exp(-away / 7) / (2 * np.pi * 49)

    for _ in range(30):
        image += rng.uniform(300, 3000) * light(*rng.uniform(5, SIZE - 5, 2), 0)
    for place in ((60, 60), (60, 190), (190, 60)):
        image += 2e5 * light(*place, 0.15)
    image += 2e5 * light(190, 190, 0)
    starless, _ = asr.remove_stars(image.astype(np.float32), device="cpu")
    disc = gaussian_filter(starless - 100.0, 2)[np.hypot(x - 190, y - 190) < 30]
    assert disc.min() > -3


@pytest.fixture(scope="module")
def with_halos():
    """Return a scene of saturated stars with halos and spikes, and the result."""
    starry = make_starry("halos", size=256, seed=1)
    result, _ = asr.remove_stars(np.asarray(starry.scene.observed, np.float32), device="cpu")
    return starry, result


def test_halos_and_spikes_go_with_their_stars(with_halos):
    starry, result = with_halos
    before = measure_removal(starry, starry.scene.observed)
    after = measure_removal(starry, result)
    assert before["halo"] > 0.9
    assert before["spike"] > 0.9
    assert after["halo"] < 0.4
    assert after["spike"] < 0.5
    assert after["rms"] < 1.5
    # No hole, and no ring, where the halos were.
    left = gaussian_filter((result - starry.starless) / float(starry.scene.sigma), 2)
    y, x = np.indices(left.shape)
    for column, row in starry.bright:
        away = np.hypot(x - column, y - row)
        for inner in range(8, 40, 4):
            assert left[(away > inner) & (away < inner + 4)].mean() > -1.5


def test_halos_do_not_depend_on_tiles(with_halos):
    starry, result = with_halos
    tiles = asr.Runtime(device="cpu", tile_size=96)
    image = np.asarray(starry.scene.observed, np.float32)
    again, stars = asr.remove_stars(image, runtime=tiles)
    assert np.abs(again - result).max() < 1e-3 * float(starry.scene.sigma)
    np.testing.assert_array_equal(again.astype(np.float64) + stars, image.astype(np.float64))


def test_extended_light_is_the_same_in_any_window():
    rng = np.random.default_rng(3)
    rows = np.sort(rng.integers(0, 90, 12))
    light = ExtendedLight(
        rows, rng.integers(0, 70, 12), rng.random((12, 21, 21)).astype(np.float32)
    )
    whole = light.on(-15, 105, -15, 85)
    assert whole.sum() == pytest.approx(light.stamps.sum(), rel=1e-5)
    for y0, y1, x0, x1 in ((0, 90, 0, 70), (3, 4, 5, 6), (40, 77, 60, 85), (-15, -10, 0, 9)):
        part = whole[y0 + 15 : y1 + 15, x0 + 15 : x1 + 15]
        np.testing.assert_allclose(light.on(y0, y1, x0, x1), part, atol=1e-5)
