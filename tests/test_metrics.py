"""Every metric on images whose value of it is known."""

from __future__ import annotations

import numpy as np
import pytest

from astro_sr_plugin import metrics
from astro_sr_plugin.exceptions import InputError


def stars(shape, positions, fluxes, fwhm):
    y, x = np.mgrid[: shape[0], : shape[1]]
    s = fwhm / 2.3548200450309493
    image = np.zeros(shape)
    for (px, py), flux in zip(positions, np.broadcast_to(fluxes, len(positions)), strict=True):
        image += flux / (2 * np.pi * s**2) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * s**2))
    return image


def grid(n, step, start, jitter=0.3, seed=1):
    rng = np.random.default_rng(seed)
    points = [(start + step * i, start + step * j) for i in range(n) for j in range(n)]
    return np.array(points) + rng.uniform(-jitter, jitter, (n * n, 2))


# --- Pixels -------------------------------------------------------------------------------------


def test_asinh_psnr_db():
    sigma, truth = 2.0, np.zeros((8, 8))
    output = 6.0 * np.sinh(np.full((8, 8), 0.1))
    assert metrics.asinh_psnr_db(output, truth, sigma=sigma) == pytest.approx(20.0)
    shifted = metrics.asinh_psnr_db(output + 50, truth + 50, sigma=sigma, background=50.0)
    assert shifted == pytest.approx(20.0)
    # Bright: asinh goes as the logarithm, so a factor of e is an error of 1, that is 0 dB.
    bright = np.full((8, 8), 1e6)
    assert metrics.asinh_psnr_db(np.e * bright, bright, sigma=sigma) == pytest.approx(0, abs=1e-4)
    assert metrics.asinh_psnr_db(truth, truth, sigma=sigma) == np.inf
    spoiled, mask = output.copy(), np.zeros(truth.shape, dtype=bool)
    spoiled[3, 3], spoiled[4, 4], mask[4, 4] = np.nan, 1e9, True
    assert metrics.asinh_psnr_db(spoiled, truth, sigma=sigma, mask=mask) == pytest.approx(20.0)
    with pytest.raises(InputError, match="sigma"):
        metrics.asinh_psnr_db(output, truth, sigma=0.0)
    with pytest.raises(InputError, match="shapes"):
        metrics.asinh_psnr_db(output, truth[:5], sigma=1.0)
    with pytest.raises(InputError, match="no finite"):
        metrics.asinh_psnr_db(output, truth * np.nan, sigma=1.0)


# --- Stars --------------------------------------------------------------------------------------


def test_aperture_photometry():
    points = grid(4, 40, 30)
    fluxes = np.linspace(100, 1000, len(points))
    image = stars((190, 190), points, fluxes, 3.0) + 7.0
    result = metrics.aperture_photometry(image, points, radius=6.0, annulus=(10, 15))
    np.testing.assert_allclose(result.flux, fluxes, rtol=1e-3)
    np.testing.assert_allclose(result.background, 7.0, rtol=1e-6)
    np.testing.assert_allclose(result.area, np.pi * 36, rtol=1e-6)
    # The exact overlap: a constant image gives the area of the circle wherever it lies.
    flat = metrics.aperture_photometry(np.ones((50, 50)), [(20.37, 24.81)], radius=1.3,
                                       annulus=(0, 0))  # fmt: skip
    assert flat.flux[0] == pytest.approx(np.pi * 1.69, rel=1e-9)
    with pytest.raises(InputError, match=r"\(n, 2\)"):
        metrics.aperture_photometry(image, [1.0, 2.0, 3.0], radius=3.0)
    with pytest.raises(InputError, match="radius"):
        metrics.aperture_photometry(image, points, radius=0.0)
    with pytest.raises(InputError, match="ny, nx"):
        metrics.aperture_photometry(image[None], points, radius=3.0)
    assert metrics.aperture_photometry(image, [], radius=3.0).flux.size == 0


def test_aperture_photometry_masks_and_edges():
    image = np.full((50, 50), 5.0)
    image[25, 25] = np.nan
    image[26, 26] = 1e6
    mask = np.zeros(image.shape, dtype=bool)
    mask[26, 26] = True
    result = metrics.aperture_photometry(
        image, [(25, 25), (-100, 5)], radius=4, annulus=(0, 0), mask=mask
    )
    assert result.flux[0] == pytest.approx(5.0 * np.pi * 16, rel=1e-6)
    assert result.area[0] == pytest.approx(np.pi * 16 - 2, rel=1e-6)
    assert np.isnan(result.flux[1])
    big_endian = np.full((50, 50), 5.0).astype(">f4")
    big_endian.flags.writeable = False
    assert metrics.aperture_photometry(big_endian, [(25, 25)], radius=4).flux[0] == pytest.approx(
        0.0, abs=1e-9
    )


def test_photometric_bias_and_scatter():
    fwhm = 2.5
    points = grid(12, 28, 30)
    rng = np.random.default_rng(7)
    truth = stars((370, 370), points, 1000.0, fwhm)
    errors = 0.05 + 0.03 * rng.standard_normal(len(points))
    output = stars((370, 370), points, 1000.0 * 10 ** (-0.4 * errors), fwhm) + 20.0
    score = metrics.photometric_bias_scatter(output, truth, points, target_fwhm=fwhm)
    assert score.stars == len(points)
    np.testing.assert_allclose(score.differences, errors, atol=2e-3)
    assert score.bias == pytest.approx(np.median(errors), abs=1e-3)
    assert score.scatter == pytest.approx(0.03, rel=0.2)


def test_only_isolated_whole_stars_count_and_lost_ones_do_too():
    fwhm = 2.0
    # Aperture radius 3, so isolated means 9 pixels; annulus to 9.
    points = np.array([(50, 50), (58.9, 50), (80, 80), (30, 80), (5, 50)], dtype=float)
    truth = stars((110, 110), points, 500.0, fwhm)
    output = stars((110, 110), points[[0, 1, 2, 4]], 500.0, fwhm)
    score = metrics.photometric_bias_scatter(output, truth, points, target_fwhm=fwhm)
    assert np.isnan(score.differences[[0, 1, 4]]).all()
    assert score.differences[2] == pytest.approx(0.0, abs=1e-6)
    assert score.differences[3] > 9
    assert score.stars == 2
    alone = metrics.photometric_bias_scatter(
        output, truth, points[[2]], target_fwhm=fwhm, neighbours=[(80, 80), (86, 80)]
    )
    assert alone.stars == 0
    assert np.isnan(alone.bias)
    mask = np.zeros(truth.shape, dtype=bool)
    mask[80, 80] = True
    masked = metrics.photometric_bias_scatter(
        output, truth, points[[2]], target_fwhm=fwhm, mask=mask
    )
    assert masked.stars == 0


@pytest.mark.parametrize("fwhm", [2.0, 4.0, 7.0])
def test_half_flux_radius(fwhm):
    points = grid(3, 60, 60)
    image = stars((240, 240), points, 1000.0, fwhm) + 3.0
    radius = metrics.half_flux_radius(image, points, max_radius=2.5 * fwhm)
    # Half of the FWHM, widened by the square pixel that a sample stands for.
    expected = 1.17741 * np.sqrt((fwhm / 2.35482) ** 2 + 1 / 12)
    np.testing.assert_allclose(radius, expected, rtol=0.04)
    assert np.isnan(metrics.half_flux_radius(-image, points, max_radius=8.0)).all()


# --- Detections ---------------------------------------------------------------------------------


def test_star_peak_threshold():
    # At the PSF of the input the peak of a star of matched-filter SNR n is n sigma 2 / sqrt(4 pi)
    # / s, with s its sigma.
    s = 3.0 / 2.3548200450309493
    expected = 5 * 2.0 * np.sqrt(4 * np.pi) * s / (2 * np.pi * s**2)
    assert metrics.star_peak_threshold(2.0, 3.0, 3.0) == pytest.approx(expected)
    # Twice as fine pixels, the same PSF on the sky: the same surface brightness.
    assert metrics.star_peak_threshold(2.0, 3.0, 6.0, scale=2) == pytest.approx(expected)


def test_invented_and_completeness():
    fwhm, shape = 2.5, (260, 260)
    points = grid(8, 30, 25)
    truth = stars(shape, points, 1000.0, fwhm)
    peak = truth.max()
    kept, extra = points[:48], np.array([(40, 40), (100.2, 130.3), (130, 70), (160, 160)])
    output = stars(shape, np.concatenate([kept, extra]), 1000.0, fwhm)
    score = metrics.invented_and_completeness(output, truth, threshold=peak / 4, target_fwhm=fwhm)
    assert (score.detections, score.sources) == (52, 64)
    assert score.invented == pytest.approx(4 / 52)
    assert score.false == pytest.approx(4 / 52)
    assert score.completeness == pytest.approx(48 / 64)
    # A smooth nebula is no source, in the truth or the output.
    nebula = stars(shape, [(130, 130)], 1e6, 150.0)
    hazy = metrics.invented_and_completeness(
        output + nebula, truth, threshold=peak / 4, target_fwhm=fwhm
    )
    assert hazy == score
    # True sources fainter than 0.4 of the threshold do not excuse a detection.
    faint = truth + stars(shape, extra, 60.0, fwhm)
    assert metrics.invented_and_completeness(
        output, faint, threshold=peak / 4, target_fwhm=fwhm
    ).invented == pytest.approx(4 / 52)
    close = truth + stars(shape, extra, 200.0, fwhm)
    assert metrics.invented_and_completeness(
        output, close, threshold=peak / 4, target_fwhm=fwhm
    ).invented == pytest.approx(0.0)


def test_a_displaced_crest_is_invented_but_no_false_light():
    wave = 100 * np.sin(2 * np.pi * np.arange(200) / 60)[None, :] * np.ones((200, 1))
    wave = wave * (1 + 0.05 * np.sin(2 * np.pi * np.arange(200) / 20))[:, None]
    moved = np.roll(wave, 3, axis=1)
    score = metrics.invented_and_completeness(
        moved, wave, threshold=20.0, target_fwhm=4.0, border=25
    )
    assert score.detections > 10
    assert score.invented == 1.0
    assert score.false == 0.0


def test_invented_and_completeness_match_radius_masks_and_nothing():
    fwhm, shape = 4.0, (80, 80)
    truth = stars(shape, [(40, 40)], 1000.0, fwhm)
    level = truth.max() / 4
    for offset, invented in ((2, 0.0), (3, 1.0)):
        output = stars(shape, [(40 + offset, 40)], 1000.0, fwhm)
        score = metrics.invented_and_completeness(output, truth, threshold=level, target_fwhm=fwhm)
        assert score.invented == invented
        assert score.completeness == 1.0 - invented
    mask = np.zeros(shape, dtype=bool)
    mask[38:43, 38:48] = True
    hidden = metrics.invented_and_completeness(
        output, truth, threshold=level, target_fwhm=fwhm, mask=mask
    )
    assert (hidden.invented, hidden.detections, hidden.sources) == (0.0, 0, 0)
    assert np.isnan(hidden.completeness)
    edge = metrics.invented_and_completeness(
        output, truth, threshold=level, target_fwhm=fwhm, border=38
    )
    assert edge.detections == 0
    with pytest.raises(InputError, match="threshold"):
        metrics.invented_and_completeness(output, truth, threshold=0.0, target_fwhm=fwhm)


# --- Frequencies --------------------------------------------------------------------------------


def test_power_spectrum_of_white_noise_is_its_variance():
    noise = 3.0 * np.random.default_rng(8).standard_normal((256, 200)) + 1000.0
    frequency, power = metrics.power_spectrum(noise)
    assert frequency[0] < 0.02
    assert frequency[-1] == pytest.approx(0.495, abs=0.01)
    assert np.mean(power) == pytest.approx(9.0, rel=0.05)


def test_cross_coherence():
    rng = np.random.default_rng(10)
    truth = rng.standard_normal((256, 256))
    np.testing.assert_allclose(metrics.cross_coherence(5 * truth - 3, truth)[1], 1.0)
    _, half = metrics.cross_coherence(truth + np.sqrt(3.0) * rng.standard_normal((256, 256)), truth)
    assert np.mean(half) == pytest.approx(0.5, abs=0.02)
    _, none = metrics.cross_coherence(rng.standard_normal((256, 256)), truth)
    assert np.mean(none[4:]) < 0.1
    with pytest.raises(InputError, match="shapes"):
        metrics.cross_coherence(truth, truth[:100])
    with pytest.raises(InputError, match="8 pixels"):
        metrics.power_spectrum(truth[:4])
