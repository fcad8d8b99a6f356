"""Spatial frequencies: radial power spectra and the coherence with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

__all__ = ["cross_coherence", "power_spectrum"]


def power_spectrum(image: ArrayLike, *, bins: int | None = None) -> Curve:
    r"""Radially averaged power spectrum, :math:`|F(k)|^2` per pixel, under a Hann window.

    Parameters
    ----------
    image : array_like
        (ny, nx). The mean is subtracted; NaN is replaced by it.
    bins : int, optional
        Number of frequency bins from 0 to 0.5 cycles per pixel; default a quarter of the shorter
        side, between 8 and 256.

    Returns
    -------
    frequency : array of float64
        Mean frequency of each bin that has any, in cycles per pixel.
    power : array of float64
        Normalised so that white noise gives its variance.
    """
    transform, scale = _transform(image)
    number = _bins(transform.shape[0], np.shape(image)[1], bins)
    return _radial(np.shape(image), number, np.abs(transform) ** 2 * scale)


def cross_coherence(output: ArrayLike, truth: ArrayLike, *, bins: int | None = None) -> Curve:
    r"""Coherence of two images, frequency by frequency (Fourier ring correlation).

    .. math:: C(k) = \frac{|\langle X T^* \rangle|}
                     {\sqrt{\langle |X|^2 \rangle \langle |T|^2 \rangle}}

    with means over rings of constant frequency.

    Parameters
    ----------
    output, truth : array_like
        (ny, nx), same shape.
    bins : int, optional
        See `power_spectrum`.

    Returns
    -------
    frequency : array of float64
        In cycles per pixel.
    coherence : array of float64
        0 (unrelated) to 1 (equal but for one factor per frequency); the frequency at which it
        falls below 0.5 is the resolution. NaN where either image has no power.
    """
    _same_shape(output, truth)
    shape = np.shape(truth)
    x, _ = _transform(output)
    t, _ = _transform(truth)
    number = _bins(shape[0], shape[1], bins)
    product = x * np.conj(t)
    frequency, real = _radial(shape, number, product.real)
    _, imaginary = _radial(shape, number, product.imag)
    _, power_x = _radial(shape, number, np.abs(x) ** 2)
    _, power_t = _radial(shape, number, np.abs(t) ** 2)
    top, bottom = np.hypot(real, imaginary), np.sqrt(power_x * power_t)
    return frequency, np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0.0)


def _transform(image: ArrayLike) -> tuple[NDArray[np.complex128], float]:
    """Half-plane Fourier transform of the windowed image, and the factor for its power."""
    data = np.array(image, dtype=np.float64)
    if data.ndim != 2 or min(data.shape) < 8:
        msg = f"image has shape {data.shape}; it must be (ny, nx) of at least 8 pixels each"
        raise InputError(msg)
    good = np.isfinite(data)
    if not good.any():
        msg = "image has no finite pixel"
        raise InputError(msg)
    data -= data[good].mean()
    data[~good] = 0.0
    ny, nx = data.shape
    window = np.hanning(ny + 2)[1:-1, None] * np.hanning(nx + 2)[None, 1:-1]
    # The window would let the mean in again.
    data -= (data * window).sum() / window.sum()
    return np.fft.rfft2(data * window), 1.0 / float((window**2).sum())


def _bins(ny: int, nx: int, bins: int | None) -> int:
    number = min(max(min(ny, nx) // 4, 8), 256) if bins is None else int(bins)
    if number < 1:
        msg = f"bins is {bins}; it must be at least 1"
        raise InputError(msg)
    return number


def _radial(shape: tuple[int, ...], number: int, values: NDArray[np.float64]) -> Curve:
    ny, nx = shape
    along_x = np.fft.rfftfreq(nx)
    radius = np.hypot(np.fft.fftfreq(ny)[:, None], along_x[None, :])
    # Columns other than the first and the Nyquist one stand for two of the whole plane.
    weight = np.where((along_x == 0.0) | (along_x == 0.5), 1.0, 2.0) * np.ones((ny, 1))
    use = (radius > 0.0) & (radius <= 0.5)
    index = np.minimum((radius[use] * 2.0 * number).astype(int), number - 1)
    count = np.bincount(index, weights=weight[use], minlength=number)
    total = np.bincount(index, weights=(weight * values)[use], minlength=number)
    sums = np.bincount(index, weights=(weight * radius)[use], minlength=number)
    some = count > 0
    return sums[some] / count[some], total[some] / count[some]


def _same_shape(output: ArrayLike, truth: ArrayLike) -> None:
    if np.shape(output) != np.shape(truth):
        msg = f"the images have shapes {np.shape(output)} and {np.shape(truth)}; must be the same"
        raise InputError(msg)
