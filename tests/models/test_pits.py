"""Where a sharpened image is darker than the data can be, the input stays."""

from __future__ import annotations

import pytest
import torch

from astro_sr_plugin.models.wiener_unet.network import _without_grid, _without_pits, _without_ripple


def blob(side: int, places, width: float, flux: float) -> torch.Tensor:
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    image = torch.zeros(side, side)
    for y, x in places:
        image += torch.exp(-0.5 * ((u - x) ** 2 + (v - y) ** 2) / width**2)
    return (flux * image / (2 * torch.pi * width**2))[None, None]


def enlarged(image: torch.Tensor, scale: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(image, scale_factor=scale, mode="nearest")


@pytest.mark.parametrize("scale", [1, 2])
def test_a_sharp_star_stays(scale):
    observed = blob(40, [(20, 20)], 1.6, 3000.0)
    middle = 20 * scale + (scale - 1) / 2
    result = scale**2 * blob(40 * scale, [(middle, middle)], 0.9, 3000.0)
    assert torch.equal(_without_pits(result, observed, scale), result)


@pytest.mark.parametrize("scale", [1, 2])
def test_two_stars_with_a_gap_stay(scale):
    observed = blob(40, [(20, 18), (20, 22)], 1.6, 3000.0)
    places = [(20 * scale, 18 * scale), (20 * scale, 22 * scale)]
    result = scale**2 * blob(40 * scale, places, 0.8, 3000.0)
    assert torch.equal(_without_pits(result, observed, scale), result)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_hole_in_a_star_is_left_out(scale):
    observed = blob(40, [(20, 20)], 1.6, 3000.0)
    middle = 20 * scale
    result = scale**2 * blob(40 * scale, [(middle, middle)], 1.2, 3000.0)
    result[0, 0, middle, middle] *= 0.2
    mended = _without_pits(result, observed, scale)[0, 0]
    around = mended[middle - 1 : middle + 2, middle - 1 : middle + 2]
    assert mended[middle, middle] > 0.7 * around.mean()
    assert torch.equal(mended[:5], result[0, 0, :5])


@pytest.mark.parametrize("scale", [1, 2])
def test_a_pit_in_the_sky_is_left_out(scale):
    observed = torch.zeros(1, 1, 40, 40)
    result = enlarged(observed, scale).clone()
    result[0, 0, 20 * scale, 20 * scale] = -30.0
    assert _without_pits(result, observed, scale).min() > -1.0


def test_ripple_in_the_sky_is_taken_off_and_stars_stay():
    stars = blob(60, [(20, 20)], 0.85, 30.0) + blob(60, [(40, 40)], 0.85, 5000.0)
    assert torch.allclose(
        _without_ripple(stars)[..., 16:25, 16:25], stars[..., 16:25, 16:25], atol=0.3
    )
    assert _without_ripple(stars).sum() == pytest.approx(float(stars.sum()), rel=2e-3)
    rows = torch.arange(60)
    ripple = (1.0 - 2.0 * (rows % 2))[:, None] * torch.ones(60)
    left = _without_ripple(ripple[None, None])[0, 0, 5:-5, 5:-5]
    assert left.abs().max() < 0.2
    assert torch.equal(_without_ripple(100 * ripple[None, None]), 100 * ripple[None, None])


@pytest.mark.parametrize("scale", [1, 2])
def test_a_pattern_of_cells_is_taken_off_and_nothing_else(scale):
    side = 120 * scale + 3
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    slope = (0.5 / scale * v - 0.3 / scale * u)[None, None].float()
    star = scale**2 * blob(side, [(60 * scale, 61 * scale)], 0.9 * scale, 3000.0)
    cell = 2 * scale
    pattern = (0.3 * torch.randn(cell, cell, generator=torch.manual_seed(1))).tile(side, side)
    pattern = (pattern - pattern.mean())[None, None, :side, :side]
    cleaned = _without_grid(slope + star + pattern, scale)
    wrong = (cleaned - slope - star)[..., 16:-16, 16:-16]
    assert wrong.std() < 0.25 * pattern.std()
    assert wrong.abs().max() < 0.3
    untouched = _without_grid(slope + star, scale) - slope - star
    assert untouched[..., 16:-16, 16:-16].abs().max() < 0.1
