"""Render a list of stars, galaxies and a texture by GalSim on any grid, at any PSF.

The unit of length is the input pixel, positions are 0-based with pixel centres at whole numbers,
and values are surface brightness: ADU per input pixel, whatever the step of the grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import galsim
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Content",
    "Galaxy",
    "draw_profile",
    "gaussian",
    "kolmogorov",
    "moffat",
    "render",
    "spider",
]

_PARAMS = galsim.GSParams(
    folding_threshold=1e-3, maxk_threshold=1e-5, kvalue_accuracy=1e-6, maximum_fft_size=16384
)
# Spikes reach so far that a closer threshold asks for a pupil of thousands of pixels.
_OPTICS = galsim.GSParams(
    folding_threshold=5e-3, maxk_threshold=1e-5, kvalue_accuracy=1e-6, maximum_fft_size=16384
)
_FAINT = 0.02  # a star's stamp ends where it falls below this many sigma
_SPIDER_FWHM = 3.0168  # of optics and seeing together, before the scaling
_WIDE = 220  # a PSF whose good image size is larger is tabulated instead of transformed per star


@dataclass(frozen=True)
class Galaxy:
    """A GalSim profile with its flux, at a place; `reach` is the radius of its stamp in pixels."""

    profile: galsim.GSObject
    x: float
    y: float
    reach: float


@dataclass(frozen=True)
class Content:
    """What is on the sky in one channel: stars, galaxies, and a texture centred on the frame.

    Attributes
    ----------
    x, y, flux : numpy.ndarray
        Stars: positions (pixels) and total fluxes (ADU), each of shape (n,).
    galaxies : list of Galaxy
        Extended objects.
    texture : numpy.ndarray or None
        Surface brightness (ADU per input pixel) on a grid of `texture_step` pixels.
    texture_step : float
        Step of the texture's grid in input pixels.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux: NDArray[np.float64]
    galaxies: list[Galaxy] = field(default_factory=list)
    texture: NDArray[np.float64] | None = None
    texture_step: float = 0.5


def gaussian(fwhm: float) -> galsim.GSObject:
    """Return a round Gaussian of this FWHM (pixels)."""
    return galsim.Gaussian(fwhm=fwhm, gsparams=_PARAMS)


def moffat(
    fwhm: float, beta: float, ellipticity: float = 0.0, theta: float = 0.0
) -> galsim.GSObject:
    """Return a Moffat PSF; `fwhm` is the geometric mean, `theta` in radians from +x."""
    profile = galsim.Moffat(beta=beta, fwhm=fwhm, gsparams=_PARAMS)
    return profile.shear(q=1.0 - ellipticity, beta=theta * galsim.radians)


def kolmogorov(fwhm: float, ellipticity: float = 0.0, theta: float = 0.0) -> galsim.GSObject:
    """Return a long-exposure seeing PSF; `fwhm` is the geometric mean, `theta` in radians."""
    profile = galsim.Kolmogorov(fwhm=fwhm, gsparams=_PARAMS)
    return profile.shear(q=1.0 - ellipticity, beta=theta * galsim.radians)


def spider(fwhm: float, angle: float) -> galsim.GSObject:
    """Return seeing seen through a telescope with a central obscuration and four vanes.

    The sum of both is scaled to `fwhm` pixels; `angle` (radians) turns the spikes.
    """
    optics = galsim.OpticalPSF(
        lam_over_diam=1.3,
        obscuration=0.33,
        nstruts=4,
        strut_thick=0.03,
        strut_angle=angle * galsim.radians,
        pad_factor=4.0,
        oversampling=1.0,
        gsparams=_OPTICS,
    )
    seeing = galsim.Moffat(beta=3.5, fwhm=2.4)
    both = galsim.Convolve([optics, seeing], gsparams=_OPTICS)
    return both.dilate(fwhm / _SPIDER_FWHM)


def draw_profile(
    psf: galsim.GSObject, half: int, *, step: float = 1.0, pixel: float = 1.0
) -> NDArray[np.float64]:
    """Draw a star of flux 1 in the middle of a square.

    Parameters
    ----------
    psf : galsim.GSObject
        Optical PSF of flux 1.
    half : int
        Samples on each side of the middle one.
    step : float
        Distance of the samples in input pixels.
    pixel : float
        Side, in input pixels, of the square that every sample is integrated over; 0 for points.

    Returns
    -------
    numpy.ndarray
        Surface brightness per input pixel, shape (2 half + 1, 2 half + 1).
    """
    seen = galsim.Convolve([psf, galsim.Pixel(pixel)]) if pixel else psf
    side = 2 * half + 1
    image = seen.drawImage(nx=side, ny=side, scale=step, method="no_pixel", dtype=float)
    return np.asarray(image.array / step**2)


def render(
    content: Content,
    psf: galsim.GSObject,
    shape: tuple[int, int],
    *,
    fwhm: float,
    sigma: float,
    step: float = 1.0,
    margin: int = 0,
    pixel: float = 1.0,
) -> NDArray[np.float64]:
    """Draw the content at a PSF.

    Parameters
    ----------
    content : Content
        The sky, in one channel.
    psf : galsim.GSObject
        Optical PSF of flux 1 (or the target Gaussian).
    shape : (int, int)
        (ny, nx) of the frame in input pixels.
    fwhm : float
        FWHM of the PSF in input pixels; sets the least size of the stamps.
    sigma : float
        Noise of a pixel (ADU): wings fainter than a fraction of it are not drawn.
    step : float
        Grid step in input pixels: sample j sits at (j + 0.5) * step - 0.5 - margin.
    margin : int
        Input pixels added on every side.
    pixel : float
        Side, in input pixels, of the square that every sample is integrated over; 0 for points.

    Returns
    -------
    numpy.ndarray
        Surface brightness in ADU per input pixel, shape ((ny + 2 margin) / step, ...).
    """
    ny, nx = (round((side + 2 * margin) / step) for side in shape)
    image = galsim.ImageD(nx, ny, init_value=0.0, scale=step)
    seen = galsim.Convolve([psf, galsim.Pixel(pixel)]) if pixel else psf
    faint = _FAINT * sigma

    def place(profile: galsim.GSObject, x: float, y: float, reach: float) -> None:
        px, py = (x + 0.5 + margin) / step + 0.5, (y + 0.5 + margin) / step + 0.5
        half = int(np.ceil(reach / step))
        cx, cy = round(px), round(py)
        bounds = galsim.BoundsI(cx - half, cx + half, cy - half, cy + half) & image.bounds
        if bounds.isDefined():
            profile.drawImage(
                image=image[bounds],
                center=galsim.PositionD(px, py),
                method="no_pixel",
                add_to_image=True,
            )

    stamp = galsim.Convolve([seen, galsim.Pixel(step)]) if step < 1.0 else seen
    wing = _wing(stamp, fwhm, max(shape))
    star = _tabulated(seen, max(wing[-1][0], 90.0)) if seen.getGoodImageSize(1.0) > _WIDE else seen
    for x, y, flux in zip(content.x, content.y, content.flux, strict=True):
        reach = next((r for r, level in wing if flux * level < faint), wing[-1][0])
        place(star.withScaledFlux(flux), x, y, reach)
    for galaxy in content.galaxies:
        place(
            galsim.Convolve([galaxy.profile, seen]), galaxy.x, galaxy.y, galaxy.reach + 4.0 * fwhm
        )
    if content.texture is not None:
        profile = galsim.InterpolatedImage(
            galsim.ImageD(content.texture * content.texture_step**2),
            scale=content.texture_step,
            x_interpolant="quintic",
            pad_factor=2.0,
            normalization="flux",
            calculate_stepk=False,
            calculate_maxk=False,
            gsparams=_PARAMS,
        )
        centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
        place(galsim.Convolve([profile, seen]), *centre, reach=max(shape) + margin)
    return image.array / step**2


@lru_cache(maxsize=4)
def _tabulated(psf: galsim.GSObject, reach: float) -> galsim.GSObject:
    """Return the same profile as a table at steps of a quarter pixel, quick to draw."""
    step = 0.25
    side = 2 * int(np.ceil(reach / step)) + 9
    table = psf.drawImage(nx=side, ny=side, scale=step, method="no_pixel", dtype=float)
    return galsim.InterpolatedImage(
        table,
        scale=step,
        x_interpolant="quintic",
        normalization="flux",
        calculate_stepk=False,
        calculate_maxk=False,
        gsparams=_PARAMS,
    )


def _wing(psf: galsim.GSObject, fwhm: float, side: int) -> list[tuple[float, float]]:
    """Return (radius, largest value beyond it) for radii from 10 FWHM to the frame's side."""
    radii = [10.0 * fwhm * 1.4**i for i in range(12) if 10.0 * fwhm * 1.4**i < side] or [
        float(side)
    ]
    half = int(np.ceil(radii[-1]))
    stamp = galsim.ImageD(2 * half + 1, 2 * half + 1, scale=1.0)
    psf.drawImage(image=stamp, method="no_pixel")
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    distance = np.hypot(xx, yy)
    return [(r, float(np.abs(stamp.array[distance >= r - 1.0]).max())) for r in radii]
