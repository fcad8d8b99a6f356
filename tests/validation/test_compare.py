"""`compare` and `audit` say the same about the same stars."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from tests.validation.conftest import FWHM, NOISE, TARGET, field, stars

SIZE = 200
SKY = 500.0


def inner_stars() -> list[tuple[float, float, float]]:
    return [place for place in field() if max(place[:2]) < SIZE - 20]


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """Return an observation and the sharp truth, on a sky of 500."""
    noise = np.random.default_rng(2).normal(0, NOISE, (SIZE, SIZE))
    places = inner_stars()
    return SKY + stars(places, FWHM, SIZE) + noise, SKY + stars(places, TARGET, SIZE)


@pytest.fixture(scope="module")
def measured(scene) -> asr.Quality:
    return asr.measure(scene[0])


def same_figures(found: asr.Comparison, checked: asr.Audit) -> None:
    for name in ("flux_ratio", "n_stars", "magnitude_difference", "magnitude_scatter"):
        assert getattr(found, name) == getattr(checked, name)


def test_compare_and_audit_never_differ(scene, measured) -> None:
    observed, truth = scene
    fine = SKY + stars(inner_stars(), TARGET / 2, SIZE, scale=2)
    colour = np.stack([observed, 0.9 * observed, 1.1 * observed])
    for before, after, options in (
        (observed, truth, {}),
        (observed, 0.5 * truth, {"measured": measured}),
        (colour, np.stack([truth, 0.9 * truth, truth]), {"measured": asr.measure(colour)}),
        (observed, fine / 4, {"measured": measured, "conserve_flux": True}),
    ):
        found = asr.compare(before, after, target_fwhm=TARGET, **options)
        assert found.psf_matched
        assert found.n_stars == len(found.stars) >= 5
        same_figures(found, asr.audit(before, after, target_fwhm=TARGET, **options))


def test_the_figures_are_those_of_the_change(scene, measured) -> None:
    observed, truth = scene
    fainter = SKY + 0.8 * (truth - SKY)
    found = asr.compare(observed, fainter, target_fwhm=TARGET, measured=measured)
    assert found.magnitude_difference == pytest.approx(-2.5 * np.log10(0.8), abs=0.015)
    assert found.fwhm_before == pytest.approx(FWHM, rel=0.1)
    assert found.fwhm_after == pytest.approx(TARGET, rel=0.15)
    table = found.to_table()
    assert len(table) == found.n_stars
    assert table.meta["flux_ratio"] == found.flux_ratio
    assert f"{found.n_stars} stars" in found.to_text()


def test_a_mixture_is_compared_without_matching(scene, measured) -> None:
    observed, truth = scene
    meta = {"ASRFWHMO": TARGET, "ASRSTREN": 0.5}
    mixture = CCDData(0.5 * (observed + truth), unit="adu", meta=meta)
    found = asr.compare(observed, mixture, measured=measured)
    assert not found.psf_matched
    assert found.n_stars >= 5
    assert "PSF not matched" in found.to_text()


def test_pixels_without_data_count_nowhere(scene) -> None:
    observed, truth = scene
    observed, truth = observed.copy(), truth.copy()
    observed[:, :60], truth[:, :60] = 0.0, 7000.0
    observed[150, 100], truth[160, 100] = np.nan, np.nan
    found = asr.compare(observed, truth, target_fwhm=TARGET)
    assert found.flux_ratio == pytest.approx(1, abs=1e-3)
    assert min(star.x for star in found.stars) > 60
    checked = asr.audit(observed, truth, target_fwhm=TARGET)
    same_figures(found, checked)
    assert checked.failed == ()


def test_a_plane_without_data_is_left_out(scene) -> None:
    observed, truth = scene
    nothing = np.full_like(observed, np.nan)
    before, after = np.stack([nothing, observed]), np.stack([nothing, truth])
    checked = asr.audit(before, after, target_fwhm=TARGET)
    assert checked.failed == ()
    assert np.isnan(checked.chi2[0])
    assert checked.chi2[1] == pytest.approx(1, abs=0.05)
    same_figures(asr.compare(before, after, target_fwhm=TARGET), checked)


def test_nothing_is_measured_again(scene, measured, monkeypatch) -> None:
    observed, truth = scene
    expected = asr.audit(observed, truth, target_fwhm=TARGET)
    monkeypatch.setattr("astro_sr_plugin.validation.pair.open_planes", None)
    assert asr.audit(observed, truth, target_fwhm=TARGET, measured=measured) == expected
    with pytest.raises(asr.InputError, match="another image"):
        asr.compare(observed + 1, truth, measured=measured)


def test_one_and_many_in_words() -> None:
    source = asr.Source("ringed", 0, 1.0, 2.0, 9.0, 0.0)
    figures = {"n_sources": 9, "flux_ratio": 1.0, "n_stars": 0}
    nan = dict.fromkeys(("magnitude_difference", "magnitude_scatter"), float("nan"))
    planes = dict.fromkeys(
        ("chi2", "residual_correlation", "noise_correlation", "filtered_residual"), (1.0,)
    )
    rest = {**figures, **nan, **planes, "bright_residual": (0.0,)}
    for number, words in ((1, "1 star has rings"), (2, "2 stars have rings")):
        found = asr.Audit(spurious=(), missed=(), split=(), ringed=(source,) * number, **rest)
        assert words in found.failed[0]
