"""PSFs that a user gives."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import CCDData

import astro_sr_plugin
from astro_sr_plugin import measure_psf
from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.restoration.psf import make_given_psf


def ring(centre, shape=(41, 45)):
    y, x = np.indices(shape)
    radius = np.hypot(x - centre[0], y - centre[1])
    # One side is brighter, as behind a tilted lens.
    return np.exp(-0.5 * ((radius - 5.0) / 1.2) ** 2) * (1 + 0.02 * (x - centre[0]))


@pytest.mark.parametrize("centre", [(22, 20), (18, 23)])
def test_a_ring_is_centred_on_its_middle_and_not_on_its_peak(centre):
    image = make_given_psf(ring(centre)).image
    assert image.shape[0] == image.shape[1]
    assert image.shape[0] % 2 == 1
    half = image.shape[0] // 2
    assert image.sum() == pytest.approx(1)
    expected = ring((half, half), image.shape)
    assert image == pytest.approx(expected / expected.sum(), abs=1e-6)


def test_a_star_on_the_edge_of_its_image_is_refused():
    image = np.zeros((9, 9))
    image[0, 4] = 1.0
    with pytest.raises(InputError, match="edge"):
        make_given_psf(image)


@pytest.mark.parametrize("verb", ["denoise", "remove_stars", "deconvolve"])
def test_a_given_psf_is_used_and_recorded(verb):
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:96, :96]
    image = rng.normal(100.0, 2.0, (96, 96))
    for column, row in rng.uniform(12, 84, (12, 2)):
        image += 400.0 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 4.5)
    image = CCDData(image, unit="adu")
    widths = []
    results = []
    for psf in (None, 4.5, measure_psf(image)):
        result = getattr(astro_sr_plugin, verb)(image, psf=psf)
        result = result[0] if verb == "remove_stars" else result
        widths.append(result.meta["ASRFWHMI"])
        results.append(result.data)
    assert widths[1] == pytest.approx(4.5)
    assert widths[2] == pytest.approx(widths[0], rel=0.03)
    assert np.abs(results[1] - results[0]).max() > 5.0
    assert np.abs(results[2] - results[0]).max() < 0.1 * np.abs(results[0]).max()
