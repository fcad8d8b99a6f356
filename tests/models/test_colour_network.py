"""A network that restores the planes of a colour image together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import astro_sr_plugin as asr
from astro_sr_plugin.models.filters import make_moffat_psf
from astro_sr_plugin.models.spec import Conditions, PSFNodes
from astro_sr_plugin.models.wiener_unet.network import NetworkModel
from astro_sr_plugin.models.wiener_unet.unet import WienerUNet

SIDE = 96
FWHM = (3.6, 3.0, 2.6)
PSF = {"psf": (3.0, 4.0)}
NAMES = {"denoise": "denoise-fast", "deconvolve": "deconvolve-fast"}
VERBS = {"denoise": asr.denoise, "deconvolve": asr.deconvolve}


@pytest.fixture(scope="module")
def image():
    """Give three planes of Gaussian stars of their own widths, noise and colours."""
    rng = np.random.default_rng(5)
    planes = rng.normal(0, 1, (3, SIDE, SIDE)) * np.array([3.0, 1.0, 2.0])[:, None, None] + 200
    y, x = np.mgrid[:SIDE, :SIDE]
    for xc, yc in rng.uniform(8, SIDE - 8, (12, 2)):
        flux = 10 ** rng.uniform(2.5, 4.2) * np.exp(rng.normal(0, 0.3, 3))
        for plane, fwhm, light in zip(planes, FWHM, flux, strict=True):
            s2 = (fwhm / 2.3548) ** 2
            r2 = (x - xc) ** 2 + (y - yc) ** 2
            plane += light * np.exp(-r2 / (2 * s2)) / (2 * np.pi * s2)
    return planes


def colour_model(task, *, blind):
    """Give the shipped network for three planes, which see nothing or something of each other."""
    shipped = asr.load_model(NAMES[task])
    net = WienerUNet(planes=3)
    torch.manual_seed(2)
    weights = {k: 0.02 * torch.randn_like(v) for k, v in net.state_dict().items() if "others" in k}
    if blind:
        weights = {k: torch.zeros_like(v) for k, v in weights.items()}
    net.load_state_dict(shipped.net.state_dict() | weights)
    spec = replace(shipped.spec, name="three", channels_in=3, channels_out=3, options={"planes": 3})
    return NetworkModel(spec, net.eval().requires_grad_(False))


@pytest.mark.parametrize("task", VERBS)
def test_planes_that_do_not_see_each_other_are_restored_as_alone(task, image):
    together = VERBS[task](image, model=colour_model(task, blind=True), **PSF)
    alone = VERBS[task](image, model=NAMES[task], **PSF)
    assert np.abs(together - alone).max() < 3e-3


def test_planes_see_each_other(image):
    model = colour_model("denoise", blind=False)
    alone = asr.denoise(image, model="denoise-fast", **PSF)
    assert np.abs(asr.denoise(image, model=model, **PSF) - alone).max() > 0.1


def test_tiles_give_the_whole(image):
    model = colour_model("deconvolve", blind=False)
    whole = asr.deconvolve(image, model=model, **PSF)
    tiled = asr.deconvolve(image, model=model, runtime=asr.Runtime(tile_size=64), **PSF)
    assert np.abs(whole - tiled).max() < 2e-3


def test_a_result_that_is_written_strip_by_strip_is_the_same(image, tmp_path):
    model = colour_model("denoise", blind=False)
    options = {"model": model, "runtime": asr.Runtime(tile_size=64), **PSF}
    kept = asr.denoise(image.astype(np.float32), **options)
    streamed = asr.denoise(image.astype(np.float32), out=tmp_path / "out.fits", **options)
    np.testing.assert_array_equal(np.asarray(streamed.data), kept)


def test_the_order_of_the_planes_does_not_matter(image):
    model = colour_model("denoise", blind=False)
    turned = asr.denoise(image[::-1].copy(), model=model, **PSF)[::-1]
    assert np.abs(turned - asr.denoise(image, model=model, **PSF)).max() < 2e-3


def test_one_plane_may_have_a_psf_that_changes():
    psf = make_moffat_psf(*torch.tensor([3.0, 3.0, 0.1, 0.4])[:, None])[0].numpy()
    plane = Conditions(psf, 3.0, 3.0, 0.1, target_fwhm=2.0)
    places, shape = np.linspace(0, 319, 4), (4, 4)
    nodes = PSFNodes(
        np.tile(psf, (*shape, 1, 1)), places, places, np.full(shape, 3.0), np.full(shape, 0.1)
    )
    model = colour_model("deconvolve", blind=False)
    observed = torch.randn(1, 3, 320, 320, generator=torch.Generator().manual_seed(1))
    even, changing = (
        model.prepare(replace(plane, others=(other, plane)), "cpu", "float32")(
            observed, torch.zeros_like(observed)
        )
        for other in (plane, replace(plane, nodes=nodes))
    )
    assert even.shape == (1, 3, 320 - 2 * model.halo(plane), 320 - 2 * model.halo(plane))
    assert float((even - changing).abs().max()) < 1e-3


@pytest.mark.parametrize("planes", [1, 2])
def test_other_images_are_refused(planes, image):
    with pytest.raises(asr.InputError, match="restores 3 planes of a colour image together"):
        asr.denoise(image[:planes], model=colour_model("denoise", blind=True))


def test_the_luminance_alone_is_refused(image):
    model = colour_model("deconvolve", blind=True)
    with pytest.raises(asr.InputError, match="the luminance alone"):
        asr.deconvolve(image, model=model, luminance_only=True)
