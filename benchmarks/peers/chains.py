"""Chains of verbs, done one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

import astro_sr_plugin as asr

__all__ = ["CHAINS", "STARLESS", "Chain", "run_chain"]

Chain = tuple[tuple[str, dict[str, Any]], ...]

_DENOISE, _DECONVOLVE, _DOUBLE = ("denoise", {}), ("deconvolve", {}), ("super_resolve", {})
_STARS_OUT = ("remove_stars", {})
_FINEST = 2.0  # pixels; the narrowest target that can be sampled


def _denoise(strength: float) -> tuple[str, dict[str, Any]]:
    return ("denoise", {"strength": strength})


CHAINS: dict[str, dict[str, Chain]] = {
    "denoise": {
        "denoise": (_DENOISE,),
        "denoise, denoise": (_DENOISE, _DENOISE),
        "denoise 0.5, denoise": (_denoise(0.5), _DENOISE),
    },
    "deconvolve": {
        "deconvolve": (_DECONVOLVE,),
        "denoise 0.3, deconvolve": (_denoise(0.3), _DECONVOLVE),
        "denoise 0.5, deconvolve": (_denoise(0.5), _DECONVOLVE),
        "denoise 0.8, deconvolve": (_denoise(0.8), _DECONVOLVE),
        "denoise 1, deconvolve": (_DENOISE, _DECONVOLVE),
        "deconvolve, denoise": (_DECONVOLVE, _DENOISE),
        "deconvolve, deconvolve": (("deconvolve", {"half_way": True}), _DECONVOLVE),
    },
    "super-resolve": {
        "super-resolve": (_DOUBLE,),
        "denoise 0.3, super-resolve": (_denoise(0.3), _DOUBLE),
        "denoise 0.5, super-resolve": (_denoise(0.5), _DOUBLE),
        "denoise 1, super-resolve": (_DENOISE, _DOUBLE),
        "deconvolve, super-resolve": (_DECONVOLVE, _DOUBLE),
        "super-resolve, denoise": (_DOUBLE, _DENOISE),
    },
}
"""Chains by the task whose truth they are held against. `half_way` takes half of the way to the
target, so that two steps end where one does."""

STARLESS: dict[str, Chain] = {
    "remove-stars, denoise": (_STARS_OUT, _DENOISE),
    "denoise 0.5, remove-stars": (_denoise(0.5), _STARS_OUT),
    "denoise 1, remove-stars": (_DENOISE, _STARS_OUT),
}
"""Chains that are held against the sky without stars."""


def run_chain(image: Any, chain: Chain, target: float | None = None) -> Any:
    """Do the verbs of a chain one after the other.

    Parameters
    ----------
    image : CCDData or array
        Not changed.
    chain : tuple
        Names of functions of the package and their keywords.
    target : float, optional
        FWHM (pixels of the result) that the sharpening verbs go to; their own choice by default.

    Returns
    -------
    CCDData or ndarray
        The last result; of star removal, the starless image.
    """
    first = asr.measure(image).fwhm
    for verb, given in chain:
        options = {**given, "force": True}
        half_way = options.pop("half_way", False)
        if target is not None and verb in ("deconvolve", "super_resolve"):
            # Before the pixels are doubled, the same width is half as many of them.
            goal = target / 2 if verb == "deconvolve" and _DOUBLE in chain else target
            if half_way:
                goal = float(np.sqrt(goal * np.nanmax(first)))
            options["target_fwhm"] = max(_FINEST, goal)
        result = getattr(asr, verb)(image, **options)
        image = result[0] if isinstance(result, tuple) else result
    return image
