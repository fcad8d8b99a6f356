"""Convolution by Fourier transforms.

`scipy.signal.fftconvolve` does the same, but loading scipy.signal takes as long as loading the rest
of the measurement, in every command.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

__all__ = ["MOST_SIZES", "PeriodicCorrelation", "convolve", "transform_centred"]

MOST_SIZES = 8
"""Sizes of images whose transform of a kernel is kept: some MB each."""


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


class PeriodicCorrelation:
    """Correlate many images of few sizes with a kernel, as if they repeated beyond their edges.

    As far as the kernel reaches, the pixels along the edges are those of an image that repeats.

    Parameters
    ----------
    kernel : ndarray, shape (ky, kx)
        Odd sides, centred.
    """

    def __init__(self, kernel: NDArray[np.floating]) -> None:
        self._transfer = lru_cache(MOST_SIZES)(partial(transform_centred, kernel[::-1, ::-1]))

    def __call__(self, image: NDArray[np.floating]) -> NDArray[Any]:
        """Return the correlation, of the shape of the image and in the wider type of the two."""
        spectrum = rfft2(image)
        spectrum = spectrum * self._transfer(image.shape)
        return np.asarray(irfft2(spectrum, image.shape))


def transform_centred(kernel: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[Any]:
    """Return `scipy.fft.rfft2` of a kernel of odd sides, its middle on the first pixel of an image.

    Of a kernel that is larger than the image, the middle counts.
    """
    kernel = kernel[
        tuple(
            slice(max(0, side // 2 - (n - 1) // 2), side // 2 + (n - 1) // 2 + 1)
            for side, n in zip(kernel.shape, shape, strict=True)
        )
    ]
    height, width = kernel.shape
    stamp = np.zeros(shape, kernel.dtype)
    stamp[:height, :width] = kernel
    return np.asarray(rfft2(np.roll(stamp, (-(height // 2), -(width // 2)), (0, 1))))
