"""Results that contradict their input are mixed with a safer estimate, counted and announced."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.constants import FWHM_PER_SIGMA
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.registry import default_model, load_model
from astro_sr_plugin.restoration.conditions import make_conditions
from astro_sr_plugin.restoration.frame import Frame, choose_model, open_frame
from astro_sr_plugin.restoration.guard import settle_contradictions
from astro_sr_plugin.restoration.pipeline import Job, restore_planes
from astro_sr_plugin.restoration.safer import richardson_lucy
from astro_sr_plugin.restoration.verdict import AGREES_KEYWORD, GUARD_KEYWORD, Verdict
from tests.validation.conftest import stars

SIDE, FWHM, SIGMA, SKY = 200, 3.6, 5.0, 100.0
TARGET = {1: 2.0, 2: 3.6}
"""FWHM of a result in its pixels."""
Array = np.ndarray


def gaussian_stars(fwhm: float, scale: int = 1) -> Array:
    """Stars of 20 to 300 sigma on a grid, with a Gaussian profile; surface brightness is kept."""
    image = np.zeros((SIDE * scale, SIDE * scale))
    y, x = (np.mgrid[: SIDE * scale, : SIDE * scale] + 0.5) / scale - 0.5
    width = fwhm / scale / FWHM_PER_SIGMA
    rng = np.random.default_rng(2)
    for row in range(20, SIDE - 10, 32):
        for column in range(20, SIDE - 10, 32):
            v, u = row + rng.uniform(-1, 1), column + rng.uniform(-1, 1)
            flux = SIGMA * rng.uniform(20, 300) * 2 * np.pi * (FWHM / FWHM_PER_SIGMA) ** 2
            near = np.s_[
                max(0, (row - 16) * scale) : (row + 17) * scale,
                max(0, (column - 16) * scale) : (column + 17) * scale,
            ]
            square = (y[near] - v) ** 2 + (x[near] - u) ** 2
            image[near] += flux * np.exp(-0.5 * square / width**2) / (2 * np.pi * width**2)
    return image


def gaussian_psf() -> Array:
    y, x = np.mgrid[-16:17, -16:17]
    psf = np.exp(-0.5 * (x**2 + y**2) / (FWHM / FWHM_PER_SIGMA) ** 2)
    return np.asarray(psf / psf.sum(), np.float32)


@pytest.fixture(scope="module")
def observed() -> Array:
    noise = np.random.default_rng(1).normal(0, SIGMA, (SIDE, SIDE))
    return (SKY + gaussian_stars(FWHM) + noise).astype(np.float32)


def settle(
    observed: Array,
    result: Array,
    scale: int = 1,
    psf: Array | None = None,
    target: float | None = 0.0,
) -> tuple[Verdict, Array, Array]:
    """Hold a result in image units against the input; return verdict, result and its errors."""
    target = TARGET[scale] if target == 0 else target
    model = load_model(default_model("deconvolve", 1))
    frame = open_frame(observed, model, psf=gaussian_psf() if psf is None else psf)
    source = frame.planes[0]
    conditions = make_conditions(source, target, scale)
    source = source.with_cores(conditions, stars=True)
    level = source.background.level_at(0, SIDE, 0, SIDE).repeat(scale, 0).repeat(scale, 1)
    sink = ((result - level) / source.sigma).astype(np.float32)
    errors = np.full(sink.shape, 0.1, np.float32)
    verdict = settle_contradictions(source, sink, conditions, target, scale, errors=errors)
    return verdict, sink * source.sigma + level, errors


@pytest.mark.parametrize("scale", [1, 2])
def test_the_truth_does_not_contradict_the_input(observed: Array, scale: int) -> None:
    truth = SKY + gaussian_stars(TARGET[scale], scale)
    verdict, result, errors = settle(observed, truth, scale)
    assert verdict.places == 0
    np.testing.assert_allclose(result, truth, rtol=1e-4)
    assert np.all(errors == np.float32(0.1))


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("harm", ["a star is missing", "a star is invented", "a black hole"])
def test_what_the_input_contradicts_is_replaced(observed: Array, scale: int, harm: str) -> None:
    truth = SKY + gaussian_stars(TARGET[scale], scale)
    harmed = truth.copy()
    first, last = (76, 93) if harm == "a star is missing" else (60, 77)
    near = np.s_[first * scale : last * scale, first * scale : last * scale]
    if harm == "a star is missing":
        harmed[near] = SKY
    else:
        light = np.zeros((17 * scale, 17 * scale))
        light[8 * scale, 8 * scale] = 1.0
        light = gaussian_filter(light, TARGET[scale] / FWHM_PER_SIGMA)
        sign = 1 if harm == "a star is invented" else -1
        harmed[near] += sign * 40 * SIGMA * light / light.max()
    verdict, result, errors = settle(observed, harmed, scale)
    assert verdict.places >= 1
    error, before = (np.sqrt(np.mean((image - truth)[near] ** 2)) for image in (result, harmed))
    assert error < 0.5 * before
    assert result[near].mean() == pytest.approx(truth[near].mean(), rel=0.02)
    # The error grows where less is known, and far from there nothing changes.
    assert errors[near].max() > 0.5
    far = np.s_[140 * scale :, 140 * scale :]
    np.testing.assert_allclose(result[far], harmed[far], rtol=1e-4)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_star_beside_a_hot_pixel_is_not_lost(observed: Array, scale: int) -> None:
    image, truth = observed.copy(), SKY + gaussian_stars(TARGET[scale], scale)
    image[96, 84] += 2000 * SIGMA
    harmed = truth.copy()
    near = np.s_[76 * scale : 93 * scale, 76 * scale : 93 * scale]
    harmed[near] = SKY
    assert settle(image, truth, scale)[0].places == 0
    verdict, result, _ = settle(image, harmed, scale)
    assert verdict.places == 1
    error, before = (np.sqrt(np.mean((image - truth)[near] ** 2)) for image in (result, harmed))
    assert error < 0.5 * before


@pytest.mark.parametrize("scale", [1, 2])
def test_a_dark_ring_beside_a_saturated_star_is_replaced(observed: Array, scale: int) -> None:
    truth = SKY + gaussian_stars(TARGET[scale], scale)
    limit = np.float32(0.6 * observed.max())
    clipped = np.minimum(observed, limit)
    row, column = (int(place) for place in np.unravel_index(observed.argmax(), observed.shape))
    y, x = (np.mgrid[: SIDE * scale, : SIDE * scale] + 0.5) / scale - 0.5
    distance = np.hypot(y - row, x - column)
    harmed = np.where(abs(distance - 6) < 1.5, SKY - 8 * SIGMA, truth)
    verdict, result, _ = settle(clipped, harmed, scale)
    assert verdict.places >= 1
    ring = (distance > 4) & (distance < 8)
    assert np.median(result[ring]) > SKY - SIGMA
    # What stands there is made from the core that is fitted to the light around.
    core = distance < 2.5
    assert result[core].sum() == pytest.approx(truth[core].sum(), rel=0.1)


def test_pictures_that_keep_to_the_input_are_not_touched(observed: Array) -> None:
    image = CCDData(observed, unit="adu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = asr.measure(image)
        for verb in (asr.denoise, asr.deconvolve, asr.super_resolve):
            meta = verb(image, measured=measured).meta
            assert (meta[GUARD_KEYWORD], meta[AGREES_KEYWORD]) == (0, True)


def test_a_wrong_psf_is_announced(observed: Array) -> None:
    with pytest.warns(asr.UnchangedWarning, match="did not agree with the input|does not agree"):
        result = asr.deconvolve(CCDData(observed, unit="adu"), psf=1.8 * FWHM)
    assert result.meta[GUARD_KEYWORD] > 0
    assert result.meta[AGREES_KEYWORD] is False
    # A PSF that is too wide digs dark rings around stars; the safer estimate has none.
    assert result.data.min() > SKY - 6 * SIGMA


@pytest.mark.parametrize("task", ["deconvolve", "super-resolve"])
def test_a_result_that_contradicts_the_input_as_a_whole_is_not_kept(
    observed: Array, task: str
) -> None:
    scale = 2 if task == "super-resolve" else 1
    model = choose_model(None, task, scale, uncertainty=True)
    frame = open_frame(observed, task, psf=1.8 * FWHM)
    header = fits.Header({"ASRFWHMI": 1.8 * FWHM, "ASRFWHMO": TARGET[scale]})
    job = Job(model, TARGET[scale], Runtime())

    def restore(frame: Frame, match: str) -> tuple[Array, Array]:
        sink, errors = np.empty((2, SIDE * scale, SIDE * scale), np.float32)
        with pytest.warns(asr.UnchangedWarning, match=match):
            restore_planes(frame, job, sink, header=header, errors=errors)
        assert header[AGREES_KEYWORD] is False
        return sink, errors

    # Whoever gives the PSF gets the result.
    restore(frame, r"mag; the PSF")
    assert header["ASRFWHMO"] == TARGET[scale]
    (plane,) = frame.planes
    psf = replace(plane.psf, moffat=replace(plane.psf.moffat, confidence="high"))
    wrong = replace(frame, planes=(replace(plane, psf=psf),))
    result, errors = restore(wrong, "mag, and the input stands in its place")
    assert header["ASRFWHMO"] == 1.8 * FWHM * scale
    assert np.median(errors) == pytest.approx(SIGMA, rel=0.1)
    np.testing.assert_array_equal(result, observed.repeat(scale, 0).repeat(scale, 1))
    # As it is the input, it keeps all promises.
    header.update(ASRFWHMI=FWHM, ASRFWHMO=FWHM * scale)
    assert asr.audit(observed, CCDData(result, unit="adu", meta=header)).passed


def test_strict_exits_with_1(observed: Array, tmp_path) -> None:
    path, out = tmp_path / "wide.fits", tmp_path / "sharp.fits"
    fits.writeto(path, observed)
    args = ["deconvolve", str(path), "-o", str(out), "--psf", str(1.8 * FWHM), "--quiet"]
    assert main(args) == 0
    header = fits.getheader(out, checksum=True)
    assert header[GUARD_KEYWORD] > 0
    assert header[AGREES_KEYWORD] is False
    assert main([*args, "--overwrite", "--strict"]) == 1


def test_classical_models_are_not_held_against_the_input(observed: Array) -> None:
    result = asr.deconvolve(CCDData(observed, unit="adu"), psf=1.8 * FWHM, model="wiener")
    assert GUARD_KEYWORD not in result.meta


@pytest.mark.parametrize("scale", [1, 2])
def test_the_safer_estimate_keeps_flux_and_is_not_negative(scale: int) -> None:
    light = gaussian_stars(FWHM)
    observed = (light / SIGMA).astype(np.float32)
    estimate = richardson_lucy(observed, gaussian_psf(), TARGET[scale], scale)
    truth = gaussian_stars(TARGET[scale], scale) / SIGMA
    assert estimate.min() >= 0
    assert estimate.sum() / scale**2 == pytest.approx(light.sum() / SIGMA, rel=0.01)
    assert np.abs(estimate - truth).max() < 0.25 * truth.max()


def test_the_safer_estimate_stands_on_the_sky_among_many_stars() -> None:
    noise = np.random.default_rng(3).normal(size=(SIDE, SIDE))
    observed = (gaussian_stars(FWHM) / SIGMA - 1.5 + noise).astype(np.float32)
    estimate = richardson_lucy(observed, gaussian_psf(), TARGET[1], 1, sky=-1.5)
    truth = gaussian_stars(TARGET[1]) / SIGMA - 1.5
    dark = truth < -1.4
    assert np.median(estimate[dark]) == pytest.approx(-1.5, abs=0.3)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_star_that_is_shown_as_two_becomes_one(observed: Array, scale: int) -> None:
    truth = SKY + gaussian_stars(TARGET[scale], scale)
    row, column = np.unravel_index(int(truth.argmax()), truth.shape)
    near = np.s_[row - 8 * scale : row + 8 * scale + 1, column - 8 * scale : column + 8 * scale + 1]
    star = truth[near] - SKY
    harmed, step = truth.copy(), scale
    harmed[near] = SKY + 0.5 * (np.roll(star, step, axis=1) + np.roll(star, -step, axis=1))
    assert harmed[row, column] < harmed[row, column + step]
    verdict, result, _ = settle(observed, harmed, scale)
    assert (verdict.places, verdict.mended) == (1, 0)
    assert result[near].argmax() == truth[near].argmax()
    assert result[near].sum() == pytest.approx(truth[near].sum(), rel=0.02)


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("there", [True, False])
def test_a_faint_source_that_the_input_does_not_have_is_replaced(
    observed: Array, scale: int, there: bool
) -> None:
    def faint(fwhm: float, scale: int = 1) -> Array:
        y, x = (np.mgrid[: SIDE * scale, : SIDE * scale] + 0.5) / scale - 0.5
        width, noise = fwhm / scale / FWHM_PER_SIGMA, np.sqrt(4 * np.pi) * FWHM / FWHM_PER_SIGMA
        light = np.exp(-0.5 * ((y - 68) ** 2 + (x - 68) ** 2) / width**2) / (2 * np.pi * width**2)
        # Of 5.7 sigma through the matched filter: less than what alone is an excess of light.
        return 5.7 * SIGMA * noise * light

    truth = SKY + gaussian_stars(TARGET[scale], scale)
    image = observed + there * faint(FWHM).astype(np.float32)
    verdict, result, _ = settle(image, truth + faint(TARGET[scale], scale), scale)
    assert verdict.places == (0 if there else 1)
    near = np.s_[62 * scale : 75 * scale, 62 * scale : 75 * scale]
    if not there:
        assert (result - truth)[near].max() < 0.5 * faint(TARGET[scale], scale).max()


@pytest.mark.parametrize(("peak", "places"), [(7, 0), (60, 1)])
def test_no_noise_comes_back_for_a_faint_star_that_is_shown_as_two(
    peak: float, places: int
) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    sigma, half, offset = FWHM / FWHM_PER_SIGMA, 0.8, 1.3

    def light(column: float, width: float) -> Array:
        square = ((y - 68) / sigma) ** 2 + ((x - column) / width) ** 2
        return SIGMA * peak * sigma / width * np.exp(-0.5 * square)

    clean = SKY + gaussian_stars(FWHM)
    noise = np.random.default_rng(1).normal(0, SIGMA, clean.shape)
    # Two halves that together are as wide as the star.
    two = (light(68 - offset, half) + light(68 + offset, half)) / 2
    image = (clean + light(68, sigma) + noise).astype(np.float32)
    verdict, _, _ = settle(image, clean + two, target=None)
    assert verdict.places == places


@pytest.mark.parametrize(("count", "hopeless"), [(4, False), (12, True)])
def test_a_result_with_many_stars_as_recorded_is_hopeless(
    observed: Array, count: int, hopeless: bool
) -> None:
    harmed = SKY + gaussian_stars(FWHM)
    for number in range(count):
        row, column = 20 + 32 * (number // 4), 20 + 32 * (number % 4)
        harmed[row - 12 : row + 13, column - 12 : column + 13] = SKY
    # A result of the PSF of the input, such as a denoised one.
    verdict, _, _ = settle(observed, harmed, target=None)
    assert verdict.places == count
    assert verdict.hopeless is hopeless
    assert bool(verdict.fault) is hopeless


NARROW = 1.4
"""FWHM of undersampled stars in pixels."""


def undersampled_field() -> tuple[list[tuple[float, float, float]], Array]:
    """Return places and flux of undersampled stars, and what a camera sees of them."""
    rng = np.random.default_rng(1)
    places = [
        (column + rng.uniform(-1, 1), row + rng.uniform(-1, 1), SIGMA * rng.uniform(200, 3000))
        for row in range(20, SIDE - 10, 32)
        for column in range(20, SIDE - 10, 32)
    ]
    noise = rng.normal(0, SIGMA, (SIDE, SIDE))
    return places, (SKY + stars(places, NARROW, SIDE) + noise).astype(np.float32)


def test_an_undersampled_star_that_is_missing_is_put_back_as_a_star_of_the_result() -> None:
    places, observed = undersampled_field()
    # Of the pixels' own width, the result has none.
    truth = SKY + stars(places, np.sqrt(TARGET[1] ** 2 - 0.68), SIDE)
    row, column = np.unravel_index(int(truth.argmax()), truth.shape)
    star = np.s_[row - 6 : row + 7, column - 6 : column + 7]
    lost = truth.copy()
    lost[star] = SKY
    psf = stars([(16, 16, 1.0)], NARROW, 33).astype(np.float32)
    assert settle(observed, truth, psf=psf)[0].places == 0
    verdict, result, errors = settle(observed, lost, psf=psf)
    assert (verdict.places, verdict.mended) == (1, 1)
    light = (truth - SKY)[star].sum()
    assert (result - SKY)[star].sum() == pytest.approx(light, rel=0.03)
    assert result[row, column] == pytest.approx(truth[row, column], rel=0.08)
    assert np.abs(result - truth)[star].max() < 0.15 * (truth - SKY)[star].max()
    # Around it stands the result, without the noise of the input.
    around = np.s_[row + 6 : row + 9, column - 6 : column + 7]
    np.testing.assert_allclose(result[around], truth[around], atol=0.1 * SIGMA)
    assert errors[row, column] > 0.5


def test_an_undersampled_star_on_the_edge_is_put_right_too() -> None:
    fwhm, rng = 1.4, np.random.default_rng(1)
    places = [(20.0 + 32 * k, 1.2, SIGMA * 2000) for k in range(6)]
    noise = rng.normal(0, SIGMA, (SIDE, SIDE))
    observed = (SKY + stars(places, fwhm, SIDE) + noise).astype(np.float32)
    truth = SKY + stars(places, np.sqrt(TARGET[1] ** 2 - 0.68), SIDE)
    lost = truth.copy()
    lost[:12, 40:64] = SKY
    psf = stars([(16, 16, 1.0)], fwhm, 33).astype(np.float32)
    verdict, result, _ = settle(observed, lost, psf=psf)
    assert verdict.places == 1
    near = np.s_[:8, 46:59]
    light = (truth - SKY)[near].sum()
    assert (result - SKY)[near].sum() == pytest.approx(light, rel=0.1)


def test_a_faint_star_on_a_bright_nebula_is_not_lost(observed: Array) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    nebula = 60 * SIGMA * np.exp(-0.5 * ((x - 100) ** 2 + (y - 100) ** 2) / 25**2)
    truth = SKY + gaussian_stars(TARGET[1]) + nebula
    # Between the stars of the grid.
    faint = (100.0, 100.0, 130 * SIGMA)
    seen = (observed + nebula + stars([faint], FWHM, SIDE)).astype(np.float32)
    verdict, result, _ = settle(seen, truth)
    assert verdict.places == 1
    light = (result - truth)[96:105, 96:105].sum()
    assert light == pytest.approx(130 * SIGMA, rel=0.3)


def test_what_stands_as_recorded_has_the_pixels_of_the_input() -> None:
    places, seen = undersampled_field()
    # A trail of a cosmic ray, of which no point sources make a result.
    rng = np.random.default_rng(2)
    seen[100:104, 100:112] += 200 * SIGMA * rng.uniform(0.5, 1.5, (4, 12)).astype(np.float32)
    result = SKY + stars(places, TARGET[2] / 2, SIDE, 2)
    psf = stars([(16, 16, 1.0)], NARROW, 33).astype(np.float32)
    verdict, result, _ = settle(seen, result, 2, psf=psf, target=2.0)
    assert verdict.places > verdict.mended
    trail = np.s_[100:104, 100:112]
    means = result.reshape(SIDE, 2, SIDE, 2).mean(axis=(1, 3))
    same = np.abs(means - seen)[trail] < 1e-3 * SIGMA
    # Elsewhere in the trail it is mixed with the result, or has got point sources.
    assert same.mean() > 0.5


@pytest.mark.parametrize("uncertain", [True, False])
def test_a_result_of_the_psf_of_a_galaxy_is_hopeless(uncertain: bool) -> None:
    verdict = Verdict(27, 1.0, 0.0, bright=22, uncertain=uncertain)
    assert verdict.hopeless is uncertain
    assert bool(verdict.fault) is uncertain
