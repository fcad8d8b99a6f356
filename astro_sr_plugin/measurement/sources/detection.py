"""Detection of sources with a matched filter, and the separation of stars from galaxies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import sep
from astropy.stats import gaussian_sigma_to_fwhm
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from astro_sr_plugin.exceptions import InputError
from astro_sr_plugin.measurement.psf.moffat import (
    DEFAULT_FWHM,
    LEAST_CONFIDENCE,
    measure_moffat,
)
from astro_sr_plugin.measurement.psf.profiles import StarProfile
from astro_sr_plugin.measurement.sky.background import Background, measure_background
from astro_sr_plugin.measurement.sky.noise import measure_noise
from astro_sr_plugin.measurement.sky.saturation import find_saturation
from astro_sr_plugin.measurement.sky.unusable import UnusablePixels
from astro_sr_plugin.measurement.sky.windows import Window, check_plane, cut_window
from astro_sr_plugin.measurement.sources.extraction import extract_sources

__all__ = ["STAR_DTYPE", "detect_sources"]

#: Fields of the table that `detect_sources` returns.
STAR_DTYPE = np.dtype(
    [
        ("x", float),
        ("y", float),
        ("flux", float),
        ("peak", float),
        ("snr", float),
        ("fwhm", float),
        ("ellipticity", float),
        ("theta", float),
        ("radius", float),
        ("saturated", bool),
        ("blended", bool),
        ("extended", bool),
    ]
)

_WINDOW = 1536
"""Side in pixels of the windows that are searched one by one."""
_MARGIN = 128
"""Pixels around a window that are looked at too, so that stars at its border are whole."""
_SATURATED_PIXELS = 3
"""Saturated pixels from which a source is a saturated star; fewer may be hot pixels."""
_BLENDING_FWHM = 2.5
"""Observed FWHM in pixels above which a narrower filter looks for stars that the first has
merged."""
_NARROW_FILTER = 0.45
"""Width of that filter over the observed FWHM."""


def detect_sources(
    plane: ArrayLike,
    *,
    fwhm: float | None = None,
    beta: float = 3.5,
    sigma: float | None = None,
    nsigma: float = 5.0,
    mask: ArrayLike | None = None,
    saturation: float | None = None,
    background: Background | None = None,
    contrast: float = 0.0001,
    galaxies: bool = False,
) -> NDArray[Any]:
    """Find the stars of a plane, window by window.

    sep detects on the image filtered with a Gaussian of the width of the stars. Sources that are
    wider than a star of their brightness are taken for galaxies or nebulosity, single sharp
    pixels for hot pixels or cosmic rays; both are left out.

    Parameters
    ----------
    plane : array_like, shape (ny, nx)
        Image in linear units; not-finite pixels are left out.
    fwhm : float, optional
        FWHM of the stars in pixels, above 0; measured if not given.
    beta : float
        Moffat exponent of the stars; replaced by the measured one if `fwhm` is not given.
    sigma : float, optional
        Noise of the sky of one pixel in image units; measured if not given.
    nsigma : float
        Detection threshold, above 0, in standard deviations of the filtered noise: about the
        signal-to-noise ratio of the faintest stars.
    mask : array_like of bool, shape (ny, nx), optional
        True marks pixels to leave out.
    saturation : float, optional
        Pixels from this value up are saturated; looked for if not given.
    background : Background, optional
        Measured sky of the same plane; measured if not given.
    contrast : float
        Fraction 0..1 of the flux that one star of a blend must have to be split off.
    galaxies : bool
        True keeps extended sources in the table, with ``extended`` set.

    Returns
    -------
    numpy.ndarray
        Structured array, brightest first: ``x y`` [pixels, 0-based], ``flux peak`` [image units
        above the sky], ``snr``, ``fwhm`` [pixels, from the second moments], ``ellipticity``,
        ``theta`` [radians], ``radius`` [pixels, of the area above the threshold], ``saturated
        blended extended``.

    Raises
    ------
    InputError
        If the plane is unusable or has no usable pixel, or a number is out of its range.
    """
    data, excluded = check_plane(plane, mask)
    for name, value in (("fwhm", fwhm), ("sigma", sigma), ("nsigma", nsigma)):
        if value is not None and not value > 0:
            msg = f"{name} is {value}, but it must be above 0"
            raise InputError(msg)
    if background is None:
        background = measure_background(data, mask=excluded)
    ratio = 1.0
    if sigma is None or fwhm is None:
        noise = measure_noise(data, mask=excluded, background=background)
        ratio = noise.correlated_sigma_ratio
        if sigma is None:
            sigma = noise.detection_sigma
        if saturation is None:
            saturation = find_saturation(
                data, mask=excluded, level=background.level, rms=background.rms, step=noise.step
            )
        if fwhm is None:
            psf = measure_moffat(
                data, mask=excluded, background=background, noise=noise, saturation=saturation
            )
            usable = np.isfinite(psf.fwhm) and psf.confidence_value > LEAST_CONFIDENCE
            fwhm = psf.fwhm if usable else DEFAULT_FWHM
            beta = psf.beta if usable else beta
    if not np.isfinite(sigma) or sigma <= 0:
        sigma = max(background.rms, 1e-6 * float(abs(background.level)), 1e-30)
    profile = StarProfile(fwhm, beta)
    found = [
        _detect_window(
            data,
            excluded,
            core,
            outer,
            background,
            profile,
            sigma,
            ratio,
            nsigma,
            saturation,
            contrast,
        )
        for core, outer in _tiles(data.shape)
    ]
    stars = _without_duplicates(np.concatenate(found))
    if not galaxies:
        stars = stars[~stars["extended"]]
    return stars[np.argsort(-stars["flux"])]


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[Window, Window]]:
    """Yield windows without overlap, each with the larger one that is looked at."""
    ny, nx = shape
    rows, columns = max(1, round(ny / _WINDOW)), max(1, round(nx / _WINDOW))
    y_edges = np.linspace(0, ny, rows + 1).round().astype(int)
    x_edges = np.linspace(0, nx, columns + 1).round().astype(int)
    for y0, y1 in zip(y_edges[:-1], y_edges[1:], strict=True):
        for x0, x1 in zip(x_edges[:-1], x_edges[1:], strict=True):
            core = Window(int(y0), int(y1), int(x0), int(x1))
            outer = Window(
                max(core.y0 - _MARGIN, 0),
                min(core.y1 + _MARGIN, ny),
                max(core.x0 - _MARGIN, 0),
                min(core.x1 + _MARGIN, nx),
            )
            yield core, outer


def _detect_window(
    data: NDArray[Any],
    excluded: UnusablePixels,
    core: Window,
    outer: Window,
    background: Background,
    profile: StarProfile,
    sigma: float,
    ratio: float,
    nsigma: float,
    saturation: float | None,
    contrast: float,
) -> NDArray[Any]:
    raw, bad = cut_window(data, excluded, outer)
    saturated = np.zeros_like(bad) if saturation is None else (raw >= saturation) & ~bad
    values = (raw - background.level_at(*outer)) / np.float32(sigma)
    values[bad] = 0
    # Structure larger than the stars is taken away; where it is strong, more is asked.
    mesh = int(np.clip(12 * profile.observed, 32, 128))
    local = sep.Background(values, mask=bad, bw=mesh, bh=mesh, fw=3, fh=3)
    detected = values - local.back()
    detected[bad] = 0
    scale = nsigma * ratio * np.maximum(local.rms() / np.float32(1.25), 1)
    kernel = profile.kernel()
    threshold = (scale * np.sqrt((kernel**2).sum())).astype(np.float32)
    objects, segments = extract_sources(
        detected,
        bad,
        threshold,
        kernel=kernel,
        minimum_area=3,
        contrast=contrast,
        levels=32,
    )
    # One or two full pixels are a hot pixel, or a star whose shape is still seen.
    full = np.bincount(segments[saturated], minlength=objects.size + 1)[1:] >= _SATURATED_PIXELS
    if profile.observed > _BLENDING_FWHM:
        hidden = _find_hidden(detected, bad, scale, objects, profile)
        objects = np.concatenate([objects, hidden])
        full = np.concatenate([full, np.zeros(hidden.size, dtype=bool)])
    inside = (
        (objects["x"] + outer.x0 >= core.x0 - 0.5)
        & (objects["x"] + outer.x0 < core.x1 - 0.5)
        & (objects["y"] + outer.y0 >= core.y0 - 0.5)
        & (objects["y"] + outer.y0 < core.y1 - 0.5)
    )
    stars = np.zeros(objects.size, dtype=STAR_DTYPE)
    if not objects.size:
        return stars
    inner, whole = profile.apertures
    flux_inner, error, _ = sep.sum_circle(
        detected, objects["x"], objects["y"], inner, err=ratio, mask=bad, subpix=5
    )
    flux_whole, error, _ = sep.sum_circle(
        detected, objects["x"], objects["y"], whole, err=ratio, mask=bad, subpix=5
    )
    stars["saturated"] = full
    stars["x"], stars["y"] = objects["x"] + outer.x0, objects["y"] + outer.y0
    stars["flux"] = np.maximum(flux_whole / profile.enclosed(whole), objects["flux"]) * sigma
    stars["peak"] = objects["peak"] * sigma
    stars["snr"] = flux_whole / np.maximum(error, 1e-30)
    stars["fwhm"] = gaussian_sigma_to_fwhm * np.sqrt((objects["a"] ** 2 + objects["b"] ** 2) / 2)
    stars["ellipticity"] = 1 - objects["b"] / np.maximum(objects["a"], 1e-30)
    stars["theta"] = objects["theta"]
    stars["radius"] = np.sqrt(objects["npix"] / np.pi)
    stars["blended"] = objects["flag"] & sep.OBJ_MERGED > 0
    level = threshold[np.round(objects["y"]).astype(int), np.round(objects["x"]).astype(int)]
    stars["extended"] = _is_extended(
        stars, flux_inner, flux_whole, error, level, objects["peak"], profile
    )
    # A star has at most this fraction of its flux in one pixel, a hot pixel has all of it.
    largest = min(1.5 * profile.peak_fraction / float(profile.enclosed(whole)), 0.8)
    sharp = (objects["peak"] - 3 > largest * (flux_whole + 2 * error)) & ~stars["saturated"]
    return stars[inside & ~sharp]


def _find_hidden(
    detected: NDArray[np.float32],
    bad: NDArray[np.bool_],
    scale: NDArray[np.float32],
    objects: NDArray[Any],
    profile: StarProfile,
) -> NDArray[Any]:
    """Find stars beside brighter ones, with which the matched filter merges them."""
    kernel = profile.kernel(_NARROW_FILTER)
    threshold = (scale * np.sqrt((kernel**2).sum())).astype(np.float32)
    sharper, _ = extract_sources(
        detected, bad, threshold, kernel=kernel, minimum_area=3, contrast=0.003, levels=32
    )
    if not sharper.size or not objects.size:
        return sharper[:0]
    tree = KDTree(np.stack([objects["x"], objects["y"]], axis=1))
    distance, _ = tree.query(np.stack([sharper["x"], sharper["y"]], axis=1))
    hidden: NDArray[Any] = sharper[distance > 0.7 * profile.observed]
    return hidden


def _is_extended(
    stars: NDArray[Any],
    flux_inner: NDArray[np.float64],
    flux_whole: NDArray[np.float64],
    error: NDArray[np.float64],
    level: NDArray[np.float64],
    peak: NDArray[np.float64],
    profile: StarProfile,
) -> NDArray[np.bool_]:
    """Whether sources are wider than a star of their brightness."""
    inner, whole = profile.apertures
    expected = profile.enclosed(inner) / profile.enclosed(whole)
    concentration = flux_inner / np.maximum(flux_whole, 1e-30)
    uncertain = error / np.maximum(flux_whole, 1e-30)
    diffuse = concentration < expected * np.where(stars["blended"], 0.6, 0.85) - 2 * uncertain
    # The detection image is smoothed, so its contours are those of the wider profile.
    contour = profile.smoothed_radius(peak / np.maximum(level, 1e-30))
    wide = stars["radius"] > 1.45 * contour + 1.0
    wide &= ~stars["blended"]
    result: NDArray[np.bool_] = (diffuse | wide) & ~stars["saturated"]
    return result


def _without_duplicates(stars: NDArray[Any]) -> NDArray[Any]:
    """Drop the fainter of two detections of one star from neighbouring windows."""
    if stars.size < 2:
        return stars
    tree = KDTree(np.stack([stars["x"], stars["y"]], axis=1))
    pairs = tree.query_pairs(1.0, output_type="ndarray")
    if not pairs.size:
        return stars
    first, second = pairs.T
    fainter = np.where(stars["flux"][first] < stars["flux"][second], first, second)
    return np.delete(stars, np.unique(fainter))
