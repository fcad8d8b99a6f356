"""The summary of an image: header figures, estimates, and what a person and a program read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.measuring import measure
from astro_sr_plugin.measurement.quality import Quality
from astro_sr_plugin.measurement.sky.gain import estimate_gain, read_gain
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.restoration.frame import open_frame


@pytest.fixture(scope="module")
def colour(field) -> Quality:
    planes = [field(seed, fwhm) for seed, fwhm in ((1, 2.8), (2, 2.4), (3, 3.3))]
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cdelt = [-0.5 / 3600, 0.5 / 3600]
    meta = fits.Header([("EGAIN", 0.8), ("RDNOISE", 3.5), ("SATURATE", 60_000)])
    return measure(CCDData(np.stack(planes), unit="adu", wcs=wcs, meta=meta), psf_grid=(1, 1))


def test_one_figure_for_each_plane(colour: Quality) -> None:
    np.testing.assert_allclose(colour.fwhm, [2.8, 2.4, 3.3], rtol=0.03)
    np.testing.assert_allclose(colour.sigma, 1, rtol=0.02)
    np.testing.assert_allclose(colour.background, 100, atol=0.2)
    np.testing.assert_allclose(colour.noise_correlation, 0, atol=0.02)
    assert min(colour.n_stars) >= 20
    assert colour.psf_confidence == ("high", "high", "high")


def test_figures_of_the_header(colour: Quality) -> None:
    assert colour.gain == (0.8, 0.8, 0.8)
    assert colour.gain_source == "header"
    assert colour.readnoise == 3.5
    assert colour.saturation == (60_000, 60_000, 60_000)
    assert colour.pixel_scale == pytest.approx(0.5, rel=1e-6)
    np.testing.assert_allclose(colour.fwhm_arcsec, [1.4, 1.2, 1.65], rtol=0.03)
    assert colour.unit == "adu"


def test_dictionary_is_json(colour: Quality) -> None:
    again = json.loads(json.dumps(colour.to_dict(), allow_nan=False))
    assert again["fwhm"] == list(colour.fwhm)
    assert again["psf_grid"][0]["fwhm"][0][0] == pytest.approx(2.8, rel=0.03)
    empty = measure(np.full((50, 50), 3.0)).to_dict()
    json.dumps(empty, allow_nan=False)
    assert empty["fwhm"] == [None]


def test_text_and_html(colour: Quality) -> None:
    text = colour.to_text()
    assert max(len(line) for line in text.splitlines()) < 100
    for word in ("FWHM [pixel]", "FWHM [arcsec]", "adu", "well sampled", "high", "60000"):
        assert word in text
        assert word in colour._repr_html_()
    assert len({len(line) for line in text.splitlines() if line.startswith("FWHM")}) == 1


def test_table_has_a_row_per_plane_and_units(colour: Quality) -> None:
    table = colour.to_table()
    assert len(table) == 3
    np.testing.assert_array_equal(table["fwhm"].value, colour.fwhm)
    np.testing.assert_allclose(table["fwhm_arcsec"].to_value("arcmin") * 60, colour.fwhm_arcsec)
    assert table["background"].unit == "adu"
    assert table["gain"].unit == "electron / adu"
    assert table.meta["readnoise"] == 3.5
    unknown = measure(np.full((50, 50), 3.0)).to_table()
    assert np.isnan(unknown["saturation"][0])


@pytest.mark.parametrize(
    ("fwhm", "verdict"), [(1.5, "undersampled"), (3.0, "well sampled"), (6.5, "oversampled")]
)
def test_verdict_on_sampling(field, fwhm: float, verdict: str) -> None:
    shape = (400, 400) if fwhm < 5 else (600, 600)
    assert measure(field(4, fwhm, shape=shape)).sampling.startswith(verdict)


def test_confidence_in_the_noise_is_said(colour: Quality) -> None:
    assert min(colour.noise_confidence) > 0.6
    assert "Noise confidence" in colour.to_text()
    silent = measure(np.full((50, 50), 3.0))
    assert silent.noise_confidence == (0.0,)
    assert "none" in silent.to_text()


def test_the_noise_is_the_one_that_the_verbs_use(field) -> None:
    y, x = np.mgrid[:96, :96]
    for plane in (field(1, 3.0, shape=(96, 96)), np.exp(-np.hypot(y - 48, x - 48) / 9)):
        assert measure(plane).sigma == (
            open_frame(plane, "denoise", force=True).planes[0].image_sigma,
        )


def test_no_stars_is_said() -> None:
    quality = measure(np.random.default_rng(1).normal(0, 1, (200, 200)))
    assert quality.psf_confidence == ("none",)
    assert quality.sampling.startswith("unknown")
    assert "unknown" in quality.to_text()


def test_input_is_not_changed_and_unusable_input_refused(field) -> None:
    plane = field(5, 3.0)
    plane[3, 4] = np.nan
    before = plane.copy()
    measure(plane, mask=plane > 200)
    np.testing.assert_array_equal(plane, before)
    with pytest.raises(InputError):
        measure(np.full((20, 20), np.nan))
    with pytest.raises(InputError):
        measure(np.zeros((20, 20), dtype=complex))


def test_sample_image(sample_path) -> None:
    quality = measure(sample_path)
    assert quality.psf_confidence == ("high",)
    assert 1 < quality.fwhm[0] < 6
    assert quality.pixel_scale is not None


@pytest.mark.parametrize("gain", [0.5, 2.0, 8.0])
def test_gain_from_photon_transfer(gain: float) -> None:
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:600, :600]
    light = 300 + 4000 * np.exp(-((x - 300) ** 2 + (y - 280) ** 2) / 50_000)
    plane = rng.poisson(light * gain) / gain + rng.normal(0, 3, light.shape)
    assert measure(plane).gain[0] == pytest.approx(gain, rel=0.25)
    flat = 300 + rng.normal(0, 5, light.shape)
    assert estimate_gain(flat, sigma=5.0, correlation=0.0) is None


def test_gain_of_the_header() -> None:
    assert read_gain(fits.Header([("GAIN", 1.4)])) == 1.4
    assert read_gain(fits.Header([("GAIN", 2.0, "[e-/adu]")])) == 2.0
    assert read_gain(fits.Header([("GAIN", 100, "sensor gain setting")])) is None
    assert read_gain(fits.Header([("GAIN", 1)])) is None
    assert read_gain({"EGAIN": "unknown"}) is None


def test_saturation_is_seen_as_a_pile_up(field) -> None:
    plane = field(7, 3.0, stars=60, snr=(100, 50_000))
    assert find_saturation(plane, level=100, rms=1) is None
    found = find_saturation(np.minimum(plane, 1500), level=100, rms=1)
    assert found == pytest.approx(1500, rel=0.03)
    assert find_saturation(np.zeros((5, 5))) is None


def test_equal_stars_are_not_saturated():
    y, x = np.mgrid[:120, :120]
    image = np.random.default_rng(1).normal(100.0, 2.0, (120, 120))
    for row in range(15, 120, 30):
        for column in range(15, 120, 30):
            image += 500 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 4.5)
    quality = measure(image)
    assert (quality.saturation, quality.n_stars) == ((None,), (16,))
