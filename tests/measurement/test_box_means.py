"""Means over boxes at some pixels are those of a uniform filter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from astro_sr_plugin.measurement.box_means import box_means


@pytest.mark.parametrize("side", [3, 6, 25])
@pytest.mark.parametrize("shape", [(40, 60), (257, 90), (600, 31)])
def test_means_are_those_of_a_uniform_filter(shape: tuple[int, int], side: int) -> None:
    rng = np.random.default_rng(side)
    image = rng.normal(0, 1, shape)
    image[rng.random(shape) < 0.01] = 1e4
    rows, columns = (rng.integers(0, n, (50, 9)) for n in shape)
    means = box_means(image, side, rows, columns)
    np.testing.assert_allclose(means, uniform_filter(image, side)[rows, columns], atol=1e-9)
