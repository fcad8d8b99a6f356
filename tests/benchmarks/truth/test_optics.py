"""Star fields through aberrated telescopes."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.figures.optics import aligned, optics_figures
from benchmarks.truth.optics import make_optics_scene


@pytest.fixture(scope="module")
def scene():
    return make_optics_scene("trail", 2, size=144)


def test_psf_has_the_stated_width_and_the_seed_decides(scene):
    psf = scene.psf
    half = psf.shape[0] // 2
    place = np.arange(-half, half + 1)
    inside = np.hypot(place[:, None], place[None, :]) <= 0.62 * scene.fwhm
    assert psf[inside].sum() == pytest.approx(0.5, abs=0.1)  # the pixel widens it
    again = make_optics_scene("trail", 2, size=144)
    assert np.array_equal(again.observed, scene.observed)
    with pytest.raises(ValueError, match="mirror"):
        make_optics_scene("mirror", 1)


def test_the_truth_is_perfect_and_follows_the_stars(scene):
    figures = optics_figures(scene, "deconvolve", scene.truth_deconvolve)
    assert figures["shift"] == pytest.approx(0, abs=0.01)
    assert figures["split"] == 0
    assert figures["ring"] <= 0.0
    assert figures["false_light"] == 0
    moved, shift = aligned(scene, "deconvolve", np.roll(scene.truth_deconvolve, 1, axis=1))
    assert shift == pytest.approx((1.0, 0.0), abs=0.05)
    inner = np.s_[20:-20, 20:-20]
    miss = moved.truth_deconvolve - np.roll(scene.truth_deconvolve, 1, axis=1)
    assert np.abs(miss[inner]).max() < 0.02 * scene.truth_deconvolve[inner].max()


def test_split_stars_dark_rings_and_false_light_are_found(scene):
    sharp = scene.truth_deconvolve.astype(float) - scene.background
    split = 0.5 * (np.roll(sharp, 2, axis=0) + np.roll(sharp, -2, axis=0)) + scene.background
    assert optics_figures(scene, "deconvolve", split)["split"] > 0
    dark = scene.truth_deconvolve - 3 * float(scene.sigma)
    assert optics_figures(scene, "deconvolve", dark)["ring"] > 1.5
    false = scene.truth_deconvolve + 5 * float(scene.sigma)
    assert optics_figures(scene, "deconvolve", false)["false_light"] > 0.01
