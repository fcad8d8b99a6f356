"""Running a network over an image as the verbs do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from astro_sr_plugin.inference.predictor import Predictor
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.tiling import reflect_indices
from astro_sr_plugin.models.spec import Conditions


def _in_tiles(model, image, tile_size):
    planes = image[0].numpy()

    def read(y0, y1, x0, x1):
        rows = reflect_indices(y0, y1, planes.shape[-2])
        columns = reflect_indices(x0, x1, planes.shape[-1])
        window = planes[np.ix_(range(len(planes)), rows, columns)]
        return window, np.zeros_like(window)

    conditions = Conditions(np.ones((1, 1), np.float32), 3.0, 3.0, 0.0, 3.0)
    predictor = Predictor(model, conditions, Runtime(device="cpu", tile_size=tile_size))
    strips = [strip for _, strip in predictor.strips(read, planes.shape[-2:])]
    return np.concatenate(strips, axis=1)


@pytest.fixture(scope="session")
def in_tiles():
    """A function that runs a model over one image in tiles of a size."""
    return _in_tiles


@pytest.fixture(scope="session")
def picture():
    """A display image of 0 to 1 with values beyond both, one plane."""
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.normal(0.4, 0.3, (1, 1, 40, 46)).astype(np.float32))
    return F.interpolate(image, size=(61, 67), mode="bicubic")


@pytest.fixture(scope="session")
def colours(picture):
    """The same of three planes."""
    return torch.cat([picture, picture.flip(-1), picture.flip(-2)], 1)
