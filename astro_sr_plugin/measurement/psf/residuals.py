"""Residuals of stars: what is left about bright stars after the core is subtracted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import sep
from astropy.stats import gaussian_fwhm_to_sigma
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, shift

from astro_sr_plugin.measurement.psf.empirical import EmpiricalPSF
from astro_sr_plugin.measurement.psf.profiles import STAMP_RADIUS
from astro_sr_plugin.measurement.psf.star_fit import fit_star
from astro_sr_plugin.measurement.sky.windows import Window
from astro_sr_plugin.measurement.sources.extraction import extract_sources

__all__ = [
    "ANGLE",
    "DISTANCE",
    "FEWEST_STARS",
    "MEDIAN_ERROR",
    "SKY_ERROR",
    "StarResidual",
    "subtract_stars",
]

# Rows and columns of a stamp from its middle.
_Y, _X = np.mgrid[-STAMP_RADIUS : STAMP_RADIUS + 1, -STAMP_RADIUS : STAMP_RADIUS + 1]
DISTANCE, ANGLE = np.hypot(_X, _Y), np.arctan2(_Y, _X)
"""Distance in pixels and direction in radians of the pixels of a stamp from its middle."""

_THRESHOLD = 15.0
"""Detection threshold in noise sigma of a pixel."""
_MOST_STARS = 60
"""Largest number of stars of one window, the brightest first."""
_FAINTEST = 150.0
"""Flux in noise sigma of a pixel from which a star is used."""
_CORE_PIXELS, _RING_PIXELS = 12, 8
"""Smallest number of usable pixels of the core of a star, and of the ring about it."""
_SAME_PLACE = 1.0
"""Distance in pixels within which two places are of one star."""
FEWEST_STARS = 4
"""Smallest number of stars of a plane, or of a ring."""
SKY_ERROR = 0.2
"""1-sigma error of the sky under a star, in noise sigma of a pixel: faint stars and gradients."""
MEDIAN_ERROR = 1.25
"""Error of a median over that of a mean: sqrt(pi / 2)."""


@dataclass(frozen=True, eq=False)
class StarResidual:
    """Residual of a star relative to its flux, moved to the middle of its stamp; its weights."""

    flux: float
    values: NDArray[np.float64]
    weight: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Fit:
    """A fitted star: flux, offset from the middle of its stamp, profile, and the stamp's place."""

    flux: float
    x: float
    y: float
    profile: NDArray[np.float64]
    area: tuple[slice, ...] = ()


def subtract_stars(
    values: NDArray[np.float32],
    bad: NDArray[np.bool_],
    saturated: NDArray[np.bool_],
    core: EmpiricalPSF,
    window: Window,
    known: NDArray[np.float64],
) -> list[StarResidual]:
    """Fit the core of the PSF to the sources of a window, subtract it, return the stars' residuals.

    Stars are the sources with saturated pixels, and those at the places ``known`` (n, 2), x and y:
    the light of a galaxy is in proportion to its flux too.
    """
    fwhm = core.moffat.fwhm
    # A margin of unusable pixels keeps stars near the edge, as far as their stamps hold data.
    r = STAMP_RADIUS + 1
    values, bad, saturated = (
        np.pad(values, r),
        np.pad(bad, r, constant_values=True),
        np.pad(saturated, r),
    )
    clean = np.ascontiguousarray(np.where(bad, 0, values), dtype=np.float32)
    objects, segments = extract_sources(
        clean, None, _THRESHOLD, kernel=None, minimum_area=4, levels=32
    )
    order = np.argsort(-objects["flux"])[:_MOST_STARS]
    order = order[objects["flux"][order] > 0.5 * _FAINTEST]
    usable = ~(bad | binary_dilation(saturated, iterations=1))
    places = sep.winpos(
        clean, objects["x"][order], objects["y"][order], fwhm * gaussian_fwhm_to_sigma
    )
    fits: list[tuple[_Fit, int]] = []
    rest = clean.astype(np.float64)
    for k, xk, yk in zip(order, *places[:2], strict=True):
        x, y = round(float(xk)), round(float(yk))
        if r <= y < clean.shape[0] - r and r <= x < clean.shape[1] - r:
            area = np.s_[y - r : y + r + 1, x - r : x + r + 1]
            own = (segments[area] == k + 1) | (segments[area] == 0)
            stamp = clean[area].astype(float)
            offset = float(xk) - x, float(yk) - y
            profile = core.star(x - r + window.x0, y - r + window.y0, offset, r)
            fit = _fit_star(stamp, usable[area] & own, offset, profile, fwhm)
            if fit is not None:
                rest[area] -= fit.flux * fit.profile
                place = float(xk) - r + window.x0, float(yk) - r + window.y0
                near = np.hypot(*(known - place).T) < max(_SAME_PLACE, 0.5 * fwhm)
                if near.any() or saturated[y - 1 : y + 2, x - 1 : x + 2].any():
                    fits.append((replace(fit, area=area), k + 1))
    residuals = []
    for fit, label in fits:
        if fit.flux < _FAINTEST:
            continue
        others = (segments[fit.area] > 0) & (segments[fit.area] != label)
        trusted = usable[fit.area] & ~binary_dilation(others, iterations=2)
        residuals.append(_centre(rest[fit.area], trusted, fit))
    return residuals


def _fit_star(
    stamp: NDArray[np.float64],
    usable: NDArray[np.bool_],
    offset: tuple[float, float],
    profile: NDArray[np.float64],
    fwhm: float,
) -> _Fit | None:
    """Fit the flux of one star at a known position; None if it is no star, or mostly unusable."""
    r = stamp.shape[0] // 2
    v, u = np.mgrid[-r : r + 1, -r : r + 1]
    radius = np.hypot(u, v)
    near = usable & (radius <= 1.5 * fwhm + 2)
    ring = usable & (radius > fwhm) & (radius < 2 * fwhm)
    if near.sum() < _CORE_PIXELS or ring.sum() < _RING_PIXELS:
        return None
    weight = 1 / (1 + np.maximum(stamp[near], 0))
    found = fit_star(stamp[near], weight, profile[near], sky_error=0.0)
    if found is None:
        return None
    flux = float(found[0][0])
    # The light of a galaxy does not fall off as the profile does.
    if not flux > 0 or np.median(stamp[ring]) > 2 * flux * np.median(profile[ring]) + 3:
        return None
    return _Fit(flux, *offset, profile)


def _centre(rest: NDArray[np.float64], trusted: NDArray[np.bool_], fit: _Fit) -> StarResidual:
    """Move the residual of a star to the middle of its stamp."""
    moved = [
        shift(image, (-fit.y, -fit.x), order=1, cval=0.0)[1:-1, 1:-1]
        for image in (np.where(trusted, rest, 0.0), trusted.astype(float), fit.flux * fit.profile)
    ]
    # Noise of the sky, of the light, and of the fit in the core.
    variance = (1 + np.maximum(moved[2], 0) * 0.1 + (0.01 * moved[2]) ** 2) / fit.flux**2
    return StarResidual(fit.flux, moved[0] / fit.flux, (moved[1] > 0.99) / variance)
