"""Figures of one output against the truth of its scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from astro_sr_plugin.metrics import (
    aperture_photometry,
    asinh_psnr_db,
    cross_coherence,
    half_flux_radius,
    invented_and_completeness,
    photometric_bias_scatter,
    star_peak_threshold,
)
from benchmarks.peers.classical import wiener
from benchmarks.peers.matched_filter import clear_peak, found_ratio
from benchmarks.truth.scene import ALL_TASKS, SCALES, Scene, planes_of

__all__ = ["FREQUENCIES", "evaluate_outputs", "input_scatter"]

FREQUENCIES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
"""Cycles per input pixel at which the coherence with the truth at scale 4 is given; 0.5 is the
highest frequency of the input's pixels, 1 of those of scale 2."""

_BRIGHT = 30.0  # least SNR of the stars of the photometry
_RINGS = 32


def evaluate_outputs(scene: Scene, task: str, output: ArrayLike) -> dict[str, float]:
    """Measure an output.

    Parameters
    ----------
    scene : Scene
        What was observed, and the truth.
    task : str
        One of `ALL_TASKS`.
    output : array_like
        In the units of the observation, background included, of the shape of the task's truth.

    Returns
    -------
    dict
        ``db``: -20 log10 of the RMSE of asinh(I / 3 sigma), I less the true background, all
        channels together. ``bias``, ``scatter``, ``stars``: magnitudes of isolated stars of
        SNR >= 30 in apertures of 1.5 target FWHM against the truth image. ``scatter_ratio``: that
        scatter over the one of the same apertures, in FWHM, on the input. ``invented``, ``false``,
        ``completeness``: fractions of the ``detections`` and of the true sources.
        ``clear_invented``, ``clear_false``: the same of detections as bright as stars of 5 sigma of
        a matched filter in the noise as it is, correlated or not. ``found_ratio``: of
        `benchmarks.peers.matched_filter`.
        ``wiener_ratio``: mean square error, not stretched, over that of the Wiener filter with the
        true spectra; NaN beyond scale 1. ``radius_ratio``:
        median half-flux radius of those stars over that on the truth. ``flux_ratio``: sum of
        the output over that of the input, background included as the verbs see it.
        ``excess_ratio``: the same less the true background. Channels are averaged, but for the
        first; bias is the one of largest absolute value. At scale 4 also ``coherence_F`` for each F
        of `FREQUENCIES`: that of asinh(I / 3 sigma) with the truth's.

    Raises
    ------
    ValueError
        If the task is unknown or the shape is not that of the truth.
    """
    if task not in ALL_TASKS:
        msg = f"task {task!r} is not one of {', '.join(ALL_TASKS)}"
        raise ValueError(msg)
    image, truth = np.asarray(output, dtype=np.float64), np.asarray(scene.truth(task), np.float64)
    if image.shape != truth.shape:
        msg = f"output has shape {image.shape}; the truth for {task} has {truth.shape}"
        raise ValueError(msg)
    scale = SCALES[task]
    background = scene.background_at(scale)
    excluded = np.kron(scene.excluded, np.ones((scale, scale), dtype=bool))
    excess, true_excess = scene.excess(image, scale), scene.excess(truth, scale)
    figures = {
        "db": asinh_psnr_db(
            excess, true_excess, sigma=1.0, mask=np.broadcast_to(excluded, image.shape)
        )
    }
    channels = zip(planes_of(excess), planes_of(true_excess), np.atleast_2d(scene.snr), strict=True)
    per_channel = [
        _sources(scene, task, plane, true, snr, excluded, clear_peak(scene, task, channel))
        | {"found_ratio": found_ratio(scene, task, channel, plane, true)}
        for channel, (plane, true, snr) in enumerate(channels)
    ]
    for name in per_channel[0]:
        values = np.array([figure[name] for figure in per_channel])
        good = values[np.isfinite(values)]
        if good.size == 0:
            figures[name] = float("nan")
        elif name == "bias":
            figures[name] = float(good[np.abs(good).argmax()])
        else:
            figures[name] = float(good.mean())
    if scale == 4:
        figures |= _coherence(excess, true_excess, excluded)
    figures["wiener_ratio"] = _over_wiener(scene, task, excess, true_excess, excluded)
    before = input_scatter(scene, task)
    figures["input_scatter"] = before
    figures["scatter_ratio"] = figures["scatter"] / before if before > 0 else float("nan")
    observed = np.asarray(scene.observed, np.float64)
    figures["flux_ratio"] = float(image.sum() / observed.sum() / scale**2)
    figures["excess_ratio"] = float(
        (image - background).sum() / (observed - scene.background).sum() / scale**2
    )
    return figures


def _coherence(
    image: NDArray[np.float64], truth: NDArray[np.float64], excluded: NDArray[np.bool_]
) -> dict[str, float]:
    """Return the coherence of two images at scale 4, in units of the noise, by frequency."""
    curves = []
    for pair in zip(planes_of(image), planes_of(truth), strict=True):
        shown = [np.where(excluded, 0.0, np.arcsinh(plane / 3.0)) for plane in pair]
        frequency, coherence = cross_coherence(*shown, bins=_RINGS)
        curves.append(np.interp(FREQUENCIES, 4 * frequency, coherence))
    means = np.mean(curves, axis=0)
    return {f"coherence_{f:g}": float(c) for f, c in zip(FREQUENCIES, means, strict=True)}


def _sources(
    scene: Scene,
    task: str,
    plane: NDArray[np.float64],
    truth: NDArray[np.float64],
    snr: NDArray[np.float64],
    excluded: NDArray[np.bool_],
    clear: float,
) -> dict[str, float]:
    """Return the figures of stars and detections in one channel, in units of the noise.

    `clear` is the peak of a star of 5 sigma in the noise as it is.
    """
    scale = SCALES[task]
    target = scene.target_fwhm(task)
    points = _bright(scene, task, snr)
    points = (points + 0.5) * scale - 0.5
    figures = {"bias": np.nan, "scatter": np.nan, "stars": 0.0, "radius_ratio": np.nan}
    if len(points):
        score = photometric_bias_scatter(plane, truth, points, target_fwhm=target, mask=excluded)
        figures |= {"bias": score.bias, "scatter": score.scatter, "stars": float(score.stars)}
        used = points[np.isfinite(score.differences)]
        if len(used):
            reach = {"max_radius": 1.5 * target, "annulus": (3.0 * target, 4.5 * target)}
            radii = [half_flux_radius(image, used, **reach) for image in (plane, truth)]  # type: ignore[arg-type]
            ratio = radii[0] / radii[1]
            figures["radius_ratio"] = float(np.nanmedian(ratio)) if len(ratio) else np.nan
    threshold = star_peak_threshold(1.0, scene.fwhm, target, scale=scale)
    found, bright = (
        invented_and_completeness(plane, truth, threshold=limit, target_fwhm=target, mask=excluded)
        for limit in (threshold, clear)
    )
    return figures | {
        "detections": float(found.detections),
        "invented": found.invented,
        "false": found.false,
        "completeness": found.completeness,
        "clear_invented": bright.invented,
        "clear_false": bright.false,
    }


def _over_wiener(
    scene: Scene,
    task: str,
    excess: NDArray[np.float64],
    truth: NDArray[np.float64],
    excluded: NDArray[np.bool_],
) -> float:
    """Return the mean square error of an output over that of the best Wiener filter."""
    if SCALES[task] > 1:
        return float("nan")
    used = ~excluded
    sigma = scene.sigma[..., None, None]
    errors, least = 0.0, 0.0
    for plane, true, observed, clean, psf in zip(
        planes_of(excess),
        planes_of(truth),
        planes_of((scene.observed - scene.background) / sigma),
        planes_of((scene.truth_denoise - scene.background) / sigma),
        planes_of(scene.psf),
        strict=True,
    ):

        def score(image: NDArray[np.float64], true: NDArray[np.float64] = true) -> float:
            return float(np.mean((image - true)[used] ** 2))

        # Denoised, the PSF stays: nothing is taken off it, and nothing put in its place.
        optics = np.ones((1, 1)) if task == "denoise" else psf
        target = 0.0 if task == "denoise" else scene.target_fwhm(task)
        least += score(wiener(observed, clean, true, optics, target, score))
        errors += score(plane)
    return errors / least


def input_scatter(scene: Scene, task: str) -> float:
    """Return the aperture scatter (mag) on the input of the stars that the task is judged by.

    Apertures of 1.5 FWHM of the input against the noise-free input; the mean over the channels.
    """
    scatters = []
    channels = zip(
        # Less the background: the median of an annulus of integers would be an integer.
        planes_of(scene.observed - scene.background),
        planes_of(scene.truth_denoise - scene.background),
        np.atleast_2d(scene.snr),
        strict=True,
    )
    radius = 1.5 * scene.fwhm
    for observed, clean, snr in channels:
        points = _bright(scene, task, snr)
        edge = 3.0 * radius
        side = np.array(observed.shape)[::-1] - 1 - edge
        points = points[((points >= edge) & (points <= side)).all(axis=1)]
        if not len(points):
            continue
        flux, true = (
            aperture_photometry(plane, points, radius=radius, mask=scene.excluded).flux
            for plane in (observed, clean)
        )
        good = np.isfinite(flux) & np.isfinite(true) & (flux > 0) & (true > 0)
        if good.any():
            difference = -2.5 * np.log10(flux[good] / true[good])
            scatters.append(1.4826 * np.median(np.abs(difference - np.median(difference))))
    return float(np.mean(scatters)) if scatters else float("nan")


def _bright(scene: Scene, task: str, snr: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (x, y) of the isolated bright stars whose cores are not excluded."""
    rows, columns = np.round(scene.y).astype(int), np.round(scene.x).astype(int)
    use = scene.isolated(task) & (snr >= _BRIGHT) & ~scene.excluded[rows, columns]
    return np.column_stack([scene.x[use], scene.y[use]])
