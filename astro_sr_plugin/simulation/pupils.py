"""PSFs of telescopes: aberrated pupils, seeing and tracking, as images on the fine grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, special

from astro_sr_plugin.simulation.moffat_fit import MoffatShape, fit_moffat

__all__ = [
    "PSF_SIDE",
    "OpticsConfig",
    "Telescope",
    "draw_telescope",
    "log_uniform",
    "render_telescope",
]

Array = NDArray[np.float64]
Transfer = NDArray[np.complex128]

PSF_SIDE = 129
"""Side in fine pixels of the images of PSFs: 32 detector pixels on each side of the centre."""

_STEP = 0.5
"""Fine pixel in detector pixels."""
_GRID = 256
"""Side in fine pixels of the grid that PSFs are rendered on, so that their wings do not wrap."""
_PUPIL = 64
"""Samples across the pupil; the PSF then reaches 32 times lambda over D on each side."""
_SUPERSAMPLE = 4
"""Samples per sample of the pupil along each axis, which give its edges and vanes soft ends."""
_HALF_LIGHT = 0.62
"""Radius of half of the light over the FWHM, as in a Moffat profile of beta near 3.5."""
_LEAST_FWHM = 1.0
"""Least FWHM in pixels of the fitted profile; narrower ones are hot pixels to a measurement."""
_PATH = 48
"""Places along the path of a telescope that tracks badly."""
_WAVELENGTHS = 3
"""Wavelengths of a band that are summed."""


@dataclass(frozen=True)
class OpticsConfig:
    """Ranges from which telescopes are drawn.

    Attributes
    ----------
    fwhm : tuple of float
        FWHM of a Moffat profile that has half of its light within the same radius, in pixels
        (log-uniform).
    obscuration : tuple of float
        Diameter of the central obscuration over that of the pupil; four telescopes of ten have
        none.
    vanes : int
        Vanes of the secondary mirror at most; refractors have none.
    vane_width : tuple of float
        Width of a vane over the diameter of the pupil.
    aberration : tuple of float
        Root mean square of the wavefront error in waves, Zernike terms 4 to 11 together.
    defocused : float
        Share of telescopes that are far out of focus, with up to three times the aberration.
    bandwidth : tuple of float
        Width of the band over its mean wavelength.
    seeing : tuple of float
        FWHM of the seeing over lambda / D (log-uniform).
    space : float
        Share of telescopes without seeing.
    tracked : float
        Share of telescopes with a tracking error.
    tracking : tuple of float
        Length of the tracking error over the FWHM of everything else.
    """

    fwhm: tuple[float, float] = (1.15, 8.2)
    obscuration: tuple[float, float] = (0.0, 0.5)
    vanes: int = 6
    vane_width: tuple[float, float] = (0.004, 0.04)
    aberration: tuple[float, float] = (0.0, 0.35)
    defocused: float = 0.1
    bandwidth: tuple[float, float] = (0.0, 0.4)
    seeing: tuple[float, float] = (0.3, 5.0)
    space: float = 0.1
    tracked: float = 0.35
    tracking: tuple[float, float] = (0.05, 1.0)


@dataclass(frozen=True, eq=False)
class Telescope:
    """A telescope as it was in one exposure; lengths in lambda / D.

    Attributes
    ----------
    transfers : list
        Real and imaginary part of the centred transfer function of the pupil at each wavelength, on
        a grid of 1 / 64 of its cutoff, as coefficients of cubic splines.
    colours : tuple of float
        These wavelengths over the mean.
    seeing : float
        FWHM of the seeing; 0 for none.
    beta : float
        Exponent of the Moffat profile of the seeing; 0 for Kolmogorov turbulence.
    path : ndarray, shape (n, 2)
        Places (x, y) that the tracking went through.
    """

    transfers: list[list[Array]]
    colours: tuple[float, ...]
    seeing: float
    beta: float
    path: Array


def log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw a number whose logarithm is uniform between those of two limits."""
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


def _pupil(obscuration: float, vanes: int, width: float, angle: float) -> tuple[Array, Array]:
    """Return the transmission on a grid of twice the pupil's diameter, and (x, y) of its samples.

    Lengths are in radii of the pupil.
    """
    n = 2 * _PUPIL * _SUPERSAMPLE
    axis = (np.arange(n) + 0.5) / (_PUPIL * _SUPERSAMPLE) * 2 - 2
    x, y = axis[None, :], axis[:, None]
    radius = np.hypot(x, y)
    open_ = (radius <= 1) & (radius >= obscuration)
    for vane in range(vanes):
        phi = angle + 2 * math.pi * vane / vanes
        along, across = x * math.cos(phi) + y * math.sin(phi), y * math.cos(phi) - x * math.sin(phi)
        open_ &= (np.abs(across) > width) | (along < 0)
    side = 2 * _PUPIL
    fine = open_.reshape(side, _SUPERSAMPLE, side, _SUPERSAMPLE)
    places = axis.reshape(side, _SUPERSAMPLE).mean(1)
    return fine.mean(axis=(1, 3)), places


def _zernike(rho: Array, phi: Array) -> Array:
    """Zernike terms 4 to 11 of Noll (1976), JOSA 66, 207: shape (8, ...)."""
    return np.stack(
        [
            math.sqrt(3) * (2 * rho**2 - 1),
            math.sqrt(6) * rho**2 * np.sin(2 * phi),
            math.sqrt(6) * rho**2 * np.cos(2 * phi),
            math.sqrt(8) * (3 * rho**3 - 2 * rho) * np.sin(phi),
            math.sqrt(8) * (3 * rho**3 - 2 * rho) * np.cos(phi),
            math.sqrt(8) * rho**3 * np.sin(3 * phi),
            math.sqrt(8) * rho**3 * np.cos(3 * phi),
            math.sqrt(5) * (6 * rho**4 - 6 * rho**2 + 1),
        ]
    )


def _wavefront(transmission: Array, places: Array, weights: Array, rms: float) -> Array:
    """Return the wavefront error in waves, with ``rms`` over the open pupil."""
    rho, phi = (
        np.hypot(places[None, :], places[:, None]),
        np.arctan2(places[:, None], places[None, :]),
    )
    waves = np.tensordot(weights, _zernike(np.minimum(rho, 1.0), phi), 1)
    total = transmission.sum()
    waves -= (waves * transmission).sum() / total
    size = math.sqrt((waves**2 * transmission).sum() / total)
    return np.asarray(waves * (rms / max(size, 1e-9)))


def _tracking(kind: int, length: float, rng: np.random.Generator) -> Array:
    """Return the places of a tracking error of this extent: a line, an ellipse or a random walk."""
    angle = rng.uniform(0, math.pi)
    t = (np.arange(_PATH) + 0.5) / _PATH
    if kind == 0:
        path = np.stack([t - 0.5, np.zeros(_PATH)], axis=1)
    elif kind == 1:
        arc = rng.uniform(0.4, 1.0) * 2 * math.pi * t
        path = 0.5 * np.stack([np.cos(arc), rng.uniform(0.1, 1.0) * np.sin(arc)], axis=1)
    else:
        path = np.cumsum(rng.standard_normal((_PATH, 2)), axis=0)
        path /= np.ptp(path, axis=0).max()
    cos, sin = math.cos(angle), math.sin(angle)
    turned = path @ np.array([[cos, sin], [-sin, cos]])
    return np.asarray(length * (turned - turned.mean(axis=0)))


def _pupil_transfer(transmission: Array, waves: Array) -> list[Array]:
    """Return the transfer function of a pupil, as `Telescope.transfers` keeps it."""
    amplitude = fft.fft2(transmission * np.exp(2j * math.pi * waves))
    transfer = fft.fftshift(fft.ifft2(np.abs(amplitude) ** 2))
    transfer /= transfer[_PUPIL, _PUPIL].real
    return [ndimage.spline_filter(part) for part in (transfer.real, transfer.imag)]


def draw_telescope(config: OpticsConfig, rng: np.random.Generator) -> Telescope:
    """Draw a telescope, its focus, the air before it and how it tracked.

    Parameters
    ----------
    config : OpticsConfig
        Ranges to draw from.
    rng : numpy.random.Generator
        Source of randomness.
    """
    obscuration = rng.uniform(*config.obscuration) if rng.uniform() < 0.6 else 0.0
    vanes = int(rng.integers(0, config.vanes + 1)) if obscuration else 0
    width = log_uniform(rng, config.vane_width)
    transmission, places = _pupil(obscuration, vanes, width, rng.uniform(0, 2 * math.pi))
    # Few terms rule, as in real telescopes: defocus, astigmatism and coma more often than others.
    present = rng.uniform(size=8) < (0.7, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3, 0.4)
    weights = rng.standard_normal(8) * present
    rms = rng.uniform(*config.aberration)
    if rng.uniform() < config.defocused:
        rms *= 3
        weights[0] = 2 * math.copysign(2, weights[0])
    waves = _wavefront(transmission, places, weights, rms)
    band = rng.uniform(*config.bandwidth)
    colours = tuple(1 + band * (k / (_WAVELENGTHS - 1) - 0.5) for k in range(_WAVELENGTHS))
    transfers = [_pupil_transfer(transmission, waves / colour) for colour in colours]
    seeing = 0.0
    if rng.uniform() >= config.space:
        seeing = log_uniform(rng, config.seeing)
    beta = rng.uniform(2.2, 5.0) if rng.uniform() < 0.5 else 0.0
    path = np.zeros((1, 2))
    if rng.uniform() < config.tracked:
        extent = math.sqrt(1 + seeing**2 + (6 * rms) ** 2)
        path = _tracking(int(rng.integers(3)), rng.uniform(*config.tracking) * extent, rng)
    return Telescope(transfers, colours, seeing, beta, path)


def _seeing_transfer(frequency: Array, fwhm: float, beta: float) -> Array:
    """Transfer function of long exposures through turbulence, or of a Moffat profile.

    Kolmogorov: Fried (1966), JOSA 56, 1372; Moffat: Trujillo et al. (2001), MNRAS 328, 977.
    """
    if fwhm == 0:
        return np.ones_like(frequency)
    if beta == 0:
        return np.asarray(np.exp(-3.44 * (frequency * fwhm / 0.976) ** (5 / 3)))
    alpha = fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))
    k = np.maximum(2 * math.pi * alpha * frequency, 1e-6)
    return np.asarray(2 / special.gamma(beta - 1) * (k / 2) ** (beta - 1) * special.kv(beta - 1, k))


def _transfer(telescope: Telescope, scale: float) -> Transfer:
    """Return the transfer function on the fine grid where lambda / D is ``scale`` pixels."""
    fy = fft.fftfreq(_GRID, _STEP)[:, None] * scale
    fx = fft.rfftfreq(_GRID, _STEP)[None, :] * scale
    frequency = np.hypot(fx, fy)
    total = np.zeros(frequency.shape, dtype=complex)
    used = frequency < 1.05 / min(telescope.colours)
    y, x = np.broadcast_to(fy, used.shape)[used], np.broadcast_to(fx, used.shape)[used]
    for colour, transfer in zip(telescope.colours, telescope.transfers, strict=True):
        # The cutoff of the mean wavelength is _PUPIL samples from the middle.
        places = np.stack([y, x]) * colour * _PUPIL + _PUPIL
        for part, unit in zip(transfer, (1.0, 1j), strict=True):
            total[used] += unit * ndimage.map_coordinates(part, places, prefilter=False)
    total /= len(telescope.colours)
    total *= _seeing_transfer(frequency, telescope.seeing, telescope.beta)
    ramps = [
        np.exp(-2j * math.pi * frequencies * place)
        for frequencies, place in (
            (fy, telescope.path[None, :, 1]),
            (fx.T, telescope.path[None, :, 0]),
        )
    ]
    return np.asarray(total * (ramps[0] @ ramps[1].T) / len(telescope.path))


def _image(transfer: Transfer, x: float = 0.0, y: float = 0.0) -> Array:
    """Return the PSF, cut to `PSF_SIDE`, with the place (x, y) in detector pixels in its middle."""
    fy = fft.fftfreq(_GRID, _STEP)[:, None]
    fx = fft.rfftfreq(_GRID, _STEP)[None, :]
    whole = fft.irfft2(transfer * np.exp(2j * math.pi * (fx * x + fy * y)), s=(_GRID, _GRID))
    half = PSF_SIDE // 2
    image = np.roll(whole, (half, half), axis=(0, 1))[:PSF_SIDE, :PSF_SIDE]
    return np.asarray(image / image.sum())


def _half_light_fwhm(image: Array) -> float:
    """Return the FWHM in pixels that belongs to the radius with half of the light."""
    places = (np.arange(PSF_SIDE) - PSF_SIDE // 2) * _STEP
    light = np.clip(image, 0, None)
    light = light / light.sum()
    x, y = (light.sum(axis=axis) @ places for axis in (0, 1))
    radius = np.hypot(places[None, :] - x, places[:, None] - y).ravel()
    order = np.argsort(radius)
    enclosed = np.cumsum(light.ravel()[order])
    return float(np.interp(0.5, enclosed, radius[order]) / _HALF_LIGHT)


def render_telescope(
    telescope: Telescope, fwhm: float
) -> tuple[NDArray[np.float64], MoffatShape] | None:
    """Render the PSF of a telescope whose pixels give it a width.

    Parameters
    ----------
    telescope : Telescope
        The telescope.
    fwhm : float
        FWHM that belongs to the radius of half of the light, in detector pixels.

    Returns
    -------
    image : ndarray, shape (PSF_SIDE, PSF_SIDE)
        Before the integration over the pixel, of sum 1. Its middle is the centre of the fitted
        Moffat profile, which is where an estimator takes the star to be.
    shape : MoffatShape
        The fitted profile. None in place of both if no profile fits.
    """
    scale = fwhm / math.sqrt(1 + telescope.seeing**2)
    for _ in range(2):
        transfer = _transfer(telescope, scale)
        scale *= fwhm / _half_light_fwhm(_image(transfer))
    transfer = _transfer(telescope, scale)
    found = fit_moffat(_image(transfer), _STEP, fwhm)
    if found is None or found.fwhm < _LEAST_FWHM:
        return None
    return _image(transfer, found.x, found.y), found
