"""Faint maxima that stand in one plane alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.figures.colour import lonely_maxima


@pytest.mark.parametrize("scale", [1, 2])
def test_maxima_of_one_plane_are_counted(scale):
    side, sigma = 160 * scale, [2.0, 3.0, 1.0]
    y, x = np.mgrid[:side, :side]
    image = np.full((3, side, side), 50.0)

    def add(planes, column, row, height):
        star = np.exp(-((x - column * scale) ** 2 + (y - row * scale) ** 2) / (4 * scale**2))
        for k in planes:
            image[k] += height * sigma[k] * star

    add((0, 1, 2), 40, 40, 3.0)
    add((1,), 100, 40, 3.0)
    add((0,), 40, 110, 2.0)
    add((2,), 41, 110, 2.0)
    add((0, 1, 2), 110, 110, 50.0)
    add((2,), 70, 130, 0.5)
    count, lonely = lonely_maxima(image, sigma, scale)
    assert (count, lonely) == (6, 1)
