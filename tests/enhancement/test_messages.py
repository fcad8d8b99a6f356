"""Warnings of the verbs: once for all planes, which they name."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import astro_sr_plugin as asr


def field(fwhm: float, seed: int, peak: float = 4000.0) -> np.ndarray:
    """Return 16 Gaussian stars on a sky of 500 with noise of 8, 160 x 160 pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :160]
    image = rng.normal(500.0, 8.0, (160, 160))
    for row in range(20, 160, 40):
        for column in range(20, 160, 40):
            yc, xc = rng.uniform(-3, 3, 2) + (row, column)
            image += peak * np.exp(-4 * np.log(2) * ((x - xc) ** 2 + (y - yc) ** 2) / fwhm**2)
    return image.astype(np.float32)


def test_a_plane_without_stars_is_named_once() -> None:
    image = np.stack([field(3.0, 1), field(3.0, 2, peak=0), field(3.0, 3)])
    with pytest.warns(asr.AstroSRWarning) as warned:
        asr.deconvolve(image, model="wiener")
    messages = [str(w.message) for w in warned if "no star can be measured" in str(w.message)]
    assert len(messages) == 1
    assert "measured in G: " in messages[0]


def test_what_concerns_several_planes_is_one_sentence() -> None:
    image = np.stack([field(9.5, seed) for seed in (1, 2, 3)])
    with pytest.warns(asr.AstroSRWarning, match="outside the range") as warned:
        asr.deconvolve(image)
    messages = [str(w.message) for w in warned if "outside the range" in str(w.message)]
    assert len(messages) == 1
    assert all(f"{name}: FWHM 9." in messages[0] for name in "RGB")
    assert messages[0].endswith("reduce the image by auto_scale=True")


@pytest.mark.parametrize(("fwhm", "advice"), [(1.4, "use drizzled data"), (9.5, "bin the image")])
def test_denoise_warns_of_stars_that_its_network_was_not_trained_for(
    fwhm: float, advice: str
) -> None:
    image = field(fwhm, 4)
    measured = asr.measure(image)
    with pytest.warns(asr.AstroSRWarning, match=f"outside the range .*denoise.*; {advice}"):
        asr.denoise(image, measured=measured)
    asr.denoise(image, model="wiener", measured=measured)


def test_few_stars_that_are_too_narrow_are_said_where_they_are_removed() -> None:
    image = field(1.2, 4)[:80, :80]
    measured = asr.measure(image)
    assert measured.psf_confidence == ("low",)
    with pytest.warns(asr.AstroSRWarning, match="outside the range of model 'remove-stars-fast'"):
        asr.remove_stars(image, measured=measured)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asr.denoise(image, measured=measured)


def test_stars_that_are_too_narrow_to_be_sharpened_are_left_as_they_are() -> None:
    image = np.stack([field(3.0, 1), field(1.4, 2), field(3.0, 3)])
    measured = asr.measure(image)
    with pytest.warns(asr.AstroSRWarning) as warned:
        result = asr.deconvolve(image, measured=measured, uncertainty=True)
    (unchanged,) = (w for w in warned if w.category is asr.UnchangedWarning)
    assert re.search(r"as it is: its stars \(G: FWHM 1\.\d+ px\).* double", str(unchanged.message))
    np.testing.assert_array_equal(result.data, image)
    assert np.median(result.uncertainty.array) == pytest.approx(8, rel=0.05)
    with pytest.warns(asr.AstroSRWarning, match="outside the range"):
        wanted = asr.deconvolve(image, measured=measured, target_fwhm=2.0)
    assert (wanted != image).any()
