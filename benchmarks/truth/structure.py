"""Extended structure for the scenes: procedural nebulae and spirals, or real pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["nebula", "power_law_field", "spiral", "texture"]

_PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


def power_law_field(n: int, slope: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a Gaussian random field of mean 0 and standard deviation 1.

    Parameters
    ----------
    n : int
        Side of the square field in samples.
    slope : float
        Exponent of the power spectrum, P(k) proportional to k**-slope.
    rng : numpy.random.Generator
        Source of the phases and amplitudes.

    Returns
    -------
    numpy.ndarray
        Array of shape (n, n).
    """
    k = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    k[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((n, n))) * k ** (-slope / 2)
    field = np.fft.irfft2(spectrum, s=(n, n))
    return (field - field.mean()) / field.std()


def nebula(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a nebula: clumpy gas, thin filaments and dark dust lanes.

    Parameters
    ----------
    n : int
        Side of the square field in samples.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Surface brightness, shape (n, n), non-negative, median 1.
    """
    gas = np.exp(0.9 * power_law_field(n, 3.0, rng))
    ridge = 1.0 - np.abs(power_law_field(n, 3.2, rng))
    filaments = np.clip(ridge, 0.0, None) ** 6 * np.exp(0.6 * power_law_field(n, 2.8, rng))
    dust = np.exp(-2.5 * np.clip(power_law_field(n, 3.0, rng) - 0.7, 0.0, None))
    field = (gas + 1.2 * filaments) * dust
    return field / np.median(field)


def spiral(n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a spiral galaxy: bulge, disc, arms with clumps, dust at the inner arm edges.

    Parameters
    ----------
    n : int
        Side of the square field in samples; the disc scale length is n / 11.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Surface brightness, shape (n, n), non-negative, 1 at one disc scale length between the arms.
    """
    inclination, angle = rng.uniform(0.5, 0.95), rng.uniform(0.0, np.pi)
    yy, xx = (np.mgrid[:n, :n] - (n - 1) / 2) / (n / 11)
    u = np.cos(angle) * xx + np.sin(angle) * yy
    v = (np.cos(angle) * yy - np.sin(angle) * xx) / inclination
    radius, phase = np.hypot(u, v) + 1e-6, np.arctan2(v, u)
    warp = 0.25 * power_law_field(n, 3.4, rng)
    winding = 2.0 * (phase - np.log(radius + 0.15) / np.tan(np.radians(20.0))) + warp
    arm = np.exp(2.2 * (np.cos(winding) - 1.0))
    clumps = np.exp(1.3 * power_law_field(n, 2.2, rng) - 0.8)
    lane = np.exp(-1.2 * np.exp(2.5 * (np.cos(winding + 0.7) - 1.0)) * (radius > 0.4))
    disc = np.e * np.exp(-radius) * (0.6 + 4.0 * arm * clumps * np.clip(radius, 0.0, 1.0))
    bulge = 30.0 * np.exp(-7.67 * ((radius / 0.9) ** 0.5 - 0.15))
    return disc * lane + np.clip(bulge, 0.0, 60.0)


def texture(folder: str | Path, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a picture of a folder, linearised and fitted to a square field.

    Parameters
    ----------
    folder : path
        Folder of PNG, JPEG or TIFF pictures; one is drawn at random (in order of name).
    n : int
        Side of the square field in samples; the picture's shorter side is resampled to it.
    rng : numpy.random.Generator
        Chooses the picture and its orientation.

    Returns
    -------
    numpy.ndarray
        Surface brightness, shape (3, n, n), non-negative, the 99.5th percentile at 1.

    Raises
    ------
    ValueError
        If the folder holds no picture.
    """
    from skimage import io

    paths = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in _PICTURES)
    if not paths:
        msg = f"textures folder {str(folder)!r} holds no PNG, JPEG or TIFF picture"
        raise ValueError(msg)
    picture = np.asarray(io.imread(paths[rng.integers(len(paths))]), dtype=float)
    picture = np.atleast_3d(picture)[..., :3]
    if picture.shape[2] < 3:
        picture = np.repeat(picture[..., :1], 3, axis=2)
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = np.moveaxis(picture[top : top + side, left : left + side], 2, 0)
    linear = (square / max(255.0, square.max())) ** 2.2
    fitted = ndimage.zoom(linear, (1, n / side, n / side), order=1, mode="nearest", grid_mode=True)
    # JPEG blocks and 8-bit steps are no structure of the sky.
    fitted = ndimage.gaussian_filter(fitted, (0, 1.0, 1.0))[:, :n, :n]
    fitted = np.rot90(fitted, int(rng.integers(4)), axes=(1, 2))
    fitted = fitted - np.percentile(fitted, 1.0, axis=(1, 2), keepdims=True)
    return np.clip(fitted / np.percentile(fitted, 99.5), 0.0, None)
