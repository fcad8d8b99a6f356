"""Telescopes that reverse the contrast of fine detail: out of focus, or astigmatic."""

from __future__ import annotations

import functools
import warnings

import galsim
import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.measurement.measuring import measure
from astro_sr_plugin.metrics import aperture_photometry
from astro_sr_plugin.restoration.aberrated import reversed_contrast

SIDE, SIGMA, SKY, FWHM = 160, 5.0, 300.0, 5.0
OPTICS = {
    "ring": {"lam_over_diam": 0.5, "obscuration": 0.45, "defocus": 0.55},
    "astigmatism": {"lam_over_diam": 1.1, "obscuration": 0.3, "astig1": 0.3, "defocus": 0.2},
    "coma": {"lam_over_diam": 0.8, "coma1": 0.15},
}


def make_psf(kind):
    seeing = galsim.Moffat(beta=3.0, fwhm=1.4)
    if kind == "moffat":
        return galsim.Moffat(beta=3.0, fwhm=FWHM)
    return galsim.Convolve(seeing, galsim.OpticalPSF(pad_factor=2, **OPTICS[kind]))


@functools.cache
def make_field(kind):
    """Return pixels, (x, y, flux) of the stars, and the light of their places."""
    rng = np.random.default_rng(4)
    image = galsim.ImageD(SIDE, SIDE)
    optics, stars = make_psf(kind), []
    for y in range(20, SIDE - 15, 27):
        for x in range(20, SIDE - 15, 27):
            place = x + rng.uniform(-3, 3), y + rng.uniform(-3, 3)
            flux = SIGMA * np.exp(rng.uniform(np.log(300), np.log(30000)))
            part = galsim.ImageD(galsim.BoundsI(x - 40, x + 40, y - 40, y + 40))
            offset = galsim.PositionD(*place) - galsim.PositionD(x, y)
            (optics * flux).drawImage(part, scale=1, offset=offset)
            shared = part.bounds & image.bounds
            image[shared] += part[shared]
            stars.append((place[0] - 1, place[1] - 1, flux))
    pixels = SKY + image.array + rng.normal(0, SIGMA, (SIDE, SIDE))
    return pixels.astype(np.float32), np.array(stars)


@functools.cache
def measured_ring():
    return measure(make_field("ring")[0])


@functools.cache
def restore(verb, model=None, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ccd = CCDData(make_field("ring")[0], unit="adu")
        options["measured"] = measured_ring()
        out = getattr(asr, verb)(ccd, model=model, device="cpu", **options)
    return out, [str(entry.message) for entry in caught]


def make_truth(target_fwhm):
    """Draw the stars of the ring with a Gaussian PSF of this FWHM."""
    _, stars = make_field("ring")
    y, x = np.mgrid[:SIDE, :SIDE]
    sigma = target_fwhm / 2.3548
    return sum(
        flux * np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
        for u, v, flux in stars
    )


def miss(image, truth):
    """Root mean square error of a result in a scale where faint and bright parts count alike."""
    found = np.arcsinh((np.asarray(image, float) - SKY) / (3 * SIGMA))
    return float(np.sqrt(np.mean((found - np.arcsinh(truth / (3 * SIGMA)))[10:-10, 10:-10] ** 2)))


def test_the_reversed_part_tells_rings_from_other_stars():
    def part(kind):
        image = make_psf(kind).drawImage(nx=65, ny=65, scale=1).array
        return reversed_contrast(image, FWHM / 2)

    assert part("moffat") == 0
    assert part("coma") < 0.02
    assert part("ring") > 0.15
    assert part("astigmatism") > 0.15


def test_stars_out_of_focus_come_to_the_stated_psf():
    out, said = restore("deconvolve")
    assert out.meta["ASRMODEL"] == "denoised-richardson-lucy"
    assert any("reverse the contrast" in text for text in said)
    truth = make_truth(out.meta["ASRFWHMO"])
    network, silent = restore("deconvolve", "deconvolve-fast", target_fwhm=out.meta["ASRFWHMO"])
    assert network.meta["ASRMODEL"] == "deconvolve-fast"
    assert not any("reverse the contrast" in text for text in silent)
    assert miss(out.data, truth) < 0.8 * miss(network.data, truth)


@pytest.mark.parametrize("verb", ["deconvolve", "super_resolve"])
def test_their_light_stays(verb):
    out, _ = restore(verb)
    scale = out.shape[0] // SIDE
    _, stars = make_field("ring")
    bright = stars[stars[:, 2] > 2000 * SIGMA]
    places = (bright[:, :2] + 0.5) * scale - 0.5
    flux = aperture_photometry(out.data - SKY, places, radius=9 * scale).flux / scale**2
    assert np.median(flux / bright[:, 2]) == pytest.approx(1, abs=0.02)
    total = make_field("ring")[0].sum(dtype=float)
    assert out.data.sum(dtype=float) / scale**2 == pytest.approx(total, rel=2e-4)


def test_tiles_do_not_matter():
    whole, _ = restore("deconvolve")
    tiled, _ = restore("deconvolve", runtime=asr.Runtime(tile_size=64, device="cpu"))
    np.testing.assert_allclose(tiled.data, whole.data, atol=0.02 * SIGMA, rtol=1e-3)


def test_each_plane_of_a_colour_image_is_restored_as_it_is_alone():
    pixels = make_field("ring")[0]
    cube = CCDData(np.stack([pixels, 2 * pixels, 0.5 * pixels]), unit="adu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = asr.deconvolve(cube, uncertainty=True, device="cpu")
    assert out.meta["ASRMODEL"] == "denoised-richardson-lucy"
    alone = restore("deconvolve")[0].data
    for plane, factor in zip(out.data, (1, 2, 0.5), strict=True):
        np.testing.assert_allclose(plane / factor, alone, atol=0.02 * SIGMA, rtol=1e-3)
    assert np.isfinite(out.uncertainty.array).all()


def test_the_uncertainty_is_no_less_than_the_noise():
    out, _ = restore("deconvolve", uncertainty=True)
    plain, _ = restore("deconvolve")
    np.testing.assert_array_equal(out.data, plain.data)
    assert out.uncertainty.array.shape == out.shape
    assert out.uncertainty.array.min() > 0.95 * SIGMA


def test_the_ring_of_the_brightest_star_is_not_saturated():
    rng = np.random.default_rng(2)
    star = galsim.ImageD(81, 81)
    (make_psf("ring") * 3e6).drawImage(star, scale=1, offset=(0.2, 0.3))
    image = rng.normal(SKY, SIGMA, (SIDE, SIDE))
    image[40:121, 40:121] += star.array
    (plane,) = measure(image).planes
    assert plane.saturation is None
    level = 0.8 * image.max()
    (plane,) = measure(np.minimum(image, level)).planes
    assert plane.saturation == pytest.approx(level, rel=0.05)
