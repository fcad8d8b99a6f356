"""Separate the noise from the light of faint sources by the shape of the autocovariance.

Noise that interpolation, debayering or drizzle has correlated ends within a few pixels, with
shapes that are known; light has gone through the point-spread function, which is wider than any
of these. Both are sums of non-negative terms, so that a non-negative least-squares fit separates
them. The fit is made on the power spectrum, where light has the low frequencies and only noise
the high. A mixture of all kinds of noise can look like light; an image has one kind, so the
simplest that fits is taken.
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy.ndimage import shift
from scipy.optimize import nnls

from astro_sr_plugin.measurement.convolution import convolve

__all__ = ["REACH", "make_surfaces", "separate_noise"]

REACH = 8
"""Largest lag of the autocovariance in pixels."""
_NARROWEST = 1.2
"""Gaussian width in pixels of the narrowest structure where there is no star to measure: a FWHM of
2.8."""
_SHARP = 4.0
"""FWHM in pixels above which sources may be knots of a nebula."""
_WIDENING = np.array([1.0, 1.4, 2.0, 2.8, 4.2, 6.5])
"""Widths of the terms of structure, in the narrowest."""
_FLOOR = 0.2
"""Power below this fraction of that of the noise has the same error: bright frequencies leak into
dim ones."""
_ROUNDS = 3
"""Rounds of the fit with the floor of the round before."""
_LENIENCY = 1.3
"""A simple kind of noise may fit worse by this factor than the best."""
_POINT_LIKE = 0.5
"""Fraction of the variance, ascribed to light no wider than the two narrowest widths of structure,
from which the simplest kind of noise is rejected: noise of an image resampled to finer pixels is

as wide as the stars, and a simple kind ascribes it to light. In two overlapping 2MASS atlas
images, whose difference has a noise of 1.4 in each, a simple kind of noise gives 0.3 to 1.1 and
the kind that fits best 1.0 to 1.9."""

Covariance = NDArray[np.float64]


def separate_noise(
    covariance: Covariance,
    side: int,
    coverage: float,
    fwhm: float | None = None,
    *,
    structured: bool = True,
) -> tuple[Covariance, float]:
    """Split the autocovariance of patches of sky into that of the noise and that of structure.

    What the surface fitted to each patch has taken from the noise is given back.

    Parameters
    ----------
    covariance : numpy.ndarray, shape (17, 17)
        Autocovariance at lags -8..8 in y and x, lag 0 in the middle, of patches from which a
        quadratic surface was subtracted.
    side : int
        Side of the patches in pixels.
    coverage : float
        Fraction 0..1 of their pixels that was used.
    fwhm : float, optional
        Width of the sharpest sources in pixels, if there are any.
    structured : bool
        Whether there may be structure; without, all is noise.

    Returns
    -------
    noise : numpy.ndarray, shape (17, 17)
        The part of the noise.
    fraction : float
        Fraction 0..1 of the variance at lag 0 that belongs to structure, or may belong to it.
    """
    variance = float(covariance[REACH, REACH])
    if not variance > 0:
        return covariance, 0.0
    structure = _structure_terms(fwhm, side) if structured else np.empty((0, *covariance.shape))
    floor = _FLOOR * float(_spectrum(covariance[None]).mean())
    for _ in range(_ROUNDS):
        of_noise, of_light, lost, ambiguous = _fit(covariance, structure, side, coverage, floor)
        # Under bright structure the floor must not drown the noise.
        before, floor = floor, _FLOOR * float(of_noise.sum())
        if not 0 < floor < 0.8 * before:
            break
    light = np.tensordot(of_light, structure, axes=1)
    noise: Covariance = covariance - light + np.tensordot(of_noise, lost, axes=1)
    fraction = float(np.clip(max(light[REACH, REACH] / variance, ambiguous), 0, 1))
    return noise, fraction


def _fit(
    covariance: Covariance,
    structure: NDArray[np.float64],
    side: int,
    coverage: float,
    floor: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    """Fit each kind of noise, with structure, and take the simplest that fits.

    Where that leaves most of the variance to light as narrow as stars, the kind of noise that fits
    best is taken. Returns the amounts of its terms and of those of structure, what the surface took
    from its terms, and the fraction of the variance that such a kind would have left to light.
    """
    power = _spectrum(covariance[None])[0]
    weights = 1 / np.maximum(power, floor)
    fits = []
    for terms, taken in _noise_terms(side):
        # Fewer pixels lose more of their noise to a surface of as many coefficients.
        lost = taken / coverage
        shapes = np.concatenate([terms - lost, structure])
        design = (_spectrum(shapes) * weights).reshape(len(shapes), -1)
        amounts, residual = nnls(design.T, (power * weights).ravel(), maxiter=20 * len(shapes))
        fits.append((residual, amounts[: len(terms)], amounts[len(terms) :], lost))
    best = min(fits, key=lambda fit: fit[0])
    chosen = next(fit for fit in fits if fit[0] <= _LENIENCY * best[0])
    point_like = float(chosen[2][:2] @ structure[:2, REACH, REACH])
    ambiguous = 0.0
    if point_like > _POINT_LIKE * covariance[REACH, REACH]:
        ambiguous = float(chosen[2] @ structure[:, REACH, REACH]) / float(covariance[REACH, REACH])
        chosen = best
    _, of_noise, of_light, lost = chosen
    return of_noise, of_light, lost, ambiguous


def _spectrum(covariances: NDArray[np.float64]) -> NDArray[np.float64]:
    taper = np.cos(np.pi * np.arange(-REACH, REACH + 1) / (2 * REACH + 2))
    tapered = covariances * np.outer(taper, taper)
    moved = np.fft.ifftshift(tapered, axes=(-2, -1))
    result: NDArray[np.float64] = np.fft.fft2(moved).real
    return result


def _structure_terms(fwhm: float | None, side: int) -> NDArray[np.float64]:
    """Autocovariances in patches of light at least as wide as a point source, shape (6, 17, 17).

    Gaussians of growing width, 1 at lag 0, less what the fitted surface takes from them.
    """
    narrowest = (
        _NARROWEST if fwhm is None else max(0.95 * min(fwhm, _SHARP) * gaussian_fwhm_to_sigma, 0.8)
    )
    lag = np.arange(-max(side, REACH), max(side, REACH) + 1)
    squared = lag[:, None] ** 2 + lag**2
    terms = np.stack([np.exp(-squared / (4 * width**2)) for width in narrowest * _WIDENING])
    return _near(terms) - _taken(terms, side)


@cache
def _noise_terms(side: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Autocovariances of each kind of noise, and what the fitted surface takes from them."""
    return [(terms, _taken(terms, side)) for terms in _kinds_of_noise()]


@cache
def _kinds_of_noise() -> list[NDArray[np.float64]]:
    """Autocovariances of noise after the usual steps, each 1 at lag 0; the simplest kind first.

    White noise; noise of a monochrome camera, of the green and of the red or blue pixels of a
    Bayer matrix, moved by fractions of a pixel with linear and then with cubic interpolation; and
    a mixture of many with drizzle.
    """
    white = np.array([[1.0]])
    green = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]])
    red_or_blue = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    # Frames of a stack are moved by different fractions: sums of these few give them all.
    linear, cubic = (
        [
            np.stack(
                [_of_kernel(convolve(kernel, moved, "full")) for moved in _shifts(order, parts)]
            )
            for kernel in (white, green, red_or_blue)
        ]
        for order, parts in ((1, (0.0, 0.5)), (3, (0.0, 0.2, 0.35, 0.5)))
    )
    axis = np.arange(-3, 4)
    drops = [np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * width**2)) for width in (0.8, 1.0)]
    drops.append(np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]))
    mixture = np.concatenate([*linear, cubic[0], [_of_kernel(drop) for drop in drops]])
    return [_of_kernel(white)[None], *linear, *cubic, mixture]


def _moved(kernel: NDArray[np.float64], shift_kernel: NDArray[np.float64]) -> Covariance:
    return _of_kernel(convolve(kernel, shift_kernel, "full"))


def _shifts(order: int, parts: tuple[float, ...]) -> list[NDArray[np.float64]]:
    """Kernels that move an image by parts of a pixel along y and x with splines of an order."""
    impulse = np.zeros(2 * REACH + 1)
    impulse[REACH] = 1
    lines = [shift(impulse, part, order=order) for part in parts]
    return [np.outer(along_y, along_x) for along_y, along_x in product(lines, lines)]


def _of_kernel(kernel: NDArray[np.float64]) -> Covariance:
    """Autocovariance of white noise convolved with a kernel, 1 at lag 0."""
    full = convolve(kernel, kernel[::-1, ::-1], "full")
    half_y, half_x = full.shape[0] // 2, full.shape[1] // 2
    result: Covariance = _near(
        np.pad(full, ((max(0, REACH - half_y),) * 2, (max(0, REACH - half_x),) * 2))
    )
    return result / result[REACH, REACH]


def _near(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut out the lags up to `REACH`."""
    middle = terms.shape[-1] // 2
    near = slice(middle - REACH, middle + REACH + 1)
    return terms[..., near, near]


@cache
def make_surfaces(side: int) -> NDArray[np.float64]:
    """Make an orthonormal basis of the quadratic surfaces of a square patch.

    Parameters
    ----------
    side : int
        Side of the patch in pixels, at least 3.

    Returns
    -------
    numpy.ndarray, shape (6, side, side)
        The sum of the products of two of them is 1 if they are the same and else 0.
    """
    axis = np.linspace(-1, 1, side)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    powers = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)
    return np.linalg.qr(powers.T)[0].T.reshape(6, side, side)


def _taken(terms: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Covariance up to lag `REACH` that fitting a quadratic surface takes from patches.

    With the projection P = Q Q' on the surfaces, the covariance matrix C of the pixels of a patch
    becomes (1 - P) C (1 - P) = C - Q B' - B Q', where B = C Q - Q (Q' C Q) / 2.
    """
    surfaces = make_surfaces(side)
    half = terms.shape[-1] // 2
    size = 2 * (half + side)
    lag = np.arange(-half, half + 1)
    wrapped = np.zeros((len(terms), size, size))
    wrapped[:, lag[:, None], lag] = terms
    spectra = np.fft.rfft2(surfaces, (size, size))
    blurred = np.fft.irfft2(np.fft.rfft2(wrapped)[:, None] * spectra, (size, size))
    blurred = blurred[..., :side, :side]
    inner = np.einsum("tiyx,jyx->tij", blurred, surfaces)
    blurred -= np.einsum("tij,jyx->tiyx", inner, surfaces) / 2
    products = (spectra.conj() * np.fft.rfft2(blurred, (size, size))).sum(axis=1)
    lag = np.arange(-REACH, REACH + 1)
    sums = np.fft.irfft2(products, (size, size))[:, lag[:, None], lag]
    pairs = np.maximum(side - np.abs(lag), 1)
    result: NDArray[np.float64] = (sums + sums[:, ::-1, ::-1]) / np.outer(pairs, pairs)
    return result
