"""Convolution is that of SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from astro_sr_plugin.measurement.convolution import convolve


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
