"""The sample image, a real one, with undersampled, saturated and bleeding stars."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np
import pytest

import astro_sr_plugin as asr
from astro_sr_plugin.metrics import aperture_photometry

# Bright but not saturated, and far from others: x, y, and the brightest pixel near it.
STARS = [(612, 569)]


@pytest.fixture(scope="module")
def sample():
    with as_file(files("astro_sr_plugin") / "data/samples/abell671_crop.fits") as path:
        return np.asarray(asr.read_image(path).data, dtype=np.float32)


@pytest.fixture(scope="module")
def quality(sample):
    return asr.measure(sample)


@pytest.mark.parametrize("scale", [1, 2])
def test_bright_stars_keep_their_flux(sample, quality, scale):
    verb = asr.deconvolve if scale == 1 else asr.super_resolve
    result = np.asarray(verb(sample, measured=quality))
    places = np.array(STARS, dtype=float)
    before = aperture_photometry(sample, places, radius=8.0)
    after = aperture_photometry(result, (places + 0.5) * scale - 0.5, radius=8.0 * scale)
    ratio = np.asarray(after.flux) / scale**2 / np.asarray(before.flux)
    assert ratio == pytest.approx(1.0, abs=0.05)
    assert result.mean() == pytest.approx(sample.mean(), rel=1e-5)
