"""PSFs of telescopes, their bank, and what an estimator finds of them."""

from __future__ import annotations

import dataclasses
import math

import galsim
import numpy as np
import pytest
import torch

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.simulation import (
    ObservationConfig,
    OpticsConfig,
    PSFBank,
    SceneConfig,
    make_bank,
    make_bank_of_images,
    make_scene,
    observe,
)
from astro_sr_plugin.simulation.bank import join_banks
from astro_sr_plugin.simulation.estimate import Wings, effective_psf, estimate_psf
from astro_sr_plugin.simulation.moffat_fit import fit_moffat
from astro_sr_plugin.simulation.optics import (
    make_moffat,
    moffat_stamps,
    pixel_transfer,
    to_transfer,
)
from astro_sr_plugin.simulation.pupils import (
    PSF_SIDE,
    Telescope,
    _image,
    _pupil,
    _pupil_transfer,
    _transfer,
    _wavefront,
)

N = 160  # fine pixels of the torus


@pytest.fixture(scope="module")
def bank():
    return make_bank(4, 3, dataclasses.replace(OpticsConfig(), fwhm=(2.5, 4.0), defocused=0.0))


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


def galsim_image(psf):
    image = galsim.ImageD(PSF_SIDE, PSF_SIDE, scale=0.5)
    psf.drawImage(image, method="no_pixel")
    return image.array / image.array.sum()


@pytest.mark.parametrize(
    ("terms", "named", "obscuration", "seeing", "beta"),
    [
        ((0, 0, 0, 0, 0, 0, 0, 0), {}, 0.4, 0.0, 0.0),
        ((0, 0, 0, 0, 1, 0, 0, 0), {"coma2": 0.2}, 0.0, 1.0, 0.0),
        ((1, 0, 1, 0, 0, 0, 0, 0), {"defocus": 0.1414, "astig2": 0.1414}, 0.0, 1.5, 3.0),
    ],
)
def test_telescopes_agree_with_galsim(terms, named, obscuration, seeing, beta):
    transmission, places = _pupil(obscuration, 0, 0.01, 0.0)
    waves = _wavefront(transmission, places, np.array(terms, float), 0.2 if any(terms) else 0.0)
    telescope = Telescope(
        [_pupil_transfer(transmission, waves)], (1.0,), seeing, beta, np.zeros((1, 2))
    )
    scale = 2.2
    ours = _image(_transfer(telescope, scale))
    psf = galsim.OpticalPSF(lam_over_diam=scale, obscuration=obscuration, pad_factor=2, **named)
    if seeing:
        fwhm = seeing * scale
        air = galsim.Moffat(beta=beta, fwhm=fwhm) if beta else galsim.Kolmogorov(fwhm=fwhm)
        psf = galsim.Convolve([psf, air])
    other = galsim_image(psf)
    # Which side of the wavefront is late is a convention.
    miss = min(np.abs(ours - way).max() for way in (other, other[::-1, ::-1]))
    assert miss < 0.02 * other.max()


def test_a_bank_repeats_and_is_kept(bank, tmp_path):
    again = make_bank(2, 3, dataclasses.replace(OpticsConfig(), fwhm=(2.5, 4.0), defocused=0.0))
    assert torch.equal(bank.images[:2], again.images)
    bank.save(tmp_path / "optics.npz")
    kept = PSFBank.load(tmp_path / "optics.npz")
    assert torch.equal(kept.images, bank.images)
    assert torch.equal(kept.shapes, bank.shapes)
    assert len(join_banks([bank, kept])) == 8
    (tmp_path / "optics.npz").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match=r"optics\.npz"):
        PSFBank.load(tmp_path / "optics.npz")


def test_drawn_psfs_have_the_stated_moffat_profile_in_every_orientation(bank):
    drawn = bank.draw(12, N, rng())
    assert drawn.images.sum((1, 2)).numpy() == pytest.approx(1.0, abs=1e-4)
    for k, image in enumerate(drawn.images.double().numpy()):
        centred = np.roll(image, (N // 2 - 1, N // 2 - 1), axis=(0, 1))[:-1, :-1]
        found = fit_moffat(centred, 0.5, float(drawn.fwhm[k]))
        assert math.hypot(found.x, found.y) < 0.05
        assert found.fwhm == pytest.approx(float(drawn.fwhm[k]), rel=0.02)
        away = abs(found.theta - float(drawn.theta[k])) % math.pi
        assert min(away, math.pi - away) * found.ellipticity < 0.01


def test_measured_images_are_scaled_to_the_width_asked_for():
    star = galsim_image(galsim.Moffat(beta=3.0, fwhm=6.0).shear(q=0.8, beta=0.4 * galsim.radians))
    bank = make_bank_of_images([star], 3, 1, (2.0, 4.0))
    fwhm, beta, ellipticity, theta = bank.shapes.T.tolist()
    assert all(1.99 < width < 4.01 for width in fwhm)
    assert beta == pytest.approx([3.0] * 3, rel=0.08)
    assert ellipticity == pytest.approx([0.2] * 3, abs=0.02)
    assert theta == pytest.approx([0.4] * 3, abs=0.03)
    with pytest.raises(InputError, match="single stars"):
        make_bank_of_images([np.ones((40, 40))], 3, 1, (2.0, 4.0))


def test_many_stars_give_the_truth_and_few_a_moffat_profile():
    numbers = tuple(torch.full((2,), value) for value in (3.0, 3.0, 0.0, 0.0))
    ring = make_moffat(N, *numbers).roll(8, 1) + make_moffat(N, *numbers).roll(-8, 1)
    truth = effective_psf(to_transfer(ring / 2) * pixel_transfer(N, torch.device("cpu")), N)
    none = Wings(torch.zeros(2), torch.ones(2), torch.full((2,), 3.0))
    found = estimate_psf(truth, numbers, numbers, none, torch.tensor([1e5, 1e-3]), rng())
    assert found.sum((1, 2)).numpy() == pytest.approx(1.0, abs=1e-4)
    assert float(found.min()) >= 0
    profile = moffat_stamps(*numbers)
    distance = (truth - profile).abs().sum((1, 2))
    assert float((found - truth)[0].abs().sum() / distance[0]) < 0.15
    assert float((found - profile)[1].abs().sum() / distance[1]) < 0.01


def test_effective_psfs_are_those_of_stars_on_a_pixel():
    numbers = tuple(torch.tensor([value]) for value in (3.0, 3.0, 0.2, 0.5))
    seen = effective_psf(
        to_transfer(make_moffat(256, *numbers)) * pixel_transfer(256, torch.device("cpu")), 256
    )
    assert float((seen - moffat_stamps(*numbers)).abs().sum()) < 0.02


def test_observations_through_a_bank(bank):
    scene = SceneConfig(size=80, dark_probability=1.0, galaxy_probability=0.0, nebula_probability=0)
    config = ObservationConfig(bank=bank, bank_probability=1.0, moffat_probability=0.0)
    spectra = torch.stack([make_scene(scene, rng(seed)) for seed in range(2)])
    seen = observe(spectra, config, rng())
    assert seen.psf.shape == (2, 65, 65)
    assert seen.psf.sum((1, 2)).numpy() == pytest.approx(1.0, abs=1e-4)
    assert torch.isfinite(seen.observed).all()
    assert torch.isfinite(seen.truth).all()
