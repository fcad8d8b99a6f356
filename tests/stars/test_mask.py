"""The star mask against the truth.

Recall is the share of the stars of SNR > 10 whose centre is masked. Precision is the share of the
masked area that lies in a connected part with a true star in it, or where the starlight is above
the noise of one pixel.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.stars.mask import star_mask


def recall_and_precision(mask: NDArray[np.bool_], truth) -> tuple[float, float]:
    ny, nx = mask.shape
    y = np.clip(np.round(truth.y).astype(int), 0, ny - 1)
    x = np.clip(np.round(truth.x).astype(int), 0, nx - 1)
    recall = mask[y, x][truth.snr > 10].mean()
    labels, _ = ndimage.label(mask)
    with_star = np.isin(labels, np.setdiff1d(labels[y, x], 0))
    right = mask & (with_star | (truth.starlight > 1))
    return float(recall), float(right.sum() / max(mask.sum(), 1))


@pytest.mark.parametrize(
    ("fwhm", "options"),
    [
        (1.6, {}),
        (2.2, {}),
        (2.2, {"galaxies": 12}),
        (3.2, {}),
        (3.2, {"galaxies": 12}),
        (3.2, {"giants": 2, "saturation": 3000}),
        (5.0, {"stars": 50}),
        (5.0, {"stars": 50, "galaxies": 8}),
        (8.0, {"stars": 30, "shape": (800, 800)}),
    ],
)
def test_recall_and_precision(scene, fwhm: float, options: dict) -> None:
    truth = scene(11, fwhm, **options)
    mask = star_mask(truth.image)
    assert mask.shape == truth.image.shape
    assert mask.dtype == bool
    recall, precision = recall_and_precision(mask, truth)
    assert recall >= 0.95
    assert precision >= 0.95
    seen = truth.starlight > 1
    assert mask[seen].mean() >= 0.85
    # It covers the stars, not the sky: where there is hardly any starlight, hardly any mask.
    assert mask[truth.starlight < 0.3].mean() < 0.02


def test_galaxies_stay_free(scene) -> None:
    truth = scene(12, 2.5, galaxies=20)
    alone = (truth.galaxies > 3) & (truth.starlight < 0.3)
    assert star_mask(truth.image)[alone].mean() < 0.3


def test_halo_and_spikes(scene) -> None:
    truth = scene(13, 3.0, stars=30, giants=2, saturation=3000)
    full = star_mask(truth.image)
    plain = star_mask(truth.image, halo=False, spikes=False)
    spiky = star_mask(truth.image, halo=False)
    bright = truth.starlight > 5
    assert full[bright].mean() > 0.95
    assert plain.sum() < spiky.sum() <= full.sum()
    assert not (plain & ~full).any()
    assert star_mask(truth.image, radius_factor=2).sum() > 1.5 * full.sum()
    assert full[truth.image >= 2999].all()


def test_colour_is_the_union_of_the_planes(scene) -> None:
    planes = [scene(seed, 2.5, stars=30, shape=(300, 300)).image for seed in (1, 2, 3)]
    union = star_mask(np.stack(planes))
    assert union.shape == (300, 300)
    np.testing.assert_array_equal(union, np.any([star_mask(plane) for plane in planes], axis=0))


def test_masked_and_unusable_pixels(scene) -> None:
    truth = scene(14, 2.5)
    image = truth.image.astype(">f4")
    image[:, :80] = np.nan
    image.setflags(write=False)
    mask = star_mask(image)
    assert not mask[:, :70].any()
    assert mask[:, 80:].any()


def test_no_stars() -> None:
    noise = np.random.default_rng(15).normal(0, 1, (300, 300))
    assert star_mask(noise).mean() < 2e-3
    assert not star_mask(np.full((40, 50), 3.0)).any()


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="nsigma is 0"):
        star_mask(np.ones((9, 9)), nsigma=0)
    with pytest.raises(InputError, match="radius_factor is -1"):
        star_mask(np.ones((9, 9)), radius_factor=-1)
