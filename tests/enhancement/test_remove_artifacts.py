"""Artefacts go, stars and galaxies stay, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.restoration.artifacts import TEMPLATES, find_artifacts
from astro_sr_plugin.restoration.filling import fill_hole

NOISE, SIDE = 2.0, 180
DISC, RING = (60, 120, 8.0), (130, 60, 10.0)
"""Row, column and radius of the artefacts."""
SIZES = (14.0, 17.0, 21.0)


def shapes():
    y, x = np.mgrid[:SIDE, :SIDE]
    first = np.hypot(y - DISC[0], x - DISC[1]) < DISC[2]
    distance = np.hypot(y - RING[0], x - RING[1])
    return first, (distance < RING[2]) & (distance > RING[2] / 2)


@pytest.fixture(scope="module")
def sky():
    """Stars, a round and a flat galaxy on a level of 100."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = rng.normal(100.0, NOISE, (SIDE, SIDE))
    for _ in range(25):
        row, column = rng.uniform(0, SIDE, 2)
        square = (y - row) ** 2 + (x - column) ** 2
        image += 10 ** rng.uniform(1.5, 3.5) * (1 + square / 4) ** -2.5
    image += 80 * np.exp(-np.hypot(y - 30, x - 40) / 5)
    return image + 60 * np.exp(-np.hypot((y - 140) / 0.3, x - 130) / 8)


@pytest.fixture(scope="module")
def image(sky):
    first, second = shapes()
    return sky + 15.0 * first + 25.0 * second


def test_artefacts_are_filled_and_stars_and_galaxies_stay(image, sky):
    before = image.copy()
    clean = asr.remove_artifacts(CCDData(image, unit="adu"), diameters=SIZES)
    assert clean.meta["ASRARTIF"] == 2
    changed = clean.data != image
    assert (clean.mask == changed).all()
    for shape, light in zip(shapes(), (15.0, 25.0), strict=True):
        assert changed[shape].mean() > 0.9
        left = clean.data[shape & changed] - sky[shape & changed]
        assert abs(left.mean()) < 0.1 * light
    near = np.zeros(image.shape, bool)
    for row, column, radius in (DISC, RING):
        y, x = np.mgrid[:SIDE, :SIDE]
        near |= np.hypot(y - row, x - column) < radius + 5
    assert not changed[~near].any()
    assert clean.unit == "adu"
    assert "disc" in str(clean.meta["HISTORY"])
    np.testing.assert_array_equal(image, before)


def test_an_image_without_artefacts_comes_back_as_it_was(sky):
    clean = asr.remove_artifacts(sky, diameters=SIZES)
    np.testing.assert_array_equal(clean, sky)


def test_a_template_may_be_an_image_and_has_to_fit(image, tmp_path):
    y, x = np.mgrid[:21, :21] - 10
    disc = (np.hypot(y, x) < 10.5).astype(np.float32)
    asr.write_image(CCDData(disc, unit=""), tmp_path / "dot.fits")
    for template in (disc, tmp_path / "dot.fits"):
        clean = asr.remove_artifacts(image, templates=template, diameters=SIZES)
        assert (clean != image)[shapes()[0]].mean() > 0.9
        assert not (clean != image)[shapes()[1]].any()


def test_the_colour_decides(image, sky):
    first, second = shapes()
    planes = np.stack([sky + 30 * first, sky + 30 * second, sky + 30 * second])
    planes += np.random.default_rng(6).normal(0, 2 * NOISE, planes.shape)
    clean = asr.remove_artifacts(planes, diameters=SIZES, colour=(1, 0, 0))
    changed = (clean != planes).any(0)
    assert changed[first].mean() > 0.9
    assert not changed[second].any()


def test_stars_out_of_focus_are_no_rings():
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:SIDE, :SIDE]
    image = rng.normal(100.0, NOISE, (SIDE, SIDE))
    for row, column in np.mgrid[20:170:28, 20:170:28].reshape(2, -1).T + rng.uniform(
        -4, 4, (36, 2)
    ):
        distance = np.hypot(y - row, x - column)
        soft = np.clip(6.0 - distance, 0, 1) - np.clip(3.0 - distance, 0, 1)
        image += 10 ** rng.uniform(1.3, 2.7) * soft
    clean = asr.remove_artifacts(
        CCDData(image, unit="adu"), templates="ring", diameters=(9, 11, 14)
    )
    assert clean.mask.mean() < 0.01


def test_pixels_without_data_stay_and_are_not_used(image):
    pixels = image.copy()
    pixels[DISC[0] - 1 : DISC[0] + 2, DISC[1] + 12 : DISC[1] + 15] = np.nan
    clean = asr.remove_artifacts(pixels, diameters=SIZES)
    assert np.array_equal(np.isnan(clean), np.isnan(pixels))
    assert (clean != image)[shapes()[0]].mean() > 0.9


def test_filling_is_exact_where_light_is_smooth():
    y, x = np.mgrid[:40, :40].astype(float)
    smooth = 3 + 0.2 * x - 0.1 * y
    mask = np.hypot(y - 20, x - 20) < 6
    hidden = np.where(mask, 1e5, smooth)
    np.testing.assert_allclose(fill_hole(hidden, mask)[mask], smooth[mask], atol=0.02)


def test_noise_alone_holds_no_artefact():
    noise = np.random.default_rng(7).normal(size=(300, 300))
    assert find_artifacts(noise, dict(TEMPLATES), (8.0, 14.0), fwhm=3.0) == []


def test_the_command_fills_and_counts(image, tmp_path, capsys):
    source, target = tmp_path / "in.fits", tmp_path / "out.fits"
    asr.write_image(CCDData(image.astype(np.float32), unit=""), source)
    sizes = [str(size) for size in SIZES]
    words = ["remove-artifacts", str(source), "-o", str(target), "--diameter", *sizes]
    assert main(words) == 0
    assert "artefacts filled: 2" in capsys.readouterr().out
    assert asr.read_image(target).mask.sum() > 300


def test_the_command_does_every_image_of_a_file(image, tmp_path, capsys):
    source, target = tmp_path / "in.fits", tmp_path / "out.fits"
    part = image[90:170, 20:160].astype(np.float32)
    images = [fits.ImageHDU(part, name=name) for name in ("A", "B")]
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(source)
    words = ["remove-artifacts", str(source), "-o", str(target), "--hdu", "all"]
    assert main([*words, "--diameter", "21", "--template", "ring"]) == 0
    said = capsys.readouterr().out
    assert said.count("artefacts filled: 1") == 2
    for name in "AB":
        assert not np.array_equal(fits.getdata(target, name), part)


def test_wrong_parameters_are_named(image):
    for words, named in (
        ({"method": "magic"}, "method"),
        ({"diameters": (2.0,)}, "diameters"),
        ({"templates": ()}, "templates"),
        ({"templates": np.ones(5)}, "template 1"),
        ({"colour": (1, 0, 0)}, "colour"),
    ):
        with pytest.raises(InputError, match=named):
            asr.remove_artifacts(image, **words)
    with pytest.raises(InputError, match="tolerance"):
        asr.remove_artifacts(np.stack([image] * 3), colour=(1, 0, 0), tolerance=0)
