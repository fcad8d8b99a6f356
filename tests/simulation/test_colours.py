"""Skies of several planes."""

from __future__ import annotations

import torch

from astro_sr_plugin.simulation import (
    ObservationConfig,
    SceneConfig,
    make_planes,
    make_scene,
    observe,
)

SKY = SceneConfig(size=72, galaxy_probability=0, nebula_probability=0, dark_probability=0)
PLANES = 3


def rng(seed):
    return torch.Generator().manual_seed(seed)


def images_of(spectra):
    return torch.fft.irfft2(spectra, s=(144, 144))


def test_one_plane_is_the_usual_sky():
    assert torch.equal(make_planes(SKY, 1, rng(3))[0], make_scene(SKY, rng(3)))


def test_planes_show_one_field_in_different_colours():
    alike = 0
    for seed in range(12):
        planes = images_of(make_planes(SKY, PLANES, rng(seed)).sum(1))
        light = planes.sum((1, 2))
        assert float(light.min()) > 0
        # Smoothed, as planes are shifted by parts of a pixel.
        coarse = torch.nn.functional.avg_pool2d(planes[None], 8)[0].flatten(1)
        alike += float(torch.corrcoef(torch.asinh(coarse))[0, 1]) > 0.6
    assert alike >= 9


def test_planes_share_target_and_most_of_their_optics():
    config = ObservationConfig(task="deconvolve", planes=PLANES, fwhm_error=(1e-4, 1e-4))
    draw, spread = rng(4), []
    for _ in range(6):
        sky = torch.cat([make_planes(SKY, PLANES, draw) for _ in range(2)])
        seen = observe(sky, config, draw)
        assert seen.observed.shape == (6, 1, 72, 72)
        target, fwhm = seen.target_fwhm.view(2, PLANES), seen.fwhm.view(2, PLANES)
        assert bool((target == target[:, :1]).all())
        assert bool((target[:, 0] >= fwhm.amax(1) / 2 - 0.01).all())
        spread += (fwhm.amax(1) / fwhm.amin(1)).tolist()
    assert sorted(spread)[len(spread) // 2] < 1.4


def test_planes_end_at_one_edge():
    config = ObservationConfig(
        task="denoise", planes=PLANES, edge_probability=1.0, missing_probability=1.0
    )
    draw = rng(6)
    mask = observe(make_planes(SKY, PLANES, draw), config, draw).mask[:, 0]
    assert bool((mask < 0).any())
    assert torch.equal(mask[0] < 0, mask[1] < 0)
    assert torch.equal(mask[0] < 0, mask[2] < 0)


def test_planes_may_share_noise_and_be_copies():
    config = ObservationConfig(
        task="denoise",
        planes=PLANES,
        correlated_probability=0,
        quantise_probability=0,
        hole_probability=0,
    )
    draw, related, copies = rng(8), [], 0
    for _ in range(16):
        seen = observe(make_planes(SKY, PLANES, draw), config, draw)
        noise = (seen.observed - seen.truth)[:, 0].flatten(1)
        for a, b in ((0, 1), (0, 2), (1, 2)):
            if torch.equal(seen.observed[a], seen.observed[b]):
                copies += 1
                assert torch.equal(seen.truth[a], seen.truth[b])
                assert seen.fwhm[a] == seen.fwhm[b]
            else:
                related.append(float(torch.corrcoef(noise[[a, b]])[0, 1]))
    assert 1 <= copies <= 12
    assert sum(r > 0.1 for r in related) > len(related) // 5
    assert sum(abs(r) < 0.1 for r in related) > len(related) // 5
