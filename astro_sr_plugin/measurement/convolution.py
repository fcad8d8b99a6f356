"""Convolution by Fourier transforms.

`scipy.signal.fftconvolve` does the same, but loading scipy.signal takes as long as loading the rest
of the measurement, in every command.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

__all__ = ["convolve"]


def convolve(
    image: NDArray[np.floating],
    kernel: NDArray[np.floating],
    mode: Literal["full", "same", "valid"] = "same",
) -> NDArray[Any]:
    """Convolve an image with a kernel; beyond its edges the image is zero.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        The image, finite.
    kernel : ndarray, shape (ky, kx)
        The kernel, no larger than the image for ``"valid"``.
    mode : {'full', 'same', 'valid'}
        What is returned: all of it, the size of the image, or where kernel and image overlap whole.

    Returns
    -------
    ndarray
        In the wider type of the two.
    """
    shape = np.array(image.shape) + kernel.shape - 1
    fast = tuple(next_fast_len(int(n), real=True) for n in shape)
    full = irfft2(rfft2(image, fast) * rfft2(kernel, fast), fast)[: shape[0], : shape[1]]
    size = {"full": shape, "same": np.array(image.shape)}.get(
        mode, np.array(image.shape) - kernel.shape + 1
    )
    first = (shape - size) // 2
    rows, columns = (slice(start, start + n) for start, n in zip(first, size, strict=True))
    return np.asarray(full[rows, columns])
