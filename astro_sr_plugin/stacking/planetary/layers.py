"""Wavelet layers of an image, by the "algorithme à trous"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from astro_sr_plugin.constants import MAD_TO_SIGMA

__all__ = ["MOST_LAYERS", "amplify_layers", "split_layers"]

_B3_SPLINE = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
"""Cubic spline as scaling function (Starck & Murtagh 2006, Astronomical Image and Data Analysis,
sect. A.2)."""
_LAYER_NOISE = (0.8908, 0.2007, 0.0856, 0.0413, 0.0205, 0.0103)
"""Standard deviation of each layer of white noise of sigma 1 (the same book, table 2.1)."""
MOST_LAYERS = len(_LAYER_NOISE)
"""Largest number of layers; the last has structures of 64 pixels."""


def split_layers(plane: NDArray[np.floating], count: int) -> list[NDArray[np.floating]]:
    """Split a plane into layers of growing scale, whose sum it is.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Finite values.
    count : int
        Number of layers, 1 to 6.

    Returns
    -------
    list of ndarray
        `count` layers, layer k of structures of about 2**k pixels, and the smooth rest.
    """
    layers = []
    smooth = plane
    for level in range(count):
        step = 2**level
        kernel = np.zeros(4 * step + 1)
        kernel[::step] = _B3_SPLINE
        smoother = convolve1d(convolve1d(smooth, kernel, axis=0), kernel, axis=1)
        layers.append(smooth - smoother)
        smooth = smoother
    return [*layers, smooth]


def amplify_layers(
    plane: NDArray[np.floating],
    gains: Sequence[float],
    nsigma: Sequence[float],
    noise: float | NDArray[np.floating] | None,
) -> NDArray[np.floating]:
    """Multiply the layers of a plane, as far as they stand out of the noise.

    What is below the noise stays as it is: with all gains above 1 nothing is smoothed.

    Parameters
    ----------
    plane : ndarray, shape (ny, nx)
        Finite values.
    gains : sequence of float
        Factor of each layer.
    nsigma : sequence of float
        Threshold of each layer in units of its noise; 0 amplifies all of it.
    noise : float or ndarray, optional
        Standard deviation of the noise of a pixel; measured in the first layer by default.

    Returns
    -------
    ndarray
        Not clipped.
    """
    *layers, rest = split_layers(plane, len(gains))
    if noise is None:
        first = layers[0]
        noise = MAD_TO_SIGMA * float(np.median(np.abs(first - np.median(first))))
        noise /= _LAYER_NOISE[0]
    result = rest
    for layer, gain, limit, factor in zip(layers, gains, nsigma, _LAYER_NOISE, strict=False):
        power = np.square(layer)
        floor = np.square(limit * factor * np.asarray(noise))
        share = 1 - floor / np.maximum(np.maximum(power, floor), np.finfo(power.dtype).tiny)
        result = result + layer * (1 + (gain - 1) * share)
    return result
