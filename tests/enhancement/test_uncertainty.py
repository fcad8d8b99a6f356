"""Uncertainty planes: they cover the truth, travel with the image, and use that of the input."""

import astropy.units as u
import numpy as np
import pytest
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import ModelError

FWHM, SIZE = 3.2, 256


def moffat(shape, x, y, flux, fwhm=FWHM, beta=3.0):
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    profile = (
        (beta - 1) / (np.pi * alpha**2) * (1 + ((xx - x) ** 2 + (yy - y) ** 2) / alpha**2) ** -beta
    )
    return flux * profile


def field(seed=1, noise=5.0, size=SIZE, stars=60):
    """Return a noise-free star field and its observation."""
    rng = np.random.default_rng(seed)
    truth = np.full((size, size), 100.0)
    for x, y, snr in zip(
        *rng.uniform(4, size - 5, (2, stars)), 10 ** rng.uniform(0.5, 2.7, stars), strict=True
    ):
        truth += moffat(truth.shape, x, y, snr * 5.0 * np.sqrt(4 * np.pi) * FWHM / 2.355)
    return truth, truth + rng.normal(0, 1, truth.shape) * noise


@pytest.fixture(scope="module")
def scene():
    return field()


@pytest.fixture(scope="module")
def measured(scene):
    return asr.measure(scene[1])


def test_errors_of_denoising_are_covered(scene, measured):
    truth, observed = scene
    clean = asr.denoise(CCDData(observed, unit="adu"), uncertainty=True, measured=measured)
    assert isinstance(clean.uncertainty, StdDevUncertainty)
    assert clean.uncertainty.array.shape == observed.shape
    pulls = np.abs(clean.data - truth) / clean.uncertainty.array
    # Errors have longer tails than a normal distribution: what holds 90 and 95 % right holds more
    # than 68.
    for share, width, most in ((0.683, 1.0, 0.15), (0.90, 1.645, 0.05), (0.95, 1.96, 0.04)):
        assert abs(np.mean(pulls < width) - share) < most
    # Where there is light, too, and more is not known there.
    bright = truth > 100 + 3 * 5.0
    assert abs(np.mean(pulls[bright] < 1.645) - 0.9) < 0.12
    assert np.median(clean.uncertainty.array[bright]) > 3 * np.median(
        clean.uncertainty.array[~bright]
    )


def test_the_result_is_the_same_with_and_without(scene, measured):
    image = CCDData(scene[1], unit="adu")
    with_it = asr.deconvolve(image, uncertainty=True, measured=measured)
    without = asr.deconvolve(image, measured=measured)
    np.testing.assert_allclose(with_it.data, without.data, rtol=1e-6, atol=1e-4)


def test_uncertainty_does_not_depend_on_tiles(scene, measured):
    image, options = CCDData(scene[1], unit="adu"), {"uncertainty": True, "measured": measured}
    whole, tiled = (
        asr.super_resolve(image, runtime=asr.Runtime(tile_size=size), **options).uncertainty.array
        for size in (512, 96)
    )
    np.testing.assert_allclose(tiled, whole, rtol=2e-3)


def test_a_less_certain_profile_makes_stars_less_certain(scene):
    from dataclasses import replace

    from astro_sr_plugin.models.registry import load_model, with_errors
    from astro_sr_plugin.restoration.frame import open_frame
    from astro_sr_plugin.restoration.pipeline import Job, restore_plane

    (plane,) = open_frame(scene[1], "deconvolve").planes
    model = with_errors(load_model("deconvolve-fast"))
    errors = []
    for fwhm_error in (0.01, 0.10):
        result, error = np.empty((2, SIZE, SIZE), np.float32)
        source = replace(plane, psf=replace(plane.psf, relative_error=fwhm_error))
        restore_plane(source, Job(model, 2.0, asr.Runtime()), result, errors=error)
        errors.append(error)
    bright = scene[0] > 100 + 30 * 5.0
    assert np.median(errors[1][bright] / errors[0][bright]) > 1.2


@pytest.fixture(scope="module")
def with_hole(scene):
    data = scene[1][:128, :136].copy()
    data[20, 30] = np.nan
    return data, asr.measure(data)


@pytest.mark.parametrize("verb", ["denoise", "deconvolve", "super_resolve", "remove_stars"])
def test_every_verb_writes_it_to_the_file(verb, with_hole, tmp_path):
    data, measured = with_hole
    options = {"uncertainty": True, "measured": measured}
    result = getattr(asr, verb)(CCDData(data, unit="adu"), out=tmp_path / "out.fits", **options)
    result = result[0] if isinstance(result, tuple) else result
    again = asr.read_image(tmp_path / "out.fits")
    scale = 2 if verb == "super_resolve" else 1
    estimated = again.uncertainty.array
    assert estimated.shape == again.data.shape == (128 * scale, 136 * scale)
    np.testing.assert_array_equal(estimated, result.uncertainty.array)
    assert np.isnan(estimated[20 * scale, 30 * scale])
    assert np.isnan(estimated).sum() == scale**2
    assert (estimated[np.isfinite(estimated)] > 0).all()
    assert list(tmp_path.iterdir()) == [tmp_path / "out.fits"]


@pytest.mark.filterwarnings("ignore:the PSF:astro_sr_plugin.AstroSRWarning")
def test_units_scale_and_flux_go_along(scene):
    data = scene[1][:128, :128]
    image, options = CCDData(data, unit="adu"), {"uncertainty": True, "measured": asr.measure(data)}
    plain = asr.super_resolve(image, **options)
    summed = asr.super_resolve(image, conserve_flux=True, **options)
    np.testing.assert_allclose(summed.uncertainty.array * 4, plain.uncertainty.array, rtol=1e-5)
    brighter = asr.super_resolve(CCDData(data * 1000, unit="adu"), uncertainty=True)
    np.testing.assert_allclose(
        np.median(brighter.uncertainty.array), 1000 * np.median(plain.uncertainty.array), rtol=0.01
    )


def test_strength_goes_from_the_noise_of_the_input_to_the_error_of_the_result(scene, measured):
    options = {"uncertainty": True, "measured": measured}
    medians = [
        np.median(asr.denoise(scene[1], strength=s, **options).uncertainty.array)
        for s in (0.0, 0.5, 1.0)
    ]
    assert medians[0] == pytest.approx(5.0, rel=0.05)
    assert medians[0] > medians[1] > medians[2]


def test_models_without_it_say_so(scene, measured):
    with pytest.raises(ModelError, match="estimates no uncertainty"):
        asr.deconvolve(scene[1], model="wiener", uncertainty=True, measured=measured)


@pytest.fixture(scope="module")
def varying():
    """A field whose right half is four times as noisy, its noise, and its light by one noise."""
    truth, _ = field(3)
    noise = np.full(truth.shape, 5.0)
    noise[:, SIZE // 2 :] = 20.0
    observed = truth + np.random.default_rng(3).normal(0, 1, truth.shape) * noise
    return truth, observed, noise, asr.denoise(CCDData(observed, unit="adu")).data


@pytest.mark.parametrize(
    "kind",
    [
        lambda noise: StdDevUncertainty(noise * u.adu),
        lambda noise: VarianceUncertainty(noise**2),
        lambda noise: InverseVariance(7.0 / noise**2),
    ],
    ids=["std", "variance", "weights in any unit"],
)
@pytest.mark.filterwarnings("ignore:the uncertainty of the input")
def test_noise_that_varies_is_taken_from_the_uncertainty_of_the_input(varying, kind):
    truth, observed, noise, without = varying
    image = CCDData(observed, unit="adu", uncertainty=kind(noise))
    clean = asr.denoise(image, uncertainty=True)
    quiet = np.s_[8:-8, 8 : SIZE // 2 - 32]
    noisy = np.s_[8:-8, SIZE // 2 + 32 : -8]
    errors = [np.sqrt(np.mean((data[noisy] - truth[noisy]) ** 2)) for data in (without, clean.data)]
    assert errors[1] < 0.8 * errors[0]
    ratio = np.median(clean.uncertainty.array[noisy]) / np.median(clean.uncertainty.array[quiet])
    assert ratio > 2
    # The light stays.
    assert clean.data.sum() == pytest.approx(observed.sum(), rel=2e-4)


@pytest.mark.filterwarnings("ignore:the uncertainty of the input")
def test_a_flat_uncertainty_changes_nothing(scene):
    image = CCDData(scene[1], unit="adu")
    with_map = CCDData(
        scene[1], unit="adu", uncertainty=StdDevUncertainty(np.full((SIZE, SIZE), 3.0))
    )
    np.testing.assert_array_equal(asr.denoise(with_map).data, asr.denoise(image).data)


def test_weights_in_a_file_are_read(tmp_path):
    from astropy.io import fits

    weight = np.full((40, 50), 4.0, np.float32)
    weight[:, 25:] = 1.0
    science = fits.ImageHDU(np.zeros((40, 50), np.float32), name="SCI")
    hdus = fits.HDUList([fits.PrimaryHDU(), science, fits.ImageHDU(weight, name="WHT")])
    hdus.writeto(tmp_path / "drizzled.fits")
    image = asr.read_image(tmp_path / "drizzled.fits")
    assert isinstance(image.uncertainty, InverseVariance)
    np.testing.assert_array_equal(image.uncertainty.array, weight)


def test_formats_without_room_for_it_are_refused_before_the_work(tmp_path, scene):
    from astro_sr_plugin.cli import main

    asr.write_image(
        CCDData(scene[1][:96, :96].astype(np.float32), unit="adu"), tmp_path / "in.fits"
    )
    arguments = ["denoise", str(tmp_path / "in.fits"), "-o", str(tmp_path / "out.tif")]
    assert main([*arguments, "--uncertainty"]) == 2
    assert not (tmp_path / "out.tif").exists()
