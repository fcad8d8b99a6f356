"""Star fields whose star light is known apart from everything else."""

from __future__ import annotations

from dataclasses import dataclass

import galsim
import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scene:
    """A field with noise of standard deviation 1."""

    image: NDArray[np.float64]
    starlight: NDArray[np.float64]
    galaxies: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    snr: NDArray[np.float64]
    fwhm: float


def make_scene(
    seed: int,
    fwhm: float,
    *,
    stars: int = 80,
    galaxies: int = 0,
    shape: tuple[int, int] = (500, 500),
    snr: tuple[float, float] = (3.0, 3000.0),
    giants: int = 0,
    saturation: float | None = None,
) -> Scene:
    """Render a field; giants are bright stars with a halo and four diffraction spikes."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    layers = [galsim.ImageF(nx, ny, xmin=0, ymin=0) for _ in range(2)]
    psf = galsim.Moffat(beta=3.5, fwhm=fwhm)
    unit = np.sqrt(4 * np.pi) * fwhm / 2.3548
    table = []
    for number in range(stars + galaxies):
        x, y = rng.uniform(0, nx), rng.uniform(0, ny)
        flux = np.exp(rng.uniform(*np.log(snr))) * unit
        if number < stars:
            table.append((x, y, flux / unit))
            source, layer, half = psf * flux, layers[0], int(12 * fwhm)
        else:
            flux = np.exp(rng.uniform(*np.log((40.0, 600.0)))) * unit
            galaxy = galsim.Sersic(
                n=float(rng.choice([1.0, 1.5])), half_light_radius=fwhm * rng.uniform(1.0, 2.0)
            ).shear(q=rng.uniform(0.4, 1), beta=rng.uniform(0, np.pi) * galsim.radians)
            source, layer, half = galsim.Convolve(galaxy, psf) * flux, layers[1], int(14 * fwhm)
        bounds = galsim.BoundsI(round(x) - half, round(x) + half, round(y) - half, round(y) + half)
        stamp = galsim.ImageF(bounds)
        source.drawImage(stamp, scale=1, center=galsim.PositionD(x, y))
        layer[bounds & layer.bounds] += stamp[bounds & layer.bounds]
    starlight = layers[0].array.astype(float)
    rows, columns = np.mgrid[:ny, :nx]
    for _ in range(giants):
        x, y = rng.uniform(120, nx - 120), rng.uniform(120, ny - 120)
        peak = rng.uniform(5000, 30_000)
        starlight += _giant(rows - y, columns - x, peak, fwhm)
        table.append((x, y, peak))
    image = starlight + layers[1].array + 100 + rng.normal(0, 1, shape)
    if saturation is not None:
        image = np.minimum(image, saturation)
    x, y, ratio = np.array(table).reshape(-1, 3).T
    return Scene(image, starlight, layers[1].array.astype(float), x, y, ratio, fwhm)


def _giant(
    dy: NDArray[np.float64], dx: NDArray[np.float64], peak: float, fwhm: float
) -> NDArray[np.float64]:
    squared = dx**2 + dy**2
    light = peak * (1 + 4 * (2 ** (1 / 3.5) - 1) * squared / fwhm**2) ** -3.5
    light += 2e-3 * peak * np.exp(-np.sqrt(squared) / (4 * fwhm))
    for angle in (0.4, 0.4 + np.pi / 2):
        along = dx * np.cos(angle) + dy * np.sin(angle)
        across = dy * np.cos(angle) - dx * np.sin(angle)
        spike = np.exp(-np.abs(along) / (9 * fwhm) - across**2 / (0.5 * fwhm**2))
        light += 0.01 * peak * spike
    return light


@pytest.fixture(scope="session")
def scene():
    return make_scene
