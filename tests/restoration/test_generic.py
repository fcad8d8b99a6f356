"""Networks for display images on linear planes, with tiny networks whose effect is known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from astropy.nddata import CCDData, block_reduce
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

import astro_sr_plugin as asr
from astro_sr_plugin.exceptions import AstroSRWarning, InputError, ModelError, UnchangedWarning
from astro_sr_plugin.models.display_stretch import DisplayStretch
from astro_sr_plugin.models.external.model import ExternalModel
from astro_sr_plugin.models.filters import make_moffat_psf
from astro_sr_plugin.models.spec import ModelSpec
from astro_sr_plugin.restoration.duration import warn_of_duration
from astro_sr_plugin.restoration.light_lock import LightLock

SKY, NOISE, FWHM, BETA = 300.0, 5.0, 3.2, 3.5
STARS = ((30, 28, 4e3), (28, 80, 4e4), (78, 30, 4e5), (74, 78, 1.5e4))
"""Row, column and flux of isolated stars."""


class Curve(nn.Module):
    """Enlarges by repetition, and bends the tones by a function of single pixels."""

    def __init__(self, bend, scale=1):
        super().__init__()
        self.bend, self.scale = bend, scale

    def forward(self, batch: Tensor) -> Tensor:
        batch = batch.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)
        return self.bend(batch)


class Convolutions(nn.Module):
    """Two convolutions of 3 x 3, the second of which enlarges twice."""

    def __init__(self, channels, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4 * channels, 3, padding=1)

    def forward(self, batch: Tensor) -> Tensor:
        change = nn.functional.pixel_shuffle(self.second(self.first(batch).relu()), 2)
        return nn.functional.interpolate(batch, scale_factor=2, mode="nearest") + 0.05 * change


class Far(nn.Module):
    """Enlarges twice by repetition, and adds light from 40 pixels away; counts what it gets."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.far = nn.Conv2d(1, 1, 3, padding=40, dilation=40)
        self.seen = 0

    def forward(self, batch: Tensor) -> Tensor:
        self.seen += batch[0, 0].numel()
        result = batch + 0.05 * self.far(batch)
        return nn.functional.interpolate(result, scale_factor=2, mode="nearest")


class Windows(nn.Module):
    """Subtracts a part of the mean of each window of 8 x 8 pixels, as attention in windows may."""

    def forward(self, batch: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(batch, 8)
        return batch + 0.1 * nn.functional.interpolate(mean, scale_factor=8, mode="nearest")


def external(module, *, task="super-resolve", scale=1, channels=1, **fields):
    """Return a network as a user's file gives it."""
    window = fields.pop("window", 1)
    parameters = fields.pop("parameters", 100)
    spec = ModelSpec(
        name="tiny",
        task=task,
        description="A network of a test.",
        architecture="tiny",
        scale=scale,
        channels_in=channels,
        channels_out=channels,
        domain="unit",
        needs_psf=False,
        sha256="0" * 64,
        **({"multiple_of": 1} | fields),
    )
    module = module.eval().requires_grad_(False)
    return ExternalModel(spec, module, parameters=parameters, window=window)


def make_image(planes=(1.0,), size=108):
    rng = np.random.default_rng(3)
    light = np.zeros((size, size))
    psf = make_moffat_psf(*torch.tensor([FWHM, BETA, 0.0, 0.0])[:, None])[0].numpy()
    r = len(psf) // 2
    for row, column, flux in STARS:
        padded = np.zeros((size + 2 * r, size + 2 * r))
        padded[row : row + 2 * r + 1, column : column + 2 * r + 1] = flux * psf
        light += padded[r:-r, r:-r]
    image = np.stack([SKY + gain * light + rng.normal(0, NOISE, light.shape) for gain in planes])
    return image if len(planes) > 1 else image[0]


@pytest.fixture(scope="module")
def image():
    return make_image()


def aperture(plane, scale=1):
    """Light of the stars above the sky, in pixels of the input."""
    y, x = (np.indices(plane.shape) + 0.5) / scale - 0.5
    near = [np.hypot(y - row, x - column) < 8 for row, column, _ in STARS]
    return np.array([(plane[place] - SKY).sum() / scale**2 for place in near])


def quiet(verb, image, **options):
    """Run a verb; that the result was mended in some places is no matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnchangedWarning)
        return verb(image, psf=(FWHM, BETA), **options)


def test_the_stretch_comes_back_exactly():
    light = torch.tensor([-900.0, -3.0, 0.0, 1e-3, 2.0, 500.0, 1e5])
    stretch = DisplayStretch(1e5, 0.0, 255.0)
    inside = light.clamp(stretch.darkest, stretch.lightest)
    picture = stretch(inside)
    back = stretch.inverse(picture.double()).float()
    assert torch.allclose(back, inside, rtol=2e-6, atol=2e-6)
    assert picture.min() >= 0
    assert picture.max() == pytest.approx(0.85 * 255)
    assert picture[2] == pytest.approx(0.2 * 255)


def test_a_network_that_does_nothing_changes_nothing(image):
    data = image.copy()
    data[50, 50], data[10, 60:64], data[90, 90] = np.nan, -2e4, -40.0
    result = asr.denoise(data, psf=(FWHM, BETA), model=external(Curve(lambda x: x), task="denoise"))
    here = np.isfinite(data)
    assert np.array_equal(np.isfinite(result), here)
    assert np.abs(result - data)[here].max() < 0.05 * NOISE


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_flux_stays_though_the_tones_are_bent(image, scale):
    task = "deconvolve" if scale == 1 else "super-resolve"
    network = external(Curve(lambda x: x + 0.04 * x * x, scale), scale=scale, task=task)
    options = {"scale": scale} if scale > 1 else {}
    verb = asr.super_resolve if scale > 1 else asr.deconvolve
    result = quiet(verb, CCDData(image, unit="adu"), model=network, **options)
    assert np.allclose(aperture(result.data, scale) / aperture(image), 1, atol=0.02)
    assert result.header["ASRFLUXB"] > 20
    assert abs(result.header["ASRFLUXA"]) < 2


def test_the_light_of_faint_undersampled_stars_comes_back():
    y, x = np.indices((96, 96))
    places = [np.hypot(y - row, x - column) for row in (24, 72) for column in (24, 72)]
    given = 10.0 * sum(np.exp(-(distance**2) / 0.8) for distance in places)
    spread = gaussian_filter(given, 1.5)
    batches = (torch.from_numpy(image).float()[None, None] for image in (given, spread))
    held = LightLock(1.5, 1, "cpu")(*batches)[0, 0].numpy()
    assert held.sum() == pytest.approx(given.sum(), rel=1e-5)
    near = np.min(places, axis=0) < 2
    left, back = (image[near].sum() / given[near].sum() for image in (spread, held))
    assert left < 0.6
    assert back > 0.7


def test_bright_stars_that_a_network_makes_discs_of_keep_their_shape(image):
    discs = external(
        Curve(lambda x: nn.functional.max_pool2d(x, 7, stride=1, padding=3)),
        task="deconvolve",
        halo=3,
    )
    with pytest.warns(UnchangedWarning, match="at 3 places"):
        result = asr.deconvolve(image, psf=(FWHM, BETA), model=discs)
    for row, column, _ in STARS[1:]:
        near = np.s_[row - 4 : row + 5, column - 4 : column + 5]
        assert np.allclose(result[near], image[near], rtol=0.01)
    assert np.allclose(aperture(result) / aperture(image), 1, atol=0.01)


@pytest.mark.filterwarnings("ignore:at 3 places", "ignore:the result does not agree")
def test_light_that_does_not_come_back_is_said(image):
    data = image.copy()
    data[78:90, 20:42] = np.nan
    network = external(Curve(lambda x: 0 * x + 0.2), task="denoise")
    with pytest.warns(UnchangedWarning, match=r"changed the light of the sources by -8 %"):
        asr.denoise(data, psf=(FWHM, BETA), model=network)


def test_the_sky_stays_linear_though_dark_tones_are_lifted():
    rng = np.random.default_rng(4)
    ramp = np.linspace(0, 8 * NOISE, 160)
    image = (SKY + ramp + rng.normal(0, NOISE, (160, 160))).astype(np.float32)
    network = external(Curve(lambda x: x.clamp_min(0.22) + 0.02), task="denoise")
    result = asr.denoise(image, psf=(FWHM, BETA), model=network)
    inner = np.s_[:, 16:-16]
    assert np.abs(result.mean(0) - image.mean(0))[16:-16].max() < 0.5 * NOISE
    slope = np.polyfit(ramp[16:-16], result.mean(0)[16:-16], 1)[0]
    assert slope == pytest.approx(np.polyfit(ramp[16:-16], image.mean(0)[16:-16], 1)[0], abs=0.02)
    assert np.median(result[inner]) == pytest.approx(np.median(image[inner]), abs=0.1 * NOISE)


@pytest.mark.parametrize(
    ("planes", "luminance"), [((1.0,), False), ((1.0, 0.5, 0.25), False), ((1.0, 0.5, 0.25), True)]
)
def test_tiles_give_the_result_of_the_whole(planes, luminance):
    network = external(Convolutions(3), scale=2, channels=3, halo=2)
    data = make_image(planes, 88)
    options = {"model": network, "luminance_only": luminance}
    whole, tiled = (
        quiet(asr.super_resolve, data, runtime=asr.Runtime(tile_size=size), **options)
        for size in (512, 50)
    )
    assert whole.shape == (*data.shape[:-2], 176, 176)
    assert np.abs(whole - tiled).max() < 1e-6 * np.abs(whole).max() + 1e-3 * NOISE


@pytest.mark.parametrize("workflow", [None, "crush"])
def test_a_network_that_looks_far_gets_few_mirrored_pixels(image, workflow):
    network = Far()
    options = {"model": external(network, scale=2, halo=40), "workflow": workflow}
    whole = quiet(asr.super_resolve, image, **options)
    assert network.seen < (1 if workflow is None else 2.5) * 190**2
    tiled = quiet(asr.super_resolve, image, runtime=asr.Runtime(tile_size=50), **options)
    assert np.abs(whole - tiled).max() < 1e-6 * np.abs(whole).max() + 1e-3 * NOISE


def test_tiles_start_at_windows_of_attention(image):
    network = external(Windows(), task="denoise", halo=8, multiple_of=8, window=8)
    whole, tiled = (
        quiet(asr.denoise, image, model=network, runtime=asr.Runtime(tile_size=size))
        for size in (512, 30)
    )
    assert np.abs(whole - tiled).max() < 1e-6 * np.abs(whole).max() + 1e-3 * NOISE


def test_a_colour_network_gets_a_gray_picture_of_one_plane(image):
    seen = []

    def look(batch):
        seen.append(batch)
        return batch

    asr.denoise(image, psf=(FWHM, BETA), model=external(Curve(look), task="denoise", channels=3))
    assert seen[0].shape[1] == 3
    assert torch.equal(seen[0][:, 0], seen[0][:, 1])
    assert torch.equal(seen[0][:, 0], seen[0][:, 2])


def test_colours_stay_though_the_network_shifts_them():
    gains = np.array([1.0, 0.5, 0.25])
    data = make_image(tuple(gains))
    shift = external(
        Curve(lambda x: x * torch.tensor([1.05, 1.0, 0.96])[:, None, None]),
        task="deconvolve",
        channels=3,
    )
    result = quiet(asr.deconvolve, data, model=shift)
    colour = [aperture(plane)[1:] for plane in result]
    for plane, gain in zip(colour, gains, strict=True):
        assert np.allclose(plane / colour[0], gain, rtol=0.05)


def test_luminance_alone():
    gains = (1.0, 0.5, 0.25)
    data = make_image(gains)
    network = external(Curve(lambda x: x + 0.02, 2), scale=2)
    result = asr.super_resolve(
        CCDData(data, unit="adu"), psf=(FWHM, BETA), model=network, luminance_only=True
    )
    assert result.shape == (3, 216, 216)
    for plane, gain in zip(result.data, gains, strict=True):
        assert np.allclose(aperture(plane, 2)[1:] / aperture(data[0])[1:], gain, rtol=0.05)


@pytest.mark.parametrize("scale", [2, 4])
def test_interpolation_keeps_the_light_of_every_plane(scale):
    gains = np.array([1.0, 0.5, 0.25])
    data = make_image(tuple(gains))
    options = {"scale": scale, "model": "bicubic"}
    result = quiet(asr.super_resolve, data, luminance_only=True, **options)
    for plane, gain in zip(result, gains, strict=True):
        flux = gain * np.array([star[2] for star in STARS])
        assert np.allclose(aperture(plane, scale)[1:], flux[1:], rtol=0.03)
    assert np.array_equal(result, quiet(asr.super_resolve, data, **options))


def test_flux_does_not_depend_on_the_scale():
    data = make_image((1.0, 0.5, 0.25))
    small, large = (
        quiet(asr.super_resolve, data, scale=scale, model="wiener", luminance_only=True)
        for scale in (2, 4)
    )
    for planes in zip(small, large, strict=True):
        light = [aperture(plane, scale)[1:] for plane, scale in zip(planes, (2, 4), strict=True)]
        assert np.allclose(light[0] / light[1], 1, atol=0.005)


def test_stars_that_a_network_removes_are_not_put_back(image):
    network = external(Curve(lambda x: x.clamp_max(0.25)), task="remove-stars")
    starless, stars = asr.remove_stars(image, psf=(FWHM, BETA), model=network)
    assert np.allclose(starless + stars, image)
    assert starless.max() < SKY + 20 * NOISE
    assert aperture(stars + SKY)[2] == pytest.approx(aperture(image)[2], rel=0.03)


def test_values_that_are_no_numbers_are_replaced(image):
    def break_some(batch):
        batch = batch.clone()
        batch[..., ::7, ::5] = torch.nan
        return batch

    result = quiet(asr.denoise, image, model=external(Curve(break_some), task="denoise"))
    assert np.isfinite(result).all()


def test_other_planes_are_refused(image):
    with pytest.raises(ModelError, match="takes 2 planes"):
        asr.denoise(image, model=external(Curve(lambda x: x), task="denoise", channels=2))


def test_a_long_job_is_announced():
    slow = external(Curve(lambda x: x), task="denoise", parameters=10**12)
    with pytest.warns(AstroSRWarning, match="weights\\) takes about .* hours"):
        seconds = warn_of_duration(slow, 10**14, 1, asr.Runtime(device="cpu"))
    assert seconds > 120
    assert warn_of_duration(external(Curve(lambda x: x)), 10**6, 1, asr.Runtime()) is None


def test_blocks_of_a_larger_image_keep_the_light(image):
    network = external(Convolutions(1), scale=2, halo=2)
    result = quiet(asr.super_resolve, image, model=network)
    smooth = [gaussian_filter(a, 4) for a in (block_reduce(result, 2, np.mean), image)]
    assert np.abs(smooth[0] - smooth[1]).max() < 0.01 * smooth[1].max()


def test_the_workflow_crush_keeps_the_light_in_tiles_of_any_size(image):
    network = external(Convolutions(1), scale=2, halo=2)
    options = {"model": network, "workflow": "crush:0.5,0.7"}
    whole, tiled = (
        quiet(asr.super_resolve, image, runtime=asr.Runtime(tile_size=size), **options)
        for size in (512, 50)
    )
    assert np.abs(whole - tiled).max() < 1e-6 * np.abs(whole).max() + 1e-3 * NOISE
    assert np.allclose(aperture(whole, 2)[1:] / aperture(image)[1:], 1, atol=0.02)
    plain = quiet(asr.super_resolve, image, model=network)
    assert np.abs(whole - plain).max() > 10 * NOISE


@pytest.mark.parametrize("workflow", ["crash", "crush:a", "crush:1,2,3", "crush:-1"])
def test_other_workflows_are_refused(image, workflow):
    with pytest.raises(InputError, match="workflow"):
        asr.super_resolve(image, model=external(Convolutions(1), scale=2), workflow=workflow)


def test_a_workflow_for_pictures_is_refused_for_other_models(image):
    with pytest.raises(InputError, match="workflow='crush' is for networks for display images"):
        asr.super_resolve(image, model="bicubic", workflow="crush")


def test_a_result_may_go_to_a_file(image, tmp_path):
    network = external(Convolutions(1), scale=2, halo=2)
    result = quiet(asr.super_resolve, CCDData(image, unit="adu"), model=network)
    quiet(asr.super_resolve, CCDData(image, unit="adu"), model=network, out=tmp_path / "a.fits")
    read = asr.read_image(tmp_path / "a.fits")
    assert np.array_equal(read.data, result.data.astype(read.data.dtype))
    for keyword in ("ASRFLUXB", "ASRFLUXA", "ASRSTRK"):
        assert read.header[keyword] == result.header[keyword]
    assert read.header["ASRFLUXB"] != 0
