"""Detected stars against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.psf.profiles import StarProfile
from astro_sr_plugin.measurement.sources.detection import STAR_DTYPE, detect_sources
from tests.stars.conftest import make_scene


@pytest.mark.parametrize("fwhm", [1.6, 2.2, 3.2, 5.0])
def test_completeness_purity_and_flux(fwhm: float) -> None:
    truth = make_scene(1, fwhm, stars=60, galaxies=8)
    stars = detect_sources(truth.image)
    near = max(1.5, 0.5 * fwhm)
    distance, match = KDTree(np.c_[stars["x"], stars["y"]]).query(np.c_[truth.x, truth.y])
    found = distance < near
    assert found[truth.snr > 10].mean() >= 0.9
    back, _ = KDTree(np.c_[truth.x, truth.y]).query(np.c_[stars["x"], stars["y"]])
    assert (back < near).mean() >= 0.9
    inside = (np.abs(truth.x - 250) < 235) & (np.abs(truth.y - 250) < 235)
    bright = found & inside & (truth.snr > 50)
    flux = truth.snr[bright] * np.sqrt(4 * np.pi) * fwhm / 2.3548
    assert np.median(stars["flux"][match[bright]] / flux) == pytest.approx(1, rel=0.08)
    assert (np.diff(stars["flux"]) <= 0).all()


def test_galaxies_are_told_apart() -> None:
    truth = make_scene(2, 2.5, stars=0, galaxies=30, snr=(60, 600))
    kept = detect_sources(truth.image, fwhm=2.5)
    everything = detect_sources(truth.image, fwhm=2.5, galaxies=True)
    assert everything.dtype == STAR_DTYPE
    assert len(everything) >= 20
    assert len(kept) <= 0.25 * len(everything)


def test_window_borders_neither_lose_nor_double() -> None:
    tile = make_scene(3, 2.4, stars=60, shape=(460, 460), snr=(20, 1000))
    plane = np.tile(tile.image, (5, 4))
    stars = detect_sources(plane, fwhm=2.4, sigma=1.0)
    positions = np.c_[stars["x"], stars["y"]]
    assert not KDTree(positions).query_pairs(1.5)
    # Every inner copy of the tile shows the same stars, wherever the windows are divided.
    inner = (np.abs(stars["x"] % 460 - 230) < 200) & (np.abs(stars["y"] % 460 - 230) < 200)
    copies = np.c_[stars["x"][inner] // 460, stars["y"][inner] // 460].astype(int)
    counts = np.unique(copies, axis=0, return_counts=True)[1]
    assert counts.size == 20
    assert np.ptp(counts) <= 1


def test_saturated_stars_are_flagged() -> None:
    truth = make_scene(4, 3.0, stars=20, giants=2, saturation=2000)
    stars = detect_sources(truth.image, saturation=1999)
    saturated = stars[stars["saturated"]]
    distance, _ = KDTree(np.c_[saturated["x"], saturated["y"]]).query(
        np.c_[truth.x[-2:], truth.y[-2:]]
    )
    assert (distance < 3).all()


def test_hot_pixels_are_no_stars() -> None:
    rng = np.random.default_rng(5)
    plane = rng.normal(0, 1, (300, 300))
    plane[tuple(rng.integers(5, 295, (2, 50)))] += 100
    assert len(detect_sources(plane, fwhm=2.5)) <= 2


def test_nothing_there() -> None:
    noise = np.random.default_rng(6).normal(0, 1, (400, 400))
    assert len(detect_sources(noise)) <= 1
    assert len(detect_sources(np.full((50, 50), 2.0))) == 0
    assert len(detect_sources(np.zeros((1, 1)))) == 0


def test_wrong_numbers_are_refused() -> None:
    for name in ("fwhm", "sigma", "nsigma"):
        with pytest.raises(InputError, match=f"{name} is -1"):
            detect_sources(np.zeros((9, 9)), **{name: -1})


def test_profile_encloses_and_reaches() -> None:
    profile = StarProfile(3.0, 3.5)
    assert profile.enclosed(1e4) == pytest.approx(1)
    assert profile.radius(profile.contrast(7.0)) == pytest.approx(7)
    assert profile.radius(2.0) == pytest.approx(profile.observed / 2)
    radii = np.linspace(0, 200, 40_001)
    light = profile.amplitude(1.0) / profile.contrast(radii) * 2 * np.pi * radii
    assert np.trapezoid(light, radii) == pytest.approx(1, rel=1e-3)
