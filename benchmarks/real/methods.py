"""The package and other methods on the poorer data of a pair."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from astropy.nddata import CCDData

import astro_sr_plugin as asr
from astro_sr_plugin import AstroSRError, AstroSRWarning
from benchmarks.peers.classical import bm3d_denoise
from benchmarks.peers.verbs import VERBS
from benchmarks.real.comparison import Comparison
from benchmarks.real.matching import Array, gaussian_psf
from benchmarks.real.pairs import Pair

__all__ = ["METHODS", "SkippedError", "compare"]

METHODS = {
    "denoise": ("input", "ours", "wiener", "bm3d", "bm3d at 1.6 sigma"),
    "deconvolve": ("input", "ours", "wiener", "richardson-lucy"),
    "super-resolve": ("input", "bicubic", "ours", "wiener"),
}
"""What is run for each task; all but BM3D are models of one verb, and measure alike."""


class SkippedError(Exception):
    """A method cannot be run here; the message says why."""


def compare(pair: Pair, method: str) -> tuple[Comparison, str]:
    """Run a method on the poorer data of a pair.

    Parameters
    ----------
    pair : Pair
        The observations.
    method : str
        One of `METHODS` of the pair's task.

    Returns
    -------
    comparison : Comparison
        The result with the better data.
    note : str
        What the package warned of.

    Raises
    ------
    SkippedError
        If the method cannot be run.
    """
    if method == "input":
        repeated = pair.poorer.repeat(pair.scale, axis=0).repeat(pair.scale, axis=1)
        return _as_it_is(pair, repeated), ""
    if method.startswith("bm3d"):
        level = 1.6 if "1.6" in method else 1.0
        return Comparison(pair, _bm3d(pair, level), pair.poorer_psf), ""
    model = None if method == "ours" else method
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result, target = _enhanced(pair, model)
    told = [str(w.message) for w in caught if issubclass(w.category, AstroSRWarning)]
    note = "; ".join(dict.fromkeys(told))
    if method == "bicubic":
        return _as_it_is(pair, result), note
    psf = pair.poorer_psf if target is None else gaussian_psf(target)
    return Comparison(pair, result, psf), note


def _as_it_is(pair: Pair, image: Array) -> Comparison:
    """Compare an image that was not sharpened with what a sharpened one is compared with."""
    if pair.task == "denoise":
        return Comparison(pair, image, pair.poorer_psf)
    _, target = _enhanced(pair, "wiener")
    return Comparison(pair, image, None, claimed=gaussian_psf(target or 2.0))


def _enhanced(pair: Pair, model: str | None) -> tuple[Array, float | None]:
    """Return the compared plane of a verb's result, and its FWHM if it was sharpened."""
    options: dict[str, Any] = {"model": model}
    if pair.given_psf is not None:
        options["psf"] = pair.given_psf
    try:
        result = VERBS[pair.task](CCDData(pair.image, unit="adu"), **options)
    except AstroSRError as error:
        raise SkippedError(str(error)) from error
    data = np.asarray(result.data, np.float64)
    data = data if pair.plane is None else data[pair.plane]
    # Pixels that were not finite come back so.
    data = np.where(np.isfinite(data), data, np.median(pair.poorer))
    return data, None if pair.task == "denoise" else float(result.meta["ASRFWHMO"])


def _bm3d(pair: Pair, level: float) -> Array:
    """Return BM3D of the plane, with the noise and gain that the package measures."""
    if find_spec("bm3d") is None:
        msg = "the bm3d package (non-commercial licence) is not installed"
        raise SkippedError(msg)
    quality = asr.measure(pair.poorer)
    sky, gain = quality.background[0], quality.gain[0]
    image = pair.poorer - sky
    if gain is None:
        from bm3d import bm3d

        return np.asarray(bm3d(image, sigma_psd=level * pair.sigma)).squeeze() + sky
    poisson, sigma = level**2 / gain, level * pair.sigma
    return bm3d_denoise(image, image, poisson, sigma, correlated=False) + sky
