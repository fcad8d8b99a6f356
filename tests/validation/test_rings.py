"""Rings around stars that the input does not show, on stars whose truth is known."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.signal import fftconvolve

import astro_sr_plugin as asr

SIZE, SKY, NOISE, FWHM, BETA, TARGET = 200, 100.0, 5.0, 3.2, 3.0, 2.0


def moffat(x: float, y: float, flux: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    alpha = FWHM / 2 / np.sqrt(2 ** (1 / BETA) - 1)
    power = (1 + ((columns - x) ** 2 + (rows - y) ** 2) / alpha**2) ** -BETA
    return flux * (BETA - 1) / np.pi / alpha**2 * power


def gaussian(x: float, y: float, flux: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    sigma = TARGET / 2.3548
    square = (columns - x) ** 2 + (rows - y) ** 2
    return flux / (2 * np.pi * sigma**2) * np.exp(-square / (2 * sigma**2))


@pytest.fixture(scope="module")
def scene() -> tuple[list[tuple[float, float, float]], CCDData, np.ndarray]:
    """Return stars, what a camera sees of them, and the sharp truth."""
    rng = np.random.default_rng(1)
    places = [(*rng.uniform(0, SIZE - 1, 2), 10 ** rng.uniform(3, 5.5)) for _ in range(25)]
    observed = SKY + sum(moffat(*star) for star in places) + rng.normal(0, NOISE, (SIZE, SIZE))
    truth = SKY + sum(gaussian(*star) for star in places)
    return places, CCDData(observed.astype(np.float32), unit="adu"), truth


measured = functools.cache(asr.measure)
"""What is measured of an image, once for all audits; it must not change."""


def ringed(image: CCDData, result: np.ndarray) -> list[tuple[float, float]]:
    result = CCDData(result, unit="adu")
    found = asr.audit(image, result, target_fwhm=TARGET, measured=measured(image))
    assert any("rings" in sentence for sentence in found.failed) == bool(found.ringed)
    return [(source.x, source.y) for source in found.ringed]


def test_only_the_star_with_a_ring_is_found(scene) -> None:
    places, image, truth = scene
    assert ringed(image, truth) == []
    inside = [s for s in places if min(s[:2]) > 20 and max(s[:2]) < SIZE - 20]
    x, y, flux = max(inside, key=lambda star: star[2])
    rows, columns = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(columns - x, rows - y)
    # A part of the star's light, 3 %, in a ring around a gap.
    ring = np.exp(-0.5 * ((away - 3.0 * TARGET) / 1.0) ** 2)
    ring *= 0.03 * flux / ring.sum()
    wrong = truth + ring - 0.03 * gaussian(x, y, flux)
    assert ringed(image, wrong) == [pytest.approx((x, y), abs=0.6)]


def test_a_real_ring_is_no_fault(scene) -> None:
    places, image, truth = scene
    x, y, flux = 120.0, 60.0, 3e4
    rows, columns = np.mgrid[:SIZE, :SIZE]
    away = np.hypot(columns - x, rows - y)
    shell = 300 * np.exp(-0.5 * ((away - 7.0) / 1.5) ** 2)
    image = CCDData(image.data + moffat(x, y, flux) + shell, unit="adu")
    assert ringed(image, truth + gaussian(x, y, flux) + shell) == []


def test_neither_an_image_nor_a_denoised_one_gets_rings_when_it_is_sharpened(scene) -> None:
    _, image, _ = scene
    quality = measured(image)
    good = asr.deconvolve(image, target_fwhm=TARGET, measured=quality)
    assert ringed(image, good.data) == []
    # The network alone makes rings here; the result is held against its input.
    twice = asr.deconvolve(asr.denoise(image, measured=quality), target_fwhm=TARGET, force=True)
    assert twice.meta["ASRGUARD"] > 0
    assert ringed(image, twice.data) == []


def cluster(n_stars: int, seed: int) -> tuple[CCDData, np.ndarray]:
    """Return what a camera sees of a globular cluster, and the sharp truth."""
    rng, finer = np.random.default_rng(seed), 5
    flux = np.minimum(20 * NOISE * rng.random(n_stars) ** (-1 / 1.2), 3e4 * NOISE)
    places = SIZE / 2 + 50 * rng.standard_normal((2, n_stars))
    inside = np.all((places > 2) & (places < SIZE - 2), axis=0)
    fine = np.zeros((SIZE * finer, SIZE * finer))
    np.add.at(fine, tuple((places[:, inside] * finer).astype(int)), flux[inside])
    half = 40 * finer
    radius = np.hypot(*np.mgrid[-half : half + 1, -half : half + 1]) / finer
    psf = (1 + (radius / FWHM * 2) ** 2 * (2 ** (1 / BETA) - 1)) ** -BETA
    blurred, truth = (
        SKY + image.reshape(SIZE, finer, SIZE, finer).sum(axis=(1, 3))
        for image in (
            fftconvolve(fine, psf / psf.sum(), mode="same"),
            gaussian_filter(fine, TARGET / 2.3548 * finer),
        )
    )
    observed = blurred + rng.normal(0, NOISE, blurred.shape)
    return CCDData(observed.astype(np.float32), unit="adu"), truth


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_the_truth_of_a_crowd_has_no_rings(seed: int) -> None:
    assert ringed(*cluster(4000, seed)) == []


def test_a_crowd_does_not_hide_rings() -> None:
    image, truth = cluster(4000, 5)
    light = truth - SKY
    peaks = np.argwhere((light == maximum_filter(light, 5)) & (light > 200 * NOISE))
    stars = peaks[np.all((peaks > 20) & (peaks < SIZE - 20), axis=1)][::4]
    wrong = truth.copy()
    for row, column in stars:
        away = np.hypot(*np.ogrid[-row : SIZE - row, -column : SIZE - column]) / TARGET
        gap, ring = (np.exp(-0.5 * ((away - place) / 0.4) ** 2) for place in (1.6, 2.6))
        wrong += 0.02 * light[row, column] * (0.5 * ring - gap)
    found = np.array(ringed(image, wrong))[:, ::-1]
    hits = sum(np.hypot(*(found - star).T).min() < 2.5 for star in stars)
    assert hits > len(stars) / 2
