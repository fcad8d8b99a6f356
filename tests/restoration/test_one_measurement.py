"""Every part of a measurement is made once, and only where it is needed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from astropy.io.fits import Header
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.measurement import plane as measurement

MEASURED = ("open_plane", "measure_background", "measure_noise", "fit_psf", "measure_extended_part")
PARTS = (*MEASURED, "detect_sources")
ALL = dict.fromkeys(MEASURED, 1)
WITH_SOURCES = dict.fromkeys(PARTS, 1)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:96, :112]
    data = rng.normal(100, 3, y.shape)
    for cx, cy, flux in zip(
        rng.uniform(8, 104, 14), rng.uniform(8, 88, 14), rng.uniform(2e3, 2e4, 14), strict=True
    ):
        data += flux * 0.055 * (1 + ((x - cx) ** 2 + (y - cy) ** 2) / 9) ** -2.5
    return CCDData(data.astype(np.float32), unit="adu", meta=Header())


@pytest.fixture
def calls(monkeypatch):
    counted = Counter()
    for name in PARTS:
        inner = getattr(measurement, name)

        def wrapper(*args, inner=inner, name=name, **keywords):
            counted[name] += 1
            return inner(*args, **keywords)

        monkeypatch.setattr(measurement, name, wrapper)
    return counted


@pytest.mark.parametrize(
    ("work", "parts"),
    [
        (lambda image: asr.measure(image), ALL),
        (lambda image: asr.denoise(image, model="wiener"), ALL),
        (lambda image: asr.deconvolve(image, model="wiener"), ALL),
        (lambda image: asr.deconvolve(image, model="wiener", stars=0.5), WITH_SOURCES),
        (lambda image: asr.super_resolve(image, model="wiener"), ALL),
        (lambda image: asr.star_mask(image), WITH_SOURCES),
    ],
    ids=["measure", "denoise", "deconvolve", "two strengths", "super-resolve", "star mask"],
)
def test_each_part_is_measured_once(work, parts, image, calls):
    work(image)
    assert calls == parts


def test_a_given_psf_is_not_measured(image, calls):
    asr.deconvolve(image, model="wiener", psf=(3.0, 3.5))
    assert calls["measure_noise"] == 1
    assert calls["fit_psf"] == calls["measure_extended_part"] == 0


def test_a_measurement_serves_again(image, calls):
    measured = asr.measure(image)
    calls.clear()
    sharp = asr.deconvolve(image, model="wiener", measured=measured)
    mask = asr.star_mask(image, measured=measured)
    asr.star_mask(image, measured=measured, radius_factor=2.0)
    asr.audit(image, sharp, measured=measured)
    assert calls == {"detect_sources": 1}
    np.testing.assert_array_equal(sharp.data, asr.deconvolve(image, model="wiener").data)
    np.testing.assert_array_equal(mask, asr.star_mask(image))


def test_a_measurement_of_another_image_is_refused(image):
    measured = asr.measure(image)
    other = image.data.copy()
    other[48, 56] += 1
    for wrong in (image.data[:, :-1], other * 1.01, np.stack([image.data] * 3)):
        with pytest.raises(asr.InputError, match="measured is of another image"):
            asr.denoise(wrong, measured=measured)
    with pytest.raises(asr.InputError, match="mask and measured"):
        asr.denoise(image, measured=measured, mask=np.zeros(image.shape, bool))
