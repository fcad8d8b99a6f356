"""How fast a model is on this machine."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from astro_sr_plugin.inference.predictor import choose_device
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.models.filters import make_moffat_psf
from astro_sr_plugin.models.spec import Conditions, Model, RestoreTile

__all__ = ["measure_speed"]

_PROBE = 96
"""Least side in pixels of the image that the speed is measured on."""
_FWHM, _BETA = 3.0, 3.0
"""Moffat profile of the stars of that image, in pixels; the speed does not depend on it."""
_REPEATED = 1.0
"""Seconds up to which a run is repeated: the first one allocates memory."""
_REPEATS = 3
"""Times that it is."""


def measure_speed(model: Model, runtime: Runtime) -> float:
    """Measure how long a model takes for a million pixels of the input.

    It runs on a small image of noise; what surrounds a model, such as the measuring of the PSF, and
    the pixels that tiles share are not counted.

    Parameters
    ----------
    model : Model
        From `load_model`.
    runtime : Runtime
        Device and precision.

    Returns
    -------
    float
        Seconds per million pixels of one plane, or of three that the model takes at once.
    """
    numbers = torch.tensor([_FWHM, _BETA, 0.0, 0.0])[:, None]
    conditions = Conditions(
        psf=make_moffat_psf(*numbers)[0].numpy(),
        fwhm=_FWHM,
        beta=_BETA,
        ellipticity=0.0,
        target_fwhm=_FWHM * model.spec.scale,
    )
    planes = model.spec.channels_in
    conditions = replace(conditions, others=(conditions,) * (planes - 1))
    device = choose_device(runtime.device)
    multiple = model.spec.multiple_of
    side = max(_PROBE, 2 * model.halo(conditions) + 1, model.spec.min_size)
    side = math.ceil(side / multiple) * multiple
    image = torch.rand(1, planes, side, side, device=device)
    mask = torch.zeros(1, planes, side, side, device=device)
    with torch.inference_mode():
        restore = model.prepare(conditions, device, runtime.dtype or "float32")
        seconds = _time(restore, image, mask)
        if seconds < _REPEATED:
            seconds = min(_time(restore, image, mask) for _ in range(_REPEATS))
    return seconds / (side**2 / 1e6)


def _time(restore: RestoreTile, image: Tensor, mask: Tensor) -> float:
    start = time.perf_counter()
    # Reading the result waits for the device.
    restore(image, mask).cpu()
    return time.perf_counter() - start
