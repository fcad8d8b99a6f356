from __future__ import annotations

import math

import galsim
import numpy as np
import pytest
import torch

from astro_sr_plugin.simulation import ObservationConfig, SceneConfig, make_scene, observe
from astro_sr_plugin.simulation.detector import add_noise, make_registrations, saturate
from astro_sr_plugin.simulation.optics import (
    add_spikes,
    gaussian_transfer,
    make_moffat,
    pixel_transfer,
    to_transfer,
)
from astro_sr_plugin.simulation.scene import power_law_field, star_spectrum

SIZE = 64
TASKS = ("denoise", "deconvolve", "super-resolve")


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


def numbers(*values):
    return [torch.tensor([v]) for v in values]


def render_star(x, y, fwhm, beta, ellipticity=0.0, theta=0.0):
    spectrum = star_spectrum(*numbers(x, y, 1000.0), 2 * SIZE)
    psf = make_moffat(2 * SIZE, *numbers(fwhm, beta, ellipticity, theta))
    spectrum = spectrum * to_transfer(psf) * pixel_transfer(2 * SIZE, torch.device("cpu"))
    f = torch.fft.fftfreq(2 * SIZE)[:, None] + torch.fft.rfftfreq(2 * SIZE)[None, :]
    shift = torch.polar(torch.ones_like(f), math.pi * f)
    return torch.fft.irfft2(spectrum * shift, s=(2 * SIZE, 2 * SIZE))[0, ::2, ::2].numpy()


@pytest.mark.parametrize(("fwhm", "beta"), [(2.0, 3.0), (3.5, 2.5), (5.0, 4.5)])
@pytest.mark.parametrize("ellipticity", [0.0, 0.25])
def test_stars_agree_with_galsim(fwhm, beta, ellipticity):
    x, y, theta = 30.3, 33.8, 0.6
    ours = render_star(x, y, fwhm, beta, ellipticity, theta)
    star = galsim.Moffat(beta=beta, fwhm=fwhm, flux=1000.0)
    star = star.shear(q=1 - ellipticity, beta=theta * galsim.radians)
    image = galsim.ImageD(SIZE, SIZE, scale=1.0)
    star.drawImage(image, center=galsim.PositionD(x + 1, y + 1))
    assert np.abs(ours - image.array).max() < 0.01 * image.array.max()
    assert ours.sum() == pytest.approx(1000.0, rel=1e-4)


def test_power_law_has_its_slope():
    field = power_law_field(256, 3.0, rng()).numpy()
    power = np.abs(np.fft.rfft2(field)) ** 2
    k = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.rfftfreq(256)[None, :])
    low, high = (power[(k > a) & (k < 1.2 * a)].mean() for a in (0.03, 0.24))
    assert np.log(low / high) / np.log(8) == pytest.approx(3.0, abs=0.3)
    assert field.std() == pytest.approx(1, abs=1e-3)


def test_spikes_keep_the_sum():
    psf = make_moffat(128, *numbers(3.0, 3.0, 0.0, 0.0))
    spiked = add_spikes(psf, *numbers(0.05), 4, *numbers(0.3, 0.6))
    assert float(spiked.sum()) == pytest.approx(1, abs=1e-5)
    assert float((spiked - psf).abs().sum()) > 0.02


def test_registered_noise_has_unit_sigma_and_the_stated_correlation():
    made = make_registrations(12, 128, 2, rng())
    for k in range(12):
        blank = torch.zeros(24, 128, 128)
        noise = add_noise(blank, torch.ones(24), made.noise[k], rng(k + 50)).numpy()
        assert noise.std() == pytest.approx(1.0, abs=0.01)
        lag_x = (noise[:, :, 1:] * noise[:, :, :-1]).mean()
        lag_y = (noise[:, 1:] * noise[:, :-1]).mean()
        assert (lag_x + lag_y) / 2 == pytest.approx(float(made.correlation[k]), abs=0.02)
        assert abs(complex(made.signal[k, 0, 0]) - 1) < 1e-5


def test_registration_widens_the_psf_by_the_stated_variance():
    size = 128
    made = make_registrations(24, size, 2, rng(3))
    # The curvature of a transfer function at its middle is the variance of its kernel.
    step = 2 * math.pi * 2 / (2 * size)
    along_y, along_x = made.signal[:, 1, 0].abs(), made.signal[:, 0, 1].abs()
    measured = (2 - along_y - along_x) / step**2
    assert measured.tolist() == pytest.approx(made.variance.tolist(), abs=0.02)


def test_bright_pixels_have_the_noise_of_their_light():
    image = torch.full((4, 128, 128), 50.0)
    noisy = add_noise(image, torch.full((4,), 2.0), None, rng())
    assert float((noisy - image).var()) == pytest.approx(1 + 50 / 2, rel=0.03)


def test_saturation_is_marked_and_not_exceeded():
    image, mask = saturate(torch.tensor([[[1.0, 5.0, 9.0]]]), torch.tensor([5.0]))
    assert image.tolist() == [[[1.0, 5.0, 5.0]]]
    assert mask.tolist() == [[[False, True, True]]]


@pytest.mark.parametrize("task", TASKS)
def test_truth_has_the_light_of_the_observation(task):
    scene = SceneConfig(size=SIZE)
    optics = ObservationConfig(
        task=task, saturation_probability=0.0, hot_pixel_probability=0.0, quantise_probability=0.0
    )
    spectra = torch.stack([make_scene(scene, rng(k)) for k in range(8)])
    seen = observe(spectra, optics, rng(9))
    scale = 2 if task == "super-resolve" else 1
    assert seen.truth.shape == (8, 1, SIZE * scale, SIZE * scale)
    missing = seen.observed.mean((1, 2, 3)) - seen.truth.mean((1, 2, 3))
    noise = 4 * (1 + seen.truth.mean((1, 2, 3)).clamp_min(0) / 0.3).sqrt() * 4 / SIZE
    assert (missing.abs() < noise + 2e-3 * seen.truth.mean((1, 2, 3)).abs()).all()


def test_fine_truth_lies_on_the_grid_of_half_pixels():
    spectrum = star_spectrum(*numbers(20.25, 31.75, 1e4), 2 * SIZE)[None]
    truth = torch.fft.irfft2(spectrum * gaussian_transfer(2 * SIZE, torch.tensor([1.5])))[0]
    y, x = np.unravel_index(int(truth.argmax()), truth.shape)
    assert ((x + 0.5) / 2 - 0.5, (y + 0.5) / 2 - 0.5) == (20.25, 31.75)
    assert float(truth.sum()) / 4 == pytest.approx(1e4, rel=1e-4)


def test_the_seed_decides_everything():
    scene, optics = SceneConfig(size=32), ObservationConfig()
    first, again, other = (
        observe(make_scene(scene, rng(seed))[None], optics, rng(seed)).observed
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_textures_serve_as_nebulae():
    texture = torch.rand(200, 200, generator=rng())
    config = SceneConfig(
        size=32, nebula_probability=1.0, galaxy_probability=0.0, textures=(texture,)
    )
    for seed in range(6):
        assert torch.isfinite(make_scene(config, rng(seed)).abs()).all()


def test_beyond_the_edges_of_a_frame_a_patch_is_its_mirror_image():
    scene, optics = SceneConfig(size=SIZE), ObservationConfig(edge_probability=1.0)
    spectra = torch.stack([make_scene(scene, rng(seed)) for seed in range(24)])
    seen = observe(spectra, optics, rng(5))
    plain = observe(spectra, ObservationConfig(), rng(5))
    kinds = set()
    for observed, mask, recorded in zip(seen.observed, seen.mask, plain.observed, strict=True):
        inside = mask[0] >= 0
        assert torch.equal(observed[0][inside], recorded[0][inside])
        rows, columns = inside.any(1), inside.any(0)
        kinds.add((bool(rows.all()), bool(columns.all())))
        assert torch.equal(inside, rows[:, None] & columns[None, :])
        for axis, kept in enumerate((rows, columns)):
            if kept.all():
                continue
            assert int(kept.sum()) == SIZE // 2 + 1
            first = next(i for i in range(SIZE) if kept[i] and not kept[i - 1])
            for step in range(1, SIZE // 2):
                beyond, within = ((first + way) % SIZE for way in (-step, step))
                assert torch.equal(
                    observed[0].select(axis, beyond), observed[0].select(axis, within)
                )
    assert kinds == {(True, False), (False, True), (False, False)}
    assert torch.equal(seen.truth, plain.truth)
