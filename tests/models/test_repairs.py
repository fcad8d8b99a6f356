"""Repairs of faults of the trained networks: dark pits, ringing and the pattern of cells."""

from __future__ import annotations

import pytest
import torch

from astro_sr_plugin.models.filters import highest_around
from astro_sr_plugin.models.wiener_unet.repairs import (
    REPAIR_RADIUS,
    fill_dark_pits,
    remove_cell_pattern,
    remove_ringing,
)


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
    assert torch.equal(fill_dark_pits(result, observed, scale), result)


@pytest.mark.parametrize("scale", [1, 2])
def test_two_stars_with_a_gap_stay(scale):
    observed = blob(40, [(20, 18), (20, 22)], 1.6, 3000.0)
    places = [(20 * scale, 18 * scale), (20 * scale, 22 * scale)]
    result = scale**2 * blob(40 * scale, places, 0.8, 3000.0)
    assert torch.equal(fill_dark_pits(result, observed, scale), result)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_pit_in_the_sky_is_filled(scale):
    observed = torch.zeros(1, 1, 40, 40)
    result = enlarged(observed, scale).clone()
    result[0, 0, 20 * scale, 20 * scale] = -30.0
    assert fill_dark_pits(result, observed, scale).min() > -1.0


def test_ringing_of_the_sky_is_removed_and_stars_stay():
    stars = blob(60, [(20, 20)], 0.85, 30.0) + blob(60, [(40, 40)], 0.85, 5000.0)
    assert torch.allclose(
        remove_ringing(stars)[..., 16:25, 16:25], stars[..., 16:25, 16:25], atol=0.3
    )
    assert remove_ringing(stars).sum() == pytest.approx(float(stars.sum()), rel=2e-3)
    rows = torch.arange(60)
    ripple = (1.0 - 2.0 * (rows % 2))[:, None] * torch.ones(60)
    left = remove_ringing(ripple[None, None])[0, 0, 5:-5, 5:-5]
    assert left.abs().max() < 0.2
    # No star of the target PSF shows more of it beside light so faint.
    assert remove_ringing(100 * ripple[None, None])[..., 5:-5, 5:-5].abs().max() < 1.0
    bright = stars[..., 35:46, 35:46]
    assert torch.allclose(remove_ringing(stars)[..., 35:46, 35:46], bright, atol=0.6, rtol=1e-4)


def repaired(result, observed, scale):
    return remove_ringing(fill_dark_pits(result, observed, scale))


@pytest.mark.parametrize("scale", [1, 2])
def test_the_repairs_reach_no_farther_than_they_say(scale):
    side, edge = 48, REPAIR_RADIUS
    rng = torch.manual_seed(2)
    observed = torch.randn(1, 1, side, side, generator=rng)
    result = 8 * torch.randn(1, 1, side * scale, side * scale, generator=rng)
    whole = repaired(result, observed, scale)[..., edge * scale : -edge * scale, :]
    part = repaired(result[..., scale * 8 :, :], observed[..., 8:, :], scale)
    assert (whole != result[..., edge * scale : -edge * scale, :]).any()
    assert torch.equal(part[..., edge * scale : -edge * scale, :], whole[..., 8 * scale :, :])


@pytest.mark.parametrize("scale", [1, 2])
def test_a_pattern_of_the_cells_is_subtracted_and_stars_and_slopes_stay(scale):
    side = 120 * scale
    v, u = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    slope = (0.5 / scale * v - 0.3 / scale * u)[None, None].float()
    star = scale**2 * blob(side, [(60 * scale, 61 * scale)], 0.9 * scale, 3000.0)
    cell = 2 * scale
    pattern = (0.3 * torch.randn(cell, cell, generator=torch.manual_seed(1))).tile(side, side)
    pattern = (pattern - pattern.mean())[None, None, :side, :side]
    cleaned = remove_cell_pattern(slope + star + pattern, scale)
    wrong = (cleaned - slope - star)[..., 16:-16, 16:-16]
    assert wrong.std() < 0.25 * pattern.std()
    assert wrong.abs().max() < 0.3
    untouched = remove_cell_pattern(slope + star, scale) - slope - star
    assert untouched[..., 16:-16, 16:-16].abs().max() < 0.1


@pytest.mark.parametrize("side", [1, 3, 7, 13])
def test_the_highest_around_is_a_maximum_filter(side: int) -> None:
    image = torch.randn(2, 1, 30, 41, generator=torch.Generator().manual_seed(side))
    pooled = torch.nn.functional.max_pool2d(image, side, 1, side // 2)
    assert torch.equal(highest_around(image, side), pooled)
