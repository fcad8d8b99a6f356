"""Pairs of observations of one field: a poorer one, and a better one on the grid of the result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.real.matching import (
    SEEN,
    Array,
    align,
    find_maxima,
    half_width,
    largest_near,
    match_psf,
    matched_filter,
    measured_psf,
    shifted,
    sky_noise,
    values_at,
)

__all__ = ["Pair", "binned", "border", "make_pair", "middle", "read_first_image", "repeated"]

_SIDE = 640  # of what is compared of larger images


@dataclass(frozen=True)
class Pair:
    """What is enhanced, and what the result is compared with.

    Attributes
    ----------
    name, task, what : str
        Short name, one of "denoise", "deconvolve", "super-resolve", and a line for the report.
    image : numpy.ndarray
        What the verbs are given, (ny, nx) or (3, ny, nx).
    plane : int or None
        The plane of a colour image that is compared.
    poorer : numpy.ndarray
        That plane.
    poorer_psf : numpy.ndarray
        Its profile, sum 1.
    better : numpy.ndarray
        The better data in the units, at the sky level and on the grid of the result.
    better_psf : numpy.ndarray
        Its profile on that grid.
    reference : numpy.ndarray
        The better data at the profile and on the grid of the poorer ones (the other way round
        where the poorer profile is the narrower one).
    sigma : float
        Noise of a pixel of the poorer data.
    given_psf : numpy.ndarray or None
        The profile that is given to the verb; None where it measures it itself.
    mask, better_mask : numpy.ndarray
        True = left out, on the grid of the poorer data and on that of the result.
    better_variance : numpy.ndarray or None
        Variance of the better data where it is known from the scatter of their frames.
    note : str
        What was fitted.
    """

    name: str
    task: str
    what: str
    image: Array
    plane: int | None
    poorer: Array
    poorer_psf: Array
    better: Array
    better_psf: Array
    reference: Array
    sigma: float
    given_psf: Array | None
    mask: NDArray[np.bool_]
    better_mask: NDArray[np.bool_]
    better_variance: Array | None = None
    note: str = ""

    @property
    def scale(self) -> int:
        """Pixels of the result per pixel of the poorer data, along an axis."""
        return self.better.shape[0] // self.poorer.shape[0]

    @cached_property
    def poorer_flux(self) -> tuple[Array, float]:
        """Map of the flux of a point source on the poorer data, and its error."""
        return matched_filter(self.poorer, self.poorer_psf, self.mask)

    @cached_property
    def better_snr(self) -> Array:
        """Map of the signal to noise ratio of a point source on the better data."""
        flux, error = matched_filter(self.better, self.better_psf, self.better_mask)
        return flux / error

    @cached_property
    def known(self) -> tuple[Array, Array]:
        """Places (x, y) of the sources of the better data, and their SNR in the poorer ones."""
        places = find_maxima(self.better_snr, SEEN, self.better_mask)
        reach = max(1.0, 0.5 * half_width(self.poorer_psf))
        largest = largest_near(self.poorer_flux[0] / self.poorer_flux[1], reach)
        return places, values_at(largest, (places + 0.5) / self.scale - 0.5)


def make_pair(
    name: str,
    task: str,
    what: str,
    poorer: Array,
    better: Array,
    *,
    poorer_psf: Array | None = None,
    better_psf: Array | None = None,
    given_psf: Array | None = None,
    image: Array | None = None,
    plane: int | None = None,
    better_variance: Array | None = None,
) -> Pair:
    """Make a pair of two images of one grid: fit flux scale, shift and sky of the better one.

    Parameters
    ----------
    name, task, what : str
        See `Pair`.
    poorer, better : numpy.ndarray
        (ny, nx) each; not-finite pixels are left out. If the better one has twice the pixels, its
        2 x 2 means are on the grid of the poorer one.
    poorer_psf, better_psf : numpy.ndarray, optional
        Profiles; measured on the images if not given.
    given_psf, image, plane, better_variance
        See `Pair`.

    Returns
    -------
    Pair
    """
    scale = better.shape[0] // poorer.shape[0]
    profile = measured_psf(poorer) if poorer_psf is None else poorer_psf
    better_profile = measured_psf(better) if better_psf is None else better_psf
    bad, better_bad = ~np.isfinite(poorer), ~np.isfinite(better)
    sigma = sky_noise(poorer, bad)
    low = np.where(bad, np.median(poorer[~bad]), poorer)
    high = np.where(better_bad, np.median(better[~better_bad]), better)
    reach = int(np.ceil(2 * half_width(profile)))
    mask = ndimage.binary_dilation(bad | binned(better_bad, scale), iterations=reach)
    mask |= border(low.shape, reach)
    at_low, seen = binned(high, scale), low
    if scale == 1 and half_width(better_profile) > half_width(profile):
        seen = match_psf(low, profile, better_profile)
    elif scale == 1:
        at_low = match_psf(high, better_profile, profile)
    fit = align(seen, at_low, sigma=sigma, mask=mask)
    reference = fit.scale * shifted(at_low, fit.dx, fit.dy) + fit.sky
    moved = fit.scale * shifted(high, scale * fit.dx, scale * fit.dy)
    note = (
        f"flux scale {fit.scale:.4f} +- {fit.scale_error:.4f}, shift ({fit.dx:+.2f}, {fit.dy:+.2f})"
        f" px, FWHM {half_width(profile):.2f} and {half_width(better_profile):.2f} px"
    )
    return Pair(
        name=name,
        task=task,
        what=what,
        image=poorer if image is None else image,
        plane=plane,
        poorer=low,
        poorer_psf=profile,
        better=moved + repeated(fit.sky, scale),
        better_psf=better_profile,
        reference=reference,
        sigma=sigma,
        given_psf=given_psf,
        mask=mask,
        better_mask=repeated(mask, scale),
        better_variance=None if better_variance is None else better_variance * fit.scale**2,
        note=note,
    )


def read_first_image(path: Path) -> tuple[Array, fits.Header]:
    """Return the pixels and the header of the first HDU of a FITS file with data."""
    if not path.exists():
        msg = f"{path} is not there"
        raise FileNotFoundError(msg)
    with fits.open(path) as hdus:
        hdu = next(h for h in hdus if h.data is not None)
        return np.array(hdu.data, dtype=np.float64), hdu.header.copy()


def middle(image: Array) -> Array:
    """Return the middle of the last two axes, of 640 pixels at most."""
    ny, nx = image.shape[-2:]
    side = min(_SIDE, ny, nx)
    y, x = (ny - side) // 2, (nx - side) // 2
    return image[..., y : y + side, x : x + side]


def binned(image: NDArray, factor: int) -> NDArray:
    """Return means of blocks; of booleans, whether any is true."""
    if factor == 1:
        return image
    ny, nx = (side // factor for side in image.shape)
    blocks = image[: ny * factor, : nx * factor].reshape(ny, factor, nx, factor)
    return blocks.any(axis=(1, 3)) if image.dtype == bool else blocks.mean(axis=(1, 3))


def repeated(image: NDArray, factor: int) -> NDArray:
    """Return an image with every pixel repeated along both axes."""
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def border(shape: tuple[int, ...], width: int) -> NDArray[np.bool_]:
    """Return True within so many pixels of the edges."""
    edge = np.ones(shape, dtype=bool)
    edge[width:-width, width:-width] = False
    return edge
