"""Tells correlated noise from structure in the image by the shape of the autocovariance.

Noise that interpolation, debayering or drizzle has correlated ends within a few pixels, with
shapes that are known; structure has gone through the point-spread function and is smooth. Both
are sums of non-negative terms, so that a non-negative least-squares fit separates them. The fit
is made on the power spectrum, where structure has the low frequencies and only noise the high.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift
from scipy.optimize import nnls
from scipy.signal import fftconvolve


__all__ = ["REACH", "make_structure_terms", "separate_noise"]

# Largest lag of the autocovariance in pixels.
REACH = 8
# Gaussian width of the narrowest structure in pixels where no star tells it: a FWHM of 2.8.
_NARROWEST = 1.2
_WIDENING = np.array([1.0, 1.4, 2.0, 2.8, 4.2, 6.5])

Covariance = NDArray[np.float64]


def separate_noise(
    covariance: Covariance, side: int, filling: float, fwhm: float | None, *, structured: bool = True
) -> tuple[Covariance, float]:
    structure_terms = _structure_terms(fwhm, side)
    structure_taken = _taken(structure_terms, side)
    power = _spectrum(covariance[None])[0].ravel()
    weights = 1 / np.maximum(power, FLOOR * max(float(np.mean(power)), 1e-300))
    fits = []
    best=None
    for family in _families():
        terms = _padded(family, side)
        taken = _family_taken(family, side) / filling
        seen = _near(terms) - taken
        if structured:
            seen = np.concatenate([seen, _near(structure_terms) - structure_taken/(filling if SFILL else 1)])
        design = _spectrum(seen).reshape(len(seen), -1)
        shares, misfit = nnls((design * weights).T, power * weights)
        fits.append((misfit, shares, terms, taken, seen))
    least = min(fit[0] for fit in fits)
    chosen = next(i for i,fit in enumerate(fits) if fit[0] <= FACTOR * least)
    misfit, shares, terms, taken, seen = fits[chosen]
    if VERB: print(chosen,[round(f[0]/17,3) for f in fits])
    n = len(terms)
    given_back = np.tensordot(shares[:n], taken, axes=1)
    light = np.tensordot(shares[n:], seen[n:], axes=1)
    noise = covariance - light + given_back
    if PARAM: noise = np.tensordot(shares[:n], _near(terms), axes=1)
    return noise, float(np.clip(light[REACH, REACH] / covariance[REACH, REACH],0,1)) if covariance[REACH,REACH]>0 else 0.
FLOOR=0.1
PARAM=False
FACTOR=1.3
SFILL=False
VERB=False

def _families():
    return range(8)

@cache
def _padded(family, side):
    terms = _noise_terms()[family]
    margin = max(0, side - REACH)
    return np.pad(terms, ((0,0),(margin,)*2,(margin,)*2))

@cache
def _family_taken(family, side):
    return _taken(_padded(family, side), side)

def _near(terms):
    middle = terms.shape[-1] // 2
    return terms[..., middle - REACH : middle + REACH + 1, middle - REACH : middle + REACH + 1]

@cache
def surface_basis(side: int) -> NDArray[np.float64]:
    axis = np.linspace(-1, 1, side)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1).T)
    return basis.T.reshape(6, side, side)

def _taken(terms, side):
    """What is left of autocovariances in patches that a fitted surface has been taken from."""
    q = surface_basis(side)
    half = terms.shape[-1] // 2
    n = 2 * (half + side)
    embedded = np.zeros((len(terms), n, n))
    lag = np.arange(-half, half + 1)
    embedded[:, lag[:, None], lag] = terms
    spectra = np.fft.rfft2(embedded)
    qf = np.fft.rfft2(q, (n, n))
    cq = np.fft.irfft2(spectra[:, None] * qf, (n, n))[..., :side, :side]
    inner = np.einsum("tiyx,jyx->tij", cq, q)
    # C - Q (CQ)' - (CQ) Q' + Q inner Q' = C - Q B' - B Q',  B = CQ - Q inner / 2
    bq = cq - np.einsum("tij,jyx->tiyx", inner, q) / 2
    bf = np.fft.rfft2(bq, (n, n))
    cross = np.fft.irfft2((np.conj(qf) * bf).sum(1), (n, n))
    lags = np.arange(-REACH, REACH + 1)
    cross = cross[:, lags[:, None], lags[None]]
    pairs = np.outer(side - np.abs(lags), side - np.abs(lags))
    pairs = np.maximum(pairs, 1)
    return (cross + cross[:, ::-1, ::-1]) / pairs


def _spectrum(covariances: NDArray[np.float64]) -> NDArray[np.float64]:
    taper = np.cos(np.pi * np.arange(-REACH, REACH + 1) / (2 * REACH + 2))
    tapered = covariances * np.outer(taper, taper)
    moved = np.fft.ifftshift(tapered, axes=(-2, -1))
    result: NDArray[np.float64] = np.fft.fft2(moved).real
    return result


def _structure_terms(fwhm: float | None, side) -> NDArray[np.float64]:
    narrowest = _NARROWEST if fwhm is None else max(0.95 * fwhm / 2.3548, 0.8)
    lag = np.arange(-side, side + 1)
    squared = lag[:, None] ** 2 + lag**2
    return np.stack([np.exp(-squared / (4 * width**2)) for width in narrowest * _WIDENING])


@cache
def _noise_terms():
    """Autocovariances of white noise after the usual steps, each 1 at lag 0, simplest first."""
    white = np.array([[1.0]])
    red_or_blue = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
    green = np.array([[0, 0.25, 0], [0.25, 1, 0.25], [0, 0.25, 0]])
    axis = np.arange(-3, 4)
    drop = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 0.8**2))
    families=[_of_kernel(white)[None]]
    for order, parts in ((1, (0,.5)), (3, (0, .2,.35, .5))):
        lines = [_shifted(p, order) for p in parts]
        shifts = [np.outer(a, b) for a in lines for b in lines]
        for kernel in (white, green, red_or_blue):
            families.append(np.stack([_normalised(fftconvolve(_of_kernel(kernel), moved, mode="same"))
        for moved in shifts]))
    return [*families, np.concatenate([*families,[_of_kernel(drop), _of_kernel(np.outer([1, 2, 1], [1, 2, 1]))]])]


def _shifted(part, order):
    impulse = np.zeros(33)
    impulse[16] = 1
    kernel = shift(impulse, part, order=order)
    return np.correlate(kernel, kernel, "full")[32-REACH:33+REACH]

def _of_kernel(kernel: NDArray[np.float64]) -> Covariance:
    """Autocovariance of white noise convolved with a kernel."""
    full = fftconvolve(kernel, kernel[::-1, ::-1])
    result = np.zeros((2 * REACH + 1, 2 * REACH + 1))
    half_y, half_x = full.shape[0] // 2, full.shape[1] // 2
    result[REACH - half_y : REACH + half_y + 1, REACH - half_x : REACH + half_x + 1] = full
    return _normalised(result)


def _dithered(order: int) -> Covariance:
    """Mean over many sub-pixel shifts of noise interpolated by splines of an order."""
    impulse = np.zeros(33)
    impulse[16] = 1
    line = np.zeros(4 * REACH + 1)
    for part in np.linspace(-0.45, 0.45, 10):
        kernel = shift(impulse, part, order=order)
        line += np.correlate(kernel, kernel, "full")[32 - 2 * REACH : 33 + 2 * REACH]
    line = line[REACH : 3 * REACH + 1]
    return _normalised(np.outer(line, line))


def _normalised(covariance: Covariance) -> Covariance:
    return covariance / covariance[REACH, REACH]
