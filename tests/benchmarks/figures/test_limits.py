"""The limits that the noise sets are limits."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("galsim")

from benchmarks.figures.limits import BayesLimit, cramer_rao
from benchmarks.truth.isolated_stars import STAR_FIELD, Field, make_stars
from benchmarks.truth.scene import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_stars(10.0, side=200)


def test_the_bounds_are_those_of_a_gaussian() -> None:
    grid = np.arange(-40, 41.0)
    square = grid[:, None] ** 2 + grid[None, :] ** 2
    sigma = 3.0
    flux, place = cramer_rao(np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2))
    assert flux == pytest.approx(np.sqrt(4 * np.pi) * sigma, rel=1e-6)
    # sigma_x = sqrt(8 pi) sigma**2 / flux, in the noise of a pixel.
    assert place == pytest.approx(np.sqrt(8 * np.pi) * sigma**2, rel=0.06)


@pytest.mark.parametrize("task", ["denoise", "deconvolve", "super-resolve"])
def test_nothing_simple_beats_the_posterior_mean(scene: Scene, task: str) -> None:
    limit = BayesLimit(task).mean_square(scene, 6)
    scale = 2 if task == "super-resolve" else 1
    background = scene.background_x2 if scale == 2 else scene.background
    truth = np.arcsinh((scene.truth(task) - background) / (3 * scene.sigma))
    stars = np.zeros(truth.shape, dtype=bool)
    y, x = np.indices(truth.shape)
    for u, v in zip(scene.x[5:11], scene.y[5:11], strict=True):
        near = (
            np.hypot((x + 0.5) / scale - 0.5 - u, (y + 0.5) / scale - 0.5 - v)
            < 1.2 * STAR_FIELD.fwhm
        )
        stars |= near
    empty = float((truth[stars] ** 2).mean())
    assert 0 < limit < 0.5 * empty
    if scale == 1:
        seen = np.arcsinh((scene.observed - background) / (3 * scene.sigma))
        assert limit < 0.5 * float(((seen - truth)[stars] ** 2).mean())


def test_ten_times_the_stars_are_ten_decibels_less() -> None:
    few, many = (BayesLimit("denoise", Field(2.0, 3.0, n, (15.0, 2000.0))) for n in (20, 200))
    # Stars that stand out of the noise have the same error each, however many there are.
    assert few.scene_db(2, side=120) - many.scene_db(2, side=120) == pytest.approx(10.0, abs=0.1)


def test_errors_of_bright_stars_are_normal() -> None:
    limit = BayesLimit("denoise", Field(2.0, 3.0, 200))
    seen = limit.mean_square(make_stars(25.0, field=limit.field, side=280), 30)
    assert limit.bright_mean_square(25.0) == pytest.approx(seen, rel=0.4)
