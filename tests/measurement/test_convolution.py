"""Convolution and correlation are those of SciPy."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from scipy.ndimage import correlate
from scipy.signal import fftconvolve

from astro_sr_plugin.measurement.convolution import (
    MOST_SIZES,
    PeriodicCorrelation,
    convolve,
)
from astro_sr_plugin.measurement.psf.reconvolution import Reconvolution


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("kernel_shape", [(1, 1), (5, 7), (4, 3)])
def test_the_result_is_that_of_scipy(mode, kernel_shape):
    rng = np.random.default_rng(1)
    image, kernel = rng.normal(size=(30, 41)), rng.normal(size=kernel_shape)
    expected = fftconvolve(image, kernel, mode=mode)
    found = convolve(image, kernel, mode)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_float32_stays():
    assert convolve(np.ones((8, 8), np.float32), np.ones((3, 3), np.float32)).dtype == np.float32


def test_correlation_with_an_image_that_repeats():
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(5, 7))
    correlation = PeriodicCorrelation(kernel)
    # More sizes than are kept, and the first one again.
    for side in (*range(30, 31 + MOST_SIZES), 30):
        image = rng.normal(size=(side, 41))
        expected = correlate(image, kernel, mode="wrap")
        np.testing.assert_allclose(correlation(image), expected, atol=1e-12)


def test_of_a_kernel_larger_than_the_image_the_middle_counts():
    rng = np.random.default_rng(1)
    image, kernel = rng.normal(size=(6, 9)), rng.normal(size=(11, 11))
    expected = correlate(image, kernel[3:8, 1:10], mode="wrap")
    np.testing.assert_allclose(PeriodicCorrelation(kernel)(image), expected, atol=1e-12)
    small = PeriodicCorrelation(kernel.astype(np.float32))(image.astype(np.float32))
    assert small.dtype == np.float32


@pytest.mark.parametrize("kind", [PeriodicCorrelation, lambda psf: Reconvolution(psf, 2.0, 1)])
def test_transforms_go_with_what_keeps_them(kind):
    """For each part of a field that changes there is one, with some MB."""
    gc.collect()
    gc.disable()
    try:
        one = kind(np.full((5, 5), 0.04))
        one(np.ones((30, 41)))
        gone = weakref.ref(one)
        del one
        assert gone() is None
    finally:
        gc.enable()
