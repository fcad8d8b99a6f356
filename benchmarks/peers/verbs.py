"""The verbs of this package on scenes, as a user calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy.nddata import CCDData
from numpy.typing import NDArray

import astro_sr_plugin as asr
from benchmarks.truth.scene import SCALES, Scene

__all__ = ["VERBS", "enhance", "options_of"]

VERBS: dict[str, Callable[..., Any]] = {
    "denoise": asr.denoise,
    "deconvolve": asr.deconvolve,
    "super-resolve": asr.super_resolve,
    "super-resolve-x4": asr.super_resolve,
}
"""The verb of each task."""

_FINEST_X4 = 4.0  # output pixels; the narrowest target that the verb takes at scale 4


def options_of(scene: Scene, task: str) -> dict[str, Any]:
    """Return what a verb has to be given so that its result can be compared with the truth."""
    options: dict[str, Any] = {}
    if task != "denoise":
        options["target_fwhm"] = scene.target_fwhm(task)
    if SCALES[task] > 1:
        options["scale"] = SCALES[task]
    if SCALES[task] == 4:
        options["target_fwhm"] = max(_FINEST_X4, options["target_fwhm"])
    return options


def enhance(scene: Scene, task: str, **options: Any) -> NDArray[np.floating]:
    """Run the verb for a task on the observation of a scene.

    Parameters
    ----------
    scene : Scene
        Only `observed` is given to the verb, and the wanted FWHM where its model takes one.
    task : str
        A key of `VERBS`.
    **options
        More options of the verb, such as ``model``.

    Returns
    -------
    numpy.ndarray
        The result's data.
    """
    image = CCDData(scene.observed.copy(), unit="adu")
    needed = options_of(scene, task)
    if "model" in options:
        spec = asr.load_model(options["model"], task.removesuffix("-x4"), SCALES[task]).spec
        if not spec.needs_psf:
            needed.pop("target_fwhm", None)
    return np.asarray(VERBS[task](image, **needed | options).data)
