"""Saturated stars are sharpened as stars, or left as they were recorded."""

from __future__ import annotations

import numpy as np
import pytest

import astro_sr_plugin as asr
from astro_sr_plugin.restoration.cores import Cores, fit_cores

FWHM, BETA, LIMIT = 3.0, 3.0, 400.0
SIDE = 160
BRIGHT = 90_000.0


def moffat(x, y, shape=(SIDE, SIDE)):
    """Star of flux 1, averaged over the pixel."""
    alpha = FWHM / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    steps = (np.arange(5) - 2) / 5
    v, u = np.indices(shape).astype(float)
    image = np.zeros(shape)
    for dy in steps:
        for dx in steps:
            image += (1 + ((u + dx - x) ** 2 + (v + dy - y) ** 2) / alpha**2) ** -BETA
    return image / 25 * (BETA - 1) / (np.pi * alpha**2)


PSF = moffat(32, 32, (65, 65)).astype(np.float32)


def window_of(image, saturated):
    def window(y0, y1, x0, x1):
        part = np.s_[y0:y1, x0:x1]
        return image[part].astype(np.float32), np.zeros_like(saturated[part]), saturated[part]

    return window


def clipped(clean, seed=1):
    noisy = clean + np.random.default_rng(seed).normal(size=clean.shape)
    return np.minimum(noisy, LIMIT), noisy >= LIMIT


def recorded_again(cores, image):
    light = np.zeros(image.shape, np.float32)
    light[cores.rows, cores.columns] = cores.values + cores.excess
    return light


def test_the_core_of_a_star_is_fitted_to_its_wings():
    clean = 60_000 * moffat(80.3, 71.8)
    image, saturated = clipped(clean)
    assert saturated.sum() > 15
    cores = fit_cores(window_of(image, saturated), image.shape, PSF, FWHM)
    assert isinstance(cores, Cores)
    assert len(cores.rows) == saturated.sum()
    np.testing.assert_allclose(cores.values, clean[cores.rows, cores.columns], rtol=0.06)
    assert np.all(cores.excess >= 0)


def test_a_plateau_that_is_not_flat_is_replaced_whole():
    clean = 60_000 * moffat(80.3, 71.8)
    image, full = clipped(clean)
    image[full] *= np.random.default_rng(2).uniform(0.93, 1.0, full.sum())
    saturated = full & (image > 0.99 * LIMIT)
    assert 0 < saturated.sum() < full.sum() / 3
    cores = fit_cores(window_of(image, saturated), image.shape, PSF, FWHM)
    assert cores is not None
    replaced = np.zeros(full.shape, bool)
    replaced[cores.rows, cores.columns] = True
    assert replaced[full].all()
    np.testing.assert_allclose(cores.values, clean[cores.rows, cores.columns], rtol=0.06)


def test_a_bleeding_column_is_kept_as_excess():
    clean = 60_000 * moffat(80.0, 80.0)
    image, saturated = clipped(clean)
    image[62:99, 80] = LIMIT
    saturated[62:99, 80] = True
    cores = fit_cores(window_of(image, saturated), image.shape, PSF, FWHM)
    assert cores is not None
    end = (cores.rows == 64) & (cores.columns == 80)
    assert cores.excess[end] == pytest.approx(LIMIT, rel=0.1)
    above = cores.excess > 0
    np.testing.assert_allclose(recorded_again(cores, image)[saturated][:1], LIMIT, rtol=1e-5)
    assert above.sum() > 20


def test_what_no_star_explains_stays_as_recorded():
    clean = 30_000 * (moffat(77.0, 80.0) + moffat(83.5, 81.0))
    image, saturated = clipped(clean)
    cores = fit_cores(window_of(image, saturated), image.shape, PSF, FWHM)
    assert cores is not None
    place = cores.rows, cores.columns
    np.testing.assert_allclose(cores.values + cores.excess, image[place], rtol=1e-5, atol=1e-3)
    assert cores.values.max() < 0.8 * LIMIT
    assert np.isin(np.flatnonzero(saturated), np.ravel_multi_index(place, image.shape)).all()


def test_an_image_without_saturation_has_no_cores():
    image = 1000 * moffat(80.0, 80.0)
    assert fit_cores(window_of(image, image > 1e9), image.shape, PSF, FWHM) is None


@pytest.mark.parametrize("scale", [1, 2])
def test_the_excess_is_added_whole(scale):
    cores = Cores(
        np.array([0, 7, 8, 8]),
        np.array([3, 5, 5, 9]),
        np.zeros(4, np.float32),
        np.array([8.0, 4.0, 2.0, 1.0], np.float32),
        np.array([False, True, False, True]),
    )
    whole = np.zeros((16 * scale, 12 * scale), np.float32)
    cores.add_excess(whole, 0, scale)
    parts = np.zeros_like(whole)
    for row in (0, 8):
        for column in (0, 5):
            part = parts[row * scale : (row + 8) * scale, column * scale :]
            cores.add_excess(part[:, : (5 if column == 0 else 7) * scale], row, scale, column)
    np.testing.assert_array_equal(parts, whole)
    # All but the star at the very edge of the frame, of whose light a part is mirrored.
    assert whole[4 * scale :].sum() / scale**2 == pytest.approx(7.0, rel=1e-6)


@pytest.fixture(scope="module")
def field():
    """Many stars to measure, and some saturated ones, with their clean image."""
    rng = np.random.default_rng(5)
    clean = np.zeros((SIDE * 2, SIDE * 2))
    for flux in np.exp(rng.uniform(5.5, 8.5, 60)):
        clean += flux * moffat(*rng.uniform(8, 2 * SIDE - 8, 2), clean.shape)
    bright = [(60.2, 70.4), (240.0, 90.7), (150.6, 250.1)]
    for x, y in bright:
        clean += BRIGHT * moffat(x, y, clean.shape)
    image, saturated = clipped(clean, 6)
    assert saturated.sum() > 60
    return image.astype(np.float32) + 100, bright


@pytest.mark.parametrize("scale", [1, 2])
def test_saturated_stars_have_no_dark_rings(field, scale):
    image, bright = field
    verb = asr.deconvolve if scale == 1 else asr.super_resolve
    result = np.asarray(verb(image)) - 100
    seen = image.repeat(scale, 0).repeat(scale, 1) - 100
    assert result.mean() == pytest.approx(image.mean() - 100, rel=1e-3, abs=1e-3)
    v, u = (np.indices(result.shape) + 0.5) / scale - 0.5
    left = []
    for x, y in bright:
        around = np.hypot(u - x, v - y)
        left.append(np.abs(result[(around >= 4) & (around < 12)]).sum() / scale**2 / BRIGHT)
        for radius in np.arange(4.0, 12.0):
            ring = (around >= radius) & (around < radius + 1)
            assert result[ring].min() > -4 - 0.05 * np.median(seen[ring])
            assert np.median(result[ring]) > -1
    # The wings of most are gathered; a star with a close neighbour may stay as it is.
    assert np.median(left) < 0.02
