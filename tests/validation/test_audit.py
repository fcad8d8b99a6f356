"""An audit finds spurious, missing, split and dimmed stars, and nothing where all is right."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter

import astro_sr_plugin as asr
from astro_sr_plugin.measurement.psf.profiles import MoffatProfile, moffat_stamp
from astro_sr_plugin.measurement.psf.reconvolution import REACH, Reconvolution
from tests.validation.conftest import FWHM, NOISE, SIZE, TARGET, field, stars


@pytest.fixture(scope="module")
def scene():
    """Return the places of stars, an observation, and the sharp truth, on a sky of 500."""
    places = field()
    rng = np.random.default_rng(2)
    observed = 500 + stars(places, FWHM) + rng.normal(0, NOISE, (SIZE, SIZE))
    return places, CCDData(observed, unit="adu"), 500 + stars(places, TARGET)


measured = functools.cache(asr.measure)
"""What is measured of an image, once for all audits; it must not change."""


def audited(observed, result, **options):
    result = CCDData(result, unit="adu")
    return asr.audit(observed, result, target_fwhm=TARGET, measured=measured(observed), **options)


def test_the_truth_passes_all_checks(scene):
    places, observed, truth = scene
    found = audited(observed, truth)
    assert found.failed == ()
    assert found.n_sources >= 0.9 * len(places)
    assert found.chi2[0] == pytest.approx(1, abs=0.05)
    assert found.filtered_residual[0] == pytest.approx(1, abs=0.1)
    assert abs(found.residual_correlation[0]) < 0.03
    assert found.n_stars > 20
    assert abs(found.magnitude_difference) < 0.01


@pytest.mark.parametrize("conserve_flux", [False, True])
def test_the_truth_on_finer_pixels_passes_them_too(scene, conserve_flux):
    places, observed, _ = scene
    fine = 500 + stars(places, TARGET / 2, scale=2)
    found = audited(observed, fine / 4 if conserve_flux else fine, conserve_flux=conserve_flux)
    assert found.failed == ()
    assert found.chi2[0] == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("fwhm", [1.5, 1.95])
def test_stars_as_narrow_as_those_of_the_result_keep_their_light(fwhm):
    """The wings of a Moffat profile hold light that a Gaussian of the same width has in its core.

    The header tells that the stars were made Gaussians.
    """
    places = field()
    profile = MoffatProfile(fwhm, 2.5, 0.0, 0.0)
    observed = 500 + np.random.default_rng(2).normal(0, NOISE, (SIZE, SIZE))
    for x, y, flux in places:
        row, column = round(y), round(x)
        stamp = moffat_stamp(profile, x - column, y - row, 24)
        observed[row - 24 : row + 25, column - 24 : column + 25] += flux * stamp
    kept = {"ASRFWHMI": fwhm, "ASRFWHMO": TARGET, "ASRSTREN": 1.0}
    result = CCDData(500 + stars(places, TARGET), unit="adu", meta=kept)
    found = asr.audit(CCDData(observed, unit="adu"), result)
    assert not [text for text in found.failed if "mag" in text or "noise" in text]
    assert abs(found.magnitude_difference) < 0.02


def test_a_spurious_star_is_found_and_no_other(scene):
    places, observed, truth = scene
    gap = (places[0][0] + 13.0, places[0][1] + 13.0)
    for flux in (600.0, 3000.0):
        found = audited(observed, truth + stars([(*gap, flux)], TARGET))
        (source,) = found.spurious
        assert np.hypot(source.x - gap[0], source.y - gap[1]) < 1.0
        assert source.shown > 5
        assert source.supported < 3
        assert any("not supported" in sentence for sentence in found.failed)


def test_a_missing_star_is_found_and_no_other(scene):
    places, observed, truth = scene
    lost = max(places, key=lambda place: place[2])
    found = audited(observed, truth - stars([lost], TARGET))
    (source,) = found.missed
    assert np.hypot(source.x - lost[0], source.y - lost[1]) < 1.0
    assert source.shown < 0.5 * source.supported


def test_a_star_shown_as_two_is_found(scene):
    places, observed, truth = scene
    x, y, flux = sorted(places, key=lambda place: place[2])[3]
    assert flux / (NOISE * np.sqrt(4 * np.pi) * FWHM / 2.3548) > 10
    two = [(x - 1.1, y, flux / 2), (x + 1.1, y, flux / 2)]
    found = audited(observed, truth - stars([(x, y, flux)], TARGET) + stars(two, 1.6))
    assert [round(np.hypot(s.x - x, s.y - y)) for s in found.split] == [0]
    assert any("one star" in sentence for sentence in found.failed)


def test_a_double_star_may_be_shown_as_two(scene):
    places, observed, truth = scene
    two = [(150.0, 160.0, 20000.0), (153.0, 160.0, 20000.0)]
    found = audited(
        CCDData(observed.data + stars(two, FWHM), unit="adu"), truth + stars(two, TARGET)
    )
    assert found.split == ()
    assert found.spurious == ()


def test_dimmed_stars_and_lost_flux_are_found(scene):
    _, observed, truth = scene
    found = audited(observed, 500 + 0.95 * (truth - 500))
    assert found.magnitude_difference == pytest.approx(0.056, abs=0.015)
    assert any("mag" in sentence for sentence in found.failed)
    assert any("total flux" in sentence for sentence in audited(observed, 1.01 * truth).failed)


def test_a_result_that_is_too_smooth_misses_the_input(scene):
    _, observed, truth = scene
    waves = gaussian_filter(np.random.default_rng(3).normal(size=(SIZE, SIZE)), 6.0)
    waves *= 15.0 / waves.std()
    found = audited(CCDData(observed.data + waves, unit="adu"), truth)
    assert found.filtered_residual[0] > 2
    assert any("residual of the sky" in sentence for sentence in found.failed)


def test_a_denoised_image_is_held_against_its_own_psf(scene):
    places, observed, _ = scene
    clean = CCDData(500 + stars(places, FWHM), unit="adu")
    found = asr.audit(observed, clean, target_fwhm=FWHM, measured=measured(observed))
    assert found.failed == ()
    assert found.chi2[0] == pytest.approx(1, abs=0.05)


def test_an_image_with_defects_agrees_with_itself(scene):
    _, observed, _ = scene
    image = CCDData(observed.data.copy(), unit="adu")
    image.data[:, ::40] += 60 * NOISE
    changed = image.data.copy()
    options = {"target_fwhm": FWHM, "measured": measured(image)}
    assert len(asr.audit(image, image, **options).split) == 0
    # The same columns in a result that was made are pairs of stars that no star explains.
    changed += np.random.default_rng(3).normal(0, NOISE / 10, changed.shape)
    assert len(asr.audit(image, CCDData(changed, unit="adu"), **options).split) > 0


def test_stars_wider_than_those_of_the_input_are_not_missing(scene):
    places, _, truth = scene
    narrow, rng = 1.3, np.random.default_rng(4)
    pixels = 500 + stars(places, narrow) + rng.normal(0, NOISE, (SIZE, SIZE))
    observed = CCDData(pixels, unit="adu")
    found = audited(observed, truth)
    assert found.failed == ()
    assert found.filtered_residual[0] == pytest.approx(1, abs=0.1)
    found = audited(observed, truth - stars(places[:1], TARGET))
    assert len(found.missed) == 1


def test_the_verbs_pass_the_checks(scene):
    _, observed, _ = scene
    for verb in (asr.denoise, asr.deconvolve, asr.super_resolve):
        result = verb(observed, measured=measured(observed))
        found = asr.audit(observed, result, measured=measured(observed))
        assert found.spurious == ()
        assert found.missed == ()
        assert abs(found.flux_ratio - 1) < 2e-4
        assert abs(found.magnitude_difference) < 0.02


def test_masked_pixels_and_nan_are_left_out(scene):
    _, observed, truth = scene
    bad = truth.copy()
    bad[100:104, 100:140] += 5000.0
    mask = np.zeros(bad.shape, bool)
    mask[100:104, 100:140] = True
    image = CCDData(observed.data.copy(), unit="adu", mask=mask)
    image.data[200:203, 50:60] = np.nan
    assert audited(image, bad).spurious == ()


def test_pieces_make_no_difference(scene, monkeypatch):
    _, observed, truth = scene
    whole = audited(observed, truth)
    monkeypatch.setattr("astro_sr_plugin.validation.auditing._PIECE", 100)
    parts = audited(observed, truth)
    assert parts.n_sources == whole.n_sources
    assert parts.chi2[0] == pytest.approx(whole.chi2[0], rel=1e-3)
    assert parts.n_stars == whole.n_stars


def test_what_cannot_be_checked_is_refused(scene):
    _, observed, truth = scene
    noise = np.random.default_rng(4).normal(size=(200, 200))
    with pytest.raises(asr.InputError, match="no star"):
        asr.audit(noise, noise, target_fwhm=2.0)
    mixed = CCDData(truth, unit="adu", meta={"ASRFWHMO": TARGET, "ASRSTREN": 0.5})
    with pytest.raises(asr.InputError, match="strength"):
        asr.audit(observed, mixed)
    with pytest.raises(asr.InputError, match="shape"):
        asr.audit(observed, truth[:-1])


def test_table_and_json(scene):
    places, observed, truth = scene
    gap = (places[0][0] + 13.0, places[0][1] + 13.0)
    found = audited(observed, truth + stars([(*gap, 3000.0)], TARGET))
    record = json.loads(json.dumps(found.to_dict()))
    assert record["passed"] is False
    assert record["spurious"][0]["kind"] == "spurious"
    assert f"({found.spurious[0].x:.1f}, {found.spurious[0].y:.1f})" in found.to_text()
    assert found.failed[0] in found._repr_html_()
    table = found.to_table()
    assert len(table) == len(found.sources)
    assert table["x"][0] == found.spurious[0].x
    assert table.meta["flux_ratio"] == found.flux_ratio
    agreed = dataclasses.replace(found, spurious=(), missed=(), split=(), ringed=()).to_table()
    assert (len(agreed), agreed.colnames) == (0, table.colnames)


@pytest.mark.parametrize("scale", [1, 2])
def test_reconvolution_undoes_the_sharpening(scale):
    places = [(x, y, f) for x, y, f in field(5) if 80 < x < 240 and 80 < y < 240]
    radius = 32
    psf = stars([(radius, radius, 1.0)], FWHM, size=2 * radius + 1)
    sharp = stars(places, TARGET, scale=scale)
    # The target is sampled, not integrated over the pixel.
    sampled = np.sqrt(TARGET**2 + (2.3548**2 / 12) / scale**2) * scale
    matched = Reconvolution(psf, sampled, scale)(sharp)
    inner = slice(REACH, -REACH)
    wanted = stars(places, FWHM)
    assert np.abs(matched - wanted)[inner, inner].max() < 0.01 * wanted.max()


def test_hot_pixels_are_no_light_of_the_sky(scene):
    _, observed, truth = scene
    rng = np.random.default_rng(5)
    row, column = rng.integers(20, SIZE - 20, (2, 40))
    hot = np.zeros((SIZE, SIZE))
    hot[row, column] = rng.uniform(30, 300, 40) * NOISE
    found = audited(CCDData(observed.data + hot, unit="adu"), truth + hot)
    assert found.failed == ()
    assert found.n_stars > 5


def test_the_wings_of_hot_pixels_are_no_light_of_the_sky():
    rng = np.random.default_rng(7)
    profile = MoffatProfile(FWHM, 2.5, 0.0, 0.0)
    row, column = rng.integers(40, SIZE - 40, (2, 45))
    stamp, shape = moffat_stamp(profile, 0.0, 0.0, 32), (SIZE, SIZE)
    truth, observed = np.zeros(shape), np.zeros(shape)
    for y, x in zip(row[:25], column[:25], strict=True):
        flux = np.exp(rng.uniform(8, 11))
        observed[y - 32 : y + 33, x - 32 : x + 33] += flux * stamp
        truth[y, x] += flux
    truth = gaussian_filter(truth, TARGET / 2.3548)
    hot = np.zeros(shape)
    hot[row[25:], column[25:]] = 3000 * NOISE
    observed = 500 + observed + hot + rng.normal(0, NOISE, shape)
    found = audited(CCDData(observed, unit="adu"), 500 + truth + hot)
    assert found.filtered_residual[0] == pytest.approx(1, abs=0.15)
    # All of the sky is not left out: light that is missing there still shows.
    y, x = np.mgrid[:SIZE, :SIZE]
    waves = 0.5 * NOISE * np.sin(x / 6) * np.sin(y / 6)
    found = audited(CCDData(observed + waves, unit="adu"), 500 + truth + hot)
    assert any("residual of the sky" in text for text in found.failed)


def test_faint_light_around_stars_makes_no_difference_of_magnitude():
    rng = np.random.default_rng(6)
    y, x = np.mgrid[22 : SIZE - 22 : 40, 22 : SIZE - 22 : 40].astype(float)
    places = [(u, v, 4000.0) for u, v in zip(x.ravel(), y.ravel(), strict=True)]
    # Stars far below the noise: a median of the truth finds sky between them.
    faint = [(u, v, 60.0) for u, v in rng.uniform(5, SIZE - 5, (1200, 2))]
    truth = 500 + stars(places + faint, FWHM)
    observed = CCDData(truth + rng.normal(0, NOISE, truth.shape), unit="adu")
    found = asr.audit(observed, CCDData(truth, unit="adu"), target_fwhm=FWHM)
    assert found.n_stars > 20
    assert abs(found.magnitude_difference) < 0.01


def test_a_star_left_as_recorded_is_not_missing(scene):
    _, observed, truth = scene
    row, column = (int(place) for place in np.unravel_index(truth.argmax(), truth.shape))
    near = np.s_[row - 9 : row + 10, column - 9 : column + 10]
    left = truth.copy()
    left[near] = observed.data[near]
    assert audited(observed, left).failed == ()
    # Of another star in its place the light is missing.
    left[near] = gaussian_filter(left, 4.0)[near]
    assert len(audited(observed, left).missed) == 1


def test_blurring_again_leaves_no_stripes_beside_an_undersampled_star():
    side, x, y = 160, 80.3, 79.8
    psf = moffat_stamp(MoffatProfile(0.9, 3.0, 0.0, 0.0), 0.0, 0.0, 32)
    blurred = Reconvolution(psf, TARGET, 1)(stars([(x, y, 1.0)], TARGET, side))
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(columns - x, rows - y)
    beside = (distance > 12) & (distance < 40)
    assert blurred.max() > 0.1
    assert np.abs(blurred[:, 1:] - blurred[:, :-1])[beside[:, 1:]].max() < 1e-5
