"""Pixel by pixel: PSNR, SSIM, total flux, consistency with the observation, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Consistency",
    "asinh_psnr_db",
    "consistency_chi2",
    "coverage",
    "flux_error",
    "psnr",
    "ssim",
]


class Consistency(NamedTuple):
    """How an observation agrees with a model of it.

    Attributes
    ----------
    chi2 : float
        Mean squared residual in units of the noise; 1 is right, below 1 the noise was copied.
    whiteness : float
        Correlation of residuals of neighbouring pixels (mean of both axes), -1 to 1; 0 for white
        noise that is fully explained.
    """

    chi2: float
    whiteness: float


def psnr(
    output: ArrayLike,
    truth: ArrayLike,
    *,
    data_range: float | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> float:
    """Peak signal to noise ratio, 20 log10(range / RMSE), in dB.

    Parameters
    ----------
    output, truth : array_like
        Same shape, any number of dimensions.
    data_range : float, optional
        Default: the largest minus the smallest value of the truth.
    mask : array of bool, optional
        True = excluded, beside NaN.

    Returns
    -------
    float
        Infinite for equal images; higher is better.

    Notes
    -----
    On linear astronomical data the figure is set by the cores of the brightest stars: prefer
    `asinh_psnr_db`.
    """
    a, b = _pair(output, truth, mask)
    width = float(b.max() - b.min()) if data_range is None else float(data_range)
    if not width > 0.0:
        msg = f"data_range is {width}; it must be positive"
        raise InputError(msg)
    return _decibel(_rmse(a, b) / width)


def asinh_psnr_db(
    output: ArrayLike,
    truth: ArrayLike,
    *,
    sigma: float,
    background: float = 0.0,
    mask: NDArray[np.bool_] | None = None,
) -> float:
    r"""Return :math:`-20 \log_{10}` of the RMSE of :math:`\mathrm{asinh}(I / 3\sigma)`, in dB.

    Errors count linearly in the sky and by their ratio in bright objects.

    Parameters
    ----------
    output, truth : array_like
        Same shape and units.
    sigma : float
        Sky noise per pixel of the *input* image, in the same units.
    background : float, optional
        Sky level to be subtracted from both.
    mask : array of bool, optional
        True = excluded, beside NaN.

    Returns
    -------
    float
        Infinite for equal images; higher is better; 10 dB is an RMSE of 0.32.
    """
    if not sigma > 0.0:
        msg = f"sigma is {sigma}; it must be positive"
        raise InputError(msg)
    a, b = _pair(output, truth, mask)
    a, b = (
        np.arcsinh((a - background) / (3.0 * sigma)),
        np.arcsinh((b - background) / (3.0 * sigma)),
    )
    return _decibel(_rmse(a, b))


def ssim(
    output: ArrayLike,
    truth: ArrayLike,
    *,
    data_range: float | None = None,
    sigma: float = 1.5,
) -> float:
    """Mean structural similarity (Wang et al. 2004, IEEE TIP 13, 600), Gaussian window.

    Parameters
    ----------
    output, truth : array_like
        (ny, nx), or (n, ny, nx), of which the mean over planes is taken. No NaN.
    data_range : float, optional
        Default: the largest minus the smallest value of the truth.
    sigma : float, optional
        Of the Gaussian window, in pixels.

    Returns
    -------
    float
        1 for equal images, 0 for unrelated ones, negative for inverted ones.

    Notes
    -----
    Compare images that were stretched alike; on linear data the sky counts as equal everywhere.
    """
    from scipy.ndimage import gaussian_filter

    a, b = np.asarray(output, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    _same_shape(a, b)
    if a.ndim == 3:
        width = float(b.max() - b.min()) if data_range is None else data_range
        planes = zip(a, b, strict=True)
        return float(np.mean([ssim(p, q, data_range=width, sigma=sigma) for p, q in planes]))
    pad = int(3.5 * sigma + 0.5)
    if a.ndim != 2 or min(a.shape) <= 2 * pad:
        msg = f"output has shape {a.shape}; ssim needs 2 or 3 dimensions of over {2 * pad} pixels"
        raise InputError(msg)
    width = float(b.max() - b.min()) if data_range is None else float(data_range)
    if not width > 0.0:
        msg = f"data_range is {width}; it must be positive"
        raise InputError(msg)

    def mean(image: NDArray[np.float64]) -> NDArray[np.float64]:
        smooth = gaussian_filter(image, sigma, truncate=3.5)
        return np.asarray(smooth[pad:-pad, pad:-pad])

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * width) ** 2, (0.03 * width) ** 2
    top = (2.0 * mean_a * mean_b + c1) * (2.0 * covariance + c2)
    return float(np.mean(top / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


def flux_error(
    output: ArrayLike,
    reference: ArrayLike,
    *,
    scale: int = 1,
    mask: NDArray[np.bool_] | None = None,
) -> float:
    """Relative error of the total flux, sum(output) / (scale² sum(reference)) - 1.

    Parameters
    ----------
    output : array_like
        With surface brightness kept, so that at scale 2 its sum should be 4 times as large.
    reference : array_like
        The input or the truth, background-subtracted if the sky is not to count.
    scale : int, optional
        Output pixels per reference pixel along an axis; 1 if the output conserves the sum.
    mask : array of bool, optional
        True = excluded, on the grid of the reference; the output is cut accordingly.

    Returns
    -------
    float
        0 is right. NaN in either image excludes the pixel from both.
    """
    a, b = np.asarray(output, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.shape != (*b.shape[:-2], *(n * scale for n in b.shape[-2:])):
        msg = f"output has shape {a.shape}; for reference {b.shape} and scale {scale} it is wrong"
        raise InputError(msg)
    blocks = a.reshape(*b.shape[:-2], b.shape[-2], scale, b.shape[-1], scale).sum(axis=(-3, -1))
    blocks, b = _pair(blocks, b, mask)
    total = float(b.sum()) * scale**2
    if total == 0.0:
        msg = "reference has a total flux of 0; a relative flux error needs another one"
        raise InputError(msg)
    return float(blocks.sum()) / total - 1.0


def consistency_chi2(
    observed: ArrayLike,
    predicted: ArrayLike,
    sigma: ArrayLike,
    *,
    mask: NDArray[np.bool_] | None = None,
) -> Consistency:
    r"""Compare an observation with the result seen again through the optics.

    .. math:: \chi^2 = \left\langle \left( \frac{y - A \hat x}{\sigma} \right)^2 \right\rangle

    Parameters
    ----------
    observed : array_like
        The input image y, (ny, nx).
    predicted : array_like
        The result convolved with the PSF (and sampled as the input), same shape.
    sigma : float or array_like
        Noise of the observation.
    mask : array of bool, optional
        True = excluded, beside NaN.

    Returns
    -------
    Consistency
        `chi2`, and the `whiteness` of the residuals.
    """
    y, model = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    _same_shape(y, model)
    residual = (y - model) / np.asarray(sigma, dtype=np.float64)
    if mask is not None:
        residual = np.where(mask, np.nan, residual)
    good = np.isfinite(residual)
    if not good.any():
        msg = "observed and predicted have no finite pixel in common"
        raise InputError(msg)
    variance = float(np.mean(residual[good] ** 2))
    pairs = [
        (residual[..., 1:, :] * residual[..., :-1, :]).ravel(),
        (residual[..., :, 1:] * residual[..., :, :-1]).ravel(),
    ]
    means = [float(p[np.isfinite(p)].mean()) for p in pairs if np.isfinite(p).any()]
    white = float(np.mean(means)) / variance if means and variance > 0.0 else 0.0
    return Consistency(variance, white)


def coverage(
    output: ArrayLike,
    truth: ArrayLike,
    error: ArrayLike,
    *,
    levels: Sequence[float] = (0.68, 0.90, 0.95),
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Fraction of pixels whose truth lies in the stated interval about the output.

    Parameters
    ----------
    output, truth, error : array_like
        Same shape; `error` is the stated standard deviation.
    levels : sequence of float, optional
        Nominal probabilities; the interval is that of a Gaussian, for example 1.645 sigma at 0.90.
    mask : array of bool, optional
        True = excluded, beside NaN.

    Returns
    -------
    array of float64
        One fraction per level, 0 to 1; right if equal to the level, smaller if the errors are
        stated too small.
    """
    from scipy.special import ndtri

    if not all(0.0 < level < 1.0 for level in levels):
        msg = f"levels is {tuple(levels)}; each must be between 0 and 1"
        raise InputError(msg)
    sigma = np.asarray(error, dtype=np.float64)
    distance = np.abs(np.subtract(output, truth, dtype=np.float64))
    distance, sigma = _pair(distance, np.broadcast_to(sigma, distance.shape), mask)
    return np.array([np.mean(distance <= sigma * ndtri(0.5 + 0.5 * p)) for p in levels])


def _same_shape(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    if a.shape != b.shape:
        msg = f"the images have shapes {a.shape} and {b.shape}; they must be the same"
        raise InputError(msg)


def _pair(
    output: ArrayLike, truth: ArrayLike, mask: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels that are finite in both and not masked."""
    a, b = np.asarray(output, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    _same_shape(a, b)
    good = np.isfinite(a) & np.isfinite(b)
    if mask is not None:
        good &= ~np.asarray(mask, dtype=bool)
    if not good.any():
        msg = "the images have no finite unmasked pixel in common"
        raise InputError(msg)
    return a[good], b[good]


def _rmse(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def _decibel(ratio: float) -> float:
    return -20.0 * float(np.log10(ratio)) if ratio > 0.0 else float("inf")
