"""Images whose noise is none: smoothed, denoised or enlarged by other programs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

import astro_sr_plugin as asr


@pytest.fixture(scope="module")
def field():
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:128, :128]
    data = rng.normal(100, 4, y.shape)
    for cx, cy in rng.uniform(10, 118, (12, 2)):
        data += 900 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 4.5)
    return data


def test_smoothed_images_are_warned_of(field):
    smooth = gaussian_filter(field, 1.5)
    with pytest.warns(asr.AstroSRWarning, match="the noise is smooth"):
        asr.denoise(smooth, model="wiener")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asr.denoise(smooth, model="wiener", force=True)


def test_recorded_and_registered_images_are_not(field):
    registered = np.mean([shift(field, (0.5, k / 4), order=1) for k in range(4)], axis=0)
    for image in (field, registered[4:-4, 4:-4]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asr.denoise(image, model="wiener")
