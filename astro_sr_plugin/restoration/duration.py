"""How long a large network will take, said before it begins."""

from __future__ import annotations

from astro_sr_plugin.exceptions import warn
from astro_sr_plugin.inference.predictor import choose_device
from astro_sr_plugin.inference.runtime import Runtime
from astro_sr_plugin.inference.speed import measure_speed
from astro_sr_plugin.models.external.model import ExternalModel

__all__ = ["warn_of_duration"]

_WORTH_PROBING = 2e12
"""Weights times pixels from which the speed is measured: about 30 s on one core of 2024."""
_LONG = 120.0
"""Seconds from which a job is announced as a long one."""


def warn_of_duration(
    model: ExternalModel, pixels: int, passes: int, runtime: Runtime
) -> float | None:
    """Measure the speed of a network, and warn if the whole image takes more than two minutes.

    Parameters
    ----------
    model : ExternalModel
        The network.
    pixels : int
        Pixels of a plane, with what tiles share.
    passes : int
        Times that the network runs over the image.
    runtime : Runtime
        Where it runs.

    Returns
    -------
    float or None
        Seconds expected; None for networks and images so small that the speed is not measured.
    """
    if model.parameters * pixels * passes < _WORTH_PROBING / 2:
        return None
    seconds = measure_speed(model, runtime) * pixels * passes / 1e6
    if seconds > _LONG:
        device = choose_device(runtime.device)
        warn(
            f"{model.spec.name} ({model.parameters:,} weights) takes about {_words(seconds)} for "
            f"this image on {device}: a GPU (device) or a part of the image is faster"
        )
    return seconds


def _words(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
