"""Bring two observations of one field to the same profile, place and flux scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from astro_sr_plugin.measurement.psf.moffat import measure_moffat
from astro_sr_plugin.measurement.psf.profiles import moffat_stamp
from astro_sr_plugin.measurement.sky.background import measure_background
from astro_sr_plugin.measurement.sky.noise import measure_noise

__all__ = [
    "SEEN",
    "find_maxima",
    "largest_near",
    "values_at",
    "Alignment",
    "Array",
    "align",
    "gaussian_psf",
    "half_width",
    "match_psf",
    "matched_filter",
    "measured_psf",
    "shifted",
    "sky_level",
    "sky_noise",
    "without_smooth",
]

Array = NDArray[np.float64]

SEEN = 5.0
"""Signal to noise ratio of a matched filter that counts as a detection."""
_PAD = 64
_FLOOR = 1e-4  # of the transfer function, where division by it ends
_LARGEST_GAIN = 1.5
_MESHED = 200  # least side for a mesh of the sky, in pixels
_FLAT = 0.05  # relative error of profiles and flat fields in the fit of the flux scale
_TURNS = 10


class Alignment(NamedTuple):
    """What makes one image like the other: ``scale * image(x - dx, y - dy) + sky``.

    Attributes
    ----------
    scale : float
        Factor of the flux.
    scale_error : float
        Its standard error from the scatter of the residuals.
    dx, dy : float
        Shift in pixels.
    sky : numpy.ndarray
        Plane (ny, nx) to be added.
    """

    scale: float
    scale_error: float
    dx: float
    dy: float
    sky: Array


def gaussian_psf(fwhm: float) -> Array:
    """Return a Gaussian point-spread function of sum 1 and odd side, sampled at pixel centres."""
    sigma = fwhm * gaussian_fwhm_to_sigma
    place = np.arange(-np.ceil(5 * sigma), np.ceil(5 * sigma) + 1)
    axis = np.exp(-0.5 * (place / sigma) ** 2)
    psf: Array = np.outer(axis, axis)
    return psf / psf.sum()


def measured_psf(image: Array) -> Array:
    """Return the Moffat profile that the package measures on the stars of an image, sum 1.

    Raises
    ------
    ValueError
        If the image shows no star.
    """
    found = measure_moffat(image)
    if not np.isfinite(found.fwhm):
        msg = "no star shows the point-spread function"
        raise ValueError(msg)
    stamp = moffat_stamp(found, 0.0, 0.0, int(np.ceil(6 * found.fwhm)))
    return np.asarray(stamp / stamp.sum(), np.float64)


def half_width(psf: Array) -> float:
    """Return the FWHM in pixels of a centred profile, of its mean over angles."""
    rows, columns = np.indices(psf.shape)
    centre = np.array(ndimage.center_of_mass(psf**2))
    radius = np.hypot(rows - centre[0], columns - centre[1])
    fine = np.arange(0, min(psf.shape) / 2 - 1, 0.01)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    places = centre[:, None, None] + fine * np.stack([np.sin(angles), np.cos(angles)])[:, :, None]
    values = ndimage.map_coordinates(psf, places, order=3, mode="nearest").mean(axis=0)
    below = np.flatnonzero(values < values[0] / 2)
    return float(2 * fine[below[0]]) if below.size else float(2 * radius.max())


def match_psf(image: Array, source: Array, target: Array) -> Array:
    """Turn an image with one profile into one with another, by the ratio of their transforms.

    Parameters
    ----------
    image : numpy.ndarray
        (ny, nx), finite.
    source, target : numpy.ndarray
        Profiles of sum 1 and odd sides; the target should be the broader one.

    Returns
    -------
    numpy.ndarray
        Frequencies that the source has lost fade out, and none is raised by more than a half.
    """
    ny, nx = image.shape
    shape = (fft.next_fast_len(ny + 2 * _PAD), fft.next_fast_len(nx + 2 * _PAD))
    padded = np.pad(
        image, [(_PAD, shape[0] - ny - _PAD), (_PAD, shape[1] - nx - _PAD)], mode="symmetric"
    )
    before, after = _transfer(source, shape), _transfer(target, shape)
    kernel = after * np.conj(before) / (np.abs(before) ** 2 + _FLOOR**2)
    kernel /= kernel[0, 0].real
    kernel *= np.minimum(1.0, _LARGEST_GAIN / np.maximum(np.abs(kernel), 1e-9))
    result = fft.irfft2(fft.rfft2(padded) * kernel, s=shape)
    return np.asarray(result[_PAD : _PAD + ny, _PAD : _PAD + nx], np.float64)


def _transfer(psf: Array, shape: tuple[int, int]) -> NDArray[np.complex128]:
    """Return the transform of a profile of odd sides, put at the origin."""
    half = [min(s // 2, n // 2 - 1) for s, n in zip(psf.shape, shape, strict=True)]
    middle = [s // 2 for s in psf.shape]
    cut = psf[
        middle[0] - half[0] : middle[0] + half[0] + 1, middle[1] - half[1] : middle[1] + half[1] + 1
    ]
    kernel = np.zeros(shape)
    kernel[: cut.shape[0], : cut.shape[1]] = cut / cut.sum()
    return np.asarray(fft.rfft2(np.roll(kernel, (-half[0], -half[1]), axis=(0, 1))))


def shifted(image: Array, dx: float, dy: float) -> Array:
    """Return the image moved by (dx, dy) pixels, by cubic splines."""
    return np.asarray(ndimage.shift(image, (dy, dx), order=3, mode="nearest"), np.float64)


def align(
    reference: Array,
    image: Array,
    *,
    sigma: float,
    mask: NDArray[np.bool_] | None = None,
    move: bool = True,
) -> Alignment:
    """Fit flux scale, shift and a plane of sky that make an image like a reference.

    Weighted least squares, in turns of linearising the shift and leaving out what is off by more
    than 5 sigma. Both images must have the same profile.

    Parameters
    ----------
    reference, image : numpy.ndarray
        (ny, nx), the same field within a pixel or two.
    sigma : float
        Noise of the reference.
    mask : array of bool, optional
        True = excluded.
    move : bool
        Whether to fit a shift.

    Returns
    -------
    Alignment
    """
    base = np.isfinite(reference) & np.isfinite(image)
    if mask is not None:
        base &= ~mask
    filled = np.where(np.isfinite(image), image, np.nanmedian(image))
    level = np.median(reference[base])
    # Noise of the image would make the slope too small where there is nothing but sky.
    bright = ndimage.gaussian_filter(np.where(base, reference - level, 0.0), 2.0) > sigma
    source = base & bright
    if not source.any():
        msg = "the reference shows no source to fit the flux scale by"
        raise ValueError(msg)
    dx = dy = 0.0
    use, fitted = source, np.full_like(filled, level)
    for turn in range(_TURNS):
        here = shifted(filled, dx, dy) if dx or dy else filled
        terms = [here, np.ones_like(here)]
        if move:
            terms += [ndimage.sobel(here, 1) / 8, ndimage.sobel(here, 0) / 8]
        design = np.stack(terms, axis=-1)
        spread = np.sqrt(sigma**2 + (_FLAT * (fitted - level)) ** 2)
        a, b = design[use] / spread[use, None], reference[use] / spread[use]
        solution = np.linalg.lstsq(a, b, rcond=None)[0]
        if move and turn < _TURNS - 1:
            dx -= float(np.clip(solution[2] / solution[0], -1, 1))
            dy -= float(np.clip(solution[3] / solution[0], -1, 1))
        fitted = design @ solution
        if turn >= _TURNS // 2:
            use = source & (np.abs(reference - fitted) < 5 * spread)
    residual = b - a @ solution
    covariance = np.linalg.inv(a.T @ a) * float(residual @ residual) / max(len(b) - a.shape[1], 1)
    scale = float(solution[0])
    plane = _fit_plane(reference - scale * here, base & ~ndimage.binary_dilation(bright, None, 3))
    return Alignment(scale, float(np.sqrt(covariance[0, 0])), dx, dy, plane)


def _fit_plane(image: Array, use: NDArray[np.bool_]) -> Array:
    """Return a plane through the pixels that are used, clipped at 3 sigma."""
    rows, columns = np.indices(image.shape)
    x, y = columns / image.shape[1] - 0.5, rows / image.shape[0] - 0.5
    design = np.stack([np.ones_like(x), x, y], axis=-1)
    for _ in range(5):
        solution = np.linalg.lstsq(design[use], image[use], rcond=None)[0]
        residual = image - design @ solution
        use = use & (np.abs(residual - np.median(residual[use])) < 3 * np.std(residual[use]))
    return np.asarray(design @ solution, np.float64)


def sky_noise(image: Array, mask: NDArray[np.bool_] | None = None) -> float:
    """Return the standard deviation of the sky's pixels, right also where it is correlated."""
    return float(measure_noise(image, mask=mask).sigma)


def sky_level(image: Array, mask: NDArray[np.bool_] | None = None) -> Array:
    """Return the sky of an image: a coarse mesh, or one level where there is no room for one."""
    filled = np.where(np.isfinite(image), image, np.nanmedian(image))
    if min(image.shape) >= _MESHED:
        return np.asarray(measure_background(filled, mask=mask).full(), np.float64)
    values = filled if mask is None else filled[~mask]
    for _ in range(12):
        middle = np.median(values)
        scatter = 1.4826 * np.median(np.abs(values[values <= middle] - middle))
        values = values[np.abs(values - middle) < 3 * scatter]
    return np.full(image.shape, np.median(values))


def without_smooth(image: Array, fwhm: float) -> Array:
    """Return an image less itself smoothed to three times a FWHM: what is left is compact."""
    filled = np.where(np.isfinite(image), image, np.nanmedian(image))
    return np.asarray(
        filled - ndimage.gaussian_filter(filled, 3 * fwhm * gaussian_fwhm_to_sigma), np.float64
    )


def matched_filter(
    image: Array, psf: Array, mask: NDArray[np.bool_] | None = None
) -> tuple[Array, float]:
    """Return a map of the flux of a point source at each pixel, and the error of that flux.

    The filter is the profile less a smoother one (as in DAOFIND), so that light of galaxies and
    nebulae does not count. The error is the clipped scatter of the map, and at least that of the
    noise of the pixels and its correlation.

    Parameters
    ----------
    image : numpy.ndarray
        (ny, nx).
    psf : numpy.ndarray
        Profile of sum 1.
    mask : array of bool, optional
        True = left out where sky and noise are measured.
    """
    width = half_width(psf)
    reach = int(np.ceil(6 * width))
    wide = np.pad(psf, reach)
    kernel = wide - ndimage.gaussian_filter(wide, 3 * width * gaussian_fwhm_to_sigma)
    filled = np.where(np.isfinite(image), image, np.nanmedian(image)) - sky_level(image, mask)
    pad = max(_PAD, reach)
    padded = np.pad(filled, pad, mode="symmetric")
    flux = signal.fftconvolve(padded, kernel[::-1, ::-1], mode="same")[pad:-pad, pad:-pad]
    power = float(np.sum(wide * kernel))
    flux = np.asarray(flux / power, np.float64)
    noise = measure_noise(image, mask=mask)
    error = float(noise.sigma * max(noise.correlated_sigma_ratio, 1.0))
    error *= float(np.sqrt(np.sum(kernel**2))) / power
    if min(image.shape) >= _MESHED:
        sky = flux if mask is None else flux[~mask]
        for _ in range(12):
            middle = np.median(sky)
            sky = sky[np.abs(sky - middle) < 3.5 * 1.4826 * np.median(np.abs(sky - middle))]
        error = max(error, float(np.std(sky)))
    return flux, error


def find_maxima(image: Array, threshold: float, mask: NDArray[np.bool_]) -> Array:
    """Return (n, 2) places x, y of local maxima above a threshold."""
    top = (image == ndimage.maximum_filter(image, size=3)) & (image > threshold) & ~mask
    rows, columns = np.nonzero(top)
    return np.column_stack([columns, rows]).astype(np.float64)


def largest_near(image: Array, radius: float) -> Array:
    """Return for each pixel the largest value within a radius."""
    side = int(np.ceil(radius))
    place = np.arange(-side, side + 1)
    disc = np.hypot(place[:, None], place[None, :]) <= radius
    return np.asarray(ndimage.maximum_filter(image, footprint=disc), np.float64)


def values_at(image: Array, places: Array) -> Array:
    """Return the pixels at places (x, y), rounded to whole pixels."""
    if not len(places):
        return np.zeros(0)
    columns, rows = np.round(places).astype(int).T
    ny, nx = image.shape
    values: Array = image[np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)]
    return values
