"""Stars that change over the field come out alike."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.inference.runtime import Runtime

SKY = 300.0


def look(image, sky, chosen):
    """Median size and radial ellipticity (moments in a Gaussian window), and magnitude error."""
    found = []
    offsets = np.arange(-6, 7)
    for k in np.flatnonzero(chosen):
        x, y = round(sky.x[k]), round(sky.y[k])
        stamp = image[y - 6 : y + 7, x - 6 : x + 7].astype(float) - SKY
        dx, dy = offsets[None, :] - (sky.x[k] - x), offsets[:, None] - (sky.y[k] - y)
        light = stamp * np.exp(-0.5 * (dx**2 + dy**2) / 2.0**2)
        xx, yy, xy = ((light * a).sum() / light.sum() for a in (dx**2, dy**2, dx * dy))
        e1, e2 = (xx - yy) / (xx + yy), 2 * xy / (xx + yy)
        radial = e1 * np.cos(2 * sky.theta[k]) + e2 * np.sin(2 * sky.theta[k])
        found.append((np.sqrt(xx + yy), radial, -2.5 * np.log10(stamp.sum() / sky.flux[k])))
    return np.median(found, axis=0)


@pytest.fixture(scope="module")
def sky(make_sky):
    return make_sky()


@pytest.fixture(scope="module")
def corners(sky):
    inside = (sky.x > 8) & (sky.x < 611) & (sky.y > 8) & (sky.y < 551)
    return (sky.radius > 0.75) & (sky.flux > 2500) & inside


@pytest.fixture(scope="module")
def measured(sky):
    return asr.measure(sky.image)


@pytest.fixture(scope="module")
def sharp(sky, measured):
    image = CCDData(sky.image, unit="adu")
    return asr.deconvolve(image, device="cpu", target_fwhm=2.0, measured=measured)


@pytest.fixture(scope="module")
def sharp_with_one_psf(sky, sharp):
    fwhm = sharp.meta["ASRFWHMI"]
    return asr.deconvolve(sky.image, device="cpu", target_fwhm=2.0, psf=(fwhm, 3.2))


def test_corner_stars_come_to_the_target(sky, corners, sharp, sharp_with_one_psf):
    wanted, _, _ = look(sky.target, sky, corners)
    size, radial, magnitude = look(sharp.data, sky, corners)
    assert size / wanted == pytest.approx(1.0, abs=0.05)
    assert abs(radial) < 0.06
    assert abs(magnitude) < 0.03
    size, radial, _ = look(sharp_with_one_psf, sky, corners)
    assert size / wanted > 1.05
    assert radial > 0.12


def test_stars_in_the_middle_too(sky, sharp, sharp_with_one_psf):
    middle = (sky.radius < 0.4) & (sky.flux > 2500)
    wanted, _, _ = look(sky.target, sky, middle)
    size, radial, magnitude = look(sharp.data, sky, middle)
    assert size / wanted == pytest.approx(1.0, abs=0.03)
    assert abs(radial) < 0.03
    assert abs(magnitude) < 0.02


def test_corrected_stars_are_round_and_alike_over_the_field(sky, measured, corners):
    middle, image = (sky.radius < 0.4) & (sky.flux > 2500), CCDData(sky.image, unit="adu")
    corrected = asr.deconvolve(image, device="cpu", target_fwhm="input", measured=measured)
    assert corrected.meta["ASRFWHMO"] == pytest.approx(corrected.meta["ASRFWHMI"])
    before = [look(sky.image, sky, chosen) for chosen in (corners, middle)]
    after = [look(corrected.data, sky, chosen) for chosen in (corners, middle)]
    assert before[0][0] / before[1][0] > 1.07
    assert after[0][0] / after[1][0] == pytest.approx(1.0, abs=0.04)
    assert before[0][1] > 0.08
    assert [abs(radial) for _, radial, _ in after] == pytest.approx([0, 0], abs=0.04)
    assert [magnitude for _, _, magnitude in after] == pytest.approx([0, 0], abs=0.04)


def test_the_image_is_nearer_to_the_truth(sky, sharp, sharp_with_one_psf):
    errors = [
        float(np.square(np.asarray(image, float) - sky.target).sum())
        for image in (sharp.data, sharp_with_one_psf)
    ]
    assert errors[0] < 0.5 * errors[1]


def test_tiles_equal_the_whole(sky, measured, sharp):
    runtime = Runtime(device="cpu", tile_size=320)
    tiled = asr.deconvolve(sky.image, target_fwhm=2.0, runtime=runtime, measured=measured)
    # Rounding is relative to the brightest pixel.
    np.testing.assert_allclose(tiled, sharp.data, rtol=0, atol=2e-5 * sky.image.max())


def test_a_mirrored_image_gives_the_mirrored_result(sky, sharp):
    turned = asr.deconvolve(sky.image[::-1, ::-1].copy(), target_fwhm=2.0, device="cpu")
    difference = turned[::-1, ::-1] - sharp.data
    # The network itself is not symmetric; its stars are.
    assert np.square(difference).sum() < 0.02 * np.square(sharp.data - SKY).sum()


def test_the_header_tells_the_range(sharp):
    history = "".join(str(sharp.meta["HISTORY"]).split())
    assert "psf_fwhm_range" in history
    assert 2.8 < sharp.meta["ASRFWHMI"] < 3.8


def test_a_given_psf_is_one_for_the_field(sky):
    out = asr.deconvolve(CCDData(sky.image, unit="adu"), device="cpu", psf=(3.2, 3.2))
    assert "psf_fwhm_range" not in "".join(str(out.meta["HISTORY"]).split())


@pytest.mark.parametrize("verb", [asr.denoise, asr.super_resolve])
def test_other_verbs_keep_the_light_of_corner_stars(sky, measured, corners, verb):
    out = verb(sky.image, device="cpu", measured=measured)
    scale = out.shape[0] // sky.image.shape[0]
    ny, nx = sky.image.shape
    binned = out.reshape(ny, scale, nx, scale).mean(axis=(1, 3))
    _, _, magnitude = look(binned, sky, corners)
    _, _, expected = look(sky.image, sky, corners)
    # Wings beyond the aperture are light that sharpening brings in.
    assert -0.05 < magnitude - min(expected, 0.0) < expected + 0.02


def test_saturated_stars_take_the_core_of_their_own_psf(sky, corners):
    level = 1500.0
    clipped = np.minimum(sky.image, level)
    sharp = asr.deconvolve(clipped, device="cpu", target_fwhm=2.0)
    places = zip(np.rint(sky.y).astype(int), np.rint(sky.x).astype(int), corners, strict=True)
    areas = [np.s_[y - 8 : y + 9, x - 8 : x + 9] for y, x, near in places if near]
    errors = [
        np.linalg.norm(sharp[area] - sky.target[area]) / np.linalg.norm(sky.target[area] - SKY)
        for area in areas
        if (clipped[area] == level).sum() > 1
    ]
    assert len(errors) >= 3
    assert np.median(errors) < 0.3
