"""Networks of other projects on scenes: as they are usually run, and as the verbs run them."""

from __future__ import annotations

import time
import warnings
from itertools import product
from typing import Any

import numpy as np
import torch
from astropy.nddata import CCDData, block_reduce
from numpy.typing import NDArray

import astro_sr_plugin as asr
from astro_sr_plugin import AstroSRWarning, ExternalModel
from astro_sr_plugin.models.display_stretch import DisplayStretch
from astro_sr_plugin.restoration.generic import LEAST_RANGE
from benchmarks.peers.verbs import VERBS
from benchmarks.truth.scene import Scene

__all__ = ["as_usual", "by_the_verbs", "load_networks", "run_in_tiles", "run_picture"]

_SCALE = 2
"""Output pixels per input pixel at which networks that enlarge are compared: those of scale 4 are
averaged over 2 x 2 pixels."""
_RIM = 16
"""Pixels around a tile that AstroSleuth gives to its networks."""


def load_networks(paths: list[str]) -> dict[str, ExternalModel]:
    """Load networks from files by the names of the files; of several scales that of 2."""
    found = {}
    for path in paths:
        model = asr.load_model(path)
        if model.spec.architecture.startswith("SRCNN"):
            model = asr.load_model(path, "super-resolve", _SCALE)
        assert isinstance(model, ExternalModel)
        found[model.spec.name] = model
    return found


def as_usual(scene: Scene, model: ExternalModel) -> tuple[NDArray[np.float64], float]:
    """Run a network between a stretch and its exact inverse, without anything else.

    Returns
    -------
    image : ndarray
        On the grid of the truth of the task.
    seconds : float
        That it took.
    """
    image, sigma = np.asarray(scene.observed, np.float64), scene.sigma[..., None, None]
    light = (image - scene.background) / sigma
    begun = time.perf_counter()
    restored = _between_stretches(light, model)
    seconds = time.perf_counter() - begun
    restored = _on_truth(restored, model)
    scale = restored.shape[-1] // image.shape[-1]
    return restored * sigma + scene.background_at(scale), seconds


def run_picture(
    image: NDArray[np.float64], sky: float, sigma: float, model: ExternalModel
) -> NDArray[np.float64]:
    """Run a network as usual on an image whose sky and noise are known; on its own grid."""
    return _between_stretches((image - sky) / sigma, model) * sigma + sky


def run_in_tiles(
    image: NDArray[np.float64], sky: float, sigma: float, model: ExternalModel, side: int
) -> NDArray[np.float64]:
    """Run a network as usual in tiles with a rim of 16 pixels, put side by side without blending.

    So AstroSleuth does, with tiles of 256 pixels.
    """
    light, scale, rim = (image - sky) / sigma, model.spec.scale, _RIM
    brightest = max(float(light.max()), LEAST_RANGE)
    padded = np.pad(light, rim, mode="reflect")
    result = np.zeros([scale * n for n in light.shape])
    for top, left in product(*(range(0, n, side) for n in light.shape)):
        tile = padded[top : top + side + 2 * rim, left : left + side + 2 * rim]
        returned = _between_stretches(tile, model, brightest)
        inner = returned[scale * rim : -scale * rim, scale * rim : -scale * rim]
        rows, columns = (slice(scale * n, scale * (n + side)) for n in (top, left))
        result[rows, columns] = inner
    return result * sigma + sky


def _between_stretches(
    light: NDArray[np.float64], model: ExternalModel, brightest: float | None = None
) -> NDArray[np.float64]:
    """Stretch light in noise sigma, run the network on the whole, and undo the stretch."""
    brightest = brightest or max(float(light.max()), LEAST_RANGE)
    stretch = DisplayStretch(brightest, *model.value_range)
    planes = torch.from_numpy(light.astype(np.float32)).reshape(1, -1, *light.shape[-2:])
    picture = stretch(planes)
    channels = model.spec.channels_in
    if picture.shape[1] == channels:
        returned = model(picture)[0]
    else:
        gray = picture.transpose(0, 1).expand(-1, channels, -1, -1)
        returned = torch.cat([model(plane[None])[0].mean(0, keepdim=True) for plane in gray])
    restored = stretch.inverse(returned).numpy().astype(np.float64)
    return restored.reshape(*light.shape[:-2], *restored.shape[-2:])


def by_the_verbs(
    scene: Scene, model: ExternalModel
) -> tuple[NDArray[np.float64], float, dict[str, Any]]:
    """Run a network by the verb for its task.

    Returns
    -------
    image : ndarray
        On the grid of the truth of the task.
    seconds : float
        That it took.
    header : dict
        Of the result.
    """
    options = {"scale": model.spec.scale} if model.spec.scale > 1 else {}
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstroSRWarning)  # of contradictions, which are counted
        result = VERBS[model.spec.task](
            CCDData(scene.observed.copy(), unit="adu"), model=model, **options
        )
    seconds = time.perf_counter() - begun
    image = np.asarray(result.data, np.float64)
    return _on_truth(image, model), seconds, dict(result.header)


def _on_truth(restored: NDArray[np.float64], model: ExternalModel) -> NDArray[np.float64]:
    """Average the pixels of a network of scale 4 to those of scale 2."""
    factor = model.spec.scale // _SCALE
    if factor <= 1:
        return restored
    blocks = (1,) * (restored.ndim - 2) + (factor, factor)
    averaged: NDArray[np.float64] = block_reduce(restored, blocks, np.mean)
    return averaged
