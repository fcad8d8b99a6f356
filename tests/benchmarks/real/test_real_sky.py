"""The comparison of two observations of one field, on fields whose truth is known."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from benchmarks.real.comparison import Comparison
from benchmarks.real.fields import find_pairs
from benchmarks.real.frames import mean_and_variance, registered
from benchmarks.real.matching import (
    align,
    gaussian_psf,
    half_width,
    match_psf,
    matched_filter,
)
from benchmarks.real.pairs import Pair, make_pair
from benchmarks.runs.real_sky import run_real_sky

SIDE = 200
POOR, GOOD = 4.5, 3.0  # FWHM
NOISE, BETTER_NOISE = 10.0, 3.0
SCALE, SHIFT = 2.5, (0.4, -0.3)


def place_stars(seed: int = 1, count: int = 32) -> tuple[NDArray, NDArray]:
    """Places (x, y) at least 25 pixels apart, and fluxes."""
    rng = np.random.default_rng(seed)
    places: list[NDArray] = []
    while len(places) < count:
        new = rng.uniform(15, SIDE - 16, 2)
        if all(np.hypot(*(new - old)) > 24 for old in places):
            places.append(new)
    return np.array(places), 10 ** rng.uniform(3.3, 4.8, count)


def render(places: NDArray, fluxes: NDArray, fwhm: float, shift: tuple = (0.0, 0.0)) -> NDArray:
    rows, columns = np.indices((SIDE, SIDE))
    image = np.zeros((SIDE, SIDE))
    sigma = fwhm / 2.3548
    for (x, y), flux in zip(places, fluxes, strict=True):
        square = (columns - x - shift[0]) ** 2 + (rows - y - shift[1]) ** 2
        image += flux / (2 * np.pi * sigma**2) * np.exp(-0.5 * square / sigma**2)
    return image


@pytest.fixture(scope="module")
def stars() -> tuple[NDArray, NDArray]:
    return place_stars()


@pytest.fixture(scope="module")
def pair(stars: tuple[NDArray, NDArray]) -> Pair:
    """A better image that is shifted, in other units and of another sky."""
    rng = np.random.default_rng(2)
    poorer = render(*stars, POOR) + 100 + NOISE * rng.standard_normal((SIDE, SIDE))
    better = render(*stars, GOOD, SHIFT) + BETTER_NOISE * rng.standard_normal((SIDE, SIDE))
    return make_pair(
        "simulated",
        "denoise",
        "",
        poorer,
        better / SCALE + 7,
        poorer_psf=gaussian_psf(POOR),
        better_psf=gaussian_psf(GOOD),
    )


def test_the_profile_is_brought_to_another(stars):
    sharp, soft = render(*stars, GOOD), render(*stars, POOR)
    made = match_psf(sharp, gaussian_psf(GOOD), gaussian_psf(POOR))
    np.testing.assert_allclose(made, soft, atol=0.004 * soft.max())
    assert half_width(gaussian_psf(POOR)) == pytest.approx(POOR, abs=0.03)


def test_flux_scale_shift_and_sky_are_recovered(stars, pair):
    rng = np.random.default_rng(3)
    reference = render(*stars, POOR) + 50 + NOISE * rng.standard_normal((SIDE, SIDE))
    other = render(*stars, POOR, SHIFT) / SCALE + 3
    fit = align(reference, other, sigma=NOISE)
    assert fit.scale == pytest.approx(SCALE, rel=0.003)
    assert abs(fit.scale - SCALE) < 5 * fit.scale_error
    assert (fit.dx, fit.dy) == pytest.approx((-SHIFT[0], -SHIFT[1]), abs=0.01)
    assert fit.sky.mean() == pytest.approx(50 - 3 * SCALE, abs=0.5)
    # The same through the profiles, in the pair: its better data are the truth in its units.
    truth = render(*stars, GOOD) + 100
    use = ~pair.better_mask
    assert np.std((pair.better - truth)[use]) < 1.5 * BETTER_NOISE
    assert np.mean((pair.better - truth)[use]) == pytest.approx(0, abs=0.5)


def test_the_same_image_agrees_with_itself(pair):
    figures = Comparison(pair, pair.better, pair.better_psf).figures()
    assert figures["correlation"] == pytest.approx(1.0, abs=1e-9)
    assert figures["k50"] > 0.49
    assert figures["residual"] == pytest.approx(0.0, abs=1e-6)
    assert figures["bias"] == pytest.approx(0.0, abs=1e-6)
    assert figures["complete_10"] == 1.0
    assert figures["invented"] == figures["excess"] == figures["lost"] == 0


def test_an_unrelated_image_does_not_agree(pair):
    other = render(*place_stars(9), POOR) + 100
    figures = Comparison(pair, other, pair.poorer_psf).figures()
    assert figures["correlation"] < 0.3
    assert figures["k50"] < 0.1
    assert figures["invented"] > 20
    assert figures["lost"] > 20


def test_a_perfect_result_beats_the_poorer_data(pair, stars):
    perfect = Comparison(pair, render(*stars, POOR) + 100, pair.poorer_psf).figures()
    before = Comparison(pair, pair.poorer, pair.poorer_psf).figures()
    assert perfect["correlation"] > before["correlation"]
    assert perfect["k50"] > before["k50"]
    assert perfect["db"] > before["db"] + 3
    # The noise of the better data is taken off: nothing is left of the one, sigma of the other.
    assert perfect["mse_sky"] == pytest.approx(0.0, abs=0.02)
    assert before["mse_sky"] == pytest.approx(1.0, abs=0.05)


def test_an_invented_source_and_a_lost_one_are_counted(pair, stars):
    places, fluxes = stars
    clean = render(places, fluxes, POOR) + 100
    before = Comparison(pair, clean, pair.poorer_psf).figures()
    free = np.array([[x, y] for x in range(30, 170, 4) for y in range(30, 170, 4)], float)
    distance = np.hypot(*(free[:, None] - places[None]).transpose(2, 0, 1)).min(axis=1)
    new = free[distance.argmax()]
    brightest = int(fluxes.argmax())
    inner = [i for i in np.argsort(-fluxes) if (abs(places[i] - 100) < 70).all()][1]
    changed = np.delete(np.arange(len(fluxes)), inner)
    wrong = render(places[changed], fluxes[changed], POOR) + 100
    wrong += render(new[None], fluxes[brightest : brightest + 1] / 20, POOR)
    after = Comparison(pair, wrong, pair.poorer_psf).figures()
    assert before["invented"] == before["lost"] == 0
    assert after["invented"] == after["unsupported"] == after["excess"] == 1
    assert after["lost"] == 1


def test_a_source_that_the_poorer_data_show_is_not_unsupported(pair, stars):
    flash = render(np.array([[100.0, 100.0]]), np.array([4000.0]), POOR)
    seen = replace(pair, poorer=pair.poorer + flash)
    figures = Comparison(seen, render(*stars, POOR) + 100 + flash, pair.poorer_psf).figures()
    assert figures["invented"] == 1
    assert figures["unsupported"] == 0
    assert figures["input_invented"] == 1


def test_a_wrong_flux_is_a_bias(pair, stars):
    figures = Comparison(pair, 0.9 * render(*stars, POOR) + 100, pair.poorer_psf).figures()
    assert figures["bias"] == pytest.approx(-2.5 * np.log10(0.9), abs=0.01)
    assert figures["stars"] > 10
    assert abs(figures["input_bias"]) < 0.02


def test_a_sharper_result_is_compared_at_the_profile_of_the_better_data(pair, stars):
    sharp = Comparison(pair, render(*stars, 2.2) + 100, gaussian_psf(2.2))
    assert half_width(sharp.target) == pytest.approx(GOOD, abs=0.05)
    assert sharp.figures()["residual"] < 1.2 * BETTER_NOISE / NOISE


def test_the_error_of_the_matched_filter_is_that_of_its_map():
    rng = np.random.default_rng(4)
    flux, error = matched_filter(rng.standard_normal((300, 300)), gaussian_psf(3.0))
    assert np.std(flux) == pytest.approx(error, rel=0.1)
    flux, error = matched_filter(render(*place_stars(5), 3.0), gaussian_psf(3.0))
    places, true = place_stars(5)
    columns, rows = np.round(places).astype(int).T
    assert np.median(flux[rows, columns] / true) == pytest.approx(1.0, abs=0.05)


def test_the_variance_of_a_mean_is_that_of_its_noise():
    rng = np.random.default_rng(6)
    mean, variance = mean_and_variance(5 * rng.standard_normal((6, 200, 200)))
    assert np.mean(variance) == pytest.approx(np.var(mean), rel=0.03)


def test_frames_are_registered_by_their_stars(stars):
    pytest.importorskip("astroalign")
    shifts = [(0, 0), (3.3, -2.1), (-4.6, 1.2), (1.5, 2.5)]
    frames = [render(*stars, GOOD, shift)[None] for shift in shifts]
    cube = registered(frames, [frame[0] for frame in frames])
    assert cube.shape == (4, 1, SIDE, SIDE)
    inner = (slice(None), 0, slice(20, -20), slice(20, -20))
    np.testing.assert_allclose(
        cube[inner], np.stack([cube[0]] * 4)[inner], atol=0.02 * cube[0].max()
    )


def test_what_is_not_there_is_named(tmp_path):
    skipped: list[str] = []
    assert list(find_pairs(tmp_path, skipped.append)) == []
    for name in ("cosmos", "jwst-denoise", "jwst-x2", "decam-deconvolve", "decam frames"):
        assert any(f"skipped {name}" in text for text in skipped), name


def test_a_folder_is_compared_from_files_to_report(tmp_path, stars):
    rng = np.random.default_rng(7)
    folder = tmp_path / "data"
    for name, fwhm, noise in (
        ("pairs/decam_Stack-DEC-OBS18.fits", GOOD, BETTER_NOISE),
        ("pairs/decam_Stack-DEC-OBS04.fits", POOR, NOISE),
        ("stacks/decam_sfft/DEC-OBS04a.mini.fits", POOR, NOISE),
    ):
        image = render(*stars, fwhm) + 100 + noise * rng.standard_normal((SIDE, SIDE))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        fits.writeto(folder / name, image.astype(np.float32))
    rows = run_real_sky(folder, tmp_path / "out", only="decam-deconvolve-stack", peers=False)
    figures = {row.method: row.figures for row in rows}
    assert set(figures) == {"input", "ours"}
    assert figures["ours"]["correlation"] > figures["input"]["correlation"]
    assert figures["ours"]["gain_sky"] > 3
    assert figures["ours"]["complete_10"] > 0.95
    assert "decam-deconvolve-stack" in (tmp_path / "out" / "real_sky.md").read_text()
    record = json.loads((tmp_path / "out" / "real_sky.json").read_text())
    assert len(record["rows"]) == len(rows)
    assert (tmp_path / "out" / "crops" / "decam-deconvolve-stack.png").stat().st_size > 10_000
