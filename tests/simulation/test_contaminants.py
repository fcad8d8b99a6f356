"""Simulated contaminants have the shapes that they are named for, and masks of what they spoil."""

from __future__ import annotations

import torch

from astro_sr_plugin.models.contaminant_net import KINDS
from astro_sr_plugin.simulation.contaminants import draw_contaminants

SIZE = 96


def test_masks_hold_the_light_of_all_kinds():
    rng = torch.Generator().manual_seed(4)
    seen = torch.zeros(len(KINDS))
    for _ in range(12):
        drawn = draw_contaminants(SIZE, rng)
        light = (drawn.optical + drawn.electronic).abs()
        masks = drawn.masks(torch.zeros(SIZE, SIZE))
        spoiled = masks.any(0)
        assert masks.shape == (len(KINDS), SIZE, SIZE)
        assert float(light[~spoiled].max()) < 2.5, "faint rims of several kinds at most"
        seen += masks.any((1, 2))
    assert bool((seen > 0).all())


def test_columns_are_straight_and_trails_cross_the_image():
    rng = torch.Generator().manual_seed(5)
    crossed = 0
    for _ in range(12):
        masks = draw_contaminants(SIZE, rng, probability=1.0).masks(torch.zeros(SIZE, SIZE))
        lines = masks[KINDS.index("column")]
        lines = lines if lines.any(1).sum() > lines.any(0).sum() else lines.T
        first = lines.float().argmax(0)
        assert bool((lines.sum(0)[lines.any(0)] > 0).all())
        assert int(lines.any(0).sum()) <= 5
        assert first.max() < SIZE
        trail = masks[KINDS.index("trail")]
        crossed += int(trail.any(0).all() or trail.any(1).all())
    assert crossed > 3


def test_none_are_drawn_with_probability_0():
    drawn = draw_contaminants(SIZE, torch.Generator().manual_seed(6), probability=0.0)
    assert not drawn.kinds.any()
    assert not drawn.optical.any()
    assert not drawn.electronic.any()


def test_a_bright_star_is_not_spoiled_by_what_is_faint_beside_it():
    drawn = draw_contaminants(SIZE, torch.Generator().manual_seed(7), probability=1.0)
    star = torch.zeros(SIZE, SIZE)
    star[40:50, 40:50] = 1e6
    assert not drawn.masks(star)[:, 40:50, 40:50].any()
    dark = drawn.masks(torch.zeros_like(star))
    assert torch.equal(drawn.masks(-star), dark), "nothing below the sky counts"
