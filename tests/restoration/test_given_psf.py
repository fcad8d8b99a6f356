"""PSFs that a user gives."""

from __future__ import annotations

import numpy as np
import pytest

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
