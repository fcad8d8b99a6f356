"""What spoils simulated images."""

from __future__ import annotations

import torch

from astro_sr_plugin.simulation import SceneConfig
from astro_sr_plugin.simulation.detector import count_photons
from astro_sr_plugin.simulation.faults import (
    add_hot_pixels,
    bleed,
    mirror_beyond_area,
    punch_holes,
    quantise,
)
from astro_sr_plugin.simulation.scene import _dark_cloud

SIZE = 64


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


def test_light_beyond_the_full_well_runs_along_the_column():
    beyond = torch.zeros(2, SIZE, SIZE)
    beyond[0, 30, 20] = 12.0
    beyond[1, 40, 10] = 4.0
    filled = bleed(beyond > 0, beyond)
    images, rows, columns = torch.nonzero(filled).T.tolist()
    assert images == [0] * 13 + [1] * 5
    assert columns == [20] * 13 + [10] * 5
    assert rows == list(range(24, 37)) + list(range(38, 43))


def test_few_photons_have_the_noise_and_the_light_stated():
    electrons = torch.tensor([1.0, 4.0])
    image = torch.full((2, 128, 128), 3.0)
    blank = count_photons(torch.zeros_like(image), electrons, rng())
    lit = count_photons(image, electrons, rng())
    for k, count in enumerate(electrons.tolist()):
        assert abs(float(blank[k].std()) - 1) < 0.03
        assert abs(float(lit[k].mean()) - 3) < 0.05
        steps = blank[k] * count**0.5
        assert torch.allclose(steps, steps.round(), atol=1e-4)


def test_holes_are_filled_from_beside_and_marked():
    image, mask = torch.full((1, SIZE, SIZE), 5.0), torch.zeros(1, SIZE, SIZE)
    filled, marked = punch_holes(image, mask, rng())
    assert 0 < float(marked.mean()) < 0.1
    assert torch.equal(filled[marked == 0], image[marked == 0])
    assert float((filled - 5).abs().max()) < 0.2


def test_an_area_without_data_holds_its_mirror_image():
    image = torch.arange(SIZE * SIZE, dtype=torch.float32).reshape(1, SIZE, SIZE)
    for seed in range(4):
        mirrored, mask = mirror_beyond_area(image, torch.zeros_like(image), rng(seed))
        lost = mask < 0
        assert 0 < float(lost.float().mean()) < 0.5
        assert torch.equal(mirrored[~lost], image[~lost])
        kept = set(image[~lost].tolist())
        assert sum(value in kept for value in mirrored[lost].tolist()) > 0.8 * int(lost.sum())


def test_hot_pixels_steps_and_dark_clouds():
    image = torch.zeros(SIZE, SIZE)
    add_hot_pixels(image, rng())
    assert 0 < int((image != 0).sum()) < 12
    rounded = quantise(torch.tensor([[[0.3, 1.3]]]), torch.tensor([0.5]))
    assert rounded.tolist() == [[[0.5, 1.5]]]
    cloud = _dark_cloud(SceneConfig(size=SIZE), rng())
    assert float(cloud.max()) <= 0
    assert float(cloud.min()) < -0.2
