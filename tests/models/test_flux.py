"""The step that gives every source the flux that the data say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astro_sr_plugin.models.filters import gaussian_kernel, make_moffat_psf
from astro_sr_plugin.models.spec import Conditions
from astro_sr_plugin.models.wiener_unet.flux import FLUX_RADIUS, FluxStep

FWHM, SIDE = 4.0, 128


def conditions(target):
    psf = make_moffat_psf(*torch.tensor([FWHM, 3.2, 0.1, 0.4])[:, None])[0].numpy()
    return Conditions(psf=psf, fwhm=FWHM, beta=3.2, ellipticity=0.1, target_fwhm=target)


def place(stamp, side, y, x, flux):
    image = torch.zeros(side + 200, side + 200)
    r = stamp.shape[0] // 2
    image[y + 100 - r : y + 101 + r, x + 100 - r : x + 101 + r] = flux * torch.as_tensor(stamp)
    return image[100:-100, 100:-100]


def run(step, result, observed, mask=None):
    smooth = torch.nn.functional.conv2d(observed[None, None], step.kernels[:, None], padding=32)
    mask = torch.zeros_like(observed) if mask is None else mask
    return step.correct(result[None, None], smooth, mask[None, None])[0, 0]


@pytest.mark.parametrize("share", [0.9, 1.0, 1.06])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_star_gets_its_flux(share, scale):
    given = conditions(2.0)
    step = FluxStep(given, scale, keep_psf=False, device="cpu")
    observed = place(given.psf, SIDE, 64, 64, 20000.0)
    # At scale 2 the star lies on a fine pixel, a quarter of an input pixel from the middle.
    fine = gaussian_kernel(2.0, 16)
    result = place(fine, SIDE * scale, 64 * scale, 64 * scale, 20000.0 * share * scale**2)
    out = run(step, result, observed)
    around = np.s_[48 * scale : 81 * scale, 48 * scale : 81 * scale]
    assert float(out[around].sum()) / scale**2 == pytest.approx(20000, rel=0.01)


def test_the_psf_itself_may_be_the_target():
    given = conditions(FWHM)
    step = FluxStep(given, 1, keep_psf=True, device="cpu")
    observed = place(given.psf, SIDE, 64, 64, 20000.0)
    out = run(step, 0.93 * observed, observed)
    assert float(out.sum()) == pytest.approx(20000, rel=0.01)


def test_noise_and_empty_sky_are_left_alone():
    given = conditions(2.0)
    step = FluxStep(given, 1, keep_psf=False, device="cpu")
    observed = torch.randn(SIDE, SIDE, generator=torch.manual_seed(1))
    result = 0.05 * torch.randn(SIDE, SIDE, generator=torch.manual_seed(2))
    assert float((run(step, result, observed) - result).abs().max()) < 0.05
    assert not run(step, torch.zeros_like(result), observed).any()


def test_a_bright_nebula_keeps_its_level():
    given = conditions(2.0)
    step = FluxStep(given, 1, keep_psf=False, device="cpu")
    level = torch.full((SIDE, SIDE), 300.0)
    inner = slice(40, -40)
    out = run(step, level, level)[inner, inner]
    np.testing.assert_allclose(out, 300.0, rtol=3e-3)
    assert FLUX_RADIUS < 40


def test_saturated_stars_are_not_pulled_down():
    given = conditions(2.0)
    step = FluxStep(given, 1, keep_psf=False, device="cpu")
    observed = place(given.psf, SIDE, 64, 64, 50000.0)
    mask = (observed > 1000).float()
    result = place(gaussian_kernel(2.0, 16), SIDE, 64, 64, 50000.0)
    out = run(step, result, observed.clamp_max(1000.0), mask)
    assert float(out.sum()) == pytest.approx(50000, rel=0.01)
