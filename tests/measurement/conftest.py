"""Star fields with known truth, rendered by GalSim, and noise with known correlation."""

from __future__ import annotations

from collections.abc import Callable

import galsim
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

SNR_TO_FLUX = np.sqrt(4 * np.pi) / 2.3548  # times FWHM times sigma


def star_profile(kind: float | str, fwhm: float) -> galsim.GSObject:
    if kind == "gaussian":
        return galsim.Gaussian(fwhm=fwhm)
    if kind == "kolmogorov":
        return galsim.Kolmogorov(fwhm=fwhm)
    return galsim.Moffat(beta=float(kind), fwhm=fwhm)


def make_field(
    seed: int,
    fwhm: float,
    *,
    kind: float | str = 3.5,
    shape: tuple[int, int] = (420, 420),
    stars: int = 40,
    galaxies: int = 0,
    snr: tuple[float, float] = (20.0, 500.0),
    ellipticity: float = 0.0,
    theta: float = 0.0,
    noise: NDArray[np.float64] | None = None,
    sky: float = 100.0,
) -> NDArray[np.float64]:
    """Render a field whose noise has the standard deviation 1."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    image = galsim.ImageF(nx, ny, xmin=0, ymin=0)
    psf = star_profile(kind, fwhm).shear(q=1 - ellipticity, beta=theta * galsim.radians)
    for number in range(stars + galaxies):
        flux = np.exp(rng.uniform(*np.log(snr))) * SNR_TO_FLUX * fwhm
        shape_of_it = psf
        if number >= stars:
            flux *= 2
            galaxy = galsim.Sersic(
                n=float(rng.choice([1.0, 1.5, 2.5])),
                half_light_radius=fwhm * rng.uniform(0.5, 1.6),
            ).shear(q=rng.uniform(0.4, 1), beta=rng.uniform(0, np.pi) * galsim.radians)
            shape_of_it = galsim.Convolve(galaxy, psf)
        x, y = rng.uniform(0, nx), rng.uniform(0, ny)
        half = int(np.ceil(6 * fwhm)) + 8
        bounds = galsim.BoundsI(round(x) - half, round(x) + half, round(y) - half, round(y) + half)
        stamp = galsim.ImageF(bounds)
        (shape_of_it * flux).drawImage(stamp, scale=1, center=galsim.PositionD(x, y))
        common = bounds & image.bounds
        if common.isDefined():
            image[common] += stamp[common]
    if noise is None:
        noise = rng.normal(0, 1, shape)
    return image.array.astype(float) + sky + noise


def make_noise(kind: str, shape: tuple[int, int], seed: int = 0) -> NDArray[np.float64]:
    """Make noise of a kind, scaled to a standard deviation of exactly 1."""
    rng = np.random.default_rng(seed)
    if kind == "white":
        result = rng.normal(0, 1, shape)
    elif kind == "drizzle":
        result = ndimage.uniform_filter(rng.normal(0, 1, shape), 2)
    elif kind == "drop":
        result = ndimage.gaussian_filter(rng.normal(0, 1, shape), 0.8)
    else:
        source, frames, order = {
            "bilinear": ("mono", 8, 1),
            "bicubic": ("mono", 6, 3),
            "bayer": ("bayer", 1, 0),
            "bayer stack": ("bayer", 6, 1),
        }[kind]
        result = np.zeros(shape)
        kernel = np.array([[0.25, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 0.25]])
        for _ in range(frames):
            frame = rng.normal(0, 1, (shape[0] + 16, shape[1] + 16))
            if source == "bayer":
                sampled = np.zeros_like(frame)
                sampled[::2, ::2] = frame[::2, ::2]
                frame = ndimage.convolve(sampled, kernel)
            if order:
                frame = ndimage.shift(frame, rng.uniform(-0.5, 0.5, 2), order=order, mode="wrap")
            result += frame[8:-8, 8:-8]
    return result / result.std()


def make_nebula(
    shape: tuple[int, int], amplitude: float, fwhm: float, seed: int = 0
) -> NDArray[np.float64]:
    """Make a log-normal power-law cloud that fills the frame, seen through a Gaussian PSF."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(0, 1, shape)) * frequency**-1.5
    spectrum[0, 0] = 0
    cloud = np.fft.irfft2(spectrum, shape)
    return amplitude * ndimage.gaussian_filter(np.exp(cloud / cloud.std()), fwhm / 2.3548)


@pytest.fixture(scope="session")
def field() -> Callable[..., NDArray[np.float64]]:
    return make_field


@pytest.fixture(scope="session")
def noise_of() -> Callable[..., NDArray[np.float64]]:
    return make_noise


@pytest.fixture(scope="session")
def nebula() -> Callable[..., NDArray[np.float64]]:
    return make_nebula
