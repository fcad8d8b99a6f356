"""Point sources that explain a residual, and how they are drawn."""

from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.restoration.clean import Cleaner, Component, draw

SIDE, FWHM = 61, 1.6
Array = np.ndarray


def star(row: float, column: float, flux: float, side: int = SIDE, fwhm: float = FWHM) -> Array:
    y, x = np.mgrid[:side, :side]
    width = fwhm / FWHM_PER_SIGMA
    light = np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / width**2)
    return np.asarray(flux * light / (2 * np.pi * width**2))


@pytest.fixture
def cleaner() -> Cleaner:
    return Cleaner(star(16, 16, 1.0, 33), FWHM)


def test_two_point_sources_are_found(cleaner: Cleaner) -> None:
    residual = star(30.3, 28.7, 200.0) + star(31.0, 31.3, -80.0)
    before = residual.copy()
    found = cleaner.clean(residual, np.full(residual.shape, 4.0), (30, 30), 4)
    assert sum(component.flux for component in found) == pytest.approx(120, abs=4)
    first = found[0]
    assert (first.row, first.column) == pytest.approx((30.3, 28.7), abs=0.1)
    # What is left is below the limit.
    assert np.abs(residual).max() < 0.05 * before.max()


def test_what_is_no_few_stars_stays(cleaner: Cleaner) -> None:
    residual = np.random.default_rng(1).normal(0, 50.0, (SIDE, SIDE))
    before = residual.copy()
    assert cleaner.clean(residual, np.full(residual.shape, 4.0), (30, 30), 6) == []
    np.testing.assert_array_equal(residual, before)


def test_a_place_at_the_edge_is_no_error(cleaner: Cleaner) -> None:
    residual = star(4.0, 57.0, 200.0)
    (component,) = cleaner.clean(residual, np.full(residual.shape, 4.0), (4, 57), 4)
    assert component == pytest.approx((4.0, 57.0, 200.0), rel=1e-3)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_component_is_drawn_with_its_flux_at_its_place(scale: int) -> None:
    image = np.zeros((40 * scale, 40 * scale))
    rows, columns, profile = draw(Component(20.3, 11.7, 1.0), image.shape, 2.0 * scale, scale)
    image[rows, columns] += profile
    assert image.sum() / scale**2 == pytest.approx(1.0)
    y, x = (np.mgrid[: 40 * scale, : 40 * scale] + 0.5) / scale - 0.5
    centre = [(place * image).sum() / image.sum() for place in (y, x)]
    assert centre == pytest.approx([20.3, 11.7], abs=0.01)
    rows, columns, profile = draw(Component(0.0, 39.0, 1.0), image.shape, 2.0 * scale, scale)
    image[rows, columns] += profile
    assert profile.sum() < scale**2
