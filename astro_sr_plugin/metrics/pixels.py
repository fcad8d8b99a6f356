"""Agreement of pixels with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astro_sr_plugin.exceptions import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["asinh_psnr_db"]


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
    a, b = np.asarray(output, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if a.shape != b.shape:
        msg = f"output and truth have shapes {a.shape} and {b.shape}; they must be the same"
        raise InputError(msg)
    good = np.isfinite(a) & np.isfinite(b)
    if mask is not None:
        good &= ~np.asarray(mask, dtype=bool)
    if not good.any():
        msg = "output and truth have no finite unmasked pixel in common"
        raise InputError(msg)
    a, b = (np.arcsinh((image[good] - background) / (3.0 * sigma)) for image in (a, b))
    error = float(np.sqrt(np.mean((a - b) ** 2)))
    return -20.0 * float(np.log10(error)) if error > 0.0 else float("inf")
