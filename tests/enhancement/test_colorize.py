"""Synthetic colours: the light stays, whatever the network returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin.cli import main
from astro_sr_plugin.exceptions import InputError, ModelError
from astro_sr_plugin.models.colorizer import Colorizer, colour_ratios
from astro_sr_plugin.restoration.colours import colour_planes
from astro_sr_plugin.training.pictures.config import PictureConfig
from astro_sr_plugin.training.pictures.evaluate import evaluate_pictures, export_picture_model
from astro_sr_plugin.training.pictures.losses import ColourDifferenceLoss
from astro_sr_plugin.training.pictures.trainer import train_pictures

CONFIG = PictureConfig(
    name="tiny",
    task="colorize",
    network="Colorizer",
    batch_size=2,
    patch=32,
    border=4,
    architecture={"widths": [4, 6]},
    stages=(
        {"steps": 1, "warmup": 0},
        {"steps": 2, "warmup": 0, "adversarial": 0.01},
    ),
)


@pytest.fixture(scope="module")
def image():
    """A bright blob and a star on a noisy sky with negative pixels."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:120, :110]
    light = 400 * np.exp(-((y - 70) ** 2 + (x - 50) ** 2) / 300)
    light += 4000 * np.exp(-((y - 30) ** 2 + (x - 80) ** 2) / 4)
    return (light + rng.normal(3.0, 5.0, light.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network of strong random colours."""
    folder = tmp_path_factory.mktemp("weights")
    path = train_pictures(CONFIG.with_steps(1), folder)
    saved = torch.load(path, weights_only=True)
    generator = torch.Generator().manual_seed(1)
    for name in ("last.weight", "last.bias"):
        shape = saved["mean"][name].shape
        saved["mean"][name] = 6 * torch.randn(shape, generator=generator)
    torch.save(saved, path)
    return export_picture_model(CONFIG.with_steps(1), folder, folder)


def test_the_mean_of_the_planes_is_the_image(image, weights):
    before = image.copy()
    colours = asr.colorize(image, model=weights)
    assert colours.shape == (3, *image.shape)
    assert colours.dtype == np.float32
    error = np.abs(colours.astype(np.float64).mean(0) - image)
    assert (error <= 4 * np.spacing(np.abs(image))).all()
    assert np.abs(colours - image).max() > 100, "colours were made"
    assert (colours[:, image < 0] == image[image < 0]).all(), "below the sky all is gray"
    assert (colours[:, image >= 0] >= 0).all()
    np.testing.assert_array_equal(image, before)


def test_the_noise_of_the_sky_stays_nearly_gray(image, weights):
    colours = asr.colorize(image, model=weights)
    sky = (slice(None), slice(95, 120), slice(85, 110))
    noise = (colours - image)[sky].std() / image[sky[1:]].std()
    assert noise < 0.6
    assert (asr.colorize(image, model=weights, saturation=0.0) == image).all()


def test_what_has_no_data_comes_back_and_the_header_says_what_the_colours_are(image, weights):
    pixels = image.copy()
    pixels[10, 10] = np.nan
    mask = np.zeros(image.shape, bool)
    mask[40:44, 40:44] = True
    colours = asr.colorize(CCDData(pixels, unit="adu", mask=mask), model=weights)
    assert np.isnan(colours.data[:, 10, 10]).all()
    assert (colours.data[:, mask] == image[mask]).all()
    assert colours.mask.shape == colours.shape
    assert colours.unit == "adu"
    assert colours.meta["ASRSYNCO"] is True
    assert colours.meta["ASRSTRK"] > 0
    assert "synthetic" in str(colours.meta["HISTORY"])


def test_tiles_and_files_give_the_same(image, weights, tmp_path):
    whole = asr.colorize(image, model=weights)
    tiles = asr.colorize(image, model=weights, runtime=asr.Runtime(tile_size=32))
    np.testing.assert_allclose(tiles, whole, atol=1e-3)
    written = asr.colorize(CCDData(image, unit=""), model=weights, out=tmp_path / "out.fits")
    np.testing.assert_array_equal(written.data, whole)


def test_the_command_writes_three_planes(image, weights, tmp_path):
    source, target = tmp_path / "in.fits", tmp_path / "out.fits"
    asr.write_image(CCDData(image, unit=""), source)
    words = ["colorize", str(source), "-o", str(target)]
    assert main([*words, "--model", str(weights), "--quiet"]) == 0
    assert asr.read_image(target).shape == (3, *image.shape)


def test_the_shipped_network_is_pale_and_keeps_the_light_and_the_sky(image):
    colours = asr.colorize(CCDData(image, unit="adu"))
    assert colours.meta["ASRMODEL"] == "colorize-unet"
    mean = colours.data.astype(np.float64).mean(0)
    assert (np.abs(mean - image) <= 4 * np.spacing(np.abs(image))).all()
    bright = image > 100
    chroma = np.ptp(colours.data, axis=0)[bright] / image[bright]
    assert 0.01 < np.median(chroma) < 0.6
    sky = (colours.data - image)[:, 95:, 85:]
    assert np.abs(sky.mean((1, 2))).max() < 0.5


def test_what_is_no_gray_image_or_no_network_for_colours_is_refused(image, weights):
    with pytest.raises(InputError, match="several planes"):
        asr.colorize(np.stack([image] * 3), model=weights)
    with pytest.raises(InputError, match="saturation"):
        asr.colorize(image, model=weights, saturation=-1)
    with pytest.raises(ModelError, match="denoise"):
        asr.colorize(image, model="denoise-fast")
    with pytest.raises(ModelError, match="colorize"):
        asr.denoise(image, model=weights)


def test_light_is_shared_out_in_the_given_ratios():
    gray = np.array([[110.0, -5.0, 1e6, np.nan]])
    ratios = np.array([2.0, 0.7, 0.3])[:, None, None] * np.ones((3, 1, 4))
    planes = colour_planes(gray, ratios, 10.0, 1.0)
    assert planes[0, 0, 0] == pytest.approx(110 + 100 * 1e4 / (1e4 + 1))
    assert (planes[:, 0, 1] == -5).all()
    np.testing.assert_allclose(planes[:, 0, 2] / 1e6, [2.0, 0.7, 0.3], rtol=1e-4)
    assert np.isnan(planes[:, 0, 3]).all()
    assert (colour_planes(gray, ratios, -50.0, 1.0)[:, 0, 1] == -5).all()


def test_a_fresh_network_is_gray_and_looks_no_further_than_its_halo():
    torch.manual_seed(1)
    net = Colorizer((4, 6, 8))
    picture = torch.rand(1, 1, 96, 96)
    assert (colour_ratios(net(picture)) == 1).all()
    for parameter in net.last.parameters():
        torch.nn.init.normal_(parameter)
    moved = picture.clone()
    moved[..., 48, 48] += 1
    rows = torch.nonzero((net(moved) - net(picture)).abs().amax((0, 1, 3))).flatten()
    assert 48 - net.halo <= int(rows[0])
    assert int(rows[-1]) <= 48 + net.halo
    with pytest.raises(ValueError, match="scale"):
        Colorizer(scale=2)


def test_a_cautious_network_returns_paler_colours_than_it_learns():
    torch.manual_seed(2)
    net, picture = Colorizer((4, 6), dropout=0.5, strength=0.5), torch.rand(1, 1, 32, 32)
    for parameter in net.last.parameters():
        torch.nn.init.normal_(parameter)
    whole = Colorizer((4, 6)).eval()
    whole.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(picture), 0.5 * whole(picture))
    assert not torch.equal(net.train()(picture), whole(picture)), "planes are left out"


def test_the_loss_of_colours_is_least_at_the_median():
    hues = torch.tensor([[0.6, 0.4, 0.4], [0.4, 0.4, 0.6], [0.45, 0.45, 0.45]])[:, :, None, None]
    loss = ColourDifferenceLoss()
    shown = [hues[k : k + 1].expand(3, -1, -1, -1) for k in range(3)]
    losses = [float(loss(one, hues)) for one in shown]
    assert losses[2] < min(losses[:2]), "gray, where red is as likely as blue"


def test_the_discriminator_is_trained_and_kept(tmp_path):
    train_pictures(CONFIG.with_steps(2), tmp_path)
    path = train_pictures(CONFIG, tmp_path)
    saved = torch.load(path, weights_only=True)
    assert saved["step"] == 3
    steps = saved["others"]["discriminator"]["optimizer"]["state"][0]["step"]
    assert int(steps) == 2
    figures = evaluate_pictures(CONFIG, tmp_path, patches=2)
    assert figures["gray_delta_e"] == pytest.approx(0, abs=1e-6), "simulated skies are gray"
    with pytest.raises(InputError, match="does not go with"):
        PictureConfig("a", "denoise", "Colorizer", stages=CONFIG.stages)
