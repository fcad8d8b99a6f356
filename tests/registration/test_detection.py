"""Stars to register by: what is one, and where it lies."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData
from photutils.segmentation import SourceCatalog, SourceFinder
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

import astro_sr_plugin as asr
from astro_sr_plugin import InputError, detect_stars
from tests.registration.conftest import draw_stars

SHAPE = (256, 288)


def grid_field(seed: int = 1, noise: float = 3.0):
    """Return a field of 80 stars that do not touch, and their places and fluxes."""
    rng = np.random.default_rng(seed)
    y, x = (v.ravel() for v in np.mgrid[16:256:28, 16:288:32].astype(float))
    x, y = x + rng.uniform(-6, 6, x.size), y + rng.uniform(-6, 6, x.size)
    flux = 10 ** rng.uniform(3, 5, x.size)
    image = 200 + draw_stars(x, y, flux, SHAPE) + rng.normal(0, noise, SHAPE)
    return image, x, y, flux


def distances(stars, x, y):
    """Return the distance of each star to the nearest found one."""
    found = np.column_stack([stars["x"], stars["y"]])
    return KDTree(found).query(np.column_stack([x, y]))[0]


def test_places_come_near_the_limit_that_noise_sets():
    image, x, y, flux = grid_field()
    stars = detect_stars(image)
    assert len(stars) == x.size
    snr = flux / (3.0 * np.sqrt(4 * np.pi) * 1.25)
    error = distances(stars, x, y)
    # The limit per axis is sigma / snr; the length of the error has two.
    assert np.median(error / (np.sqrt(2) * 1.25 / snr)) < 1.4
    assert stars.meta["fwhm"] == pytest.approx(2.94, abs=0.15)
    assert np.median(stars["snr"]) == pytest.approx(np.median(snr), rel=0.1)
    assert stars["flux"][0] == pytest.approx(flux.max(), rel=0.05)
    assert (np.diff(stars["flux"]) <= 0).all()


def test_places_are_those_of_windowed_centroids_of_photutils():
    image, x, y, _ = grid_field()
    light = image - 200
    segments = SourceFinder(n_pixels=5, progress_bar=False)(gaussian_filter(light, 1.25), 3.0)
    theirs = SourceCatalog(light, segments).centroid_win
    stars = detect_stars(image)
    assert len(theirs) == len(stars) == x.size
    distance = distances(stars, *theirs.T)
    assert np.percentile(distance, 95) < 0.003


def test_hot_pixels_and_trails_are_no_stars():
    image, x, y, _ = grid_field()
    rng = np.random.default_rng(4)
    rows, columns = rng.integers(5, 250, 60), rng.integers(5, 280, 60)
    image[rows, columns] += 5000
    t = np.linspace(0, 255, 2000)
    np.add.at(image, (np.round(0.31 * t + 40).astype(int), np.round(t).astype(int)), 40)
    stars = detect_stars(image)
    found = np.column_stack([stars["x"], stars["y"]])
    away = KDTree(np.column_stack([x, y])).query(found)[0]
    assert (away < 2).mean() > 0.9
    assert len(stars) > 0.8 * x.size
    dark = rng.normal(200, 3, SHAPE)
    dark[rows, columns] += 5000
    assert len(detect_stars(dark)) <= 1


def test_a_nebula_is_no_star_and_hides_none():
    image, x, y, _ = grid_field()
    v, u = np.mgrid[:256, :288]
    image += 400 * np.exp(-((u - 140) ** 2 + (v - 120) ** 2) / (2 * 60**2))
    stars = detect_stars(image)
    assert (distances(stars, x, y) < 0.5).mean() > 0.9
    assert len(stars) <= x.size


@pytest.mark.parametrize("colour", [(1.0, 0.2, 0.1), (0.1, 0.2, 1.0)])
def test_the_colour_of_a_star_does_not_move_it_in_a_mosaic(colour):
    image, x, y, flux = grid_field(noise=0.5)
    sky = np.array([[0.6, 1.0], [1.0, 0.4]])  # RGGB
    light = np.array([[colour[0], colour[1]], [colour[1], colour[2]]])
    tiles = (SHAPE[0] // 2, SHAPE[1] // 2)
    wide = 1.6
    stars_light = draw_stars(x, y, flux, SHAPE, wide)
    raw = 200 * np.tile(sky, tiles) + stars_light * np.tile(light, tiles)
    raw += np.random.default_rng(1).normal(0, 0.5, SHAPE)
    header = {"BAYERPAT": "RGGB"}
    stars = detect_stars(CCDData(raw, unit="adu", meta=header))
    found = np.column_stack([stars["x"], stars["y"]])
    distance, near = KDTree(found).query(np.column_stack([x, y]))
    good = distance < 1
    assert good.mean() > 0.95
    shift = (found[near[good]] - np.column_stack([x, y])[good]).mean(axis=0)
    # All light would draw red stars by 0.4 pixels towards the red pixels.
    assert np.abs(shift).max() < 0.03
    assert stars.meta["shape"] == SHAPE


def test_what_was_measured_is_not_measured_again(monkeypatch):
    y, x = np.mgrid[:120, :140]
    rng = np.random.default_rng(2)
    sky = rng.normal(100, 5, x.shape)
    for a, b in rng.uniform(12, 108, (12, 2)):
        sky += 900 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 4)
    image = sky.astype(np.float32)
    found, quality = asr.detect_stars(image), asr.measure(image)
    frames = asr.register([image, np.roll(image, 3, 1)], 1).table
    with monkeypatch.context() as patch:
        patch.delattr("astro_sr_plugin.registration.detection.measure_background")
        again = asr.detect_stars(image, measured=quality)
        table = asr.register([image, image], 1, measured=[quality, quality]).table
    assert asr.register(image, image, measured=quality).shape == image.shape
    assert len(found) == 12
    assert (found.as_array() == again.as_array()).all()
    assert table["stars"][0] == frames["stars"][0]
    mask = x < 70
    masked = asr.detect_stars(image, measured=asr.measure(image, mask=mask))
    assert 0 < len(masked) < 12
    assert (masked.as_array() == asr.detect_stars(image, mask=mask).as_array()).all()
    colour = np.array([image, image + 9, image])
    assert len(asr.detect_stars(colour, measured=asr.measure(colour))) == 12
    for measured, text in (([quality], "a list of 2"), (quality, "a list of 2")):
        with pytest.raises(InputError, match=text):
            asr.register([image, image], measured=measured)
    with pytest.raises(InputError, match="of another image"):
        asr.detect_stars(image + 1, measured=quality)
    with pytest.raises(InputError, match="is a list"):
        asr.register(image, image, measured=[quality])


def test_odd_images():
    image, x, y, _ = grid_field()
    plain = detect_stars(image.astype(np.float32))
    swapped = detect_stars(image.astype(">f4"))
    assert (plain["x"] == swapped["x"]).all()
    bordered = image.copy()
    bordered[:40] = np.nan
    inside = y > 50
    assert (distances(detect_stars(bordered), x[inside], y[inside]) < 0.5).all()
    assert len(detect_stars(np.zeros(SHAPE))) == 0
    assert len(detect_stars(np.random.default_rng(1).normal(10, 1, SHAPE))) <= 1
    colour = detect_stars(np.stack([image] * 3))
    assert len(colour) == x.size
    assert len(detect_stars(image, max_stars=10)) == 10
    with pytest.raises(InputError, match="nsigma is 0"):
        detect_stars(image, nsigma=0)
