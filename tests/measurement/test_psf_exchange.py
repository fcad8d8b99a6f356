"""PSFs as models of photutils, in files, and given to the verbs."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import QTable
from photutils.psf import GriddedPSFModel, ImagePSF, PSFPhotometry

import astro_sr_plugin as asr

SHAPE, COUNT = (260, 280), 24


def make_field(seed=2, *, vary=False):
    """Stars with a faint companion of fixed distance: no Moffat profile; it may turn along x."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    rows = np.arange(COUNT) // 6 * 60 + 40 + rng.uniform(-6, 6, COUNT)
    columns = np.arange(COUNT) % 6 * 42 + 30 + rng.uniform(-6, 6, COUNT)
    flux = np.exp(rng.uniform(7, 10, COUNT))
    image = np.zeros(SHAPE)
    for x0, y0, light in zip(columns, rows, flux, strict=True):
        part = 0.3 * (x0 / SHAPE[1] if vary else 1.0)
        for dx, dy, weight in ((0, 0, 1 - part), (2.5, 1.0, part)):
            square = (x - x0 - dx) ** 2 + (y - y0 - dy) ** 2
            image += light * weight * np.exp(-square / (2 * 1.4**2)) / (2 * np.pi * 1.4**2)
    noisy = 50 + image + rng.normal(size=SHAPE) * np.sqrt(1 + image / 10)
    return noisy.astype(np.float32), QTable({"x": columns, "y": rows, "flux": flux})


@pytest.fixture(scope="module")
def field():
    return make_field()


@pytest.fixture(scope="module")
def psf(field):
    return asr.measure_psf(field[0])


def test_photometry_with_the_psf_gives_the_flux(field, psf):
    image, stars = field
    assert isinstance(psf, ImagePSF)
    assert psf.data.sum() / np.prod(psf.oversampling) == pytest.approx(1, abs=0.01)
    found = PSFPhotometry(psf, (13, 13), aperture_radius=5)(
        image - 50.0, init_params=stars["x", "y"]
    )
    ratio = found["flux_fit"] / stars["flux"]
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    bright = stars["flux"] > 5e3
    assert np.abs(ratio[bright] / np.median(ratio) - 1).max() < 0.02
    # All stars are moved by the same fraction of a pixel: the middle of this PSF is not its peak.
    assert np.std(found["x_fit"][bright] - stars["x"][bright]) < 0.02


def test_files_come_back_and_photutils_reads_them(psf, tmp_path):
    path = tmp_path / "psf.fits"
    asr.write_psf(psf, path)
    again = asr.read_psf(path)
    np.testing.assert_allclose(again.data, psf.data, rtol=1e-6, atol=1e-9)
    assert again.meta["resfrac"] == pytest.approx(psf.meta["resfrac"])
    other = GriddedPSFModel.read(path, format="webbpsf")
    x, y = np.meshgrid(np.arange(5.0), np.arange(4.0))
    np.testing.assert_allclose(other(x, y), psf(x, y), rtol=1e-4, atol=1e-7)
    with pytest.raises(asr.OutputError, match="exists"):
        asr.write_psf(psf, path)
    asr.write_psf([psf, psf], path, overwrite=True)
    assert len(asr.read_psf(path)) == 2


def test_files_that_are_no_psf_are_refused(tmp_path):
    path = tmp_path / "image.fits"
    asr.write_image(np.ones((8, 8), np.float32), path)
    with pytest.raises(asr.ImageReadError, match="OVERSAMP"):
        asr.read_psf(path)
    with pytest.raises(asr.ImageReadError, match="nothing"):
        asr.read_psf(tmp_path / "nothing.fits")


def test_verbs_take_models_and_files(field, psf, tmp_path):
    image, _ = field
    asr.write_psf(psf, tmp_path / "psf.fits")
    sharp = asr.deconvolve(image, psf=psf, model="wiener")
    from_file = asr.deconvolve(image, psf=tmp_path / "psf.fits", model="wiener")
    np.testing.assert_allclose(from_file, sharp, atol=0.01)
    middle = psf.data.shape[0] // 2
    step = psf.oversampling[0]
    pixels = psf.data[middle % step :: step, middle % step :: step]
    as_image = asr.deconvolve(image, psf=pixels, model="wiener", target_fwhm=2.0)
    as_model = asr.deconvolve(image, psf=psf, model="wiener", target_fwhm=2.0)
    assert np.abs(as_image - as_model).max() < 0.02 * as_model.max()
    colour = np.stack([image, image, image])
    with pytest.raises(asr.InputError, match="2 models"):
        asr.deconvolve(colour, psf=[psf, psf], model="wiener")
    np.testing.assert_allclose(asr.deconvolve(colour, psf=[psf] * 3, model="wiener")[1], sharp)


def test_a_psf_that_changes_over_the_field_is_used_where_it_belongs(tmp_path):
    image, _ = make_field(vary=True)
    psf = asr.measure_psf(image)
    asr.write_psf(psf, tmp_path / "psf.fits")
    assert isinstance(psf, GriddedPSFModel)
    again = asr.read_psf(tmp_path / "psf.fits")
    np.testing.assert_allclose(again.data, psf.data, rtol=1e-5, atol=1e-8)
    given = asr.deconvolve(image, psf=again, model="wiener")
    single = asr.deconvolve(
        image,
        psf=ImagePSF(psf.data[len(psf.data) // 2], oversampling=psf.oversampling),
        model="wiener",
    )
    assert np.abs(given - single).max() > 5 * np.std(image[:20, :20])


def test_images_without_stars_are_refused():
    with pytest.raises(asr.InputError, match="no star"):
        asr.measure_psf(np.random.default_rng(1).normal(size=(64, 64)))


def test_models_that_are_no_psf_are_refused(field):
    from astropy.modeling.models import Gaussian2D

    with pytest.raises(asr.InputError, match="x_0"):
        asr.deconvolve(field[0], psf=Gaussian2D(), model="wiener")
